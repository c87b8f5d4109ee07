// FileStore over a segment log and an index: everything a storage server does with
// its disk. Parts: store_engine.cc (opening, the index's upkeep), store_changes.cc,
// store_chunks.cc, store_past.cc, store_reads.cc, store_scrub.cc, store_repair.cc, store_replica.cc (what the name node asks for), store_names.cc.
//
// What is durable is in the index at once: it is fed from the log's callbacks, in the
// order of the log. What is appended and not yet durable is in `open_`: there the next
// change of a file finds its parent, and no reader looks.
#pragma once

#include <map>
#include <set>
#include <string>
#include <unordered_map>

#include "common/env/sync.h"
#include "common/segment_log/segment_log.h"
#include "ss/chunk_pins.h"
#include "ss/core/compaction.h"
#include "ss/core/retention.h"
#include "ss/file_store.h"
#include "ss/index_db.h"
#include "ss/partner.h"
#include "ss/stored_version.h"

namespace understudy {

class StoreEngine final : public FileStore {
 public:
  StoreEngine(Env& env, FileStoreOptions options);
  ~StoreEngine() override;
  Task<Status> start();

  const StoreId& store_id() const override { return store_id_; }
  std::string cluster_id() const override { return cluster_id_; }
  std::string server_name() const override { return server_name_; }
  Task<Status> set_identity(std::string cluster_id, std::string server_name) override;
  bool empty() const override;
  Lsn durable_lsn() const override { return log_->durable_end(); }
  Epoch greatest_epoch() const override { return index_->epoch_seen(); }
  Epoch served_epoch() const override { return index_->epoch_served(); }
  uint64_t file_count() const override { return index_->totals().files; }
  uint64_t byte_count() const override { return index_->totals().bytes; }
  uint64_t divergent_count() const override { return index_->totals().divergent; }

  Task<Status> begin_epoch(Epoch epoch) override;
  Task<Result<VersionInfo>> put(Change change, Bytes content) override;
  Task<Result<VersionInfo>> append(Change change, Bytes content) override;
  Task<Result<VersionInfo>> remove(Change change) override;
  Task<Result<VersionInfo>> undo(Change change) override;
  Task<Result<VersionInfo>> undelete(Change change) override;
  Task<Result<VersionInfo>> checkpoint(Change change) override;
  Task<Result<VersionInfo>> revert(Change change) override;
  Task<Result<ChunkRefInfo>> stage(FileId file, Bytes content) override;
  void unpin(FileId file, const ChunkRefs& chunks) override;
  Task<Result<VersionInfo>> commit(Change change, ChunkRefs chunks, bool append) override;
  Task<Result<VersionInfo>> take_back(Change change, wire::Brought brought) override;
  std::optional<VersionInfo> answered(FileId file, RequestId request) override;

  Result<VersionInfo> info(FileId file, Version version) override;
  Task<Result<Bytes>> read(FileId file, Version version, uint64_t offset, uint32_t size) override;
  Task<Result<ChunkRefs>> chunks(FileId file, Version version) override;
  Task<Result<std::vector<TextStep>>> text_steps(FileId file, Version since) override;
  std::vector<Version> divergent(FileId file) override;
  Result<std::vector<wire::Checkpoint>> checkpoints(FileId file, std::string tag) override;
  Task<Result<wire::HistoryReply>> history(wire::HistoryRequest request) override;

  Result<std::vector<SyncVersion>> sync_versions(Lsn from) override;
  Result<Lsn> sync_settled() override;
  Task<Status> set_sync_settled(Lsn lsn) override;
  Result<Version> content_version(FileId file, Version version) override;
  void set_retention(Retention retention) override;
  void may_trim(Lsn replicated, Lsn announced) override;
  void names_settled(uint64_t upto) override { names_settled_ = upto; }
  wire::SpaceReport space() override;

  AnnounceBatch announceable(Lsn from, size_t items_max) override;
  Future<Unit> durable_changed() override { return durable_changed_.wait(); }

