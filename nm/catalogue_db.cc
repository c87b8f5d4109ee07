// Opening, applying and committing; the commands are in catalogue_names, _removal,
// _members and _jobs, the queries in catalogue_queries.
#include "nm/catalogue_db.h"

#include <fmt/format.h>

#include "common/base/log.h"
#include "common/env/aside.h"
#include "common/env/env_util.h"
#include "nm/catalogue_change.h"

namespace understudy {
namespace {

using std::chrono::milliseconds;

constexpr size_t kUncommittedMax = 2000;
constexpr Duration kCommitEvery = milliseconds(200);
constexpr Duration kRetryEvery = milliseconds(1000);
constexpr Duration kQuickSync = milliseconds(50);
constexpr uint64_t kWriteAheadMax = 256 << 20;
constexpr int64_t kAnswersKeptUs = int64_t{3600} * 1'000'000;
constexpr uint64_t kPruneEvery = 512;
constexpr uint64_t kEventsKept = 10'000;

Bytes serialized(const wire::CommandOutcome& outcome) { return outcome.SerializeAsString(); }

}  // namespace

Result<std::unique_ptr<Catalogue>> Catalogue::open(Env& env, std::string path, Fatal fatal) {
  auto id = fmt::format("{:016x}{:016x}", env.random.next(), env.random.next());
  ASSIGN_OR_RETURN(auto store, CatalogueStore::open(std::move(path), env.disk.sqlite_vfs(), std::move(id)));
  return std::unique_ptr<Catalogue>(new Catalogue(env, std::move(store), std::move(fatal)));
}

Catalogue::Catalogue(Env& env, std::unique_ptr<CatalogueStore> store, Fatal fatal)
    : env_(env), store_(std::move(store)), fatal_(std::move(fatal)) {}

Catalogue::~Catalogue() {
  if (commit_timer_) env_.clock.cancel(*commit_timer_);
}

void Catalogue::broken(Error error) {
  if (std::exchange(broken_, true)) return;
  log_error("the catalogue failed: " + error.to_string());
  if (fatal_) fatal_(std::move(error));
}

void Catalogue::check_store() {
  if (store_->error()) broken(*store_->error());
}

// ---- Applying -------------------------------------------------------------------------

Bytes Catalogue::apply(uint64_t index, BytesView command) {
  if (index <= applied_index()) return {};
  auto begun = broken_ ? fail(Code::kInternal, "the catalogue failed") : begin_if_needed();
  if (!begun) {
    broken(begun.error());
    wire::CommandOutcome outcome;
    outcome.set_code(static_cast<uint32_t>(Code::kInternal));
    outcome.set_message("the name node's catalogue failed");
    return serialized(outcome);
  }
  uncommitted_.emplace_back(index, Bytes(command));
  Bytes outcome = apply_to_transaction(index, command);
  // A checkpoint lets commits wait, within limits: then the write-ahead log can start over.
  size_t enough = checkpointing_ ? 10 * kUncommittedMax : kUncommittedMax;
  if (uncommitted_.size() >= enough && !out_of_space_) {
    (void)commit();  // Its failures are kept in broken_ and out_of_space_.
  } else {
    schedule_commit(kCommitEvery);
  }
  return outcome;
}

Bytes Catalogue::apply_to_transaction(uint64_t index, BytesView bytes) {
  wire::Command command;
  if (!command.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    broken({Code::kCorrupt, fmt::format("the command at {} cannot be read", index)});
    return {};
  }
  auto& cluster = store_->cluster;
  cluster.applied_index = index;
  cluster.time_us = std::max(cluster.time_us, command.time_us());

  RequestId request{command.request().client(), command.request().sequence()};
  if (request) {
    if (auto first = store_->answer(request)) {
      wire::CommandOutcome outcome;
      if (!outcome.ParseFromString(*first)) broken({Code::kCorrupt, "an answer in the catalogue cannot be read"});
      // Answers of an earlier format tell no asker.
      if (!outcome.asker().empty() && outcome.asker() != command.user()) {
        outcome.Clear();
        outcome.set_code(static_cast<uint32_t>(Code::kDenied));
        outcome.set_message("this request was another user's");
        return serialized(outcome);
      }
      outcome.set_repeat(true);
      return serialized(outcome);
    }
  }
  Change change{.index = index, .now_us = cluster.time_us, .user = command.user()};
  change.outcome.set_raft_index(index);
  dispatch(command, change);
  change.outcome.set_asker(command.user());
  Bytes outcome = serialized(change.outcome);
  if (!change.refused()) {
    if (request) store_->put_answer(index, request, change.now_us, outcome);
    for (wire::Event event : command.events()) {
      event.set_id(cluster.next_event++);
      if (event.time_us() == 0) event.set_time_us(change.now_us);
      store_->put_event(event.id(), event.SerializeAsString());
    }
  }
  if (index % kPruneEvery == 0) {
    store_->prune_answers(change.now_us - kAnswersKeptUs, 4 * kPruneEvery);
    if (cluster.next_event > kEventsKept) store_->prune_events(cluster.next_event - kEventsKept);
  }
  check_store();
  return outcome;
}

void Catalogue::dispatch(const wire::Command& command, Change& change) {
  using C = wire::Command;
  switch (command.change_case()) {
    case C::kInitCluster: return init_cluster(command.init_cluster(), change);
    case C::kAddUser: return add_user(command.add_user(), change);
    case C::kSetPassword: return set_password(command.set_password(), change);
    case C::kAddKeys: return add_keys(command.add_keys(), change);
    case C::kSetAccess: return set_access(command.set_access(), change);
    case C::kAskAccess: return ask_access(command.ask_access(), change);
    case C::kRemoveUser: return remove_user(command.remove_user(), change);
    case C::kEndSession: return end_session(command.end_session(), change);
    case C::kAnswerAccess: return answer_access(command.answer_access(), change);
    case C::kCreateFile: return create_file(command.create_file(), change);
    case C::kCreateFolder: return create_folder(command.create_folder(), change);
    case C::kCreateLink: return create_link(command.create_link(), change);
    case C::kMove: return move(command.move(), change);
    case C::kSetAttributes: return set_attributes(command.set_attributes(), change);
    case C::kRemoveIntent: return remove_intent(command.remove_intent(), change);
    case C::kRemoveDone: return remove_done(command.remove_done(), change);
    case C::kRemoveCancel: return remove_cancel(command.remove_cancel(), change);
    case C::kRemoveFolder: return remove_folder(command.remove_folder(), change);
    case C::kRemoveLink: return remove_link(command.remove_link(), change);
    case C::kPurgeNodes: return purge_nodes(command.purge_nodes(), change);
    case C::kRegisterServer: return register_server(command.register_server(), change);
    case C::kMemberFailed: return member_failed(command.member_failed(), change);
    case C::kMemberInSync: return member_in_sync(command.member_in_sync(), change);
    case C::kBeginEpoch: return begin_epoch(command.begin_epoch(), change);
    case C::kAnnounced: return announced(command.announced(), change);
    case C::kJobsDone: return jobs_done(command.jobs_done(), change);
    case C::kAddJobs: return add_jobs(command.add_jobs(), change);
    case C::kReplaceServer: return replace_server(command.replace_server(), change);
    case C::kPreferPrimary: return prefer_primary(command.prefer_primary(), change);
    case C::kUndeleteIntent: return undelete_intent(command.undelete_intent(), change);
    case C::kUndeleteEnd: return undelete_end(command.undelete_end(), change);
    case C::kForgetDeleted: return forget_deleted(command.forget_deleted(), change);
    case C::kSetDurability: return set_durability(command.set_durability(), change);
    case C::kAddHints: return add_hints(command.add_hints(), change);
    case C::kDropHints: return drop_hints(command.drop_hints(), change);
    case C::kAddJoinToken: return add_join_token(command.add_join_token(), change);
    case C::kDropJoinToken: return drop_join_token(command.drop_join_token(), change);
    case C::kSetServerKey: return set_server_key(command.set_server_key(), change);
    case C::kAddEvents: return;
    case C::kNoteLease: return note_lease(command.note_lease());
    default: break;  // Also those whose code is yet to come.
  }
  // Guessing would make this copy differ from the others for good.
  change.refuse(Code::kInternal, "a command that this program does not know");
  broken({Code::kInternal, fmt::format("the command at {} is of a newer program", change.index)});
}

// ---- Committing -----------------------------------------------------------------------

Status Catalogue::begin_if_needed() {
  if (store_->db().in_transaction()) return {};
  return store_->db().begin();
}

void Catalogue::schedule_commit(Duration after) {
  if (commit_timer_ || broken_) return;
  commit_timer_ = env_.clock.schedule(env_.clock.now() + after, [this] {
    commit_timer_.reset();
    if (checkpointing_) return schedule_commit(kCommitEvery);
    (void)commit();  // Its failures are kept in broken_ and out_of_space_.
  });
}

Status Catalogue::commit() {
  if (broken_) return fail(Code::kInternal, "the catalogue failed");
  auto committed = commit_once();
  if (committed) {
    if (std::exchange(out_of_space_, false)) log_info("the name node's disk has space again");
    return {};
  }
  if (committed.error().code != Code::kNoSpace) {
    broken(committed.error());
    return committed;
  }
  if (!std::exchange(out_of_space_, true)) log_warning("the name node's disk is full: " + committed.error().message);
  auto replayed = replay_uncommitted();
  if (!replayed) {
    broken(replayed.error());
    return replayed;
  }
  schedule_commit(kRetryEvery);
  return committed;
}

Status Catalogue::commit_once() {
  if (!store_->db().in_transaction()) return {};
  store_->write_back();
  if (store_->error()) return std::unexpected(*store_->error());
  RETURN_IF_ERROR(store_->db().commit());
  uncommitted_.clear();
  return {};
}

// The failed commit took the transaction with it; nothing in memory may be ahead of
// the database while the commands are applied again.
Status Catalogue::replay_uncommitted() {
  folder_cache_.clear();
  RETURN_IF_ERROR(store_->reload());
  RETURN_IF_ERROR(store_->db().begin());
  for (const auto& [index, command] : uncommitted_) apply_to_transaction(index, command);
  if (store_->error()) return std::unexpected(*store_->error());
  return {};
}

Status Catalogue::accepts_changes() const {
  if (!out_of_space_) return {};
  return fail(Code::kNoSpace, "the name node's disk is full; free some space and try again");
}

Task<Status> Catalogue::make_durable() {
  struct Flag {
    bool& flag;
    ~Flag() { flag = false; }
  };
  CO_RETURN_IF_ERROR(commit());
  bool slow = false;
  for (int round = 0; round < 2; ++round) {
    checkpointing_ = true;
    Flag until_done{checkpointing_};
    const Instant began = env_.clock.now();
    CO_RETURN_IF_ERROR(co_await store_->db().checkpoint(env_));
    slow = env_.clock.now() - began > kQuickSync;
    CO_RETURN_IF_ERROR(commit());
  }
  // Little is left by now; with nothing left at all the write-ahead log starts over. While the disk is
  // slow it grows instead: what is to be durable is, and nobody is to stand behind a sync.
  auto write_ahead = env_.disk.info(store_->db().path() + "-wal");
  const bool long_enough = write_ahead && write_ahead->size_bytes > kWriteAheadMax;
  if (!slow || long_enough) CO_RETURN_IF_ERROR(store_->db().checkpoint_here());
  co_return co_await sync_folder_aside(env_, folder_of(store_->db().path()));
}

}  // namespace understudy
