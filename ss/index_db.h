// The index of a storage server's log, in SQLite: which versions there are, the
// head of each file, who asked for what. It holds nothing that the log does not: it
// can be deleted and is then rebuilt.
//
// Fed with durable records only, in the order of the log. What was fed stands in an
// open transaction, where look-ups see it, until commit() makes it permanent
// together with the position it covers.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/env/task.h"
#include "common/sqlite/sqlite_db.h"
#include "ss/records.h"

namespace understudy {

struct Env;

struct IndexTotals {
  uint64_t files = 0;      // With a head that is no tombstone.
  uint64_t bytes = 0;      // Of those heads.
  uint64_t divergent = 0;  // Versions set aside.
  uint64_t versions = 0;   // All there are.
};

// What is known of a file, folder or link.
struct ObjectRow {
  FileId id = kNoFile;
  uint32_t kind = 0;  // wire::NodeKind
  uint64_t meta_version = 0;
  Lsn name_lsn{};  // The record that has its newest name; 0: none.
  int64_t created_us = 0;
  uint64_t versions = 0;  // In the line of the head, about: neither set-aside ones nor checkpoints are counted.
  std::optional<VersionRow> head;
};

// One sum for each partition over (id, head, meta_version) of what lives there.
using PartitionDigests = std::array<uint64_t, kPartitions>;

class IndexDb {
 public:
  // CORRUPT: no index, or another store's or format's: delete() it and replay the log.
  static Result<std::unique_ptr<IndexDb>> open(Env& env, std::string path, StoreId store_id);
  static Status remove(Env& env, const std::string& path);

  // Replay the log from here; kNoLsn: from its beginning.
  Lsn covered() const { return covered_; }

  // An error other than commit()'s NO_SPACE means that the index is broken for good.
  Status apply(const IndexRecord& record);
  // A record without rows, as chunks are.
  void cover(Lsn end) { covered_ = end; }
  // NO_SPACE: nothing is lost; all that was fed since the last commit is still there
  // to be looked up and committed later. Feed nothing more until then.
  Status commit();
  bool dirty() const { return covered_ != committed_covered_ || db_->in_transaction(); }
  // No power cut takes the index back behind here; kNoLsn until the first checkpoint.
  Lsn synced() const { return synced_; }
  size_t uncommitted() const { return uncommitted_.size(); }
  // Makes what is committed durable. Call it when nothing is uncommitted; it may
  // be fed and committed meanwhile.
  Task<Status> checkpoint(Env& env);
  Status checkpoint_here();
  uint64_t commits_since_checkpoint() const { return records_since_checkpoint_; }

  Result<std::optional<ObjectRow>> object(FileId id);
  Result<std::optional<VersionRow>> head(FileId file);
  Result<std::optional<VersionRow>> version(FileId file, Version version);
  // In the file's line of versions: set-aside ones are not found.
  Result<std::optional<VersionRow>> request(FileId file, RequestId request);
  // Newest first, without `from` itself: `count_max` of them, and behind these the newest of each older epoch.
  Result<std::vector<Version>> ancestors(FileId file, Version from, size_t count_max);
  Result<std::vector<Version>> aside(FileId file);
  // Of these, the contents that did not come back as newer versions.
  Result<std::vector<VersionRow>> recovered(FileId file);
  // Where the newest record of that chunk of that file stands.
  Result<std::optional<ChunkRow>> chunk(FileId file, const ChunkHash& hash);
  // Of all files behind `after` (kNoFile: from the beginning), in an order of the index's own.
  Result<std::vector<std::pair<FileId, Version>>> recovered_behind(FileId after, size_t count_max);
  // The records of the tags in the file's line, with their tags, oldest first; with a tag only that one.
  Result<std::vector<VersionRow>> checkpoints(FileId file, std::string_view tag);
  // Originated versions that were not set aside, from `from` on, in log order.
  Result<std::vector<VersionRow>> originated(Lsn from, size_t count_max);
  // Of these, such as were written with sync durability.
  Result<std::vector<VersionRow>> sync_versions(Lsn from);
  // Objects of one partition that count in its digest, by id, behind `after`.
  Result<std::vector<ObjectRow>> partition(uint32_t partition, FileId after, size_t count_max);

