// The epoch fence by tables: every state, every question.
#include "ss/core/epoch_fence.h"

#include <gtest/gtest.h>

#include <string>

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr Epoch kOld{5}, kNow{7}, kNext{9};
constexpr Instant at(int seconds) { return Instant(std::chrono::seconds(seconds)); }

std::string word(const Status& status) { return status ? "ok" : std::string(code_name(status.error().code)); }
std::string word(const Result<bool>& read) {
  return !read ? std::string(code_name(read.error().code)) : *read ? "linearizable" : "any";
}

EpochFence following() { return EpochFence(kOld, kNoEpoch); }
EpochFence taking() {
  auto fence = following();
  EXPECT_TRUE(fence.begin_serve(kNow));
  return fence;
}
EpochFence serving_without_lease() {
  auto fence = taking();
  EXPECT_TRUE(fence.served(kNow));
  return fence;
}
EpochFence serving() {
  auto fence = serving_without_lease();
  fence.grant(kNow, at(10));
  return fence;
}
EpochFence draining() {
  auto fence = serving();
  EXPECT_TRUE(fence.begin_drain(kNow));
  return fence;
}
EpochFence drained() {
  auto fence = draining();
  fence.end_drain(kNow);
  return fence;
}
EpochFence superseded() {
  auto fence = serving();
  EXPECT_TRUE(fence.supersede(kNext));
  return fence;
}

struct Case {
  const char* state;
  EpochFence (*make)();
  Epoch epoch;
  int now;
  const char* change;
  const char* acknowledge;
  const char* read;
};

TEST(EpochFence, ChangesAndReads) {
  const Case cases[] = {
      {"following", following, kOld, 1, "MOVED", "UNAVAILABLE", "MOVED"},
      {"following", following, kNoEpoch, 1, "MOVED", "UNAVAILABLE", "any"},
      {"taking", taking, kNow, 1, "MOVED", "UNAVAILABLE", "MOVED"},
      {"no lease", serving_without_lease, kNow, 1, "MOVED", "UNAVAILABLE", "MOVED"},
      {"serving", serving, kNow, 1, "ok", "ok", "linearizable"},
      {"serving", serving, kNoEpoch, 1, "STALE_EPOCH", "UNAVAILABLE", "any"},
      {"serving", serving, kOld, 1, "STALE_EPOCH", "UNAVAILABLE", "STALE_EPOCH"},
      {"serving", serving, kNext, 1, "STALE_EPOCH", "UNAVAILABLE", "STALE_EPOCH"},
      {"lease at its end", serving, kNow, 10, "MOVED", "UNAVAILABLE", "MOVED"},
      {"draining", draining, kNow, 1, "MOVED", "ok", "linearizable"},
      {"draining, lease over", draining, kNow, 11, "MOVED", "UNAVAILABLE", "MOVED"},
      {"drained", drained, kNow, 1, "MOVED", "UNAVAILABLE", "MOVED"},
      {"superseded", superseded, kNow, 1, "MOVED", "UNAVAILABLE", "MOVED"},
      {"superseded", superseded, kNoEpoch, 1, "MOVED", "UNAVAILABLE", "any"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(std::string(c.state) + " epoch " + std::to_string(number(c.epoch)) + " at " + std::to_string(c.now));
    auto fence = c.make();
    EXPECT_EQ(word(fence.check_change(c.epoch, at(c.now))), c.change);
    EXPECT_EQ(word(fence.check_acknowledge(c.epoch, at(c.now))), c.acknowledge);
    EXPECT_EQ(word(fence.check_read(c.epoch, at(c.now))), c.read);
  }
}

struct EpochCase {
  const char* state;
  EpochFence (*make)();
  Epoch epoch;
  const char* serve;
  const char* drain;
  const char* supersede;
};

TEST(EpochFence, EpochsOnlyGrow) {
  const EpochCase cases[] = {
      {"following", following, Epoch{4}, "STALE_EPOCH", "STALE_EPOCH", "STALE_EPOCH"},
      {"following", following, kOld, "STALE_EPOCH", "STALE_EPOCH", "ok"},
      {"following", following, kNow, "ok", "STALE_EPOCH", "ok"},
      {"taking", taking, kOld, "STALE_EPOCH", "STALE_EPOCH", "STALE_EPOCH"},
      {"taking", taking, kNow, "ok", "STALE_EPOCH", "STALE_EPOCH"},
      {"serving", serving, kOld, "STALE_EPOCH", "STALE_EPOCH", "STALE_EPOCH"},
      {"serving", serving, kNow, "ok", "ok", "STALE_EPOCH"},
      {"serving", serving, kNext, "ok", "STALE_EPOCH", "ok"},
      {"draining", draining, kNow, "STALE_EPOCH", "ok", "STALE_EPOCH"},
      {"draining", draining, kNext, "ok", "STALE_EPOCH", "ok"},
      {"drained", drained, kNow, "STALE_EPOCH", "ok", "ok"},
      {"drained", drained, kNext, "ok", "STALE_EPOCH", "ok"},
      {"superseded", superseded, kNow, "STALE_EPOCH", "ok", "STALE_EPOCH"},
      {"superseded", superseded, kNext, "STALE_EPOCH", "STALE_EPOCH", "ok"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(std::string(c.state) + " epoch " + std::to_string(number(c.epoch)));
    EXPECT_EQ(word(c.make().begin_serve(c.epoch)), c.serve);
    EXPECT_EQ(word(c.make().begin_drain(c.epoch)), c.drain);
    EXPECT_EQ(word(c.make().supersede(c.epoch)), c.supersede);
  }
}

TEST(EpochFence, AnEpochTakenBackWhileItIsMadeDurableIsNotServed) {
  auto fence = taking();
  ASSERT_TRUE(fence.supersede(kNext));
  EXPECT_FALSE(fence.served(kNow));
  EXPECT_EQ(fence.serving(), kNoEpoch);
}

TEST(EpochFence, ALeaseCountsForItsEpochOnlyAndNeverShrinks) {
  auto fence = serving();
  fence.grant(kOld, at(100));
  EXPECT_FALSE(fence.lease_live(at(10)));
  fence.grant(kNow, at(5));
  EXPECT_TRUE(fence.lease_live(at(9)));
  ASSERT_TRUE(fence.begin_serve(kNext));
  ASSERT_TRUE(fence.served(kNext));
  EXPECT_FALSE(fence.lease_live(at(1))) << "the lease of an epoch ends with it";
  EXPECT_EQ(fence.last_served(), kNext);
}

TEST(EpochFence, ARestartedPrimaryWaitsForANewEpoch) {
  EpochFence fence(kNow, kNow);
  fence.grant(kNow, at(10));
  EXPECT_EQ(word(fence.check_change(kNow, at(1))), "MOVED");
  EXPECT_EQ(word(fence.begin_serve(kNow)), "STALE_EPOCH");
  EXPECT_EQ(word(fence.begin_serve(kNext)), "ok");
}

}  // namespace
}  // namespace understudy
