// The segment log on the simulated disk: the power goes, or a call fails, at every
// point of a story in turn, and what was acknowledged is always there.
#include <gtest/gtest.h>

#include "common/segment_log/segment_log.h"
#include "tests/sim/sim_world.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kRecords = 24;
constexpr uint64_t kAtOnce = 3;

Bytes body_of(uint64_t n) { return Bytes(n * 397 % 1500, static_cast<char>('a' + n % 26)); }

// What the test knows of the log, over all starts of its process.
struct Story {
  uint64_t begun = 0;         // Records that were ever handed to append().
  uint64_t acknowledged = 0;
  uint64_t found = 0;         // By the latest replay.
  bool opened = false;
  std::string refused;        // Why it did not open, the latest time.
  std::string wrong;
};

Status check_record(Story* story, const LogRecord& record) {
  ++story->found;
  if (record.head != std::to_string(story->found) || record.body != body_of(story->found)) {
    story->wrong = "record " + std::to_string(story->found) + " is another one: " + record.head;
  }
  return {};
}

// Opens the log, then appends up to kRecords in all, a few at once. `ahead`: the next ones while those before are synced.
Task<void> write_log(Env& env, Story* story, bool ahead) {
  story->opened = false;
  story->found = 0;
  story->refused.clear();
  if (!env.disk.make_folder("/data/log") || !env.disk.sync_folder("/data")) co_return;
  auto log = co_await SegmentLog::open(env, {.folder = "/data/log", .store_id = StoreId(32, 'a'), .segment_size = 4096,
                                             .write_ahead_min = ahead ? 1u : 1u << 20},
                                       kNoLsn, [story](LogRecord record) { return check_record(story, record); });
  if (!log) {
    story->refused = log.error().to_string();
    co_return;
  }
  story->opened = true;
  if (story->found < story->acknowledged || story->found > story->begun) {
    story->wrong = std::to_string(story->acknowledged) + " acknowledged, " + std::to_string(story->found) + " found";
  }
  // What the log gives on opening is durable from then on.
  story->acknowledged = story->begun = story->found;
  while (story->begun < kRecords && !(*log)->failure()) {
    for (uint64_t i = 0; i < kAtOnce && story->begun < kRecords; ++i) {
      uint64_t n = ++story->begun;
      (*log)->append({.type = 1, .head = std::to_string(n), .body = body_of(n)}, [story, n](const Status& status) {
        if (status) story->acknowledged = n;
      });
    }
    if (ahead && story->begun < kRecords && story->begun % 4 != 0) {
      auto pause = sleep_for(env, 5us);
      co_await pause;
      continue;
    }
    auto flushed = co_await (*log)->flush();
    if (!flushed) co_return;
  }
}

class SimSegmentLog : public testing::TestWithParam<bool> {
 protected:
  void start_writer(SimWorld& world, SimHost& host, Story* story) {
    world.start(host, "writer", [story, ahead = GetParam()](Env& env) { return write_log(env, story, ahead); });
    world.run_for(10s);
  }
  void expect_recovery(SimWorld& world, SimHost& host, Story* story);
};

// Whether the story goes to its end untouched after what happened to it.
void SimSegmentLog::expect_recovery(SimWorld& world, SimHost& host, Story* story) {
  start_writer(world, host, story);
  EXPECT_EQ(story->wrong, "");
  ASSERT_TRUE(story->opened) << story->refused;
  EXPECT_EQ(story->acknowledged, kRecords);
}

TEST_P(SimSegmentLog, APowerCutAtEveryPointAndAnotherInTheRecovery) {
  uint64_t points = 1;
  for (uint64_t cut = 1; cut <= points; ++cut) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
      SCOPED_TRACE("cut " + std::to_string(cut) + " seed " + std::to_string(seed));
      SimWorld world(seed * 1000 + cut);
      SimHost& host = world.host("ss1");
      host.disk.put("/data/placeholder", "");
      Story story;
      host.disk.cut_power_at(cut);
      start_writer(world, host, &story);
      if (host.powered) {
        ASSERT_GT(cut, 30u);  // The story is over: every point was there.
        ASSERT_EQ(story.acknowledged, kRecords);
        return;
      }
      points = cut + 1;
      if (seed % 2 == 1) {
        world.power_on(host);
        host.disk.cut_power_at(1 + seed % 20);
        start_writer(world, host, &story);
        ASSERT_EQ(story.wrong, "");
        host.disk.cut_power_at(0);
      }
      expect_recovery(world, host, &story);
    }
  }
}

TEST_P(SimSegmentLog, EveryCallFailsOnce) {
  for (Code code : {Code::kInternal, Code::kNoSpace}) {
    for (uint64_t n = 1;; ++n) {
      SCOPED_TRACE(std::string(code_name(code)) + " at call " + std::to_string(n));
      SimWorld world(n);
      SimHost& host = world.host("ss1");
      host.disk.put("/data/placeholder", "");
      Story story;
      host.disk.fail_any_call(n, code);
      start_writer(world, host, &story);
      bool untouched = host.disk.failure_pending();
      host.disk.forget_failure();
      world.kill(*world.find_process("writer"));
      // What a replay gives is durable from then on, also what a failed sync had left behind.
      world.start(host, "writer", [at = &story, ahead = GetParam()](Env& env) { return write_log(env, at, ahead); });
      world.run_until([&] { return story.opened; }, 10s);
      ASSERT_TRUE(story.opened) << story.refused;
      world.power_cut(host);
      expect_recovery(world, host, &story);
      if (testing::Test::HasFailure()) return;
      if (untouched) {
        ASSERT_GT(n, 30u);
        break;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(WrittenAhead, SimSegmentLog, testing::Bool(),
                         [](const auto& info) { return info.param ? "yes" : "no"; });

}  // namespace
}  // namespace understudy::sim
