#include "ss/capability_guard.h"

#include <algorithm>

namespace understudy {

void CapabilityGuard::set_keys(const Keys& keys) {
  std::vector<KeyRing::Key> ring;
  for (const auto& key : keys) ring.push_back({key.id(), key.secret()});
  ring_.set(std::move(ring));
}

// Counted from the sending: that way nothing counts for longer than it should.
void CapabilityGuard::learn_time(int64_t time_us, Instant sent) {
  if (time_us == 0 || sent < known_at_) return;
  known_time_us_ = time_us;
  known_at_ = sent;
}

int64_t CapabilityGuard::time_us(Instant now) const {
  return known_time_us_ + std::chrono::duration_cast<std::chrono::microseconds>(now - known_at_).count();
}

Result<wire::Capability> CapabilityGuard::check(BytesView capability, FileId file, Right wanted, Epoch epoch, Instant now) const {
  if (ring_.empty()) return fail(Code::kMoved, "this server has not registered yet");
  if (capability.empty()) return fail(Code::kUnauthenticated, "no capability is shown; look the file up at the name node");
  auto message = ring_.open(capability);
  wire::Capability shown;
  if (!message || !shown.ParseFromArray(message->data(), static_cast<int>(message->size()))) {
    return fail(Code::kUnauthenticated, "the capability is not of this pair, or too old; look the file up again");
  }
  if (FileId{shown.file_id()} != file) return fail(Code::kDenied, "the capability is of another file");
  if (time_us(now) >= shown.expires_us()) {
    return fail(Code::kUnauthenticated, "the capability has expired; look the file up again");
  }
  const bool of_now = epoch != kNoEpoch ? Epoch{shown.epoch()} == epoch : shown.issued_us() >= floor_us_;
  if (!of_now) return fail(Code::kUnauthenticated, "the capability is of an earlier epoch; look the file up again");
  RETURN_IF_ERROR(still_counts(file, shown.access_generation()));
  if (static_cast<Right>(shown.right()) < wanted) {
    return fail(Code::kDenied, shown.user() + " may not " + (wanted == Right::kRead ? "read" : "write") + " the file");
  }
  return shown;
}

Status CapabilityGuard::still_counts(FileId file, uint64_t generation) const {
  auto raised = raised_.find(file);
  if (raised == raised_.end() || generation >= raised->second.generation) return {};
  return fail(Code::kUnauthenticated, "access to the file has changed; look it up again");
}

void CapabilityGuard::raise(FileId file, uint64_t generation, Instant now) {
  while (!raised_order_.empty() && now - raised_order_.front().first > kRaisedKept) {
    auto [at, old] = raised_order_.front();
    raised_order_.pop_front();
    if (auto known = raised_.find(old); known != raised_.end() && known->second.at == at) raised_.erase(known);
  }
  Raised& known = raised_[file];
  known = {std::max(known.generation, generation), now};
  raised_order_.emplace_back(now, file);
}

}  // namespace understudy
