// The name node's state: what the commands in the Raft log add up to. Applying is
// deterministic; docs/architecture.md lists commands, effects and refusals. A
// refusal leaves everything as it was. A user's repeated request gets its first
// answer.
//
// Commands are applied in one open SQLite transaction that is committed every
// 200 ms or 2,000 commands, with the applied index in it. After a crash the Raft
// log is applied again from there; what is applied already is skipped by index. A
// commit that meets a full disk loses nothing: the commands since the last one stand in
// memory (and in the Raft log), are applied again, and the commit is tried until
// there is space; accepts_changes() says NO_SPACE meanwhile.
//
// Everything runs on the ready loop's thread; queries see what is applied. Damage to
// the database goes to `fatal`, once; nothing is applied or committed after it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"
#include "nm/catalogue_store.h"
#include "nm/catalogue_types.h"
#include "nm/people_store.h"

namespace understudy {

namespace wire {
class AddHints;
class AddJobs;
class AddJoinToken;
class AddKeys;
class AddUser;
class AnswerAccess;
class AnnounceItem;
class AskAccess;
class Announced;
class BeginEpoch;
class Command;
class CommandOutcome;
class CreateFile;
class DropJoinToken;
class CreateFolder;
class CreateLink;
class DropHints;
class InitCluster;
class JobDone;
class JobsDone;
class MemberFailed;
class MemberInSync;
class MoveNode;
class NewHint;
class NoteLease;
class PurgeNodes;
class RegisterServer;
class RemoveCancel;
class RemoveDone;
class RemoveFolder;
class RemoveIntent;
class RemoveLink;
class UndeleteEnd;
class UndeleteIntent;
class ForgetDeleted;
class PreferPrimary;
class EndSession;
class RemoveUser;
class ReplaceServer;
class SetAccess;
class SetAttributes;
class SetDurability;
class SetPassword;
class SetServerKey;
}  // namespace wire

// The administrator that a cluster begins with, and that stays one.
inline constexpr char kFirstUser[] = "admin";
// The users of an access list that go with every version of a file; of longer lists the first.
inline constexpr uint32_t kNameRecordListMax = 64;
inline constexpr uint32_t kAccessListMax = 10'000;

// INVALID.
Status check_user_name(std::string_view name);

class Catalogue {
 public:
  using Fatal = std::function<void(Error)>;

  // `path` is the database's; it is made if it is not there. `fatal` may be called
  // from any of the calls below; main ends the process there.
  static Result<std::unique_ptr<Catalogue>> open(Env& env, std::string path, Fatal fatal);
  ~Catalogue();

  // ---- For RaftBridge: in order of index; an index that is applied already does nothing.
  // Returns a serialized wire::CommandOutcome. INTERNAL for a command that this
  // program does not know (and fatal).
  Bytes apply(uint64_t index, BytesView command);
  uint64_t applied_index() const { return store_->cluster.applied_index; }
  const std::string& database_id() const { return store_->database_id(); }
  // Everything applied before the call is in the synced database when it ends OK.
  Task<Status> make_durable();
  // NO_SPACE while a commit waits for space.
  Status accepts_changes() const;
  // Commits what is applied (not synced: make_durable() does that).
  Status commit();

  // ---- Names. Links in the middle of a path are followed, at its end if `follow_link`.
  Result<Node> find(std::string_view path, bool follow_link = false);
  std::optional<Node> node(FileId id) { return answered(store_->node(id)); }
  // NOT_FOUND for what is gone or hangs under the trash.
  Result<std::string> path_of(FileId id);
  bool is_under(FileId id, FileId folder);
  // NOT_FOLDER, NOT_FOUND. At most `limit` entries with names behind `after`.
  Result<std::vector<Node>> list_folder(std::string_view path, std::string_view after, uint32_t limit);
  std::vector<Node> children(FileId folder, std::string_view after, uint32_t limit) {
    return answered(store_->children(folder, after, limit));
  }
  struct Page {
    struct Found {
      std::string path;
      Node node;
    };
    std::vector<Found> found;
    std::string next_after;  // Where to go on; a page may be short, even empty, with more behind it.
    bool more = false;
  };
  // Files (and links) in order of the tree walk behind the path `after`: of `owner`, or
  // of everybody if that is empty.
  Page view(std::string_view after, uint32_t limit, std::string_view owner);
  // Everything with `text` in its name. Looks at 20,000 names a call at most.
  Page search(std::string_view text, std::string_view after, uint32_t limit);
  // Files, folders and links whose ids are of that partition, in order of id, behind `after`.
  std::vector<Node> nodes_of_partition(uint32_t partition, FileId after, uint32_t limit);
  std::vector<Node> pending_files(int64_t created_before_us, uint32_t limit);
  std::vector<Node> deleting_files(uint32_t limit);
  // What hangs under the trash, deepest first: files for RemoveIntent and RemoveDone, links and
  // folders that are empty by now for PurgeNodes.
  std::vector<Node> trash(uint32_t limit);

