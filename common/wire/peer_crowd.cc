#include "common/wire/peer_crowd.h"

#include "common/base/log.h"
#include "common/wire/peer.h"

namespace understudy {
namespace {

constexpr Duration kLookEvery = std::chrono::milliseconds(500);

}  // namespace

PeerCrowd::PeerCrowd(Env& env, size_t peers_max) : env_(env), peers_max_(peers_max), released_(env.executor) {}

PeerCrowd::~PeerCrowd() {
  if (timer_) env_.clock.cancel(*timer_);
}

void PeerCrowd::left(Peer* peer) { peers_.erase(peer); }

void PeerCrowd::release(uint64_t bytes) {
  CHECK(bytes <= bytes_);
  bool was_full = full();
  bytes_ -= bytes;
  if (was_full && !full()) released_.notify_all();
}

Task<void> PeerCrowd::room(Peer* peer) {
  while (full() && !peer->closed()) {
    if (!timer_) timer_ = env_.clock.schedule(env_.clock.now() + kLookEvery, [this] { close_stuck(); });
    auto released = released_.wait();
    co_await released;
  }
}

void PeerCrowd::close_stuck() {
  timer_.reset();
  if (!full()) return;
  Instant now = env_.clock.now();
  Peer* longest = nullptr;
  for (Peer* peer : peers_) {
    if (peer->closed() || peer->held_bytes() == 0 || now - peer->moved_at() < kStuckFor) continue;
    bool before = !longest || peer->moved_at() < longest->moved_at() ||
                  (peer->moved_at() == longest->moved_at() && peer->address() < longest->address());
    if (before) longest = peer;
  }
  if (longest) {
    log_warning(longest->address() + ": stuck with " + std::to_string(longest->held_bytes() >> 10) +
                " KiB while memory is short; connection closed");
    longest->close();
  }
  // Everybody who waits looks again, and sets the timer again.
  released_.notify_all();
}

}  // namespace understudy
