// The catalogue's rows: SQL and nothing else. The rules are Catalogue's.
//
// Servers, pairs and counters are few: they live in memory and are written back by
// write_back(), in the same transaction as everything else. Everything is read and
// written inside the transaction that the owner has open.
//
// An SQL error here is damage (a full disk is met at the commit only): the first one
// is kept in error(), later calls do nothing, and the owner stops.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/sqlite/sqlite_db.h"
#include "nm/catalogue_types.h"
#include "nm/people_store.h"

namespace understudy {

struct ClusterRow {
  std::string cluster_id;
  uint64_t applied_index = 0;
  int64_t time_us = 0;           // NM time: never goes back.
  uint64_t next_object = 16;     // Counts objects; below are the fixed ids.
  uint64_t next_member = 1;      // Counts servers and pairs.
  uint64_t next_job = 1;
  uint64_t next_event = 1;
  uint64_t files = 0;            // Nodes by kind, the root and the trash apart.
  uint64_t folders = 0;
  int64_t failure_timeout_ms = 0;  // Leases may be as long as this allows; 0: none was given yet.
  bool operator==(const ClusterRow&) const = default;
};

struct EventRow {
  uint64_t id = 0;
  std::string content;           // A serialized wire::Event.
};

struct JoinTokenRow {
  std::string id;
  Bytes secret_hash;
  int64_t expires_us = 0;
};

struct ServerKeyRow {
  Bytes key;                     // SHA-256 of the key that the server's name belongs to; empty: nobody's, since a REPLACE.
  Bytes previous;                // The one before, which counts until the next.
  Bytes authority;               // Fingerprint of the one that signed its certificate.
  int64_t expires_us = 0;        // The certificate.
};

class CatalogueStore {
 public:
  // Makes the schema in an empty database; INVALID for one of a newer format.
  static Result<std::unique_ptr<CatalogueStore>> open(std::string path, std::string vfs, std::string new_database_id);

  SqliteDb& db() { return *db_; }
  const std::string& database_id() const { return database_id_; }
  const std::optional<Error>& error() const { return error_; }
  // Memory again as the database has it: after opening, and after a rollback.
  Status reload();
  void write_back();

  ClusterRow cluster;
  std::map<ServerId, Server> servers;
  std::map<PairId, Pair> pairs;
  std::map<std::string, std::string> retired_stores;  // Store id -> the name it had.
  std::map<FileId, uint8_t> durabilities;             // Of folders: wire::Durability, where it was set.
  std::set<ServerId> unfilled;                        // Lost what they had confirmed, and were not in sync since.
  std::map<FileId, LostVersion> lost;                 // put_lost() and erase_lost() change it.
  std::map<ServerId, HintTotals> hint_totals;
  std::map<ServerId, Lag> lags;                       // Without oldest_us.

  Server* server_named(std::string_view name);
  Pair* pair_named(std::string_view name);

  std::optional<Node> node(FileId id);
  std::optional<Node> child(FileId parent, std::string_view name);
  bool has_children(FileId folder);
  // Children with names behind `after`, in order of their bytes.
  std::vector<Node> children(FileId folder, std::string_view after, uint32_t limit);
  std::vector<Node> nodes_of_partition(uint32_t partition, FileId after, uint32_t limit);
  // PENDING or DELETING files made before `created_before_us`, oldest first.
  std::vector<Node> unsettled(NodeState state, int64_t created_before_us, uint32_t limit);
  // All folders and links but the root and the trash: (id, meta_version).
  std::vector<std::pair<FileId, uint64_t>> names();
  void insert_node(const Node& node);
  void update_node(const Node& old, const Node& node);
  void erase_node(const Node& node);