  // All objects in an order of the index's own, behind `after` unless from the start.
  Result<std::vector<ObjectRow>> objects(bool from_start, FileId after, size_t count_max);
  // ---- Space (index_space.cc).
  // Folders and links that were removed up to that Raft index, with their last records.
  Result<std::vector<NameRow>> removed_names(uint64_t upto, size_t count_max);
  // All of a file, set-aside ones too, newest first by number, below `before` unless that is {}.
  Result<std::vector<VersionRow>> versions_of(FileId file, Version before, size_t count_max);
  // The newest one of the file's line below `version`: its parent, or what is left of its ancestors.
  Result<std::optional<VersionRow>> older(FileId file, Version version);
  // The next of the file's line behind `version` ({}: from its beginning), up to `upto`, the oldest first.
  Result<std::vector<VersionRow>> newer(FileId file, Version version, Version upto, size_t count_max);
  // In an order of the index's own, behind `after`.
  Result<std::vector<ChunkRow>> chunks_of(FileId file, std::optional<ChunkHash> after, size_t count_max);
  // Files behind `after` that retention may have to do with.
  Result<std::vector<FileId>> files_with_past(std::optional<FileId> after, size_t count_max);
  // How many versions the file of the last version fed has, about.
  uint64_t last_versions() const { return last_versions_; }
  // Files with chunks that came since end_staged(), and so may belong to no version.
  const std::set<FileId>& staged() const { return staged_; }
  Status end_staged(FileId file);
  // Bytes of the log in [base, end) that are known to be dead, about; forgotten once they are given back.
  Result<uint64_t> dead_bytes(Lsn base, Lsn end);
  Status clear_dead(Lsn base, Lsn end);

  // ---- Repairing and checking (index_repair.cc).
  // What stands in the log from `from` up to `to`, exclusive: for repairing it.
  Result<std::vector<VersionRow>> versions_in(Lsn from, Lsn to);
  // All chunks in an order of the index's own.
  Result<std::vector<ChunkRow>> chunks_behind(const std::optional<ChunkRow>& after, size_t count_max);
  // Objects whose newest name stands there alone, in no version's record.
  Result<std::vector<FileId>> names_in(Lsn from, Lsn to);
  Result<std::vector<FileId>> files_with_aside();
  Result<std::vector<std::pair<std::string, Bytes>>> states();

  const IndexTotals& totals() const { return totals_; }
  const PartitionDigests& digests() const { return digests_; }
  // Empty if the key was never set.
  Result<Bytes> state(std::string_view key);
  Epoch epoch_seen() const { return epoch_seen_; }
  Epoch epoch_served() const { return epoch_served_; }

  // What SQLite's own check finds; empty: nothing.
  Result<std::string> integrity_problems();
  // Tells of each row (as text) that only one of the two has.
  // (`path`: of the other, which nobody has open.)
  Status compare(std::string path, const std::function<void(const std::string& row, bool only_here)>& tell);
  // Every row as text, for comparing two indexes.
  Result<std::string> dump();

 private:
  explicit IndexDb(std::unique_ptr<SqliteDb> db) : db_(std::move(db)) {}
  Status load(const StoreId& store_id);
  Status begin_if_needed();
  Status apply_rows(const IndexRecord& record);
  Status apply_version(const VersionRow& row);
  Status apply_chunk(const ChunkRow& row);
  Status apply_trim(const TrimRow& trim);
  Status forget_name(const NameRow& name);
  Status trim_version(FileId file, const TrimRow::Trimmed& trimmed);
  Status add_dead(Lsn lsn, uint64_t bytes);
  Status note_staged(FileId file);
  Status restore_staged();
  Status apply_name(const NameRow& row);
  Status apply_aside(const AsideRow& row);
  Status set_aside(ObjectRow& object, Version version, bool rescued);
  Status put_aside(FileId file, Version version);
  Status put_object(const ObjectRow& object, bool is_new);
  Status put_state(std::string_view key, BytesView value);
  Status save_summary();
  Status restore_summary();
  Status reapply();
  // Takes the object out of (-1) or into (+1) totals and digests.
  void count(const ObjectRow& object, int sign);

  std::unique_ptr<SqliteDb> db_;
  Lsn covered_ = kNoLsn;
  Lsn committed_covered_ = kNoLsn;
  IndexTotals totals_;
  PartitionDigests digests_{};
  Epoch epoch_seen_ = kNoEpoch;
  Epoch epoch_served_ = kNoEpoch;
  Lsn synced_ = kNoLsn;
  uint64_t last_versions_ = 0;
  std::set<FileId> staged_;
  std::vector<IndexRecord> uncommitted_;
  uint64_t records_since_checkpoint_ = 0;
};

}  // namespace understudy
