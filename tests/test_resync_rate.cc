// What a half that was away lacks comes no faster than --resync-rate says, whichever way it takes,
// and nobody else waits for it.
#include <gtest/gtest.h>

#include "tests/sim/cluster.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kFiles = 20;
constexpr uint64_t kFileBytes = 400'000;

class ResyncRate : public testing::TestWithParam<std::string> {
 protected:
  bool in_sync(bool wanted) {
    auto status = cluster_.status();
    if (!status || status->pairs_size() != 1) return false;
    bool all = true;
    for (const auto& member : status->pairs(0).members()) all = all && member.in_sync();
    return status->pairs(0).members_size() == 2 && all == wanted;
  }
  bool until_in_sync(bool wanted, Duration limit) {
    for (const Instant end = world_.now() + limit; world_.now() < end; world_.run_for(100ms)) {
      if (in_sync(wanted)) return true;
    }
    return false;
  }
  bool put(uint64_t n, uint64_t bytes) {
    auto put = cluster_.client("alice").await(
        cluster_.client("alice").session().put("/f" + std::to_string(n), Bytes(bytes, static_cast<char>('a' + n)), {}), 10s);
    return put && *put;
  }
  // When such an event of ss1_backup came last.
  std::chrono::microseconds at(const std::string& kind) {
    std::chrono::microseconds last{};
    for (const auto& event : cluster_.events()) {
      if (event.kind() == kind && event.server() == "ss1_backup") last = std::chrono::microseconds(event.time_us());
    }
    return last;
  }
  // From its return until it has everything, with a write of somebody else's meanwhile.
  std::chrono::microseconds resync(std::string rate) {
    cluster_.start("nm", {"--hints", "off", "--replication-path", GetParam(), "--resync-rate", rate});
    cluster_.start("ss1");
    SimProcess& backup = cluster_.start("ss1_backup");
    EXPECT_TRUE(until_in_sync(true, 30s));
    world_.kill(backup);
    EXPECT_TRUE(until_in_sync(false, 30s));
    for (uint64_t n = 0; n < kFiles; ++n) EXPECT_TRUE(put(n, kFileBytes));
    cluster_.start("ss1_backup");
    world_.run_for(500ms);
    const Instant began = world_.now();
    EXPECT_TRUE(put(kFiles, 10));
    EXPECT_LT(world_.now() - began, 500ms);
    EXPECT_TRUE(until_in_sync(true, 60s));
    return at("in-sync") - at("registered");
  }

  SimWorld world_{1};
  Cluster cluster_{world_};
};

TEST_P(ResyncRate, IsKept) {
  const auto took = resync("1000000");
  // The last file may be on its way when the others' time is over.
  EXPECT_GE(took, 7500ms);
  EXPECT_LE(took, 12s);
}

TEST_P(ResyncRate, WithoutOneItIsAsFastAsItCan) { EXPECT_LT(resync("0"), 3s); }

INSTANTIATE_TEST_SUITE_P(Paths, ResyncRate, testing::Values("relay", "direct"), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace understudy::sim