  // ---- Deleted files that can come back, as CatalogueStore has them.
  std::vector<DeletedFile> deleted(int64_t after_us, FileId after_id, std::string_view owner, uint32_t limit) {
    return answered(store_->deleted(after_us, after_id, owner, limit));
  }
  std::optional<DeletedFile> deleted_at(std::string_view path) { return answered(store_->deleted_at(path)); }
  std::optional<int64_t> oldest_deleted_us() { return answered(store_->oldest_deleted_us()); }
  // What has its name again, and nothing more yet.
  std::vector<Node> returning_files(uint32_t limit);

  // ---- People. An empty name is the name node itself, which may do everything.
  bool is_administrator(std::string_view name);
  Right right_of(const Node& node, std::string_view user);
  // DENIED, with what to do, unless the user has that right.
  Status check_right(const Node& node, std::string_view path, std::string_view user, Right wanted);
  std::optional<UserRow> user(std::string_view name) { return answered(store_->people().user(name)); }
  std::vector<UserRow> users(std::string_view after, uint32_t limit) { return answered(store_->people().users(after, limit)); }
  bool session_ended(uint64_t session) { return answered(store_->people().session_ended(session)); }
  // Why `asker` cannot have that user removed; OK if so.
  Status check_removal(std::string_view name, std::string_view give_to, std::string_view asker);
  // PeopleStore's looks, for a removal.
  PeopleStore::Held owned_by(std::string_view user, int64_t after) { return answered(store_->people().owned(user, after)); }
  PeopleStore::Held accessible_to(std::string_view user, int64_t after) { return answered(store_->people().accessible(user, after)); }
  std::vector<AccessRow> access_list(FileId object, std::string_view after, uint32_t limit) {
    return answered(store_->people().access_list(object, after, limit));
  }
  std::vector<AccessRequestRow> access_requests(std::string_view user, uint64_t after, uint32_t limit) {
    return answered(store_->people().requests(user, after, limit));
  }
  // Newest first; of a pair's capabilities, or of sessions (no pair).
  std::vector<KeyRow> keys(std::string_view pair) { return answered(store_->people().keys(pair)); }
  // Grows when a user or a key has changed: what was made of them is to be made anew.
  uint64_t people_changes() const { return people_changes_; }

  // ---- The cluster.
  const std::string& cluster_id() const { return store_->cluster.cluster_id; }
  uint64_t files() const { return store_->cluster.files; }
  uint64_t folders() const { return store_->cluster.folders; }
  int64_t time_us() const { return store_->cluster.time_us; }
  int64_t failure_timeout_ms() const { return store_->cluster.failure_timeout_ms; }  // NoteLease's.
  const std::map<ServerId, Server>& servers() const { return store_->servers; }
  const std::map<PairId, Pair>& pairs() const { return store_->pairs; }
  const Server* server(std::string_view name) const { return store_->server_named(name); }
  const Server* server(ServerId id) const;
  const Pair* pair(std::string_view name) const { return store_->pair_named(name); }
  const Pair* pair(PairId id) const;

  // ---- Who may be a server.
  std::vector<JoinTokenRow> join_tokens() { return answered(store_->join_tokens()); }
  std::optional<ServerKeyRow> server_key(const std::string& server) { return answered(store_->server_key(server)); }

