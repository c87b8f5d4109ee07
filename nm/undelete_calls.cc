// UNDELETE and what belongs to it: deleted files that can come back.
#include <algorithm>

#include "common/base/path.h"
#include "common/env/env_util.h"
#include "nm/catalogue_db.h"
#include "nm/failover_driver.h"
#include "nm/namespace_calls.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

constexpr uint32_t kPageMax = 1000;
constexpr uint32_t kAtOnce = 256;
constexpr auto kPatience = std::chrono::seconds(10);

// A DELETE was begun meanwhile, and answered with the tombstone that was there: what came back behind that one is
// nobody's, and goes again.
Task<void> remove_again(Catalogue* catalogue, ServerLinks* links, Proposer* proposer, wire::UndeleteFileRequest done) {
  const Pair* pair = nullptr;
  for (const auto& [id, one] : catalogue->pairs()) {
    if (number(one.epoch) == done.epoch()) pair = &one;
  }
  const Server* acting = pair == nullptr ? nullptr : catalogue->server(pair->acting);
  const Server* other = acting == nullptr ? nullptr : catalogue->server(pair->other_half(acting->id));
  if (acting == nullptr) co_return;
  const std::string other_name = other == nullptr ? "" : other->name;
  wire::DeleteFileRequest request;
  request.set_file_id(done.file_id());
  request.set_epoch(done.epoch());
  auto removed = co_await call_server<wire::VersionReply>(links, acting->name, wire::DELETE_FILE, request);
  if (!removed || other_name.empty()) co_return;
  wire::Command command;
  command.mutable_add_jobs()->set_target(other_name);
  auto* item = command.mutable_add_jobs()->add_items();
  item->set_object_id(done.file_id());
  item->set_kind(wire::JOB_DELETE);
  *item->mutable_to() = removed->version();
  (void)co_await proposer->propose(std::move(command));
}

}  // namespace

// Intent, the acting primary's version, end; what is cut short goes on with housekeeping.
Task<Result<wire::ChangeReply>> NamespaceCalls::undelete(wire::UndeleteRequest request, std::string user) {
  while (co_await keep_deleted()) {
  }
  const bool sync = is_sync(request);
  if (auto refusal = sync ? no_second_copy(request.path()) : std::string(); !refusal.empty()) {
    co_return fail(Code::kStaleEpoch, printable(request.path()) + ": durability sync cannot be had: " + refusal);
  }
  wire::Command intent;
  *intent.mutable_request() = request.request();
  intent.set_user(user);
  intent.mutable_undelete_intent()->set_path(request.path());
  auto begun = co_await proposer_->propose(std::move(intent));
  if (!begun) co_return std::unexpected(begun.error());
  auto reply = co_await end_undelete(begun->object_id(), request.request(), user, env_.clock.now() + kPatience, sync);
  if (!reply && reply.error().code == Code::kNotFound) {
    co_return fail(Code::kNotFound, printable(request.path()) + ": " + reply.error().message);
  }
  co_return reply;
}

Task<Result<wire::ChangeReply>> NamespaceCalls::end_undelete(uint64_t object_id, wire::RequestNumber request,
                                                             std::string user, Instant end, bool sync) {
  wire::ChangeReply reply;
  reply.set_object_id(object_id);
  reply.set_count(1);
  wire::Command ended;
  ended.set_user(user);
  ended.mutable_undelete_end()->set_object_id(object_id);
  while (true) {
    auto node = catalogue_->node(FileId{object_id});
    if (!node) co_return fail(Code::kNotFound, "nothing of it is kept any more");
    if (node->state != NodeState::kReturning) break;  // Its version was announced, or it is deleted again.
    const Pair* pair = catalogue_->pair(node->pair);
    const Server* acting = pair == nullptr ? nullptr : catalogue_->server(pair->acting);
    if (acting != nullptr && failover_->monitor().serving(pair->name)) {
      wire::UndeleteFileRequest ask;
      ask.set_file_id(object_id);
      ask.set_epoch(number(pair->epoch));
      *ask.mutable_request() = request;
      ask.set_user(user);
      *ask.mutable_name() = short_name_record(*catalogue_, *node);
      ask.set_durability(sync ? wire::DURABILITY_SYNC : place_of(*node).durability());
      auto version = co_await call_server<wire::VersionReply>(links_, acting->name, wire::UNDELETE_FILE, ask);
      if (version) {
        *reply.mutable_version() = version->version();
        reply.set_durability(version->durability());
        reply.set_second_holder(version->second_holder());
      }
      const bool gone = !version && version.error().code == Code::kNotFound;
      const auto after = catalogue_->node(FileId{object_id});
      if (version && (!after || after->state == NodeState::kDeleting)) {
        co_await remove_again(catalogue_, links_, proposer_, ask);
        co_return fail(Code::kNotFound, "it was deleted again meanwhile");
      }
      if (version || gone) {
        ended.mutable_undelete_end()->set_gone(gone);
        auto done = co_await proposer_->propose(std::move(ended));
        if (!done) co_return fail(Code::kUnavailable, "outcome unknown: the return is begun (" + done.error().message + ")");
        if (gone) co_return fail(Code::kNotFound, "its content is kept no more, the time for that is over");
        break;
      }
      const Code code = version.error().code;
      if (code != Code::kUnavailable && code != Code::kMoved && code != Code::kStaleEpoch) {
        co_return fail(Code::kUnavailable, "outcome unknown: the return is begun (" + version.error().message + ")");
      }
    }
    if (env_.clock.now() >= end) {
      co_return fail(Code::kUnavailable, "outcome unknown: no acting primary in reach; the file comes back when there is one");
    }
    auto pause = sleep_for(env_, std::chrono::milliseconds(20));
    co_await pause;
  }
  failover_->wake_workers();
  if (auto path = catalogue_->path_of(FileId{object_id})) reply.set_path(*path);
  co_return reply;
}