  Task<Result<wire::FetchReply>> fetch(wire::FetchRequest request) override;
  Task<Result<Bytes>> fetch_chunk(wire::FetchChunkRequest request) override;
  Task<Result<wire::MissingChunksReply>> missing_chunks(wire::MissingChunksRequest request) override;
  Task<Status> store_chunk(FileId file, ChunkHash hash, Bytes content) override;
  Task<Result<wire::ApplyReply>> apply(wire::ApplyRequest request) override;
  Task<Result<wire::DigestReply>> digest() override;
  Task<Result<wire::ListPartitionReply>> list_partition(wire::ListPartitionRequest request) override;
  Task<Result<wire::SetAsideReply>> set_aside(wire::SetAsideRequest request) override;
  Task<Result<wire::KeepAsideReply>> keep_aside(wire::KeepAsideRequest request) override;
  Result<wire::ListAsideReply> list_aside(const wire::ListAsideRequest& request) override;
  Result<wire::MemberStatReply> member_stat(FileId file) override;
  Task<Result<wire::ListObjectsReply>> list_objects(wire::ListObjectsRequest request) override;

  void set_partner(Partner* partner) override { partner_ = partner; }
  Task<void> scrub(ScrubOptions options) override;
  wire::ScrubStatus scrub_status() const override;
  bool damaged_at_start() const override { return !unknown_.empty(); }

  Future<Error> failed() override { return failed_.future(); }
  Task<Status> close() override;

  // A chunk that was hashed away from the ready loop.
  struct HashedChunk {
    Bytes bytes;
    ChunkHash hash;
    uint64_t checksum = 0;
  };

  // For tests.
  IndexDb& index() { return *index_; }

 private:
  // Staging and replication wait while so much waits for the disk.
  static constexpr uint64_t kBufferedMax = 16 << 20;

  // A file with appends that are not durable yet.
  struct OpenFile {
    StoredVersionRef head;  // Null: none, after a setting aside.
    uint32_t in_flight = 0;
  };
  // The newest appended version of a file: what the next change goes onto.
  struct Head {
    Version version;  // {}: none.
    bool deleted = false;
    uint32_t mode = 0;
    Lsn lsn{};
    StoredVersionRef loaded;  // If it is in memory.
  };
  // The content of a change, ready to be appended without a wait.
  struct Content {
    StoredVersionRef same;  // That version's, and nothing else; or:
    Bytes inline_content;
    std::vector<ChunkRefs> spine = {{}};  // Of what comes first (common/base/chunk_list.h),
    uint64_t spine_bytes = 0;             // which is so much,
    ChunkRefs stored;                     // then these chunks, which stand in the log;
    std::vector<HashedChunk> fresh;       // then these, which may not.
    uint64_t new_bytes = 0;               // So much of `stored` is new since the version before.
  };
  // Chunks of a file one behind the other, and where the first begins.
  struct ChunkRun {
    ChunkRefs chunks;
    uint64_t begin = 0;
  };
  // What a pass through all files found to be held.
  struct Held {
    HeldBytes bytes;
    uint64_t deleted_files = 0;
    uint64_t set_aside = 0;
  };
  using InFlight = std::pair<FileId, RequestId>;

  // store_engine.cc
  Status check_folder() const;
  Task<Status> lock_and_identify();
  Task<Status> open_log();
  Status open_index();
  Task<void> keep_index();
  Task<void> watch_log();
  Status commit_index();
  Task<Status> checkpoint_index();
  void feed_index(IndexRecord record);
  void broken(Error error);
  // Refuses changes while the index has no room to follow.
  Status writable() const;
  // Refuses content sooner: the last of a full disk is for deletions and epochs.
  Status has_room();
  // An AsideRow ends one append in flight of its file.
  Future<Status> append_record(RecordType type, Bytes head, IndexRecord record);
  void append_ended(FileId file);
  Task<Status> set_state(std::string key, Bytes value);

