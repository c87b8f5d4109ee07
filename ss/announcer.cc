#include "ss/announcer.h"

#include <utility>

#include "common/base/log.h"
#include "common/wire/call.h"
#include "ss/server_state.h"
#include "ss/sync_writes.h"
#include "ss/wire_convert.h"

namespace understudy {
namespace {

// A version that a second holder is to confirm is announced so much later, or with the confirmation.
constexpr Duration kHeldWait = std::chrono::milliseconds(50);
constexpr Duration kHeldSoon = std::chrono::milliseconds(2);
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
    const size_t announced = take_held(batch.items);
    if (announced == 0) {
      co_await sleep_for(state_->env, kHeldSoon);
      continue;
    }
    batch.items.resize(announced);
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
    for (const auto& item : request.items()) {
      if (item.held()) state_->sync_writes->announced(FileId{item.file_id()}, from_wire(item.version()));
    }
    progress_.notify_all();
  }
}

// Marks what the other half holds already. What is on its way there is worth a short wait:
// the name node then has no job to queue and to end. How many of the items may go now.
size_t Announcer::take_held(std::vector<wire::AnnounceItem>& items) {
  Instant now = state_->env.clock.now();
  for (size_t i = 0; i < items.size(); ++i) {
    auto held = state_->sync_writes->held(FileId{items[i].file_id()}, from_wire(items[i].version()));
    items[i].set_held(held == SyncWrites::Held::kByOtherHalf);
    if (held != SyncWrites::Held::kNotYet) continue;
    if (Lsn{items[i].lsn()} > waits_upto_) {
      waits_upto_ = Lsn{items.back().lsn()};
      waits_until_ = now + kHeldWait;
    }
    if (now < waits_until_) return i;
  }
  return items.size();
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
