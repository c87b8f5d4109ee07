// Who fails to log in waits, and very many of them take no memory without bound.
#include <gtest/gtest.h>

#include "nm/core/login_throttle.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

class LoginThrottleTest : public ::testing::Test {
 protected:
  void fail(uint32_t times, const std::string& user = "ann", const std::string& host = "h") {
    for (uint32_t i = 0; i < times; ++i) throttle_.failed(user, host, now_);
  }
  Duration wait(const std::string& user = "ann", const std::string& host = "h") { return throttle_.wait(user, host, now_); }

  LoginThrottle throttle_;
  Instant now_{1h};
};

TEST_F(LoginThrottleTest, AFewMistakesAreFree) {
  fail(LoginThrottle::kFreeFailures - 1);
  EXPECT_EQ(wait(), 0s);
  fail(1);
  EXPECT_EQ(wait(), 1s);
}

TEST_F(LoginThrottleTest, EveryFurtherOneWaitsTwiceAsLongUpToAMinute) {
  fail(LoginThrottle::kFreeFailures + 3);
  EXPECT_EQ(wait(), 8s);
  now_ += 7s;
  EXPECT_EQ(wait(), 1s);
  fail(1000);
  EXPECT_EQ(wait(), 60s);
}

TEST_F(LoginThrottleTest, OnlyThatUserFromThatHost) {
  fail(20);
  EXPECT_EQ(wait("ann", "elsewhere"), 0s);
  EXPECT_EQ(wait("ben", "h"), 0s);
}

TEST_F(LoginThrottleTest, SuccessAndTimeForget) {
  fail(20);
  throttle_.succeeded("ann", "h");
  EXPECT_EQ(wait(), 0s);
  fail(20);
  now_ += LoginThrottle::kForgottenAfter + 1s;
  EXPECT_EQ(wait(), 0s);
  EXPECT_EQ(throttle_.remembered(), 0u);
}

TEST_F(LoginThrottleTest, RemembersABoundedNumber) {
  fail(20);
  for (size_t i = 0; i < 3 * LoginThrottle::kRememberedMax; ++i) fail(1, "user" + std::to_string(i));
  EXPECT_EQ(throttle_.remembered(), LoginThrottle::kRememberedMax);
}

}  // namespace
}  // namespace understudy
