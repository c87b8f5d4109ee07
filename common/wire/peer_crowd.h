// All connections that a server accepted, and what they hold in memory together: requests being
// handled, answers not yet sent, long frames that are still coming. While that is too
// much nothing more is taken up; a connection that is stuck then (half a frame sent,
// answers not read) for some seconds is closed, whoever has been so for longest first.
// One thread; outlives its peers.
#pragma once

#include <cstdint>
#include <set>

#include "common/env/env.h"
#include "common/env/sync.h"

namespace understudy {

class Peer;

class PeerCrowd {
 public:
  static constexpr uint64_t kBytesMax = 80 << 20;
  static constexpr Duration kStuckFor = std::chrono::seconds(3);
  static constexpr Duration kHelloWithin = std::chrono::seconds(10);

  PeerCrowd(Env& env, size_t peers_max);
  ~PeerCrowd();
  PeerCrowd(const PeerCrowd&) = delete;
  PeerCrowd& operator=(const PeerCrowd&) = delete;

  // No further connection should be accepted.
  bool complete() const { return peers_.size() >= peers_max_; }
  size_t size() const { return peers_.size(); }
  bool full() const { return bytes_ >= kBytesMax; }

  // For Peer.
  void joined(Peer* peer) { peers_.insert(peer); }
  void left(Peer* peer);
  void hold(uint64_t bytes) { bytes_ += bytes; }
  void release(uint64_t bytes);
  // Until there is room, or the peer was closed for being stuck itself.
  Task<void> room(Peer* peer);

 private:
  void close_stuck();

  Env& env_;
  size_t peers_max_;
  std::set<Peer*> peers_;  // Which is closed first does not depend on the order.
  uint64_t bytes_ = 0;
  Notifier released_;
  std::optional<TimerId> timer_;
};

}  // namespace understudy
