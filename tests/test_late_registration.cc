// What a storage server said over a connection that it has given up comes late. The name node may not
// take it for news: a registration from before it served says that it holds no epoch and no lease.
#include <gtest/gtest.h>

#include "common/env/env_util.h"
#include "ss/storage_server.h"
#include "tests/sim/cluster.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

// A connection from ss1's machine, opened before its server's; `bytes` go out when they are there.
Task<void> speak_late(Env& env, const Bytes* hello, const Bytes* bytes) {
  auto connecting = env.net.connect("nm:7400", 1s);
  auto connection = co_await connecting;
  CHECK(connection.has_value());
  for (const Bytes* said : {hello, bytes}) {
    while (said->empty()) {
      auto pause = sleep_for(env, 1ms);
      co_await pause;
    }
    auto writing = (*connection)->write(std::vector<Bytes>{*said});
    static_cast<void>(co_await writing);
  }
  auto pause = sleep_for(env, 5s);
  co_await pause;
}

TEST(LateRegistration, IsNotTakenForNews) {
  SimWorld world(1);
  Cluster cluster(world);
  Bytes hello, late;
  world.net().record_streams();
  cluster.start("nm");
  world.run_for(1s);
  world.host("ss1").act_as(PeerIdentity::Role::kStorageServer, "ss1");
  world.start(world.host("ss1"), "late", [&](Env& env) { return speak_late(env, &hello, &late); });
  world.run_for(100ms);
  cluster.start("ss1");
  cluster.start("ss1_backup");
  auto in_sync = [&] {
    auto status = cluster.status();
    return status && status->pairs_size() == 1 && status->pairs(0).serving() && status->pairs(0).members_size() == 2 &&
           status->pairs(0).members(0).in_sync() && status->pairs(0).members(1).in_sync();
  };
  for (int i = 0; i < 100 && !in_sync(); ++i) world.run_for(100ms);
  ASSERT_TRUE(in_sync());
  auto put = cluster.client("alice").await(cluster.client("alice").session().put("/a", "one", {}), 10s);
  ASSERT_TRUE(put && *put);
  const uint64_t epoch = cluster.status()->pairs(0).epoch();

  auto recorded = world.net().recorded("ss1", "nm");
  ASSERT_TRUE(recorded);
  late = recorded->second;
  hello = late.substr(0, 1);  // In pieces, as it comes.
  late.erase(0, 1);
  for (int i = 0; i < 50; ++i) {
    world.run_for(20ms);
    StorageServer* ss1 = cluster.server("ss1");
    StorageServer* backup = cluster.server("ss1_backup");
    ASSERT_TRUE(ss1 && backup);
    Instant here = world.find_process("ss1")->env().clock.now(), there = world.find_process("ss1_backup")->env().clock.now();
    ASSERT_FALSE(ss1->state()->fence.lease_live(here) && backup->state()->fence.lease_live(there));
  }
  EXPECT_EQ(cluster.status()->pairs(0).epoch(), epoch);
  EXPECT_TRUE(in_sync());
}

}  // namespace
}  // namespace understudy::sim
