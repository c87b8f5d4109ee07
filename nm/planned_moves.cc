// PROMOTE without force, HANDBACK and DRAIN: an operator says who is to act as primary,
// that is committed, and the pair hands over as it does after a return.
#include "common/base/bounded_time.h"
#include "common/base/path.h"
#include "nm/catalogue_db.h"
#include "nm/cluster_calls.h"
#include "nm/failover_driver.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

constexpr auto kLookAgain = std::chrono::milliseconds(5);
constexpr auto kWaitMax = std::chrono::seconds(10);

}  // namespace

Result<ClusterCalls::PlannedMove> ClusterCalls::planned_move(const wire::MovePrimaryRequest& request) const {
  const Pair* pair = nullptr;
  ServerId to = kNoServer;
  switch (request.to()) {
    case wire::MovePrimaryRequest::BACKUP:
    case wire::MovePrimaryRequest::HOME:
      pair = catalogue_->pair(request.pair());
      if (pair == nullptr) return fail(Code::kNotFound, printable(request.pair()) + ": no such pair; STATUS names them");
      to = request.to() == wire::MovePrimaryRequest::HOME ? pair->home : pair->backup;
      break;
    case wire::MovePrimaryRequest::AWAY: {
      const Server* server = catalogue_->server(request.server());
      if (server == nullptr) return fail(Code::kNotFound, printable(request.server()) + ": no such server; STATUS names them");
      pair = catalogue_->pair(server->pair);
      if (pair == nullptr) return fail(Code::kInternal, server->name + " has no pair");
      to = pair->other_half(server->id);
      break;
    }
    default: return fail(Code::kInvalid, "a move to the home primary, to the backup or away from a server");
  }
  const Server* target = catalogue_->server(to);
  if (target == nullptr) {
    return fail(Code::kConflict, "the pair " + pair->name + " has one server only; nobody could take over");
  }
  if (!links_->peer(target->name)) {
    return fail(Code::kConflict, target->name + " is not running; nothing was moved: start it, then try again");
  }
  return PlannedMove{pair->name, target->name};
}

Task<Result<wire::MovePrimaryReply>> ClusterCalls::move_primary(wire::MovePrimaryRequest request, std::string user) {
  Duration patience = std::min<Duration>(bounded_ms(request.wait_ms()), kWaitMax);
  Instant end = env_.clock.now() + patience;
  CO_ASSIGN_OR_RETURN(PlannedMove move, planned_move(request));
  {
    const Pair* pair = catalogue_->pair(move.pair);
    const Server* target = catalogue_->server(move.target);
    ServerId wanted = target->id == pair->home ? kNoServer : target->id;
    if (pair->preferred != wanted) {
      if (!failover_->monitor().serving(move.pair) && pair->acting != target->id) {
        co_return fail(Code::kConflict, move.pair + " has no acting primary now that could hand over; nothing was moved: wait for "
                                           "it, or PROMOTE " + move.pair + " --force, which says what may be lost");
      }
      wire::Command command;
      *command.mutable_request() = request.request();
      command.set_user(user);
      command.mutable_prefer_primary()->set_pair(move.pair);
      command.mutable_prefer_primary()->set_server(move.target);
      auto* event = command.add_events();
      event->set_kind("planned-move");
      event->set_pair(move.pair);
      event->set_server(move.target);
      event->set_text(move.target + " is to act as primary of " + move.pair + ", as " + user + " asked");
      auto outcome = co_await proposer_->propose(std::move(command));
      if (!outcome) co_return std::unexpected(outcome.error());
    }
  }
  failover_->move_wanted(move.pair);
  for (;;) {
    const Pair* pair = catalogue_->pair(move.pair);
    const Server* target = catalogue_->server(move.target);
    if (pair == nullptr || target == nullptr) co_return fail(Code::kInternal, "no such pair");
    wire::MovePrimaryReply reply;
    reply.set_pair(pair->name);
    reply.set_epoch(number(pair->epoch));
    if (const Server* acting = catalogue_->server(pair->acting)) reply.set_acting_primary(acting->name);
    if (pair->acting == target->id && failover_->monitor().serving(pair->name)) {
      // Whoever drains a server stops it next: nothing may stand on it alone.
      if (request.to() != wire::MovePrimaryRequest::AWAY || catalogue_->lag(target->id).jobs == 0) {
        reply.set_done(true);
        co_return reply;
      }
      reply.set_why("some versions are only on " + request.server());
    } else if (!links_->peer(target->name)) {
      reply.set_why(target->name + " is not running");
    } else {
      reply.set_why(target->name + (target->in_sync ? " is taking over" : " is not in sync yet"));
    }
    if (env_.clock.now() >= end) co_return reply;
    auto pause = sleep_for(env_, kLookAgain);
    co_await pause;
  }
}

}  // namespace understudy
