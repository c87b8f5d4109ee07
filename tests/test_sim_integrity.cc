// Damage on a running cluster's disks: what each part finds by itself, what it makes whole, and what it
// says where it cannot. (Where damage is met at every place of a workload: test_sim_sweeps.)
#include <gtest/gtest.h>

#include "nm/catalogue_db.h"
#include "ss/storage_server.h"
#include "ss/store_check.h"
#include "tests/sim/cluster.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

class SimIntegrity : public testing::Test {
 protected:
  void start(const std::string& name) {
    if (name == "nm") {
      cluster_.start(name, {"--heartbeat-interval", "200ms", "--compare-interval", "5s", "--scrub-interval", "3s", "--retain-versions", "2",
                            "--log-segment-size", "4096"});
    } else {
      cluster_.start(name, {"--segment-size", "16384", "--checkpoint-records", "10", "--scrub-interval", "3s"});
    }
  }
  void SetUp() override {
    for (const char* name : {"nm", "ss1", "ss1_backup"}) start(name);
    in_sync();
    for (int n = 0; n < 6; ++n) {
      const std::string path = "/f" + std::to_string(n);
      EXPECT_EQ(perform("CREATE " + path), "");
      for (int version = 0; version < 4; ++version) EXPECT_EQ(perform("APPEND " + path + " " + Bytes(2000, static_cast<char>('a' + n))), "");
    }
    EXPECT_EQ(perform("WAIT"), "");
  }
  std::string perform(const std::string& line) {
    CommandRun& run = cluster_.client("alice").begin(line);
    run.end_input();
    world_.run_until([&] { return run.ended(); }, 60s);
    const bool failed = !run.ended() || run.status() != 0;
    return failed || line.starts_with("READ") || line.starts_with("EVENTS") ? run.output() : "";
  }
  bool in_sync() {
    for (int i = 0; i < 600; ++i) {
      world_.run_for(100ms);
      auto status = cluster_.status();
      if (!status || status->pairs_size() != 1 || status->pairs(0).members_size() != 2 || !status->pairs(0).serving()) continue;
      if (std::ranges::all_of(status->pairs(0).members(), [](auto& half) { return half.in_sync() && half.jobs() == 0; })) return true;
    }
    return false;
  }
  bool told(const std::string& kind, const std::string& text, Duration limit = 30s) {
    const Instant end = world_.now() + limit;
    while (world_.now() < end) {
      for (const auto& event : cluster_.events()) {
        if (event.kind() == kind && event.text().find(text) != std::string::npos) return true;
      }
      world_.run_for(500ms);
    }
    return false;
  }
  SimDisk& disk(const std::string& host) { return world_.host(host).disk; }
  // The name of the file in `folder` that ends so and is last.
  std::string last_of(const std::string& host, const std::string& folder, const std::string& ending) {
    std::string last;
    for (auto& [name, inode] : disk(host).find(folder)->entries) {
      if (name.ends_with(ending)) last = folder + "/" + name;
    }
    return last;
  }
  void check_folder(const std::string& name) {
    if (auto* running = world_.find_process(name); running->alive()) world_.kill(*running);
    auto& process = world_.start(world_.host(name), "check-" + name);
    std::string said;
    auto checked = world_.try_await(process, check_store(process.env(), "/data", [&](std::string line) { said += line + "\n"; }));
    ASSERT_TRUE(checked && *checked);
    EXPECT_EQ((*checked)->damages, 0u) << said;
    world_.kill(process);
  }

  SimWorld world_{1};
  Cluster cluster_{world_};
};

TEST_F(SimIntegrity, HalvesThatDifferAreFoundByComparing) {
  auto node = const_cast<Catalogue*>(cluster_.catalogue())->find("/f1");
  ASSERT_TRUE(node);
  // What no rule allows: one half gets a version that the name node is never told of.
  FileStore* store = cluster_.server("ss1")->state()->store;
  auto& process = *world_.find_process("ss1");
  auto history = store->info(node->id, {});
  ASSERT_TRUE(history);
  wire::FetchRequest wanted;
  auto* item = wanted.add_items();
  item->set_file_id(number(node->id));
  auto fetched = world_.await(process, store->fetch(wanted));
  ASSERT_TRUE(fetched && fetched->files(0).versions_size() > 0);
  wire::VersionRecord version = *fetched->files(0).versions().rbegin();
  *version.mutable_parent() = version.version();
  version.mutable_version()->set_counter(version.version().counter() + 1);
  version.clear_request();
  wire::ApplyRequest request;
  request.set_epoch(version.version().epoch());
  *request.add_items()->mutable_version() = version;
  auto applied = world_.await(process, store->apply(request));
  ASSERT_TRUE(applied && applied->outcomes(0).outcome() == wire::ApplyOutcome::APPLIED) << applied->ShortDebugString();
  EXPECT_TRUE(told("halves-differ", "ss1"));
  ASSERT_TRUE(in_sync());
  auto one = cluster_.digest("ss1"), other = cluster_.digest("ss1_backup");
  ASSERT_TRUE(one && other);
  EXPECT_TRUE(std::ranges::equal(one->partitions(), other->partitions()));
}

TEST_F(SimIntegrity, ARottenPageOfTheIndexMakesItAnew) {
  (void)cluster_.stop("ss1_backup");  // It leaves all of its index in the database.
  world_.run_until([&] { return cluster_.result("ss1_backup").has_value(); }, 30s);
  start("ss1_backup");
  ASSERT_TRUE(in_sync());
  ASSERT_TRUE(disk("ss1_backup").flip_bit("/data/index.db", 2 * 4096 + 1000));
  world_.run_until([&] { return cluster_.result("ss1_backup").has_value(); }, 30s);
  auto ended = cluster_.result("ss1_backup");
  ASSERT_TRUE(ended && !*ended);
  EXPECT_NE(ended->error().message.find("page 3 does not fit its checksum; the next start makes the index anew"), std::string::npos)
      << ended->error().message;
  start("ss1_backup");
  ASSERT_TRUE(in_sync());
  check_folder("ss1_backup");
}

