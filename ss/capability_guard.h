// Decides whether a client may have what it asks a storage server for: by the
// capability that it shows, which the name node signed with this pair's key.
//
// A capability counts until it expires, in NM time (which comes with heartbeat answers
// and runs on by this machine's clock); under the epoch that it was given out in; and
// while the file's access generation was not raised here above its own. Generations are
// kept in memory only, as long as something older could still come: after another start
// every capability is of an older epoch, or was given out before this server registered.
#pragma once

#include <deque>
#include <unordered_map>

#include "common/base/right.h"
#include "common/base/types.h"
#include "common/crypto/key_ring.h"
#include "common/wire/identity.pb.h"
#include "common/wire/understudy.pb.h"

namespace understudy {

class CapabilityGuard {
 public:
  using Keys = google::protobuf::RepeatedPtrField<wire::CapabilityKey>;

  // The name node's, newest first.
  void set_keys(const Keys& keys);
  uint32_t newest_key() const { return ring_.newest(); }
  // `time_us` was NM time when a request was answered that was sent at `sent`.
  void learn_time(int64_t time_us, Instant sent);
  // Registered at that NM time: what was raised while no name node was in reach is not
  // known here, so nothing that was given out before counts for reads of any half.
  void registered(int64_t time_us) { floor_us_ = std::max(floor_us_, time_us); }

  // `epoch`: of the request; none for a read of any half. UNAUTHENTICATED: look the file up
  // again. DENIED: it says less than `wanted`, or another file. MOVED: no keys yet.
  Result<wire::Capability> check(BytesView capability, FileId file, Right wanted, Epoch epoch, Instant now) const;

  // From now on no capability of `file` below that generation counts.
  void raise(FileId file, uint64_t generation, Instant now);
  // For what was begun under a capability of that generation and had to wait.
  Status still_counts(FileId file, uint64_t generation) const;
  size_t raised() const { return raised_.size(); }

 private:
  // Longer than any capability holds.
  static constexpr Duration kRaisedKept = std::chrono::minutes(10);
  int64_t time_us(Instant now) const;

  KeyRing ring_{"understudy capability", 16};
  int64_t known_time_us_ = 0;
  Instant known_at_{};
  int64_t floor_us_ = 0;
  struct Raised {
    uint64_t generation = 0;
    Instant at{};
  };
  std::unordered_map<FileId, Raised> raised_;            // Never iterated.
  std::deque<std::pair<Instant, FileId>> raised_order_;  // Oldest first; one that is not a file's latest says nothing.
};

}  // namespace understudy
