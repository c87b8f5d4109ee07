// What a storage server lets pass: each way in which a capability may be wrong.
#include <gtest/gtest.h>

#include "ss/capability_guard.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kNow = int64_t{1'000'000} * 1'000'000;
constexpr FileId kFile{100};
constexpr Epoch kEpoch{7};

class CapabilityGuardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ring_.set({{2, "new key"}, {1, "old key"}});
    give_keys({{2, "new key"}, {1, "old key"}});
    guard_.learn_time(kNow, now_);
    capability_.set_file_id(number(kFile));
    capability_.set_right(wire::RIGHT_WRITE);
    capability_.set_user("ann");
    capability_.set_access_generation(5);
    capability_.set_epoch(number(kEpoch));
    capability_.set_issued_us(kNow);
    capability_.set_expires_us(kNow + 60'000'000);
  }
  void give_keys(std::vector<std::pair<uint32_t, std::string>> keys) {
    CapabilityGuard::Keys given;
    for (const auto& [id, secret] : keys) {
      given.Add()->set_id(id);
      given.rbegin()->set_secret(secret);
    }
    guard_.set_keys(given);
  }
  std::string check(Right wanted = Right::kWrite, Epoch epoch = kEpoch, FileId file = kFile, uint32_t key = 2) {
    auto shown = guard_.check(ring_.sign(key, capability_.SerializeAsString()), file, wanted, epoch, now_);
    return shown ? shown->user() : std::string(code_name(shown.error().code));
  }

  CapabilityGuard guard_;
  KeyRing ring_{"understudy capability", 16};
  wire::Capability capability_;
  Instant now_{1h};
};

TEST_F(CapabilityGuardTest, SaysWhoAsks) {
  EXPECT_EQ(check(), "ann");
  EXPECT_EQ(check(Right::kRead), "ann");
  EXPECT_EQ(check(Right::kRead, kNoEpoch), "ann");
  EXPECT_EQ(check(Right::kWrite, kEpoch, kFile, 1), "ann");
}

TEST_F(CapabilityGuardTest, OfAnotherFileOrLessThanIsWanted) {
  EXPECT_EQ(check(Right::kRead, kEpoch, FileId{101}), "DENIED");
  capability_.set_right(wire::RIGHT_READ);
  EXPECT_EQ(check(Right::kRead), "ann");
  EXPECT_EQ(check(Right::kWrite), "DENIED");
}

TEST_F(CapabilityGuardTest, ForgedChangedOrMissing) {
  Bytes good = ring_.sign(2, capability_.SerializeAsString());
  for (size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    EXPECT_EQ(guard_.check(bad, kFile, Right::kRead, kEpoch, now_).error().code, Code::kUnauthenticated) << i;
  }
  EXPECT_EQ(guard_.check("", kFile, Right::kRead, kEpoch, now_).error().code, Code::kUnauthenticated);
  KeyRing others("understudy capability", 16);  // Another cluster's, or another pair's.
  others.set({{2, "their key"}});
  EXPECT_EQ(guard_.check(others.sign(2, capability_.SerializeAsString()), kFile, Right::kRead, kEpoch, now_).error().code,
            Code::kUnauthenticated);
  KeyRing sessions("understudy session", 16);  // Signed by the right key, but for something else.
  sessions.set({{2, "new key"}});
  EXPECT_EQ(guard_.check(sessions.sign(2, capability_.SerializeAsString()), kFile, Right::kRead, kEpoch, now_).error().code,
            Code::kUnauthenticated);
}

TEST_F(CapabilityGuardTest, ExpiresInNameNodeTimeAlsoWhileNoneIsInReach) {
  now_ += 59s;
  EXPECT_EQ(check(), "ann");
  now_ += 1s;
  EXPECT_EQ(check(), "UNAUTHENTICATED");
  // This clock ran ahead.
  guard_.learn_time(kNow + 30'000'000, now_);
  EXPECT_EQ(check(), "ann");
  // An answer that was overtaken says nothing.
  guard_.learn_time(kNow + 300'000'000, now_ - 1s);
  EXPECT_EQ(check(), "ann");
}

TEST_F(CapabilityGuardTest, CountsUnderItsEpochOnly) {
  EXPECT_EQ(check(Right::kRead, Epoch{8}), "UNAUTHENTICATED");
  capability_.set_epoch(8);
  EXPECT_EQ(check(Right::kRead, Epoch{8}), "ann");
}

TEST_F(CapabilityGuardTest, AReadOfAnyHalfNeedsOneFromAfterTheRegistration) {
  guard_.registered(kNow + 1);
  EXPECT_EQ(check(Right::kRead, kNoEpoch), "UNAUTHENTICATED");
  EXPECT_EQ(check(Right::kRead, kEpoch), "ann");
  capability_.set_issued_us(kNow + 1);
  EXPECT_EQ(check(Right::kRead, kNoEpoch), "ann");
}

TEST_F(CapabilityGuardTest, RaisedGenerationsEndWhatIsOlder) {
  guard_.raise(kFile, 6, now_);
  EXPECT_EQ(check(Right::kRead), "UNAUTHENTICATED");
  EXPECT_EQ(check(Right::kRead, kNoEpoch), "UNAUTHENTICATED");
  EXPECT_FALSE(guard_.still_counts(kFile, 5));
  EXPECT_TRUE(guard_.still_counts(FileId{101}, 5));
  capability_.set_access_generation(6);
  EXPECT_EQ(check(), "ann");
  guard_.raise(kFile, 3, now_);  // A late repeat.
  EXPECT_FALSE(guard_.still_counts(kFile, 5));
}

TEST_F(CapabilityGuardTest, RaisedGenerationsAreForgottenWhenNothingOlderCanCome) {
  for (uint64_t i = 0; i < 1000; ++i) guard_.raise(FileId{1000 + i}, 1, now_);
  now_ += 6min;
  guard_.raise(FileId{1000}, 2, now_);
  now_ += 6min;
  guard_.raise(FileId{5000}, 1, now_);
  EXPECT_EQ(guard_.raised(), 2u);
  EXPECT_FALSE(guard_.still_counts(FileId{1000}, 1));
}

TEST_F(CapabilityGuardTest, KeysChangeWithoutAnybodyWaiting) {
  give_keys({{3, "newest"}, {2, "new key"}});
  EXPECT_EQ(guard_.newest_key(), 3u);
  EXPECT_EQ(check(), "ann");
  EXPECT_EQ(check(Right::kWrite, kEpoch, kFile, 1), "UNAUTHENTICATED");
}

TEST(CapabilityGuardNewTest, WithoutKeysNobodyIsTurnedAwayForGood) {
  EXPECT_EQ(CapabilityGuard().check("x", kFile, Right::kRead, kEpoch, Instant{}).error().code, Code::kMoved);
}

}  // namespace
}  // namespace understudy
