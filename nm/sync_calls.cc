#include "nm/sync_calls.h"

#include <algorithm>
#include <set>

#include "common/base/log.h"
#include "nm/catalogue_db.h"
#include "nm/failover_driver.h"
#include "nm/hint_keeper.h"
#include "nm/replication_worker.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLookAgain = 2ms;
constexpr Duration kPatience = 20s;

bool is_big(const wire::VersionRecord& record) { return record.chunks_size() > 0 && record.inline_content().empty(); }

}  // namespace

wire::SecondCopy SyncCalls::second_copy(const std::string& name) {
  wire::SecondCopy route;
  route.set_direct(settings_.direct);
  const Server* server = catalogue_->server(name);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr) return route;
  const Server* other = catalogue_->server(pair->other_half(server->id));
  if (other == nullptr) {
    route.set_refusal(pair->name + " has one server only; start its other half");
    return route;
  }
  route.mutable_other()->set_server(other->name);
  route.mutable_other()->set_address(other->address);
  route.mutable_other()->set_store_id(other->store_id);
  route.set_in_sync(other->in_sync);
  if (other->in_sync) return route;
  if (auto hints = hints_->possible(); !hints) route.set_refusal(other->name + " is not in sync, and " + hints.error().message);
  return route;
}

Task<Result<wire::ReplicateReply>> SyncCalls::replicate(wire::ReplicateRequest request) {
  const Instant end = env_.clock.now() + kPatience;
  const Epoch epoch{request.epoch()};
  const std::string source = request.server();
  std::vector<wire::VersionRecord> versions(request.versions().begin(), request.versions().end());
  request.clear_versions();
  while (true) {
    const Server* server = catalogue_->server(source);
    const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
    if (pair == nullptr || pair->acting != server->id || pair->epoch != epoch || server->incarnation != request.incarnation()) {
      co_return fail(Code::kStaleEpoch, source + " does not act in that epoch");
    }
    const Server* other = catalogue_->server(pair->other_half(server->id));
    if (other == nullptr) co_return fail(Code::kUnavailable, pair->name + " has one server only; start its other half");
    const std::string target = other->name;
    Result<wire::ReplicateReply> reply = fail(Code::kUnavailable, target + " does not answer");
    if (other->in_sync) {
      if (links_->peer(target)) reply = co_await relay(source, target, epoch, pair->name, versions);
    } else if (!failover_->is_closing(target)) {
      if (auto possible = hints_->possible(); !possible) {
        co_return fail(Code::kUnavailable, target + " is not in sync, and " + possible.error().message);
      }
      reply = co_await hint(source, target, epoch, versions);
      // It came to be in sync meanwhile.
      if (!reply && reply.error().code == Code::kConflict) reply = fail(Code::kUnavailable, reply.error().message);
    }
    if (reply || reply.error().code != Code::kUnavailable || env_.clock.now() >= end) co_return reply;
    auto pause = sleep_for(env_, kLookAgain);
    co_await pause;
  }
}

Task<Result<wire::ReplicateReply>> SyncCalls::relay(std::string source, std::string target, Epoch epoch, std::string pair,
                                                    std::vector<wire::VersionRecord> versions) {
  wire::ApplyRequest apply;
  apply.set_epoch(number(epoch));
  apply.set_pair(pair);
  for (auto& version : versions) {
    if (is_big(version)) {
      Status chunks = co_await failover_->worker(target)->carry_big(source, version);
      if (!chunks) co_return std::unexpected(chunks.error());
    }
    *apply.add_items()->mutable_version() = std::move(version);
  }
  auto applied = co_await call_server<wire::ApplyReply>(links_, target, wire::APPLY, apply);
  if (!applied) {
    Code code = applied.error().code;
    if (code == Code::kNoSpace || code == Code::kCorrupt || code == Code::kInternal) {
      co_await set_behind(target, applied.error().message);
      co_return fail(Code::kUnavailable, target + ": " + applied.error().message);
    }
    co_return std::unexpected(applied.error());
  }
  for (const auto& outcome : applied->outcomes()) {
    if (outcome.outcome() != wire::ApplyOutcome::REFUSED) continue;
    co_await set_behind(target, outcome.text());
    co_return fail(Code::kUnavailable, target + ": " + outcome.text());
  }
  wire::ReplicateReply reply;
  *reply.mutable_outcomes() = std::move(*applied->mutable_outcomes());
  reply.set_holder(target);
  co_return reply;
}

// It is there, and does not take what it is promised to hold: writes go on with hints, and it
// is compared anew.
Task<void> SyncCalls::set_behind(std::string target, std::string why) {
  const Server* server = catalogue_->server(target);
  if (server == nullptr || !server->in_sync) co_return;
  log_warning(target + " does not take a version: " + why);
  wire::Command command;
  command.mutable_member_failed()->set_server(target);
  command.mutable_member_failed()->set_incarnation(server->incarnation);
  command.mutable_member_failed()->set_connected(true);
  auto* event = command.add_events();
  event->set_kind("behind");
  event->set_server(target);
  event->set_text(target + " does not take what is written, and is not in sync any more: " + why);
  failover_->worker(target)->set_compared(false);
  (void)co_await proposer_->propose(std::move(command));
  failover_->facts_changed();
}

Task<Result<wire::ReplicateReply>> SyncCalls::hint(std::string source, std::string target, Epoch epoch,
                                                   std::vector<wire::VersionRecord> versions) {
  const Server* server = catalogue_->server(target);
  if (server == nullptr) co_return fail(Code::kUnavailable, target + " is unknown");
  const ServerId id = server->id;
  wire::ReplicateReply reply;
  reply.set_holder(holder_);
  reply.set_hinted(true);
  std::vector<wire::VersionRecord> kept;
  std::map<uint64_t, Version> held;  // With what is kept by now.
  for (auto& version : versions) {
    auto* outcome = reply.add_outcomes();
    auto [at, fresh] = held.try_emplace(version.file_id());
    if (fresh) at->second = catalogue_->held_with_hints(id, FileId{version.file_id()}, /*promised=*/true);
    Version& behind = at->second;
    to_wire(behind, outcome->mutable_head());
    if (from_wire(version.version()) <= behind) {
      outcome->set_outcome(wire::ApplyOutcome::ALREADY);
    } else if (from_wire(version.parent()) != behind) {
      outcome->set_outcome(wire::ApplyOutcome::NOT_ON_HEAD);
      outcome->set_text("what " + target + " lacks before goes first");
    } else {
      outcome->set_outcome(wire::ApplyOutcome::APPLIED);
      behind = from_wire(version.version());
      kept.push_back(std::move(version));
    }
  }
  if (kept.empty()) co_return reply;
  const size_t count = kept.size();
  auto done = co_await hints_->keep(target, source, epoch, /*sync=*/true, std::move(kept), {});
  if (!done) co_return std::unexpected(done.error());
  // What the target has changed between the look and the log; look again.
  if (*done != count) co_return fail(Code::kUnavailable, "what " + target + " has changed meanwhile");
  co_return reply;
}

}  // namespace understudy