  // store_changes.cc
  Result<Head> head_of(FileId file);
  Task<Result<StoredVersionRef>> load_head(FileId file);
  Status check_change(const Change& change, const Head& head);
  static Status check_epoch(const Change& change, const Head& head);
  Result<StoredVersionRef> append_change(const Change& change, const Head& head, Content content);
  void append_version(std::shared_ptr<StoredVersion> version);
  void version_done(const StoredVersionRef& version, const Status& status);
  Task<Result<VersionInfo>> finish(StoredVersionRef version);
  Task<Result<VersionInfo>> submit(Change change, Content content);
  Task<Result<std::optional<VersionInfo>>> first_answer(FileId file, RequestId request);

  // store_chunks.cc
  // Cut into chunks by content, unless it is to be one chunk whole.
  Task<std::vector<HashedChunk>> hash_chunks(Bytes content, bool whole = false);
  Result<std::optional<ChunkPlace>> place_of(FileId file, const ChunkHash& hash);
  Lsn append_chunk(FileId file, HashedChunk chunk, LogWriter::Done done);
  Result<ChunkPlace> store_once(FileId file, HashedChunk chunk, LogWriter::Done done);
  // Nothing if it is damaged where it stands: the same bytes are better stored once more.
  Result<std::optional<ChunkPlace>> whole_place_of(FileId file, const ChunkHash& hash);
  // What is damaged, or is not here at all, is brought from the partner first, if it can be.
  Task<Result<Bytes>> read_chunk(FileId file, ChunkRefInfo ref);
  Task<Result<Bytes>> read_chunk_here(FileId file, ChunkRefInfo ref);
  Task<Result<ChunkRefs>> read_list(FileId file, ChunkRefInfo list, uint32_t level);
  Task<Result<ChunkRun>> chunk_run(StoredVersionRef version, uint64_t from, uint64_t to);
  // List chunks too.
  Task<Result<ChunkRefs>> all_chunks(StoredVersionRef version);
  Task<Result<std::vector<ChunkRefs>>> spine_of(StoredVersionRef version);
  Task<Result<Content>> appended_content(StoredVersionRef before, Bytes content);
  Result<ChunkRefs> stored_chunks(FileId file, ChunkRefs chunks, StoredVersionRef before, uint64_t* new_bytes);
  Status append_content(FileId file, Content& content, wire::VersionRecord& record, uint64_t* new_bytes);

  // store_past.cc
  Task<Result<StoredVersionRef>> load_durable_head(FileId file);
  Task<Result<StoredVersionRef>> load_version(FileId file, Version version);
  static Content content_of(StoredVersionRef version);
  // Of the version that a checkpoint names; of any other, its own.
  Result<VersionRow> named_row(VersionRow row);
  // The number that users know the head by.
  Result<Version> newest_version(FileId file, const Head& head);
  Task<Result<VersionInfo>> append_checkpoint(Change change);

  // store_space.cc (retention)
  // Whether undoing, reverting or bringing back to it is still to be had, with nothing on its way to take it.
  Result<bool> content_stays(FileId file, Version version);
  void pin_read(FileId file, Version version);
  bool is_read(FileId file, Version version) const;
  Task<void> keep_trimmed();
  Task<Status> trim_some();
  Task<Status> forget_names();
  Result<std::vector<PastVersion>> past_of(const std::vector<VersionRow>& rows);
  Task<Status> look_at(FileId file, Held* held);
  Task<Status> trim_versions(FileId file, Held* held);
  Task<Status> free_chunks(FileId file);
  Task<Result<std::vector<ChunkRow>>> unnamed_chunks(FileId file, std::vector<VersionRow> kept);
  Future<Status> append_trim(wire::TrimRecord record);
  Task<Status> all_of(std::vector<Future<Status>> done);
  void trim_ended(const TrimRow& row);
  Task<void> not_trimming(FileId file);
  Error content_gone(const VersionRow& row) const;

