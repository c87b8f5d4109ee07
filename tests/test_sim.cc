// The simulator itself: what the code under test may rely on, and what it must survive.
#include <gtest/gtest.h>

#include "tests/env_conformance.h"
#include "tests/sim/sim_world.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

class SimEnvWorld final : public EnvWorld {
 public:
  Env& env(int host) override { return host == 0 ? near_.env() : far_.env(); }
  void run(Task<void> task) override { world_.await(near_, std::move(task)); }
  std::string folder() override { return "/data"; }
  Address listen_address(int host) override { return host == 0 ? "near:0" : "far:0"; }
  Address silent_address() override { return "silent:1"; }

  SimEnvWorld() {
    world_.host("near").disk.put("/data/placeholder", "");
    CHECK(near_.env().disk.remove("/data/placeholder").has_value());
    world_.power_cut(world_.host("silent"));
  }

 private:
  SimWorld world_{42};
  SimProcess& near_ = world_.start(world_.host("near"), "near");
  SimProcess& far_ = world_.start(world_.host("far"), "far");
};

std::unique_ptr<EnvWorld> make_sim_world() { return std::make_unique<SimEnvWorld>(); }

Task<void> echo_connection(std::unique_ptr<Connection> connection) {
  while (true) {
    auto reading = connection->read();
    auto bytes = co_await reading;
    if (!bytes || bytes->empty()) co_return;
    std::vector<Bytes> pieces;
    pieces.push_back(*std::move(bytes));
    auto writing = connection->write(std::move(pieces));
    auto written = co_await writing;
    if (!written) co_return;
  }
}

Task<void> echo_server(Env& env, uint16_t port) {
  auto listener = env.net.listen("0.0.0.0:" + std::to_string(port));
  CHECK(listener.has_value());
  TaskGroup connections(env.executor);
  while (true) {
    auto accepting = (*listener)->accept();
    auto connection = co_await accepting;
    if (!connection) co_return;
    connections.spawn(echo_connection(*std::move(connection)));
  }
}

SimMain echo_on(uint16_t port) {
  return [port](Env& env) { return echo_server(env, port); };
}

Task<Result<Bytes>> read_exactly(Connection* connection, size_t size) {
  Bytes all;
  while (all.size() < size) {
    auto reading = connection->read();
    auto bytes = co_await reading;
    if (!bytes) co_return std::unexpected(bytes.error());
    if (bytes->empty()) co_return fail(Code::kUnavailable, "end of stream");
    all += *bytes;
  }
  co_return all;
}

// Connects, sends, and gives back the echo.
Task<Result<Bytes>> ask(Env& env, Address address, Bytes question) {
  auto connecting = env.net.connect(address, 2s);
  auto connection = co_await connecting;
  if (!connection) co_return std::unexpected(connection.error());
  std::vector<Bytes> pieces;
  pieces.push_back(question);
  auto writing = (*connection)->write(std::move(pieces));
  co_return co_await read_exactly(connection->get(), question.size());
}

Task<Status> write_file(Env& env, std::string path, uint64_t offset, Bytes bytes, Sync sync) {
  auto file = env.disk.open(path, OpenMode::kCreate);
  if (!file) co_return std::unexpected(file.error());
  std::vector<Bytes> pieces;
  pieces.push_back(std::move(bytes));
  auto writing = (*file)->write(offset, std::move(pieces), sync);
  co_return co_await writing;
}

