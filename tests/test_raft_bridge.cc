// The name node's log on the simulator: what was acknowledged is there after any
// kill, power cut or full disk; indexes are real; syncs are shared; snapshots shrink it.
#include <gtest/gtest.h>

#include <map>

#include "nm/raft_bridge.h"
#include "tests/sim/sim_world.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

// A database in memory that survives its process as far as it was made durable, and
// remembers what every index was, in every life.
struct Machine {
  std::map<uint64_t, Bytes> applied;
  std::map<uint64_t, Bytes> durable;
  bool power_lost = false;
};

struct Node {
  std::unique_ptr<RaftBridge> bridge;
  std::optional<Error> fatal;
  std::optional<Error> refused;
};

RaftBridgeOptions small_options() {
  RaftBridgeOptions options{.folder = "/nm/raft", .database_id = "db1"};
  options.snapshot_entries = 1000;
  options.segment_size = 64 << 10;
  options.reserve_bytes = 0;
  return options;
}

Task<Status> sync_machine(Env& env, Machine* machine) {
  auto upto = machine->applied;
  co_await sleep_for(env, 1ms);
  machine->durable = std::move(upto);
  co_return Status{};
}

Task<void> run_node(Env& env, Machine* machine, Node* node, RaftBridgeOptions options) {
  // A new life begins with what the database has.
  machine->applied = machine->durable;
  options.applied_index = machine->applied.empty() ? 0 : machine->applied.rbegin()->first;
  RaftBridgeHooks hooks{
      .apply = [machine](uint64_t index, BytesView command) {
        EXPECT_TRUE(machine->applied.empty() || machine->applied.rbegin()->first < index);
        machine->applied[index] = command;
        return "did " + Bytes(command);
      },
      .make_durable = [&env, machine] { return sync_machine(env, machine); },
      .accepts = nullptr,
      .fatal = [node](Error error) { node->fatal = error; }};
  auto started = co_await RaftBridge::start(env, options, hooks);
  if (!started) {
    node->refused = started.error();
    co_return;
  }
  node->bridge = *std::move(started);
  // The bridge goes with this frame.
  struct Clear {
    Node* node;
    ~Clear() { node->bridge.reset(); }
  } clear{node};
  while (true) co_await sleep_for(env, 1h);
}

class RaftBridgeTest : public testing::Test {
 protected:
  void start() { start(small_options()); }
  void start(RaftBridgeOptions options) {
    node_ = {};
    process_ = &world_.start(host_, "nm", [this, options](Env& env) { return run_node(env, &machine_, &node_, options); });
    world_.run_until([this] { return node_.bridge || node_.refused || !process_->alive(); }, 10s);
  }
  void kill() { world_.kill(*process_); }
  Result<Applied> propose(Bytes command) { return world_.await(*process_, node_.bridge->propose(std::move(command))); }
  void expect_all_acknowledged_are_there() {
    for (const auto& [index, command] : acknowledged_) {
      ASSERT_TRUE(machine_.applied.contains(index)) << index;
      EXPECT_EQ(machine_.applied[index], command) << index;
    }
  }
  void propose_all(int from, int to) {
    for (int i = from; i < to; ++i) {
      auto command = "command " + std::to_string(i);
      auto applied = propose(command);
      ASSERT_TRUE(applied) << applied.error().to_string();
      EXPECT_EQ(applied->result, "did " + command);
      acknowledged_[applied->index] = command;
    }
  }

  std::map<uint64_t, Bytes> acknowledged_;
  // The world goes first, and its processes with it.
  Machine machine_;
  Node node_;
  sim::SimWorld world_{7};
  sim::SimHost& host_ = world_.host("nm");
  sim::SimProcess* process_ = nullptr;
};

TEST_F(RaftBridgeTest, IndexesAreRealAndGoOnAfterAKill) {
  start();
  ASSERT_TRUE(node_.bridge);
  EXPECT_TRUE(node_.bridge->is_leader());
  propose_all(0, 20);
  EXPECT_EQ(acknowledged_.begin()->first, 2u);  // 1 is the configuration.
  EXPECT_EQ(acknowledged_.rbegin()->first, 21u);
  EXPECT_EQ(node_.bridge->last_index(), 21u);
  kill();
  start();
  ASSERT_TRUE(node_.bridge);
  EXPECT_TRUE(node_.bridge->is_leader());
  EXPECT_EQ(node_.bridge->leader_start_index(), 21u);
  EXPECT_EQ(node_.bridge->applied_index(), 21u);
  expect_all_acknowledged_are_there();
  propose_all(20, 21);
  EXPECT_EQ(acknowledged_.rbegin()->first, 22u);
}

