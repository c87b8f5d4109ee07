#include "nm/namespace_calls.h"

#include <algorithm>

#include "common/base/log.h"
#include "common/base/path.h"
#include "nm/capabilities.h"
#include "nm/catalogue_db.h"
#include "nm/failover_driver.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

constexpr uint32_t kPageMax = 1000;
constexpr uint32_t kHouseworkAtOnce = 256;
constexpr auto kForgetPatience = std::chrono::seconds(1);
constexpr auto kRemovalPatience = std::chrono::seconds(10);
constexpr int64_t kPendingLifeUs = int64_t{3600} * 1'000'000;

// 0: the asker takes what it may have.
Right right_wanted(const wire::LocateRequest& request) {
  return static_cast<Right>(std::min<uint32_t>(request.right(), static_cast<uint32_t>(Right::kOwn)));
}

uint32_t page_size(uint32_t asked) { return asked == 0 ? kPageMax : std::min(asked, kPageMax); }

}  // namespace

NamespaceCalls::NamespaceCalls(Env& env, Catalogue* catalogue, Proposer* proposer, ServerLinks* links,
                               FailoverDriver* failover, Capabilities* capabilities, Retention retention, bool sync_by_default)
    : env_(env),
      catalogue_(catalogue),
      proposer_(proposer),
      links_(links),
      failover_(failover),
      capabilities_(capabilities),
      retention_(retention),
      sync_by_default_(sync_by_default) {}

wire::Location NamespaceCalls::location(const Node& node, const std::string& user) {
  wire::Location location = place_of(node);
  Right right = catalogue_->right_of(node, user);
  location.set_right(static_cast<uint32_t>(right));
  const Pair* pair = node.kind == NodeKind::kFile ? catalogue_->pair(node.pair) : nullptr;
  if (pair != nullptr) location.set_capability(capabilities_->issue(node, *pair, user, right, location.name()));
  return location;
}

wire::Location NamespaceCalls::place_of(const Node& node) {
  wire::Location location;
  location.set_file_id(number(node.id));
  location.set_kind(static_cast<wire::NodeKind>(node.kind));
  *location.mutable_name() = short_name_record(*catalogue_, node);
  location.set_pending(node.kind == NodeKind::kFile && !node.announced);
  to_wire(node.announced, location.mutable_announced());
  auto set = catalogue_->durability_of(node);
  const auto by_default = sync_by_default_ ? wire::DURABILITY_SYNC : wire::DURABILITY_ASYNC;
  location.set_durability(set.durability == 0 ? by_default : static_cast<wire::Durability>(set.durability));
  if (set.durability != 0) {
    if (auto folder = catalogue_->path_of(set.folder)) location.set_durability_from(*folder);
  }
  if (node.kind != NodeKind::kFile) return location;
  const Pair* pair = catalogue_->pair(node.pair);
  if (pair == nullptr) return location;
  location.set_pair(pair->name);
  const Server* acting = catalogue_->server(pair->acting);
  bool serving = acting != nullptr && failover_->monitor().serving(pair->name);
  for (ServerId id : {pair->home, pair->backup}) {
    const Server* server = catalogue_->server(id);
    if (server == nullptr || server->address.empty()) continue;
    bool is_primary = server == acting;
    // The half that failed is no place to read from, unless there is nothing else.
    if (!is_primary && server->failed && serving) continue;
    auto* endpoint = is_primary ? location.mutable_primary() : location.mutable_other();
    endpoint->set_server(server->name);
    endpoint->set_address(server->address);
    endpoint->set_store_id(server->store_id);
  }
  location.set_epoch(serving ? number(pair->epoch) : 0);
  location.set_stale(!serving);
  if (acting != nullptr) {
    auto lacking = catalogue_->job(acting->id, node.id);
    bool announced = lacking && lacking->to && lacking->to >= node.announced && lacking->kind != JobKind::kDelete;
    // The half that is away may have been primary, and have a version that it never came
    // to announce.
    const Server* other = catalogue_->server(pair->other_half(pair->acting));
    const bool could = catalogue_->made_before(node.id, *pair);
    bool unannounced = location.pending() && could && other != nullptr && !other->in_sync;
    location.set_newest_absent(announced || unannounced);
  }
  return location;
}

