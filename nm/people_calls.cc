#include "nm/people_calls.h"

#include <algorithm>
#include <set>

#include "common/base/path.h"
#include "nm/catalogue_db.h"
#include "nm/failover_driver.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

constexpr uint32_t kPageMax = 1000;
constexpr size_t kGivenAtOnce = 500;
constexpr auto kRaisePatience = std::chrono::seconds(10);
constexpr auto kLookAgain = std::chrono::milliseconds(20);

uint32_t page_size(uint32_t asked) { return asked == 0 ? kPageMax : std::min(asked, kPageMax); }

Result<wire::ChangeReply> change_reply(const Result<wire::CommandOutcome>& outcome, std::string path) {
  if (!outcome) return std::unexpected(outcome.error());
  wire::ChangeReply reply;
  reply.set_object_id(outcome->object_id());
  reply.set_raft_index(outcome->raft_index());
  reply.set_count(outcome->count());
  reply.set_path(std::move(path));
  return reply;
}

}  // namespace

Task<Result<wire::CommandOutcome>> PeopleCalls::change(wire::Command command, wire::RequestNumber request, std::string user) {
  *command.mutable_request() = request;
  command.set_user(user);
  auto outcome = co_await proposer_->propose(std::move(command));
  failover_->wake_workers();
  co_return outcome;
}

Task<Result<wire::ChangeReply>> PeopleCalls::add_user(wire::AddUserRequest request, std::string user) {
  // What is refused anyway costs no hash.
  CO_RETURN_IF_ERROR(check_user_name(request.name()));
  if (!catalogue_->is_administrator(user)) co_return fail(Code::kDenied, user + " may not add users; an administrator may");
  auto hash = co_await sessions_->hash(request.password());
  if (!hash) co_return std::unexpected(hash.error());
  wire::Command command;
  auto* added = command.mutable_add_user();
  added->set_name(request.name());
  added->set_administrator(request.administrator());
  *added->mutable_password() = *std::move(hash);
  auto outcome = co_await change(std::move(command), request.request(), user);
  co_return change_reply(outcome, "");
}

Task<Result<wire::ChangeReply>> PeopleCalls::set_password(wire::SetPasswordRequest request, std::string user, std::string host) {
  if (user != request.user() && !catalogue_->is_administrator(user)) {
    co_return fail(Code::kDenied, user + " may not set another's password; an administrator may");
  }
  if (!catalogue_->user(request.user())) co_return fail(Code::kNotFound, request.user() + ": no such user; LIST shows them");
  if (user == request.user()) CO_RETURN_IF_ERROR(co_await sessions_->check_password(user, request.old_password(), host));
  auto hash = co_await sessions_->hash(request.password());
  if (!hash) co_return std::unexpected(hash.error());
  wire::Command command;
  command.mutable_set_password()->set_name(request.user());
  *command.mutable_set_password()->mutable_password() = *std::move(hash);
  auto outcome = co_await change(std::move(command), request.request(), user);
  co_return change_reply(outcome, "");
}

// First nobody is that user any more; then what was theirs goes, some of it at a time; then the name. Cut short, it is
// done again.
Task<Result<wire::ChangeReply>> PeopleCalls::remove_user(wire::RemoveUserRequest request, std::string user) {
  if (auto may = catalogue_->check_removal(request.name(), request.give_to(), user); !may) {
    if (may.error().code != Code::kNotFound) co_return std::unexpected(may.error());
    co_return co_await end_removal(std::move(request), user, 0);  // A repeat of one that is done has its answer there.
  }
  auto owns = find_held(&Catalogue::owned_by, request.name(), /*first_only=*/request.give_to().empty());
  auto owned = co_await owns;
  if (!owned.empty() && request.give_to().empty()) {
    auto path = catalogue_->path_of(FileId{owned.front()});
    co_return fail(Code::kConflict, request.name() + " owns " + (path ? printable(*path) : "deleted files that can come back") +
                                        "; say whose it is to be: DELUSER " + request.name() + " --give-to USER");
  }
  wire::Command locked;
  locked.set_user(user);
  locked.mutable_set_password()->set_name(request.name());
  locked.mutable_set_password()->mutable_password();
  auto lock = co_await proposer_->propose(std::move(locked));
  if (!lock) co_return std::unexpected(lock.error());
  uint64_t count = 0;
  // What was under way when the name was locked may still have made something.
  for (int pass = 0; pass < 2; ++pass) {
    for (auto look : {&Catalogue::owned_by, &Catalogue::accessible_to}) {
      auto looking = find_held(look, request.name(), false);
      auto held = co_await looking;
      if (look == &Catalogue::owned_by) count += held.size();
      for (size_t at = 0; at < held.size(); at += kGivenAtOnce) {
        wire::Command step;
        step.set_user(user);
        auto* given = step.mutable_remove_user();
        given->set_name(request.name());
        given->set_give_to(request.give_to());
        for (size_t i = at; i < std::min(held.size(), at + kGivenAtOnce); ++i) given->add_objects(held[i]);
        auto done = co_await proposer_->propose(std::move(step));
        if (!done) co_return std::unexpected(done.error());
        failover_->wake_workers();
      }
    }
  }
  co_return co_await end_removal(std::move(request), user, count);
}

Task<Result<wire::ChangeReply>> PeopleCalls::end_removal(wire::RemoveUserRequest request, std::string user, uint64_t count) {
  wire::Command last;
  last.mutable_remove_user()->set_name(request.name());
  last.mutable_remove_user()->set_give_to(request.give_to());
  auto outcome = co_await change(std::move(last), request.request(), user);
  if (outcome) outcome->set_count(count);
  co_return change_reply(outcome, "");
}