Task<void> propose_into(RaftBridge* bridge, Bytes command, std::map<uint64_t, Bytes>* acknowledged, int* refused) {
  auto applied = co_await bridge->propose(command);
  if (applied) {
    (*acknowledged)[applied->index] = command;
  } else {
    ++*refused;
    EXPECT_EQ(applied.error().code, Code::kNoSpace);
  }
}

TEST_F(RaftBridgeTest, ManyProposalsShareAppends) {
  start();
  int refused = 0;
  for (int i = 0; i < 500; ++i) process_->spawn(propose_into(node_.bridge.get(), std::to_string(i), &acknowledged_, &refused));
  world_.run_until([&] { return acknowledged_.size() == 500; }, 10s);
  EXPECT_EQ(acknowledged_.size(), 500u);
  EXPECT_EQ(refused, 0);
  EXPECT_LE(node_.bridge->appends(), 3u);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(acknowledged_[2 + i], std::to_string(i));
}

TEST_F(RaftBridgeTest, SnapshotsShrinkTheLogAndItGoesOn) {
  start();
  int refused = 0;
  for (int round = 0; round < 25; ++round) {
    for (int i = 0; i < 200; ++i) {
      process_->spawn(propose_into(node_.bridge.get(), Bytes(100, 'a' + round), &acknowledged_, &refused));
    }
    world_.run_for(50ms);
  }
  ASSERT_EQ(acknowledged_.size(), 5000u);
  EXPECT_GE(node_.bridge->snapshot_index(), 4001u);
  EXPECT_FALSE(host_.disk.peek("/nm/raft/log/0000000000000000.log"));
  uint64_t snapshot = node_.bridge->snapshot_index();
  world_.power_cut(host_);
  world_.power_on(host_);
  start();
  ASSERT_TRUE(node_.bridge);
  EXPECT_EQ(node_.bridge->snapshot_index(), snapshot);
  EXPECT_EQ(node_.bridge->last_index(), 5001u);
  expect_all_acknowledged_are_there();
  propose_all(0, 3);
  EXPECT_EQ(acknowledged_.rbegin()->first, 5004u);
}