Task<Result<wire::LocateReply>> NamespaceCalls::locate(wire::LocateRequest request, std::string user) {
  wire::LocateReply reply;
  auto found = catalogue_->find(request.path(), request.follow_link());
  bool create = request.create() != wire::LocateRequest::LOOK_UP;
  if (!found && !(create && found.error().code == Code::kNotFound)) co_return std::unexpected(found.error());
  if (found && !(create && request.create() == wire::LocateRequest::EXCLUSIVE)) {
    if (create && found->kind == NodeKind::kFolder) co_return fail(Code::kIsFolder, request.path() + ": is a folder");
    CO_RETURN_IF_ERROR(catalogue_->check_right(*found, request.path(), user, right_wanted(request)));
    *reply.mutable_location() = location(*found, user);
    co_return reply;
  }
  if (found && found->kind == NodeKind::kFile && place_of(*found).newest_absent()) {
    co_return fail(Code::kUnavailable, request.path() + ": there may be one, on the half that is away; wait for it");
  }
  wire::Command command;
  *command.mutable_request() = request.request();
  command.set_user(user);
  auto* file = command.mutable_create_file();
  file->set_path(request.path());
  file->set_exclusive(request.create() == wire::LocateRequest::EXCLUSIVE);
  file->set_owner(user);
  auto outcome = co_await proposer_->propose(std::move(command));
  if (!outcome) co_return std::unexpected(outcome.error());
  auto node = catalogue_->node(FileId{outcome->object_id()});
  if (!node) co_return fail(Code::kNotFound, request.path() + ": removed meanwhile");
  CO_RETURN_IF_ERROR(catalogue_->check_right(*node, request.path(), user, right_wanted(request)));
  *reply.mutable_location() = location(*node, user);
  reply.mutable_location()->set_created(outcome->created());
  co_return reply;
}

Task<Result<wire::ChangeReply>> NamespaceCalls::change(wire::Command command, wire::RequestNumber request,
                                                       std::string user) {
  *command.mutable_request() = request;
  command.set_user(user);
  auto outcome = co_await proposer_->propose(std::move(command));
  if (!outcome) co_return std::unexpected(outcome.error());
  failover_->wake_workers();
  wire::ChangeReply reply;
  reply.set_object_id(outcome->object_id());
  reply.set_raft_index(outcome->raft_index());
  reply.set_count(outcome->count());
  reply.set_path(outcome->path());
  co_return reply;
}

Task<Result<wire::ChangeReply>> NamespaceCalls::create_folder(wire::CreateFolderRequest request, std::string user) {
  wire::Command command;
  auto* folder = command.mutable_create_folder();
  folder->set_path(request.path());
  folder->set_parents(request.parents());
  folder->set_exist_ok(request.exist_ok());
  folder->set_owner(user);
  folder->set_mode(request.mode());
  folder->set_modified_us(request.modified_us());
  return change(std::move(command), request.request(), std::move(user));
}

Task<Result<wire::ChangeReply>> NamespaceCalls::create_link(wire::CreateLinkRequest request, std::string user) {
  wire::Command command;
  auto* link = command.mutable_create_link();
  link->set_path(request.path());
  link->set_target(request.target());
  link->set_replace(request.replace());
  link->set_owner(user);
  link->set_modified_us(request.modified_us());
  return change(std::move(command), request.request(), std::move(user));
}

Task<Result<wire::ChangeReply>> NamespaceCalls::move(wire::MoveRequest request, std::string user) {
  wire::Command command;
  command.mutable_move()->set_from(request.from());
  command.mutable_move()->set_to(request.to());
  auto moved = co_await change(std::move(command), request.request(), std::move(user));
  if (!moved) co_return moved;
  if (auto path = catalogue_->path_of(FileId{moved->object_id()})) moved->set_path(*path);
  co_return moved;
}

Task<Result<wire::ChangeReply>> NamespaceCalls::set_attributes(wire::SetAttributesRequest request, std::string user) {
  wire::Command command;
  auto* attributes = command.mutable_set_attributes();
  attributes->set_path(request.path());
  if (request.mode() != 0) attributes->set_mode(request.mode());
  if (request.modified_us() != 0) attributes->set_modified_us(request.modified_us());
  return change(std::move(command), request.request(), std::move(user));
}

Task<Result<wire::ChangeReply>> NamespaceCalls::set_durability(wire::SetDurabilityRequest request, std::string user) {
  wire::Command command;
  command.mutable_set_durability()->set_path(request.path());
  command.mutable_set_durability()->set_durability(request.durability());
  return change(std::move(command), request.request(), std::move(user));
}

