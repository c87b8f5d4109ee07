// How long somebody who failed to log in has to wait before the next attempt. Pure.
//
// Kept by user and by the host that asks, so that one guesser does not lock a user out
// everywhere; in bounded memory: of very many the longest quiet are forgotten.
#pragma once

#include <list>
#include <string>
#include <unordered_map>

#include "common/base/types.h"

namespace understudy {

class LoginThrottle {
 public:
  // So many may be wrong in a row before anybody waits: 1 s, then twice as long each time.
  static constexpr uint32_t kFreeFailures = 5;
  static constexpr Duration kWaitMax = std::chrono::minutes(1);
  static constexpr Duration kForgottenAfter = std::chrono::minutes(15);
  static constexpr size_t kRememberedMax = 10'000;

  // Zero: now.
  Duration wait(const std::string& user, const std::string& host, Instant now);
  void failed(const std::string& user, const std::string& host, Instant now);
  void succeeded(const std::string& user, const std::string& host);
  size_t remembered() const { return attempts_.size(); }

 private:
  struct Attempts {
    std::string key;
    uint32_t failures = 0;
    Instant last{};
  };
  using Order = std::list<Attempts>;  // The longest quiet first.
  Order::iterator find(const std::string& key, Instant now);

  Order attempts_;
  std::unordered_map<std::string, Order::iterator> by_key_;  // Never iterated.
};

}  // namespace understudy