Task<std::vector<uint64_t>> PeopleCalls::find_held(Look look, std::string user, bool first_only) {
  std::vector<uint64_t> found;
  std::optional<int64_t> after = INT64_MIN;
  while (after && !(first_only && !found.empty())) {
    auto held = (catalogue_->*look)(user, *after);
    found.insert(found.end(), held.objects.begin(), held.objects.end());
    after = held.next_after;
    auto others = yield_now(env_);
    co_await others;
  }
  co_return found;
}

wire::ListUsersReply PeopleCalls::list_users(const wire::ListUsersRequest& request) {
  uint32_t limit = page_size(request.limit());
  wire::ListUsersReply reply;
  for (const UserRow& row : catalogue_->users(request.after(), limit)) {
    auto* entry = reply.add_users();
    entry->set_name(row.name);
    entry->set_administrator(row.administrator);
    entry->set_created_us(row.created_us);
    entry->set_removed(row.removed);
  }
  reply.set_more(static_cast<uint32_t>(reply.users_size()) == limit);
  return reply;
}

Task<Result<wire::ChangeReply>> PeopleCalls::set_access(wire::SetAccessRequest request, std::string user) {
  wire::Command command;
  command.mutable_set_access()->set_path(request.path());
  command.mutable_set_access()->set_user(request.user());
  command.mutable_set_access()->set_right(request.right());
  auto outcome = co_await change(std::move(command), request.request(), user);
  if (!outcome) co_return std::unexpected(outcome.error());
  if (outcome->count() > 0 && outcome->kind() == wire::KIND_FILE) CO_RETURN_IF_ERROR(co_await raise(*outcome, request.user()));
  co_return change_reply(outcome, request.path());
}

Task<bool> PeopleCalls::raise_at(std::string server, wire::RaiseAccessRequest request) {
  auto raised = co_await call_server<wire::Done>(links_, server, wire::RAISE_ACCESS, request);
  co_return raised.has_value();
}

// Until the acting primary has raised the file's generation, or a later epoch began, in which
// nothing given out before counts; and the other half, if it is here: by itself it honours
// nothing that was given out before it registered.
Task<Status> PeopleCalls::raise(wire::CommandOutcome done, std::string user) {
  wire::RaiseAccessRequest request;
  request.set_file_id(done.object_id());
  request.set_access_generation(done.access_generation());
  request.set_user(user);
  Instant end = env_.clock.now() + kRaisePatience;
  std::set<std::string> raised;
  while (true) {
    auto node = catalogue_->node(FileId{done.object_id()});
    const Pair* pair = node ? catalogue_->pair(node->pair) : nullptr;
    if (pair == nullptr) co_return Status{};
    Epoch epoch = pair->epoch;
    std::string pair_name = pair->name;
    const Server* acting = catalogue_->server(pair->acting);
    const Server* other = catalogue_->server(pair->other_half(pair->acting));
    std::string acting_name = acting == nullptr ? "" : acting->name;
    std::string other_name = other == nullptr ? "" : other->name;
    for (std::string name : {acting_name, other_name}) {
      if (name.empty() || raised.contains(name) || !links_->peer(name)) continue;
      if (co_await raise_at(name, request)) raised.insert(name);
    }
    bool at_primary = number(epoch) > done.raft_index() || raised.contains(acting_name);
    bool at_other = other_name.empty() || raised.contains(other_name) || !links_->peer(other_name);
    const Pair* now = catalogue_->pair(node->pair);
    if (at_primary && at_other && now != nullptr && now->epoch == epoch) co_return Status{};
    if (env_.clock.now() >= end) {
      co_return fail(Code::kUnavailable,
                     "the access is taken away for all that begins now, but a server of " + pair_name +
                         " could not be told: what was begun before ends within a minute");
    }
    auto pause = sleep_for(env_, kLookAgain);
    co_await pause;
  }
}

Task<Result<wire::ChangeReply>> PeopleCalls::request_access(wire::RequestAccessRequest request, std::string user) {
  wire::Command command;
  command.mutable_ask_access()->set_path(request.path());
  command.mutable_ask_access()->set_right(request.right());
  auto outcome = co_await change(std::move(command), request.request(), user);
  co_return change_reply(outcome, request.path());
}

wire::ListRequestsReply PeopleCalls::list_requests(const wire::ListRequestsRequest& request, const std::string& user) {
  uint32_t limit = page_size(request.limit());
  wire::ListRequestsReply reply;
  auto rows = catalogue_->access_requests(catalogue_->is_administrator(user) ? "" : user, request.after(), limit);
  for (const AccessRequestRow& row : rows) {
    auto path = catalogue_->path_of(row.object);
    if (!path) continue;  // On its way out, with the folder that it was in.
    auto* entry = reply.add_requests();
    entry->set_id(row.id);
    entry->set_object_id(number(row.object));
    entry->set_path(*std::move(path));
    entry->set_user(row.user);
    entry->set_right(static_cast<wire::Right>(row.right));
    entry->set_time_us(row.time_us);
    entry->set_own(row.user == user);
  }
  reply.set_more(rows.size() == limit);
  return reply;
}

Task<Result<wire::ChangeReply>> PeopleCalls::answer_request(wire::AnswerRequestRequest request, std::string user) {
  wire::Command command;
  command.mutable_answer_access()->set_id(request.id());
  command.mutable_answer_access()->set_approve(request.approve());
  auto outcome = co_await change(std::move(command), request.request(), user);
  std::string path;
  if (outcome) path = catalogue_->path_of(FileId{outcome->object_id()}).value_or("");
  co_return change_reply(outcome, std::move(path));
}

}  // namespace understudy