  // ---- Jobs.
  std::vector<Job> jobs(ServerId target, uint64_t after_sequence, uint32_t limit);
  // Of these only the ones that bring a name or a removal.
  std::vector<Job> jobs_of_names(ServerId target, uint64_t after_sequence, uint32_t limit);
  std::optional<Job> job(ServerId target, FileId object) { return answered(store_->job(target, object)); }
  Lag lag(ServerId target);
  // What of a target's jobs is at or before `mark` and in `scope`: a file, a folder with all
  // in it, or kRootFolder for everything. Looks at 20,000 jobs at most, counts those, and says so.
  Lag jobs_left(ServerId target, Lsn mark, FileId scope);

  // The newest job's place in the order: every job queued before now is at or below it.
  uint64_t last_job_sequence() const { return store_->cluster.next_job - 1; }

  // Below this position of `server`'s log, which acts as primary, the other half has everything
  // too. 0: not known, or the other half is not in sync, or too much is waiting to tell.
  Lsn replicated(const Server& server);

  // ---- Durability and hints.
  // What is set for a file or folder, and the folder where; 0: nothing is, so the cluster's.
  struct FolderDurability {
    uint8_t durability = 0;
    FileId folder = kNoFile;
  };
  FolderDurability durability_of(const Node& node);
  uint8_t durability_set_for(FileId folder) const;
  std::vector<Hint> hints(ServerId target, FileId object) { return answered(store_->hints(target, object)); }
  HintTotals hint_totals(ServerId target) const;
  uint64_t hint_bytes() const;
  int64_t oldest_hint_us(ServerId target) { return answered(store_->oldest_hint_us(target)); }
  bool has_hints_before(ServerId target, int64_t created_us) {
    return !answered(store_->old_hints(target, created_us, 1)).empty();
  }
  Lsn first_hint_lsn(bool sync, uint64_t name_node) { return answered(store_->first_hint_lsn(sync, name_node)); }
  // False: it lost what it had confirmed (or never had it), and jobs do not tell what it lacks.
  bool contents_known(ServerId server) const;
  // Which version of a file the target has with the hints for it (promised: with those alone).
  Version held_with_hints(ServerId target, FileId object, bool promised);

  // Events behind `after`: serialized wire::Event, with their ids.
  std::vector<EventRow> events(uint64_t after, uint32_t limit);
  uint64_t last_event() const { return store_->cluster.next_event - 1; }

 private:
  struct Change;
  // Where a path leads: the folder, the last name in it, and what is there.
  struct Place {
    FileId folder = kNoFile;
    std::string name;  // Empty for the root itself.
    std::optional<Node> there;
  };
  // A walk over a tree: each folder, then what is in it, in order of names.
  struct Frame {
    FileId folder;
    std::string path;   // Without the slash at the end: "" for the root.
    std::string after;
  };

  Catalogue(Env& env, std::unique_ptr<CatalogueStore> store, Fatal fatal);

  template <class T>
  T answered(T value) {
    check_store();
    return value;
  }
  void check_store();
  void broken(Error error);

  void dispatch(const wire::Command& command, Change& change);
  Bytes apply_to_transaction(uint64_t index, BytesView bytes);
  Status begin_if_needed();
  Status commit_once();
  Status replay_uncommitted();
  void schedule_commit(Duration after);

  Result<Place> place(std::string_view path, bool follow_link);
  // A folder's names without the last, one by one; a link on the way gives the names to
  // start again with.
  Result<FileId> walk_folders(std::vector<std::string>& names, bool& again);
  Page walk(std::string_view after, uint32_t limit, uint32_t looked_at_max,
            const std::function<bool(const Node&)>& wanted);
  FileId next_id();
  Node new_node(const Place& place, NodeKind kind, const Change& change);
  uint64_t next_job() { return store_->cluster.next_job++; }

