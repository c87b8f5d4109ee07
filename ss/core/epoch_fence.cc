#include "ss/core/epoch_fence.h"

namespace understudy {
namespace {

std::unexpected<Error> stale(Epoch asked, Epoch here) {
  return fail(Code::kStaleEpoch, "epoch " + std::to_string(number(asked)) + " was asked for, epoch " +
                                     std::to_string(number(here)) + " stands here; ask the name node again");
}

}  // namespace

void EpochFence::end_serving() {
  serving_ = kNoEpoch;
  taking_ = kNoEpoch;
  draining_ = false;
  lease_end_ = Instant::min();
}

Status EpochFence::begin_serve(Epoch epoch) {
  if (epoch == kNoEpoch) return fail(Code::kInvalid, "epoch 0 cannot be served");
  if (epoch < seen_) return stale(epoch, seen_);
  if (epoch == seen_) {
    if (epoch == taking_ || (epoch == serving_ && !draining_)) return {};
    // Given back, or another half's: a drained member serves again only on a new grant.
    return stale(epoch, seen_);
  }
  end_serving();
  seen_ = epoch;
  taking_ = epoch;
  return {};
}

bool EpochFence::served(Epoch epoch) {
  if (epoch == serving_) return true;
  if (epoch != taking_ || epoch == kNoEpoch) return false;
  taking_ = kNoEpoch;
  serving_ = epoch;
  last_served_ = epoch;
  return true;
}

void EpochFence::grant(Epoch epoch, Instant until) {
  if (epoch == kNoEpoch || epoch != serving_) return;
  if (until > lease_end_) lease_end_ = until;
}

Status EpochFence::begin_drain(Epoch epoch) {
  if (epoch == kNoEpoch) return fail(Code::kInvalid, "epoch 0 cannot be drained");
  if (epoch == serving_) {
    draining_ = true;
    return {};
  }
  if (serving_ == kNoEpoch && taking_ == kNoEpoch && epoch == last_served_) return {};
  return stale(epoch, seen_);
}

void EpochFence::end_drain(Epoch epoch) {
  if (epoch == serving_ && draining_) end_serving();
}

Status EpochFence::check_change(Epoch epoch, Instant now) const {
  if (serving_ == kNoEpoch) return fail(Code::kMoved, "this server is not the acting primary");
  if (epoch != serving_) return stale(epoch, serving_);
  if (draining_) return fail(Code::kMoved, "this server is handing over to its partner");
  if (now >= lease_end_) return fail(Code::kMoved, "this server's lease ran out");
  return {};
}

Status EpochFence::check_acknowledge(Epoch epoch, Instant now) const {
  if (epoch != kNoEpoch && epoch == serving_ && now < lease_end_) return {};
  return fail(Code::kUnavailable,
              "outcome unknown: the server's lease ran out while the change was made durable");
}

Result<bool> EpochFence::check_read(Epoch epoch, Instant now) const {
  if (epoch == kNoEpoch) return false;
  if (serving_ == kNoEpoch) return fail(Code::kMoved, "this server is not the acting primary");
  if (epoch != serving_) return stale(epoch, serving_);
  if (now >= lease_end_) return fail(Code::kMoved, "this server's lease ran out");
  return true;
}

Status EpochFence::supersede(Epoch epoch) {
  if (epoch < seen_) return stale(epoch, seen_);
  // Served here: nobody else may bring versions of it. Drained and given back: its holder is us still.
  if (epoch != kNoEpoch && (epoch == serving_ || epoch == taking_)) return stale(epoch, seen_);
  if (epoch > seen_) {
    end_serving();
    seen_ = epoch;
  }
  return {};
}

}  // namespace understudy
