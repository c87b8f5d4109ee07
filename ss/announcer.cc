#include "ss/announcer.h"

#include <utility>

#include "common/base/log.h"
#include "common/wire/call.h"
#include "ss/server_state.h"

namespace understudy {
namespace {

constexpr Duration kSpaceRetry = std::chrono::milliseconds(250);

}  // namespace

Announcer::Announcer(ServerState* state, Incarnation incarnation)
    : state_(state), incarnation_(incarnation), progress_(state->env.executor) {}

void Announcer::go_on_behind(Lsn confirmed) {
  confirmed_ = confirmed;
  looked_through_ = kNoLsn;
}

Task<void> Announcer::run(Peer* peer, Duration call_timeout) {
  for (;;) {
    if (state_->fence.serving() == kNoEpoch) {
      progress_.notify_all();
      auto changed = state_->serving_changed.wait();
      co_await changed;
      continue;
    }
    auto changed = state_->store->durable_changed();
    Lsn durable = state_->store->durable_lsn();
    auto batch = state_->store->announceable(confirmed_, kItemsMax);
    if (batch.items.empty()) {
      looked_through_ = durable;
      progress_.notify_all();
      co_await changed;
      continue;
    }
    wire::AnnounceRequest request;
    request.set_server(state_->options.name);
    request.set_incarnation(incarnation_);
    request.set_epoch(number(state_->fence.serving()));
    request.set_from_lsn(number(confirmed_));
    request.set_to_lsn(batch.items.back().lsn());
    for (auto& item : batch.items) request.mutable_items()->Add(std::move(item));
    auto reply = co_await call<wire::AnnounceReply>(peer, wire::ANNOUNCE, request, call_timeout);
    if (!reply && reply.error().code == Code::kNoSpace) {
      // Known by every other means; this can wait until there is room.
      if (!std::exchange(waits_for_space_, true)) log_warning("announcing waits: " + reply.error().message);
      co_await sleep_for(state_->env, kSpaceRetry);
      continue;
    }
    waits_for_space_ = false;
    if (!reply) {
      log_info("announcing failed, registering again: " + reply.error().to_string());
      co_return;
    }
    Lsn confirmed{reply->announced_lsn()};
    if (confirmed <= confirmed_) {
      log_warning("the name node confirmed nothing of what was announced; registering again");
      co_return;
    }
    confirmed_ = confirmed;
    progress_.notify_all();
  }
}

Task<Status> Announcer::flush() {
  Lsn upto = state_->store->durable_lsn();
  while (looked_through_ < upto) {
    if (state_->fence.serving() == kNoEpoch) {
      co_return fail(Code::kMoved, "this server is not the acting primary");
    }
    auto progress = progress_.wait();
    co_await progress;
  }
  co_return Status{};
}

}  // namespace understudy