uint64_t busy_run(uint64_t seed) {
  SimWorld world(seed);
  world.start(world.host("ss1"), "echo", echo_on(7400));
  SimProcess& client = world.start(world.host("client"), "client");
  for (int i = 0; i < 5; ++i) {
    auto answer = world.await(client, ask(client.env(), "ss1:7400", Bytes(100'000, 'x')));
    CHECK(answer.has_value());
    CHECK(world.await(client, write_file(client.env(), "/f", i * 10, "0123456789", Sync::kYes)).has_value());
  }
  return world.trace_hash();
}

TEST(Sim, OneSeedOneTrace) {
  EXPECT_EQ(busy_run(1), busy_run(1));
  EXPECT_NE(busy_run(1), busy_run(2));
}

TEST(Sim, MuchEchoesBackWhole) {
  SimWorld world(3);
  world.start(world.host("ss1"), "echo", echo_on(7400));
  SimProcess& client = world.start(world.host("client"), "client");
  Bytes question;
  for (int i = 0; i < 200'000; ++i) question += std::to_string(i);
  auto answer = world.await(client, ask(client.env(), "ss1:7400", question));
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(*answer == question);
}

TEST(Sim, NobodyListensIsRefusedAndADeadMachineTimesOut) {
  SimWorld world(4);
  SimProcess& client = world.start(world.host("client"), "client");
  Instant before = world.now();
  world.host("ss1");
  EXPECT_EQ(world.await(client, ask(client.env(), "ss1:7400", "x")).error().code, Code::kUnavailable);
  EXPECT_LT(world.now() - before, 10ms);
  before = world.now();
  world.power_cut(world.host("ss1"));
  EXPECT_EQ(world.await(client, ask(client.env(), "ss1:7400", "x")).error().code, Code::kUnavailable);
  EXPECT_EQ(world.now() - before, 2s);
}

Task<std::unique_ptr<Connection>> dial(Env& env, Address address) {
  auto connecting = env.net.connect(address, 2s);
  auto connection = co_await connecting;
  CHECK(connection.has_value());
  co_return *std::move(connection);
}

class SimLine : public ::testing::Test {
 protected:
  SimWorld world_{7};
  SimProcess& server_ = world_.start(world_.host("ss1"), "echo", echo_on(7400));
  SimProcess& client_ = world_.start(world_.host("client"), "client");
  std::unique_ptr<Connection> line_ = world_.await(client_, dial(client_.env(), "ss1:7400"));

  void send(Bytes bytes) {
    std::vector<Bytes> pieces;
    pieces.push_back(std::move(bytes));
    (void)line_->write(std::move(pieces));
  }
  std::optional<Result<Bytes>> receive(Duration limit) {
    return world_.try_await(client_, read_exactly(line_.get(), 1), limit);
  }
};

TEST_F(SimLine, KillBreaksConnectionsAndProvesDeathOnTheSameMachineOnly) {
  SimProcess& neighbour = world_.start(world_.host("nm", "ss1"), "nm");
  auto identity = world_.identity(server_);
  world_.kill(server_);
  auto received = receive(1s);
  ASSERT_TRUE(received.has_value());
  EXPECT_FALSE(received->has_value());
  auto near = neighbour.env().processes.died(identity);
  EXPECT_TRUE(near.ready());
  auto far = client_.env().processes.died(identity);
  ASSERT_TRUE(far.ready());
  EXPECT_EQ(far.operator co_await().await_resume().error().code, Code::kUnavailable);
}

TEST_F(SimLine, PausedServerAnswersAfterItsResume) {
  world_.pause(server_);
  send("x");
  EXPECT_FALSE(receive(5s).has_value());
  // Its kernel still accepts.
  EXPECT_NE(world_.await(client_, dial(client_.env(), "ss1:7400")), nullptr);
  world_.resume(server_);
  world_.run_for(10ms);
}

TEST_F(SimLine, OneWayPartitionHoldsWhatItIsAskedToHold) {
  world_.net().partition_one_way("ss1", "client");
  send("x");
  auto reading = line_->read();
  world_.run_for(5s);
  EXPECT_EQ(world_.net().bytes_delivered(), 1u);  // The question arrived, the answer did not.
  EXPECT_FALSE(reading.ready());
  world_.net().heal_all();
  world_.run_for(1s);
  EXPECT_TRUE(reading.ready());
}

TEST_F(SimLine, ALongPartitionBreaksTheConnection) {
  world_.net().partition("ss1", "client");
  send("x");
  auto received = receive(5min);
  ASSERT_TRUE(received.has_value());
  EXPECT_FALSE(received->has_value());
}

TEST_F(SimLine, PowerCutIsSilentUntilTheMachineIsBack) {
  world_.power_cut(world_.host("ss1"));
  auto reading = line_->read();
  send("x");
  world_.run_for(5s);
  EXPECT_FALSE(reading.ready());
  world_.power_on(world_.host("ss1"));
  world_.run_for(1s);
  EXPECT_TRUE(reading.ready());
}

TEST_F(SimLine, WritersWaitForASlowReader) {
  world_.pause(server_);
  world_.run_for(1s);
  std::vector<Bytes> pieces;
  pieces.push_back(Bytes(2 << 20, 'x'));
  auto writing = line_->write(std::move(pieces));
  world_.run_for(10s);
  EXPECT_FALSE(writing.ready());
}

TEST(SimDiskTest, PowerCutKeepsSyncedAndMayLoseOrTearTheRest) {
  int lost = 0, kept = 0, torn = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SimWorld world(seed);
    SimHost& host = world.host("ss1");
    SimProcess& process = world.start(host, "p");
    Bytes old_content(4096, 'a'), new_content(4096, 'b');
    CHECK(world.await(process, write_file(process.env(), "/f", 0, old_content, Sync::kYes)).has_value());
    CHECK(process.env().disk.sync_folder("/").has_value());
    CHECK(world.await(process, write_file(process.env(), "/f", 0, new_content, Sync::kNo)).has_value());
    world.kill(process);
    EXPECT_EQ(host.disk.peek("/f"), new_content);  // kill -9 is not a power cut.
    world.power_cut(host);
    auto left = host.disk.peek("/f");
    ASSERT_TRUE(left.has_value());
    ASSERT_EQ(left->size(), 4096u);
    lost += *left == old_content;
    kept += *left == new_content;
    torn += *left != old_content && *left != new_content;
    for (size_t i = 0; i < left->size(); ++i) ASSERT_EQ((*left)[i], (*left)[i / 512 * 512]) << "a torn sector";
  }
  EXPECT_GT(lost, 20);
  EXPECT_GT(kept, 20);
  EXPECT_GT(torn, 20);
}

TEST(SimDiskTest, ANameIsDurableOnceItsFolderIsSynced) {
  int lost = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SimWorld world(seed);
    SimHost& host = world.host("ss1");
    SimProcess& process = world.start(host, "p");
    CHECK(world.await(process, write_file(process.env(), "/old", 0, "1", Sync::kYes)).has_value());
    CHECK(process.env().disk.sync_folder("/").has_value());
    CHECK(process.env().disk.rename("/old", "/new").has_value());
    world.power_cut(host);
    bool old_there = host.disk.peek("/old").has_value();
    EXPECT_NE(old_there, host.disk.peek("/new").has_value());
    lost += old_there;
  }
  EXPECT_GT(lost, 5);
  EXPECT_LT(lost, 45);
}

TEST(SimDiskTest, TheNthCallFailsAndAFailedSyncStaysFailed) {
  SimWorld world(1);
  SimHost& host = world.host("ss1");
  SimProcess& process = world.start(host, "p");
  host.disk.fail_call(DiskCall::kSync, 1);
  EXPECT_FALSE(world.await(process, write_file(process.env(), "/f", 0, "lost", Sync::kYes)).has_value());
  EXPECT_TRUE(world.await(process, write_file(process.env(), "/f", 4, "kept", Sync::kYes)).has_value());
  EXPECT_TRUE(process.env().disk.sync_folder("/").has_value());
  EXPECT_EQ(host.disk.peek("/f"), "lostkept");
  world.power_cut(host);
  EXPECT_EQ(host.disk.peek("/f"), std::string(4, '\0') + "kept");
  SimProcess& again = world.start(host, "p");
  host.disk.set_quota(10);
  EXPECT_EQ(world.await(again, write_file(again.env(), "/f", 8, "12345", Sync::kNo)).error().code, Code::kNoSpace);
}

TEST(SimDiskTest, LocksAreFreedByDeath) {
  SimWorld world(1);
  SimHost& host = world.host("ss1");
  SimProcess& first = world.start(host, "first");
  SimProcess& second = world.start(host, "second");
  auto held = first.env().disk.lock("/lock");
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(second.env().disk.lock("/lock").error().code, Code::kLocked);
  world.kill(first);
  EXPECT_TRUE(second.env().disk.lock("/lock").has_value());
}

TEST(SimClockTest, TimersFollowARateAndAJump) {
  SimWorld world(1);
  SimHost& fast = world.host("fast");
  SimProcess& process = world.start(fast, "p");
  bool fired = false;
  world.set_clock_rate(fast, 1'100'000);
  process.env().clock.schedule(process.env().clock.now() + 11s, [&] { fired = true; });
  world.run_for(9999ms);
  EXPECT_FALSE(fired);
  world.run_for(2ms);
  EXPECT_TRUE(fired);
  fired = false;
  process.env().clock.schedule(process.env().clock.now() + 1h, [&] { fired = true; });
  world.jump_clock(fast, 2h);
  world.run_for(1ms);
  EXPECT_TRUE(fired);
}

}  // namespace
}  // namespace understudy::sim

namespace understudy {
INSTANTIATE_TEST_SUITE_P(Sim, EnvConformance, testing::Values(&sim::make_sim_world));
}  // namespace understudy