TEST_F(SimIntegrity, AFrameOfAPackedSegmentKeepsNobodyFromStarting) {
  world_.run_for(10s);
  for (const bool table : {false, true}) {
    const std::string path = last_of("ss1_backup", "/data/segments", ".pack");
    ASSERT_NE(path, "");
    world_.kill(*world_.find_process("ss1_backup"));
    ASSERT_TRUE(disk("ss1_backup").flip_bit(path, table ? disk("ss1_backup").peek(path)->size() - 3 : 20));
    start("ss1_backup");
    ASSERT_TRUE(in_sync()) << cluster_.result("ss1_backup").has_value();
    world_.run_for(10s);
    check_folder("ss1_backup");
    start("ss1_backup");
    ASSERT_TRUE(in_sync());
  }
  // Of one that runs, and has nothing to compact.
  world_.run_for(5s);
  const std::string path = last_of("ss1_backup", "/data/segments", ".pack");
  ASSERT_TRUE(disk("ss1_backup").flip_bit(path, 20));
  EXPECT_TRUE(told("repaired", "what frames the segment"));
  check_folder("ss1_backup");
}

TEST_F(SimIntegrity, ARecordOfAPackedSegmentComesBack) {
  world_.run_for(10s);
  const std::string path = last_of("ss1_backup", "/data/segments", ".pack");
  ASSERT_NE(path, "");
  // In the middle of each record that has content, and in the small ones between.
  const Bytes before = *disk("ss1_backup").peek(path);
  for (size_t at = 120; at + 100 < before.size(); at += before.size() / 5) ASSERT_TRUE(disk("ss1_backup").flip_bit(path, at));
  world_.run_for(20s);
  check_folder("ss1_backup");
  start("ss1_backup");
  ASSERT_TRUE(in_sync());
  for (int n = 0; n < 6; ++n) EXPECT_EQ(perform("READ /f" + std::to_string(n)).size(), 8000u);
}

TEST_F(SimIntegrity, TheNameNodeMakesItsLogWhole) {
  const std::string path = last_of("nm", "/data/raft/log", ".log");
  ASSERT_TRUE(disk("nm").flip_bit(path, 200));
  EXPECT_TRUE(told("repaired", "the name node's Raft log was damaged"));
  world_.run_for(1s);
  world_.power_cut(world_.host("nm"));
  world_.run_for(1s);
  world_.power_on(world_.host("nm"));
  start("nm");
  ASSERT_TRUE(in_sync()) << (cluster_.result("nm") ? cluster_.result("nm")->error().to_string() : "");
  for (int n = 0; n < 6; ++n) EXPECT_EQ(perform("READ /f" + std::to_string(n)).size(), 8000u);
}

TEST_F(SimIntegrity, TheNameNodeStartsWithADamagedLogThatItsCatalogueHas) {
  world_.run_for(1s);  // What was applied is committed.
  world_.kill(*world_.find_process("nm"));
  ASSERT_TRUE(disk("nm").flip_bit(last_of("nm", "/data/raft/log", ".log"), 200));
  start("nm");
  ASSERT_TRUE(in_sync()) << (cluster_.result("nm") ? cluster_.result("nm")->error().to_string() : "");
  EXPECT_EQ(perform("CREATE /more"), "");
  world_.power_cut(world_.host("nm"));
  world_.run_for(1s);
  world_.power_on(world_.host("nm"));
  start("nm");
  ASSERT_TRUE(in_sync());
  for (int n = 0; n < 6; ++n) EXPECT_EQ(perform("READ /f" + std::to_string(n)).size(), 8000u);
  EXPECT_EQ(perform("READ /more"), "");
}

TEST_F(SimIntegrity, WhatTheCatalogueHasNotAndTheLogLostIsSaid) {
  world_.kill(*world_.find_process("nm"));
  ASSERT_TRUE(disk("nm").flip_bit(last_of("nm", "/data/raft/log", ".log"), 200));
  for (const char* part : {"", "-wal", "-shm"}) (void)disk("nm").remove(std::string("/data/catalogue.db") + part);
  disk("nm").put("/data/catalogue.db", "");
  start("nm");
  world_.run_for(1s);
  auto ended = cluster_.result("nm");
  ASSERT_TRUE(ended && !*ended);
  EXPECT_EQ(ended->error().code, Code::kCorrupt);
  EXPECT_NE(ended->error().message.find("--rebuild-from-servers"), std::string::npos) << ended->error().message;
}

TEST_F(SimIntegrity, ARottenPageOfTheCatalogueIsSaid) {
  world_.kill(*world_.find_process("nm"));
  start("nm");
  ASSERT_TRUE(in_sync());
  // All that is in the write-ahead log goes into the database with a snapshot.
  ASSERT_TRUE(disk("nm").flip_bit(last_of("nm", "/data/raft/log", ".log"), 200));
  ASSERT_TRUE(told("repaired", "the name node's Raft log was damaged"));
  ASSERT_GT(disk("nm").peek("/data/catalogue.db")->size(), 5u * 4096);
  ASSERT_TRUE(disk("nm").flip_bit("/data/catalogue.db", 4 * 4096 + 2000));
  EXPECT_TRUE(told("damaged", "catalogue.db: page 5 does not fit its checksum"));
}

}  // namespace
}  // namespace understudy::sim
