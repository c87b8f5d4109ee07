// With --replication-path direct a file whose list of chunks stands in chunks itself goes from half to half
// like any other, without the name node relaying it.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/sim/cluster.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

Bytes noise(size_t size) {
  std::mt19937_64 random(7);
  Bytes bytes(size, '\0');
  for (size_t at = 0; at + 8 <= size; at += 8) {
    const uint64_t value = random();
    std::memcpy(bytes.data() + at, &value, 8);
  }
  return bytes;
}

std::string run(Cluster& cluster, std::string line) {
  CommandRun& command = cluster.client("alice").begin(std::move(line));
  cluster.world().run_until([&] { return command.ended(); }, 2min);
  return command.output();
}

TEST(DirectPath, AFileOfManyChunksGoesFromHalfToHalf) {
  SimWorld world(1);
  Cluster cluster(world);
  // Nothing is cut into more chunks than a version's record has room for below this.
  const Bytes big = noise(60 << 20);
  world.host("alice").disk.put("/big", big);
  cluster.start("nm", {"--replication-path", "direct"});
  SimProcess& primary = cluster.start("ss1");
  cluster.start("ss1_backup");
  world.run_for(3s);
  EXPECT_EQ(run(cluster, "PUT /big /big").substr(0, 8), "put /big");
  EXPECT_EQ(run(cluster, "WAIT").substr(0, 10), "both halve");
  auto status = cluster.status();
  ASSERT_TRUE(status && status->pairs_size() == 1);
  for (const auto& member : status->pairs(0).members()) EXPECT_EQ(member.relayed(), "") << member.server();
  world.kill(primary);
  world.run_for(10s);
  EXPECT_EQ(run(cluster, "GET /big /back").substr(0, 8), "got /big");
  auto back = world.host("alice").disk.peek("/back");
  ASSERT_TRUE(back);
  EXPECT_TRUE(*back == big);
}

}  // namespace
}  // namespace understudy::sim