Task<Result<wire::ChangeReply>> NamespaceCalls::remove(wire::RemoveRequest request, std::string user) {
  if (request.unborn_id() != 0) {
    auto unborn = catalogue_->node(FileId{request.unborn_id()});
    if (unborn) CO_RETURN_IF_ERROR(catalogue_->check_right(*unborn, unborn->name, user, Right::kOwn));
    co_return co_await forget_unborn(request.unborn_id(), user, env_.clock.now() + kForgetPatience);
  }
  auto found = catalogue_->find(request.path());
  bool is_folder = found && found->kind == NodeKind::kFolder;
  wire::Command command;
  if (request.folder()) {
    if (found && !is_folder) co_return fail(Code::kNotFolder, request.path() + ": is not a folder");
    if (found && request.recursive()) CO_RETURN_IF_ERROR(co_await all_is_of(found->id, user));
    command.mutable_remove_folder()->set_path(request.path());
    command.mutable_remove_folder()->set_recursive(request.recursive());
    co_return co_await change(std::move(command), request.request(), user);
  }
  if (is_folder) co_return fail(Code::kIsFolder, request.path() + ": is a folder; DELETEFOLDER removes it");
  if (found && found->kind == NodeKind::kLink) {
    command.mutable_remove_link()->set_path(request.path());
    co_return co_await change(std::move(command), request.request(), user);
  }
  co_return co_await remove_file(request, user);
}

// Looked at in pieces, so that nobody waits for a large tree. What somebody makes in it
// meanwhile goes with it.
Task<Status> NamespaceCalls::all_is_of(FileId folder, std::string user) {
  if (catalogue_->is_administrator(user)) co_return Status{};
  std::vector<FileId> folders{folder};
  while (!folders.empty()) {
    FileId at = folders.back();
    folders.pop_back();
    for (std::string after;;) {
      auto page = catalogue_->children(at, after, kPageMax);
      for (const Node& node : page) {
        if (node.owner != user) {
          auto path = catalogue_->path_of(node.id);
          co_return fail(Code::kDenied, (path ? printable(*path) : node.name) + ": belongs to " + node.owner +
                                            ", who has to delete or move it first; nothing was deleted");
        }
        if (node.kind == NodeKind::kFolder) folders.push_back(node.id);
      }
      if (page.size() < kPageMax) break;
      after = page.back().name;
      auto others = yield_now(env_);
      co_await others;
    }
  }
  co_return Status{};
}

// Intent, tombstone at the acting primary, done. The intent carries the request: its
// repeat goes on with the removal, or finds it ended.
Task<Result<wire::ChangeReply>> NamespaceCalls::remove_file(wire::RemoveRequest request, std::string user) {
  wire::Command intent;
  *intent.mutable_request() = request.request();
  intent.set_user(user);
  intent.mutable_remove_intent()->set_path(request.path());
  auto begun = co_await proposer_->propose(std::move(intent));
  if (!begun) co_return std::unexpected(begun.error());
  wire::ChangeReply reply;
  reply.set_object_id(begun->object_id());
  reply.set_path(begun->path());
  reply.set_raft_index(begun->raft_index());
  reply.set_count(1);
  if (begun->repeat()) {
    auto node = catalogue_->node(FileId{reply.object_id()});
    if (node && node->state != NodeState::kDeleting) {
      // The first one was refused at the primary, and its answer was lost.
      wire::Command again;
      again.set_user(user);
      again.mutable_remove_intent()->set_object_id(reply.object_id());
      begun = co_await proposer_->propose(std::move(again));
      if (!begun) co_return std::unexpected(begun.error());
    }
  }
  Instant end = env_.clock.now() + kRemovalPatience;
  while (true) {
    auto removed = co_await remove_at_primary(reply.object_id(), request.request(), user, end);
    if (!removed && removed.error().code == Code::kNotFound) co_return reply;  // Housekeeping ended it.
    if (!removed && removed.error().code == Code::kUnavailable) co_return std::unexpected(removed.error());
    if (!removed) {
      wire::Command cancel;
      cancel.mutable_remove_cancel()->set_object_id(reply.object_id());
      auto cancelled = co_await proposer_->propose(std::move(cancel));
      if (!cancelled) {
        log_warning("removal not taken back: " + cancelled.error().to_string());
        co_return fail(Code::kUnavailable, "outcome unknown: the removal is begun (" + removed.error().message + ")");
      }
      co_return std::unexpected(removed.error());
    }
    wire::Command done;
    done.set_user(user);
    *done.mutable_remove_done()->add_files() = *std::move(removed);
    auto ended = co_await proposer_->propose(std::move(done));
    // The primary was replaced meanwhile: the next one gets a tombstone too.
    if (!ended && ended.error().code == Code::kStaleEpoch) continue;
    if (!ended) co_return fail(Code::kUnavailable, "outcome unknown: the removal is begun (" + ended.error().message + ")");
    failover_->wake_workers();
    reply.set_raft_index(ended->raft_index());
    co_return reply;
  }
}

