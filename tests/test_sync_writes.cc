// Sync durability at the acting primary, with a second holder that does as it is told:
// what is acknowledged, and read, and when.
#include "ss/sync_writes.h"

#include "ss/core/epoch_fence.h"
#include "tests/store_fixture.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

class ToldHolders : public SecondHolders {
 public:
  explicit ToldHolders(Executor& executor) : allowed_changed(executor) {}
  Status possible() const override {
    if (refusal.empty()) return {};
    return fail(Code::kUnavailable, refusal);
  }
  Task<Result<Answer>> hold(Epoch epoch, std::vector<wire::VersionRecord> versions) override {
    ++calls;
    while (!allowed && !std::exchange(allowed_once, false)) {
      auto changed = allowed_changed.wait();
      co_await changed;
    }
    Answer answer{.outcomes = {}, .holder = "ss1_backup", .other_half = true};
    for (const auto& version : versions) {
      wire::ApplyOutcome& outcome = answer.outcomes.emplace_back();
      Version& head = heads[version.file_id()];
      *outcome.mutable_head() = version_to_wire(head);
      if (version_from_wire(version.version()) <= head) {
        outcome.set_outcome(wire::ApplyOutcome::ALREADY);
      } else if (version_from_wire(version.parent()) != head) {
        outcome.set_outcome(wire::ApplyOutcome::NOT_ON_HEAD);
      } else {
        outcome.set_outcome(wire::ApplyOutcome::APPLIED);
        head = version_from_wire(version.version());
      }
    }
    co_return answer;
  }
  void allow(bool now) {
    allowed = now;
    allowed_changed.notify_all();
  }
  void allow_once() {
    allowed_once = true;
    allowed_changed.notify_all();
  }

  std::string refusal;
  bool allowed = true;
  bool allowed_once = false;  // The call that waits, or the next one.
  Notifier allowed_changed;
  std::map<uint64_t, Version> heads;  // What the second holder has.
  int calls = 0;
};

class SyncWritesTest : public testing::Test {
 protected:
  void SetUp() override { start(); }
  void start() {
    writes_.reset();
    ASSERT_TRUE(ss_.reopen());
    fence_ = EpochFence(kNoEpoch, kNoEpoch);
    serve(3);
  }
  void serve(uint64_t epoch) {
    Env& env = world_.find_process("store")->env();
    if (!holders_) holders_ = std::make_unique<ToldHolders>(env.executor);
    ss_.epoch = epoch;
    ASSERT_TRUE(fence_.begin_serve(Epoch{epoch}));
    if (!writes_) {
      writes_ = std::make_unique<SyncWrites>(env, &ss_.engine(), &fence_, holders_.get());
      ss_.spawn(writes_->run());
    }
    ASSERT_TRUE(writes_->resume());
    ASSERT_TRUE(fence_.served(Epoch{epoch}));
    fence_.grant(Epoch{epoch}, env.clock.now() + 1h);
    writes_->wake();
  }
  // Acts in epoch 4 then; the second holder has what it had, and does not answer.
  void restart() {
    auto heads = holders_->heads;
    ss_.kill();
    writes_.reset();
    holders_.reset();
    ASSERT_TRUE(ss_.open());
    fence_ = EpochFence(kNoEpoch, kNoEpoch);
    holders_ = std::make_unique<ToldHolders>(world_.find_process("store")->env().executor);
    holders_->heads = heads;
    holders_->allow(false);
    serve(4);
  }
  void TearDown() override {
    ss_.kill();
    writes_.reset();
  }

  Task<Result<VersionInfo>> carried(uint64_t file, Bytes content, bool sync, uint64_t request = 0) {
    Change change = ss_.change(file, request);
    change.sync = sync;
    Epoch epoch = change.epoch;
    return writes_->carry(FileId{file}, epoch, sync, ss_->put(std::move(change), std::move(content)));
  }
  // "3.1 on ss1_backup", or the error's code.
  std::string put(uint64_t file, Bytes content, bool sync, uint64_t request = 0) {
    return told(ss_.await(carried(file, std::move(content), sync, request)));
  }
  static std::string told(const Result<VersionInfo>& done) {
    if (!done) return std::string(code_name(done.error().code));
    return done->version.to_string() + (done->second_holder.empty() ? "" : " on " + done->second_holder);
  }
  struct Waiting {
    std::optional<std::string> answer;
  };
  std::shared_ptr<Waiting> begin(uint64_t file, Bytes content, bool sync) {
    auto waiting = std::make_shared<Waiting>();
    ss_.spawn(wait_for(waiting, carried(file, std::move(content), sync)));
    world_.run_for(100ms);
    return waiting;
  }
  static Task<void> wait_for(std::shared_ptr<Waiting> waiting, Task<Result<VersionInfo>> task) {
    auto done = co_await task;
    waiting->answer = told(done);
  }
  std::string readable(uint64_t file) {
    auto version = writes_->readable(FileId{file});
    return version ? version->to_string() : "newest";
  }

  sim::SimWorld world_{7};
  StoreOnHost ss_{world_, "ss1"};
  EpochFence fence_{kNoEpoch, kNoEpoch};
  std::unique_ptr<ToldHolders> holders_;
  std::unique_ptr<SyncWrites> writes_;
};

