#include "nm/core/login_throttle.h"

#include <algorithm>

namespace understudy {
namespace {

std::string key_of(const std::string& user, const std::string& host) { return user + '\n' + host; }

}  // namespace

LoginThrottle::Order::iterator LoginThrottle::find(const std::string& key, Instant now) {
  while (!attempts_.empty() && now - attempts_.front().last > kForgottenAfter) {
    by_key_.erase(attempts_.front().key);
    attempts_.pop_front();
  }
  auto known = by_key_.find(key);
  return known == by_key_.end() ? attempts_.end() : known->second;
}

Duration LoginThrottle::wait(const std::string& user, const std::string& host, Instant now) {
  auto at = find(key_of(user, host), now);
  if (at == attempts_.end() || at->failures < kFreeFailures) return Duration::zero();
  Duration pause = std::min<Duration>(std::chrono::seconds(1) * (1 << std::min<uint32_t>(at->failures - kFreeFailures, 6)), kWaitMax);
  return std::max<Duration>(at->last + pause - now, Duration::zero());
}

void LoginThrottle::failed(const std::string& user, const std::string& host, Instant now) {
  std::string key = key_of(user, host);
  auto at = find(key, now);
  uint32_t failures = 1;
  if (at != attempts_.end()) {
    failures = at->failures + 1;
    attempts_.erase(at);
  } else if (attempts_.size() >= kRememberedMax) {
    by_key_.erase(attempts_.front().key);
    attempts_.pop_front();
  }
  attempts_.push_back({key, failures, now});
  by_key_[key] = std::prev(attempts_.end());
}

void LoginThrottle::succeeded(const std::string& user, const std::string& host) {
  auto known = by_key_.find(key_of(user, host));
  if (known == by_key_.end()) return;
  attempts_.erase(known->second);
  by_key_.erase(known);
}

}  // namespace understudy
