// Decides what a storage server may acknowledge. Pure: no clock, no I/O; the
// caller gives the time and does what is allowed.
//
// A member serves under at most one epoch. While it serves, it acknowledges a
// change only if the change was asked for in that epoch and the lease of that
// epoch is live both before the append and after the sync (docs/consistency.md).
// Epochs only grow: whoever saw one never again serves, or applies what was
// committed, under a smaller one.
//
//            begin_serve(e)            served(e)             begin_drain(e)
//   following ----------> taking epoch ---------> serving --------------> draining
//       ^  ^------------------- supersede(e' > e) --+------------------------+
//       +------------------------------------------------- end_drain(e) -----+
#pragma once

#include <cstdint>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy {

class EpochFence {
 public:
  // `greatest_seen` and `last_served` as the store's log has them.
  EpochFence(Epoch greatest_seen, Epoch last_served) : seen_(greatest_seen), last_served_(last_served) {}

  // SERVE arrived. On success every older epoch is over at once, nothing older is
  // applied from here on, and the caller makes `epoch` durable, then calls
  // served(). Asking for the epoch that is being taken or served is no error.
  // STALE_EPOCH: a greater one was seen, or this one was served and given back.
  [[nodiscard]] Status begin_serve(Epoch epoch);
  // The epoch is durable here. False: superseded meanwhile, do not serve.
  [[nodiscard]] bool served(Epoch epoch);

  // A heartbeat answer: the lease of `epoch`, until that instant. Leases of other
  // epochs mean nothing, and a lease never gets shorter.
  void grant(Epoch epoch, Instant until);

  // From here on no change begins; those under way may still be acknowledged.
  // Asking again is no error, also after end_drain. STALE_EPOCH: not the epoch
  // that is (or was last) served.
  [[nodiscard]] Status begin_drain(Epoch epoch);
  // The lease is given back: nothing is acknowledged any more.
  void end_drain(Epoch epoch);

  // Before a change is appended. STALE_EPOCH: asked for in another epoch; MOVED:
  // not serving, draining, or the lease ran out. Nothing was changed in either.
  [[nodiscard]] Status check_change(Epoch epoch, Instant now) const;
  // After a change that was appended under `epoch` is durable. UNAVAILABLE: it may
  // not be acknowledged here, and may or may not survive (outcome unknown).
  [[nodiscard]] Status check_acknowledge(Epoch epoch, Instant now) const;
  // Before answering a read: whether the answer is linearizable. Epoch 0 is never
  // refused; others like a change, but draining does not matter.
  [[nodiscard]] Result<bool> check_read(Epoch epoch, Instant now) const;

  // Before versions of another half's epoch are applied (or set aside) here: on
  // success an older epoch that was served is over. STALE_EPOCH: below what was
  // seen, or the very epoch that is served here.
  [[nodiscard]] Status supersede(Epoch epoch);

  Epoch serving() const { return serving_; }          // Draining included; 0: not serving.
  Epoch last_served() const { return last_served_; }
  Epoch greatest_seen() const { return seen_; }
  bool draining() const { return serving_ != kNoEpoch && draining_; }
  bool lease_live(Instant now) const { return serving_ != kNoEpoch && now < lease_end_; }

 private:
  void end_serving();

  // Invariant: serving_ and taking_ are 0 or seen_, never both set.
  Epoch seen_;
  Epoch last_served_;
  Epoch taking_ = kNoEpoch;   // begin_serve was called, served() not yet.
  Epoch serving_ = kNoEpoch;
  bool draining_ = false;
  Instant lease_end_ = Instant::min();
};

}  // namespace understudy