TEST_F(RaftBridgeTest, ManyBytesMakeASnapshotToo) {
  auto options = small_options();
  options.snapshot_bytes = 1 << 20;
  start(options);
  int refused = 0;
  for (int i = 0; i < 40; ++i) {
    process_->spawn(propose_into(node_.bridge.get(), Bytes(100'000, 'x'), &acknowledged_, &refused));
    world_.run_for(50ms);
  }
  EXPECT_GE(node_.bridge->snapshot_index(), 20u);
}

TEST_F(RaftBridgeTest, AnotherOrOlderDatabaseIsRefused) {
  start();
  propose_all(0, 20);
  kill();
  auto lost_log = small_options();
  machine_.durable[100] = "from nowhere";
  start(lost_log);
  ASSERT_TRUE(node_.refused);
  EXPECT_EQ(node_.refused->code, Code::kCorrupt);
  machine_.durable.clear();
  start();
  int refused = 0;
  for (int i = 0; i < 1500; ++i) process_->spawn(propose_into(node_.bridge.get(), "x", &acknowledged_, &refused));
  world_.run_for(1s);
  ASSERT_GT(node_.bridge->snapshot_index(), 0u);
  kill();
  auto other = small_options();
  other.database_id = "db2";
  start(other);
  ASSERT_TRUE(node_.refused);
  EXPECT_EQ(node_.refused->code, Code::kCorrupt);
  machine_.durable.clear();  // An older copy of the database.
  start();
  ASSERT_TRUE(node_.refused);
  EXPECT_EQ(node_.refused->code, Code::kCorrupt);
}

TEST_F(RaftBridgeTest, AFullDiskRefusesAndRecovers) {
  auto options = small_options();
  options.segment_size = 8192;  // Batches reach over the ends of segments.
  start(options);
  propose_all(0, 10);
  host_.disk.set_quota(54 << 10);
  // Fills it with many at once, so that whole batches are refused; several times.
  int refused = 0;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 30; ++i) process_->spawn(propose_into(node_.bridge.get(), Bytes(1000, 'x'), &acknowledged_, &refused));
    world_.run_for(1s);
  }
  EXPECT_FALSE(node_.fatal);
  EXPECT_GT(refused, 30);
  EXPECT_TRUE(node_.bridge->is_leader());
  EXPECT_TRUE(world_.await(*process_, node_.bridge->barrier()));
  auto before = machine_.applied;
  EXPECT_EQ(propose(Bytes(100'000, 'y')).error().code, Code::kNoSpace);
  EXPECT_EQ(machine_.applied, before);
  // A crash now: what was refused is not there.
  kill();
  start(options);
  ASSERT_TRUE(node_.bridge) << node_.refused->to_string();
  EXPECT_EQ(machine_.applied, before);
  EXPECT_EQ(propose(Bytes(100'000, 'y')).error().code, Code::kNoSpace);
  host_.disk.set_quota(std::nullopt);
  world_.run_for(1s);
  propose_all(10, 30);
  kill();
  start(options);
  expect_all_acknowledged_are_there();
}

TEST_F(RaftBridgeTest, TooLittleFreeSpaceRefusesBeforehand) {
  auto options = small_options();
  options.reserve_bytes = 1 << 20;
  start(options);
  propose_all(0, 3);
  host_.disk.set_quota(64 << 10);
  world_.run_for(1s);
  uint64_t last = node_.bridge->last_index();
  host_.disk.set_quota(16 << 10);
  world_.run_for(1s);
  auto applied = propose("x");
  if (!applied) EXPECT_EQ(applied.error().code, Code::kNoSpace);
  host_.disk.set_quota(std::nullopt);
  world_.run_for(1s);
  EXPECT_TRUE(propose("x"));
  EXPECT_GE(node_.bridge->last_index(), last);
}

TEST_F(RaftBridgeTest, TheReserveIsForWhatMattersMost) {
  auto options = small_options();
  options.reserve_bytes = 64 << 10;
  start(options);
  host_.disk.put("/filler", Bytes(1 << 20, 'x'));
  auto takes = [&](uint64_t free_bytes, Reserve reserve) {
    host_.disk.set_quota(1 << 30);
    uint64_t used = (1 << 30) - host_.disk.space().free_bytes;
    host_.disk.set_quota(used + free_bytes);
    world_.run_for(1s);
    auto applied = world_.await(*process_, node_.bridge->propose("x", reserve));
    if (!applied) EXPECT_EQ(applied.error().code, Code::kNoSpace);
    return applied.has_value();
  };
  EXPECT_TRUE(takes(80 << 10, Reserve::kKept));
  EXPECT_FALSE(takes(48 << 10, Reserve::kKept));
  EXPECT_TRUE(takes(48 << 10, Reserve::kHalf));
  EXPECT_FALSE(takes(24 << 10, Reserve::kHalf));
  EXPECT_TRUE(takes(24 << 10, Reserve::kAll));
}

TEST_F(RaftBridgeTest, AFailingDiskIsFatalAndNothingIsAcknowledged) {
  start();
  propose_all(0, 3);
  host_.disk.fail_call(sim::DiskCall::kSync, 1);
  auto applied = propose("x");
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Code::kUnavailable);
  EXPECT_TRUE(node_.fatal);
  EXPECT_FALSE(node_.bridge->is_leader());
  EXPECT_FALSE(propose("y"));
}

// The power fails at every point where the disk could have been cut, each time in a world of its own.
TEST(RaftBridgePowerCut, AtEveryWriteNothingAcknowledgedIsLost) {
  for (uint64_t point = 1; point < 150; ++point) {
    SCOPED_TRACE("power cut at disk call " + std::to_string(point));
    Machine machine;
    Node node;
    std::map<uint64_t, Bytes> acknowledged;
    sim::SimWorld world(point);
    auto& host = world.host("nm");
    auto options = small_options();
    options.snapshot_entries = 20;
    options.segment_size = 4096;
    host.disk.cut_power_at(point);
    for (int life = 0; life < 2; ++life) {
      if (life == 1) world.power_on(host);
      node = {};
      auto& process = world.start(host, "nm", [&](Env& env) { return run_node(env, &machine, &node, options); });
      world.run_until([&] { return node.bridge || node.refused || !process.alive(); }, 10s);
      if (life == 1) {
        ASSERT_TRUE(node.bridge) << node.refused->to_string();
        for (const auto& [index, command] : acknowledged) ASSERT_EQ(machine.applied[index], command) << index;
      }
      int refused = 0;
      for (int i = 0; node.bridge && i < 40; ++i) {
        process.spawn(propose_into(node.bridge.get(), std::to_string(life * 1000 + i), &acknowledged, &refused));
        if (i % 3 == 0) world.run_for(2ms);
      }
      if (process.alive()) world.run_for(100ms);
      if (life == 0 && process.alive()) world.power_cut(host);
    }
    ASSERT_GE(acknowledged.size(), 40u);
  }
}

}  // namespace
}  // namespace understudy