  // store_compaction.cc
  Result<std::vector<SegmentFacts>> segment_facts();
  Task<void> keep_compact();
  Task<Status> compact_one();
  Task<Status> compact_run(SegmentRun run, uint64_t bytes_before, uint64_t bytes_per_second);
  void tell_compacted();
  Task<Status> note_packings();
  bool all_packed_since(Lsn upto, Lsn forgotten_at, SegmentRun run) const;
  bool packed_since(Lsn lsn, Lsn trimmed_at, SegmentRun run) const;
  Result<bool> stays(LogRecord& record, SegmentRun run);

  // store_reads.cc
  Result<VersionRow> durable_row(FileId file, Version version);
  static VersionInfo info_of(const VersionRow& row);
  // What is damaged is repaired first, if it can be; load_here takes what is here.
  Task<Result<StoredVersionRef>> load(Lsn lsn, uint64_t size_hint);
  Task<Result<StoredVersionRef>> load_here(Lsn lsn, uint64_t size_hint);

  // store_names.cc
  Task<Result<wire::NameRecord>> name_of_object(ObjectRow object);

  // store_scrub.cc
  struct Pace {
    uint64_t bytes_per_second = 0;
    Instant began{};
    uint64_t bytes = 0;
  };
  Task<void> load_scrub_state();
  Task<Status> save_scrub_state();
  Task<Status> scrub_pass(ScrubOptions options);
  Task<Status> scrub_segment(Lsn base, Lsn upto, Pace* pace);
  Task<void> breathe(Pace* pace, uint64_t bytes);
  // For bytes of which the pass makes no progress.
  Task<void> slow_down(Pace* pace, uint64_t bytes);

  // store_repair.cc
  struct Damage {
    Lsn to{};
    std::string why;  // It is not repaired, as was told last.
  };
  struct Brought {
    FileId file = kNoFile;
    Version version;
    Lsn lsn{};
    std::string what, source;
  };
  struct Repair {
    Lsn from{}, to{};
    std::vector<Brought> brought;
    std::vector<std::string> left;
    FileId left_file = kNoFile;
  };
  Task<void> found_damage(Lsn from, Lsn to);
  // Whether what stands there is known to be damaged.
  bool is_damaged(Lsn lsn) const;
  Task<void> try_damaged_again();
  void no_longer_damaged(Lsn from, Lsn to);
  void report(wire::Event event);
  Task<Status> repair_range(Repair* repair);
  Task<void> repair_chunk_record(FileId file, ChunkHash hash, ChunkPlace place);
  Task<Result<Bytes>> bring_lost_chunk(FileId file, ChunkRefInfo ref);
  Task<void> bring_lost_chunks(FileId file, Version version, Pace* pace);
  Task<void> repair_version_record(Lsn lsn);
  Task<Status> bring_version(VersionRow row, Repair* repair, std::map<Lsn, Bytes>* pieces);
  Task<Status> bring_chunk(ChunkRow row, Repair* repair, std::map<Lsn, Bytes>* pieces);
  Task<Status> bring_name(FileId object, Repair* repair);
  Task<Result<Bytes>> chunk_from_partner(FileId file, ChunkHash hash);
  Task<Status> say_again();
  Task<Status> say_trims_again(Lsn before);
  Task<Status> say_trim(wire::TrimRecord whole);
  Status note_trimmed(const LogRecord& record, std::map<FileId, wire::TrimRecord>* missing);
  Task<Result<std::vector<ChunkRow>>> chunks_in(Lsn from, Lsn to);
  Task<void> mend_frames();
  Task<void> mend_frame(Lsn base);
  Task<Status> say_aside(FileId file, StoredVersionRef keep, std::vector<Version> versions, bool rescued);