TEST_F(SyncWritesTest, IsAcknowledgedAndReadOnceASecondHolderHasIt) {
  EXPECT_EQ(put(1, "one", true), "3.1 on ss1_backup");
  EXPECT_EQ(readable(1), "newest");
  holders_->allow(false);
  auto two = begin(1, "two", true);
  EXPECT_FALSE(two->answer);
  EXPECT_EQ(ss_.get(1), "two");  // It is durable here,
  EXPECT_EQ(readable(1), "3.1");  // and not to be read.
  // What goes onto it waits with it, whoever asked for what.
  auto three = begin(1, "three", false);
  EXPECT_FALSE(three->answer);
  // Other files do not.
  EXPECT_EQ(put(2, "async", false), "3.1");
  holders_->allow(true);
  world_.run_for(1s);
  EXPECT_EQ(two->answer, "3.2 on ss1_backup");
  EXPECT_EQ(three->answer, "3.3 on ss1_backup");
  EXPECT_EQ(readable(1), "newest");
  EXPECT_EQ(writes_->waiting(), 0u);
  EXPECT_EQ(writes_->held(FileId{1}, {Epoch{3}, 3}), SyncWrites::Held::kByOtherHalf);
  EXPECT_EQ(writes_->held(FileId{2}, {Epoch{3}, 1}), SyncWrites::Held::kNo);
}

TEST_F(SyncWritesTest, WhatTheHolderLacksBeforeGoesFirst) {
  put(1, "one", false);
  put(1, "two", false);
  EXPECT_EQ(put(1, "three", true), "3.3 on ss1_backup");
  EXPECT_EQ(holders_->heads[1], (Version{Epoch{3}, 3}));
}

TEST_F(SyncWritesTest, IsRefusedBeforeItBeginsWhereNobodyCanHoldIt) {
  holders_->refusal = "nobody is there";
  EXPECT_EQ(put(1, "one", true), "STALE_EPOCH");
  EXPECT_EQ(ss_.get(1), "NOT_FOUND");
  EXPECT_EQ(put(1, "one", false), "3.1");
}

TEST_F(SyncWritesTest, ARepeatIsAnsweredOnlyWithASecondHolder) {
  EXPECT_EQ(put(1, "one", true, 5), "3.1 on ss1_backup");
  holders_->heads.clear();  // It lost its disk.
  EXPECT_EQ(put(1, "one", true, 5), "3.1 on ss1_backup");
  EXPECT_EQ(holders_->heads[1], (Version{Epoch{3}, 1}));
}

TEST_F(SyncWritesTest, AfterARestartNothingIsReadThatOneMachineHolds) {
  put(1, "one", true);
  holders_->allow(false);
  auto two = begin(1, "two", true);
  restart();
  EXPECT_EQ(ss_.get(1), "two");
  EXPECT_NE(readable(1), "newest");
  holders_->allow(true);
  world_.run_for(1s);
  EXPECT_EQ(readable(1), "newest");
  EXPECT_EQ(holders_->heads[1], (Version{Epoch{3}, 2}));
}

TEST_F(SyncWritesTest, WhatWasConfirmedIsNotAskedAgainAfterARestart) {
  world_.run_for(2s);
  for (int i = 0; i < 3; ++i) put(1, "a burst, and then nothing", true);
  world_.run_for(2s);
  restart();
  EXPECT_EQ(writes_->waiting(), 0u);
}

TEST_F(SyncWritesTest, AFileThatIsWrittenAllTheTimeSettlesToo) {
  holders_->allow(false);
  begin(1, "first", true);
  for (int i = 0; i < 5; ++i) {
    begin(1, "before the one before is confirmed", true);
    holders_->allow_once();
    world_.run_for(1s);
  }
  restart();
  EXPECT_EQ(readable(1), holders_->heads[1].to_string());
}

// As an older program left it, which kept too little of what is settled.
TEST_F(SyncWritesTest, WhatRetentionTookWasSettled) {
  ss_->set_retention({.versions = 2});
  ss_->may_trim(Lsn{UINT64_MAX}, Lsn{UINT64_MAX});
  for (int i = 0; i < 9; ++i) put(1, "gone", true);
  world_.run_for(40min);
  for (int i = 0; i < 9; ++i) put(1, "only the record is left", true);
  world_.run_for(20s);
  EXPECT_FALSE(ss_->info(FileId{1}, {Epoch{3}, 4}));
  ASSERT_TRUE(ss_.await(ss_->set_sync_settled(kNoLsn)));
  restart();
  EXPECT_EQ(readable(1), "3.16");
  holders_->allow(true);
  world_.run_for(1s);
  EXPECT_EQ(readable(1), "newest");
}

TEST_F(SyncWritesTest, AnEpochThatEndsLeavesTheOutcomeUnknown) {
  put(1, "one", true);
  holders_->allow(false);
  auto two = begin(1, "two", true);
  ASSERT_TRUE(fence_.supersede(Epoch{9}));
  writes_->epoch_ended();
  world_.run_for(100ms);
  EXPECT_EQ(two->answer, "UNAVAILABLE");
  EXPECT_EQ(writes_->waiting(), 0u);
}

}  // namespace
}  // namespace understudy