// That of the folder, or what was asked for.
bool NamespaceCalls::is_sync(const wire::UndeleteRequest& request) {
  if (request.durability() == wire::DURABILITY_SYNC) return true;
  auto folder = catalogue_->find(folder_of(request.path()));
  return folder && place_of(*folder).durability() == wire::DURABILITY_SYNC;
}

// Why the file of that path cannot be written on two machines now; empty: it can, or there is none.
std::string NamespaceCalls::no_second_copy(const std::string& path) {
  auto deleted = catalogue_->deleted_at(path);
  auto node = deleted ? catalogue_->deleted_node(deleted->id) : std::nullopt;
  const Pair* pair = node ? catalogue_->pair(node->pair) : nullptr;
  const Server* acting = pair == nullptr ? nullptr : catalogue_->server(pair->acting);
  return acting == nullptr || !second_copy_refusal_ ? "" : second_copy_refusal_(acting->name);
}

Result<wire::ListDeletedReply> NamespaceCalls::list_deleted(const wire::ListDeletedRequest& request,
                                                            const std::string& user) {
  const uint32_t limit = request.limit() == 0 ? kPageMax : std::min(request.limit(), kPageMax);
  auto found = catalogue_->deleted(request.after_us(), FileId{request.after_id()}, request.all() ? "" : user, limit);
  wire::ListDeletedReply reply;
  for (auto& file : found) {
    auto* deleted = reply.add_files();
    deleted->set_path(std::move(file.path));
    deleted->set_object_id(number(file.id));
    deleted->set_deleted_us(file.deleted_us);
    deleted->set_deleted_by(std::move(file.deleted_by));
    deleted->set_owner(std::move(file.owner));
    deleted->set_size_bytes(file.size_bytes);
    if (retention_.deleted.count() >= 0) deleted->set_until_us(file.deleted_us + retention_.deleted.count() * 1000);
  }
  reply.set_more(found.size() == limit);
  return reply;
}

// Ends returns that were begun, and forgets the names of those whose time is over.
Task<bool> NamespaceCalls::keep_deleted() {
  for (const Node& node : catalogue_->returning_files(kAtOnce)) {
    (void)co_await end_undelete(number(node.id), {}, node.owner, env_.clock.now());
  }
  if (retention_.deleted.count() < 0) co_return false;
  // The catalogue's own time stands still while nothing happens.
  const int64_t now_us = std::max<int64_t>(catalogue_->time_us(), env_.clock.wall().time_since_epoch().count());
  const int64_t before_us = now_us - retention_.deleted.count() * 1000;
  bool over = false;
  if (auto oldest = catalogue_->oldest_deleted_us()) over = *oldest < before_us;
  if (!over) co_return false;
  wire::Command command;
  command.mutable_forget_deleted()->set_before_us(before_us);
  command.mutable_forget_deleted()->set_limit(kAtOnce);
  auto forgotten = co_await proposer_->propose(std::move(command));
  co_return forgotten && forgotten->count() == kAtOnce;
}

}  // namespace understudy