  // catalogue_names.cc
  void create_file(const wire::CreateFile& command, Change& change);
  void create_folder(const wire::CreateFolder& command, Change& change);
  void create_link(const wire::CreateLink& command, Change& change);
  void move(const wire::MoveNode& command, Change& change);
  void set_attributes(const wire::SetAttributes& command, Change& change);
  // catalogue_people.cc
  void add_user(const wire::AddUser& command, Change& change);
  void set_password(const wire::SetPassword& command, Change& change);
  void add_keys(const wire::AddKeys& command, Change& change);
  void set_access(const wire::SetAccess& command, Change& change);
  void change_access(const Node& there, const std::string& user, Right after, Change& change);
  void remove_user(const wire::RemoveUser& command, Change& change);
  void end_session(const wire::EndSession& command, Change& change);
  void ask_access(const wire::AskAccess& command, Change& change);
  void answer_access(const wire::AnswerAccess& command, Change& change);
  Status check_right(FileId folder, std::string_view user, Right wanted);
  void inherit(FileId folder, const Node& made, const Change& change);
  // catalogue_removal.cc
  void remove_intent(const wire::RemoveIntent& command, Change& change);
  void remove_done(const wire::RemoveDone& command, Change& change);
  void remove_cancel(const wire::RemoveCancel& command, Change& change);
  void remove_folder(const wire::RemoveFolder& command, Change& change);
  void remove_link(const wire::RemoveLink& command, Change& change);
  void purge_nodes(const wire::PurgeNodes& command, Change& change);
  void erase_file(const Node& node, Version tombstone, Lsn lsn, const Change& change);
  void erase_name(const Node& node, const Change& change);
  // catalogue_deleted.cc
  void bury(Node node, Version tombstone, const Change& change);
  void undelete_intent(const wire::UndeleteIntent& command, Change& change);
  void undelete_end(const wire::UndeleteEnd& command, Change& change);
  void forget_deleted(const wire::ForgetDeleted& command, Change& change);
  // catalogue_members.cc
  void init_cluster(const wire::InitCluster& command, Change& change);
  void register_server(const wire::RegisterServer& command, Change& change);
  void register_known(Server& server, const wire::RegisterServer& command, Change& change);
  void register_new(const wire::RegisterServer& command, Change& change);
  void take_store(Server& server, const wire::RegisterServer& command, Change& change);
  void queue_all_names(ServerId target, const Change& change);
  bool only_one_in_sync(const Server& server);
  void member_failed(const wire::MemberFailed& command, Change& change);
  void member_in_sync(const wire::MemberInSync& command, Change& change);
  void begin_epoch(const wire::BeginEpoch& command, Change& change);
  void replace_server(const wire::ReplaceServer& command, Change& change);
  void note_lease(const wire::NoteLease& command);
  void prefer_primary(const wire::PreferPrimary& command, Change& change);
  // catalogue_trust.cc
  void add_join_token(const wire::AddJoinToken& command, Change& change);
  void drop_join_token(const wire::DropJoinToken& command, Change& change);
  void set_server_key(const wire::SetServerKey& command, Change& change);
  void forget_server_key(const std::string& server);
  // catalogue_jobs.cc
  void announced(const wire::Announced& command, Change& change);
  void jobs_done(const wire::JobsDone& command, Change& change);
  bool job_done(ServerId target, const wire::JobDone& item);
  void add_jobs(const wire::AddJobs& command, Change& change);
  void announce_item(const Server& server, const Pair& pair, const wire::AnnounceItem& item, const Change& change);
  // catalogue_hints.cc
  void set_durability(const wire::SetDurability& command, Change& change);
  void add_hints(const wire::AddHints& command, Change& change);
  bool add_hint(const Server& source, const Server& target, const wire::AddHints& command, const wire::NewHint& item,
                const Change& change);
  void drop_hints(const wire::DropHints& command, Change& change);
  // Of versions that the target has by now, or never gets.
  void end_hints(ServerId target, FileId object, Version upto);
  // To every server that keeps the name: all for a folder or link, the pair's for a file.
  void queue_name(const Node& node, const Change& change);
  // Merges `wanted` with what waits for that target and object already.
  void queue(Job wanted);
  void drop_jobs(FileId object);

  Env& env_;
  std::unique_ptr<CatalogueStore> store_;
  Fatal fatal_;
  bool broken_ = false;
  bool out_of_space_ = false;
  bool checkpointing_ = false;
  // Applied, not committed yet: index and command.
  std::deque<std::pair<uint64_t, Bytes>> uncommitted_;
  std::optional<TimerId> commit_timer_;
  uint64_t people_changes_ = 1;
  // Folder paths without links in them; emptied when a folder moves, or it is full.
  std::unordered_map<std::string, FileId> folder_cache_;
};

}  // namespace understudy