  // ---- Deleted files that can come back. Their nodes are not found by anything else.
  // Who begins to delete it, for bury_node() of a command that does not say; an empty name takes it back.
  void note_deleter(FileId id, std::string_view user);
  std::string deleter(FileId id);
  void bury_node(const Node& node, const DeletedFile& deleted);
  // As it was, counted again; with it goes what bury_node() noted.
  std::optional<Node> dig_up_node(FileId id);
  std::string deleted_path(FileId id);
  std::optional<Node> buried_node(FileId id);
  // The last one deleted under that path.
  std::optional<DeletedFile> deleted_at(std::string_view path);
  // Newest first, behind (after_us, after_id) if that is not (0, 0); of `owner` unless empty.
  std::vector<DeletedFile> deleted(int64_t after_us, FileId after_id, std::string_view owner, uint32_t limit);
  std::optional<int64_t> oldest_deleted_us();
  uint64_t forget_deleted(int64_t before_us, uint32_t limit);
  // The path that a folder had when it went under the trash.
  void put_trashed(FileId folder, std::string_view path);
  std::string trashed_path(FileId folder);

  std::optional<Job> job(ServerId target, FileId object);
  std::vector<Job> jobs_of(FileId object);
  std::vector<Job> jobs(ServerId target, uint64_t after_sequence, uint32_t limit);
  std::vector<Job> jobs_of_names(ServerId target, uint64_t after_sequence, uint32_t limit);
  int64_t oldest_job_us(ServerId target);
  // The smallest one that some server lacks; none: 0.
  uint64_t oldest_meta_version();
  void put_job(const std::optional<Job>& old, const Job& job);
  void erase_job(const Job& job);
  // Every version job of the target starts from nothing again.
  void restart_jobs(ServerId target);

  void put_lost(FileId file, const LostVersion& lost);
  void erase_lost(FileId file);

  // catalogue_store_hints.cc
  void set_durability(FileId folder, uint8_t durability);  // 0: not set any more.
  void set_unfilled(ServerId server, bool now);
  std::vector<Hint> hints(ServerId target, FileId object);  // In order of versions.
  std::vector<Hint> old_hints(ServerId target, int64_t created_before_us, uint32_t limit);
  int64_t oldest_hint_us(ServerId target);
  // The first position that any of these needs in that name node's store.
  Lsn first_hint_lsn(bool sync, uint64_t name_node);
  void put_hint(const Hint& hint);
  void erase_hint(const Hint& hint);

  PeopleStore& people() { return people_; }

  std::optional<Bytes> answer(RequestId request);
  void put_answer(uint64_t index, RequestId request, int64_t time_us, BytesView outcome);
  void prune_answers(int64_t before_us, uint32_t limit);

  // catalogue_store_trust.cc
  std::vector<JoinTokenRow> join_tokens();
  void put_join_token(const JoinTokenRow& token);
  void erase_join_token(const std::string& id);
  std::optional<ServerKeyRow> server_key(const std::string& server);
  void put_server_key(const std::string& server, const ServerKeyRow& row);

  void put_event(uint64_t id, BytesView content);
  std::vector<EventRow> events(uint64_t after, uint32_t limit);
  void prune_events(uint64_t below_id);

 private:
  explicit CatalogueStore(std::unique_ptr<SqliteDb> db)
      : db_(std::move(db)), people_(db_.get(), [this](const Error& error) {
          if (!error_) error_ = error;
        }) {}
  Status prepare(const std::string& new_database_id);
  Status load();
  bool note(const Status& status);
  bool step(SqliteStatement& statement);
  void run(SqliteStatement& statement);
  void count_node(const Node& node, int by);
  void count_job(const Job& job, int by);
  void count_hint(const Hint& hint, int by);
  Status load_durability();
  void load_lost();

  std::unique_ptr<SqliteDb> db_;
  PeopleStore people_;
  std::string database_id_;
  std::optional<Error> error_;
  // As the database has them: write_back() writes what differs.
  ClusterRow stored_cluster_;
  std::map<ServerId, Server> stored_servers_;
  std::map<PairId, Pair> stored_pairs_;
  std::map<std::string, std::string> stored_retired_;
};

}  // namespace understudy