// Until a primary has the tombstone, or `end`. NOT_FOUND: the file is gone.
Task<Result<wire::RemovedFile>> NamespaceCalls::remove_at_primary(uint64_t object_id, wire::RequestNumber request,
                                                                  std::string user, Instant end, bool only_unborn) {
  while (true) {
    auto node = catalogue_->node(FileId{object_id});
    if (!node) co_return fail(Code::kNotFound, "the file is gone already");
    const Pair* pair = catalogue_->pair(node->pair);
    const Server* acting = pair == nullptr ? nullptr : catalogue_->server(pair->acting);
    if (acting != nullptr && failover_->monitor().serving(pair->name)) {
      wire::DeleteFileRequest ask;
      ask.set_file_id(object_id);
      ask.set_epoch(number(pair->epoch));
      *ask.mutable_request() = request;
      ask.set_access_generation(node->access_generation);
      ask.set_user(user);
      ask.set_only_unborn(only_unborn);
      *ask.mutable_name() = short_name_record(*catalogue_, *node);
      auto tombstone = co_await call_server<wire::VersionReply>(links_, acting->name, wire::DELETE_FILE, ask);
      if (tombstone || tombstone.error().code == Code::kNotFound) {
        wire::RemovedFile removed;
        removed.set_object_id(object_id);
        removed.set_epoch(ask.epoch());
        if (tombstone) {
          *removed.mutable_version() = tombstone->version();
          removed.set_lsn(tombstone->lsn());
        }
        co_return removed;
      }
      Code code = tombstone.error().code;
      if (code != Code::kUnavailable && code != Code::kMoved && code != Code::kStaleEpoch) {
        co_return std::unexpected(tombstone.error());
      }
    }
    if (env_.clock.now() >= end) {
      co_return fail(Code::kUnavailable, "no acting primary in reach; the removal is begun and ends when there is one");
    }
    auto pause = sleep_for(env_, std::chrono::milliseconds(20));
    co_await pause;
  }
}

wire::Entry NamespaceCalls::entry(const Node& node, std::string name, bool with_location, const std::string& user) {
  wire::Entry entry;
  entry.set_kind(static_cast<wire::NodeKind>(node.kind));
  entry.set_name(std::move(name));
  entry.set_object_id(number(node.id));
  entry.set_owner(node.owner);
  entry.set_created_us(node.created_us);
  entry.set_modified_us(node.modified_us);
  entry.set_size_bytes(node.size_bytes);
  entry.set_mode(node.mode);
  entry.set_link_target(node.link_target);
  to_wire(node.announced, entry.mutable_announced());
  entry.set_pending(node.kind == NodeKind::kFile && !node.announced);
  if (with_location && node.kind == NodeKind::kFile) *entry.mutable_location() = location(node, user);
  return entry;
}

Result<wire::EntriesReply> NamespaceCalls::list_folder(const wire::ListFolderRequest& request, const std::string& user) {
  uint32_t limit = page_size(request.limit());
  ASSIGN_OR_RETURN(std::vector<Node> nodes, catalogue_->list_folder(request.path(), request.after(), limit));
  wire::EntriesReply reply;
  for (const Node& node : nodes) *reply.add_entries() = entry(node, node.name, request.with_location(), user);
  reply.set_more(nodes.size() == limit);
  if (!nodes.empty()) reply.set_next_after(nodes.back().name);
  return reply;
}