  // store_replica.cc
  // How one FETCH is to be answered, and how much its answer has taken by now.
  struct Fetching {
    bool for_repair = false;
    bool headers_only = false;
    uint64_t bytes_max = 0;
    uint64_t bytes_used = 0;
  };
  // The pointers outlive the task.
  Task<Result<wire::FetchedFile>> fetch_file(wire::FetchItem item, Fetching* fetching);
  Task<Result<wire::FetchedFile::Outcome>> fetch_line(Version from, VersionRow to, wire::FetchedFile* fetched, Fetching* fetching);
  Task<Result<wire::FetchedFile::Outcome>> fetch_back(Version from, VersionRow to, wire::FetchedFile* fetched, Fetching* fetching);
  Result<bool> are_linked(Version at, const std::vector<VersionRow>& rows);
  Task<Status> add_fetched(VersionRow row, std::optional<Version> onto, wire::FetchedFile* fetched, Fetching* fetching);
  Task<Result<wire::ApplyOutcome>> apply_version(wire::VersionRecord version);
  Status keep_version_aside(wire::VersionRecord record);
  Task<Result<std::string>> name_at(Lsn lsn);
  Result<std::vector<Version>> behind(FileId file, Version keep);
  Task<Result<wire::SetAsideDone>> set_aside_file(wire::SetAsideItem item);
  Future<Status> append_aside(FileId file, Version keep, std::vector<Version> versions, bool rescued);

  Env& env_;
  FileStoreOptions options_;
  std::unique_ptr<FileLock> lock_;
  StoreId store_id_;
  std::string cluster_id_;
  std::string server_name_;
  std::unique_ptr<IndexDb> index_;
  std::unordered_map<FileId, OpenFile> open_;  // Never iterated.
  std::map<InFlight, StoredVersionRef> requests_in_flight_;
  VersionCache cache_;
  std::optional<Error> chunk_refused_;  // Of a staged chunk, for the commit that misses it.
  ChunkPins pins_;
  std::optional<Retention> retention_;  // Nothing: not told yet.
  Lsn replicated_{};
  Lsn announced_{};
  uint64_t names_settled_ = 0;  // Every server has all changes of names up to this Raft index.
  std::set<FileId> to_look_at_;      // By retention, soon.
  std::set<FileId> waiting_;          // Until the other half has more.
  std::multiset<FileId> trimming_;   // Their TRIM records are on the way,
  std::set<ChunkPins::Key> freeing_;  // with these chunks.
  FileId staged_at_ = kNoFile;         // So far the staged ones were looked at.
  uint32_t rows_looked_at_ = 0;        // Of the file that was looked at last.
  std::map<std::pair<FileId, Version>, Instant> read_pins_;
  Instant next_pass_{};
  std::optional<std::optional<FileId>> pass_at_;  // A pass through all files is under way, behind that one.
  Held pass_, held_;                              // Of the pass under way, and of the last one.
  std::map<Lsn, Lsn> packings_;  // When each closed segment was packed.
  std::map<Lsn, Instant> left_alone_;  // Segments that are damaged, and until when nobody tries to pack them.
  uint64_t compacted_ = 0;
  uint64_t compacted_told_ = 0;
  Instant compacted_tell_at_{};
  wire::SpaceReport space_report_;
  Instant space_report_until_{};
  uint64_t segment_size_ = 0;
  Notifier durable_changed_;
  Notifier index_fed_;
  Promise<Error> failed_;
  std::optional<Error> failure_;
  bool index_full_ = false;
  Instant space_known_until_{};
  std::optional<DiskSpace> space_;
  Partner* partner_ = nullptr;
  wire::ScrubStatus scrub_;
  Lsn scrub_position_ = kNoLsn;        // kNoLsn: between two passes.
  std::map<Lsn, Damage> damaged_;      // Known, and not repaired.
  std::set<Lsn> being_repaired_;
  Lsn trims_said_before_ = kNoLsn;     // What retention took of what stands there was said again.
  struct FoundAtStart {
    Lsn from{}, to{};
  };
  std::vector<FoundAtStart> found_at_start_;
  std::vector<std::pair<Lsn, Lsn>> unknown_;  // Of these positions the index was never told.
  std::unique_ptr<SegmentLog> log_;  // Goes before what its callbacks touch.
  TaskGroup tasks_;
};

}  // namespace understudy