Result<wire::EntriesReply> NamespaceCalls::view(const wire::ViewRequest& request, const std::string& user) {
  auto page = catalogue_->view(request.after(), page_size(request.limit()), request.all() ? "" : user);
  wire::EntriesReply reply;
  for (auto& found : page.found) *reply.add_entries() = entry(found.node, std::move(found.path), request.with_location(), user);
  reply.set_more(page.more);
  reply.set_next_after(page.next_after);
  return reply;
}

Result<wire::EntriesReply> NamespaceCalls::search(const wire::SearchRequest& request) {
  if (request.text().empty()) return fail(Code::kInvalid, "nothing to search for");
  auto page = catalogue_->search(request.text(), request.after(), page_size(request.limit()));
  wire::EntriesReply reply;
  for (auto& found : page.found) *reply.add_entries() = entry(found.node, std::move(found.path), false, "");
  reply.set_more(page.more);
  reply.set_next_after(page.next_after);
  return reply;
}

Task<bool> NamespaceCalls::keep_house() {
  bool more = co_await end_removals();
  more = co_await empty_trash() || more;
  more = co_await keep_deleted() || more;
  for (const Node& node : catalogue_->pending_files(catalogue_->time_us() - kPendingLifeUs, kHouseworkAtOnce)) {
    (void)co_await forget_unborn(number(node.id), node.owner, env_.clock.now());
  }
  co_return more;
}

// A name that never got a version goes, and its id with it: the tombstone makes sure that
// no version comes after all.
Task<Result<wire::ChangeReply>> NamespaceCalls::forget_unborn(uint64_t object_id, std::string user, Instant end) {
  auto node = catalogue_->node(FileId{object_id});
  if (!node || node->kind != NodeKind::kFile) co_return fail(Code::kNotFound, "no such file any more");
  if (node->announced) co_return fail(Code::kExists, "the file has a version");
  if (place_of(*node).newest_absent()) co_return fail(Code::kUnavailable, "a version may be on the half that is away");
  auto removed = co_await remove_at_primary(object_id, {}, user, end, /*only_unborn=*/true);
  if (!removed) co_return std::unexpected(removed.error());
  wire::Command done;
  done.set_user(user);
  *done.mutable_remove_done()->add_files() = *std::move(removed);
  auto ended = co_await proposer_->propose(std::move(done));
  if (!ended) co_return std::unexpected(ended.error());
  failover_->wake_workers();
  wire::ChangeReply reply;
  reply.set_object_id(object_id);
  reply.set_count(1);
  co_return reply;
}

// Removals that were begun and not ended: the asker or the primary went away.
Task<bool> NamespaceCalls::end_removals() {
  wire::Command done;
  std::vector<Node> deleting = catalogue_->deleting_files(kHouseworkAtOnce);
  for (const Node& node : deleting) {
    auto removed = co_await remove_at_primary(number(node.id), {}, node.owner, env_.clock.now());
    if (removed) *done.mutable_remove_done()->add_files() = *std::move(removed);
  }
  if (done.remove_done().files_size() == 0) co_return false;
  auto ended = co_await proposer_->propose(std::move(done));
  failover_->wake_workers();
  co_return ended.has_value() && deleting.size() == kHouseworkAtOnce;
}

Task<bool> NamespaceCalls::empty_trash() {
  std::vector<Node> trash = catalogue_->trash(kHouseworkAtOnce);
  if (trash.empty()) co_return false;
  wire::Command purge;
  struct Removal {
    static Task<void> one(NamespaceCalls* calls, uint64_t id, std::string user, wire::Command* done) {
      auto removed = co_await calls->remove_at_primary(id, {}, user, calls->env_.clock.now());
      if (removed) *done->mutable_remove_done()->add_files() = *std::move(removed);
    }
  };
  wire::Command done;
  TaskGroup removals(env_.executor);  // All at once: they share the primary's syncs.
  for (const Node& node : trash) {
    if (node.kind == NodeKind::kFile) {
      removals.spawn(Removal::one(this, number(node.id), node.owner, &done));
    } else {
      purge.mutable_purge_nodes()->add_object_ids(number(node.id));
    }
  }
  co_await removals.join();
  bool progress = done.remove_done().files_size() > 0 || purge.purge_nodes().object_ids_size() > 0;
  if (done.remove_done().files_size() > 0) (void)co_await proposer_->propose(std::move(done));
  if (purge.purge_nodes().object_ids_size() > 0) (void)co_await proposer_->propose(std::move(purge));
  failover_->wake_workers();
  co_return progress;
}

}  // namespace understudy
