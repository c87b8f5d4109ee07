// Compaction of a segment log on the simulated disk: positions stay, readers are not
// disturbed, and at whatever point the power goes or a call fails, everything that
// was to stay is there.
#include <gtest/gtest.h>

#include "common/segment_log/segment_log.h"
#include "tests/co_assert.h"
#include "tests/sim/sim_world.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kRecords = 40;

Bytes body_of(uint64_t n) { return Bytes(n % 7 == 0 ? 5000 : n * 397 % 700, static_cast<char>('a' + n % 26)); }
bool dies(uint64_t n) { return n % 3 == 0; }
bool loses_body(uint64_t n) { return n % 4 == 1; }

Result<bool> stays(LogRecord& record) {
  const uint64_t n = std::stoull(record.head);
  if (loses_body(n)) record.body.clear();
  return !dies(n);
}

SegmentLogOptions options() {
  return {.folder = "/data/log", .store_id = StoreId(32, 'a'), .segment_size = 4096};
}

// What a test knows of the log, over all starts of its process.
struct Story {
  uint64_t acknowledged = 0;
  uint64_t begun = 0;
  uint64_t last_found = 0;
  bool opened = false;
  uint64_t packings = 0;
  std::string refused, wrong;
};

// Every record that does not die is there, in order, with its content or what packing left of it.
Status check_record(Story* story, const LogRecord& record) {
  const uint64_t n = std::stoull(record.head);
  for (uint64_t missing = story->last_found + 1; missing < n; ++missing) {
    if (!dies(missing)) story->wrong = "record " + std::to_string(missing) + " is missing";
  }
  if (n <= story->last_found) story->wrong = "record " + std::to_string(n) + " once more";
  if (record.body != body_of(n) && !(loses_body(n) && record.body.empty())) {
    story->wrong = "record " + std::to_string(n) + " has another body";
  }
  story->last_found = n;
  return {};
}

Task<Status> pack_all(SegmentLog* log, Story* story) {
  CO_ASSIGN_OR_RETURN(auto closed, log->closed_segments());
  if (closed.size() < 2) co_return Status{};
  // The last two by turns alone, with each other, and with all before them.
  const size_t first = story->packings % 3 == 0 ? closed.size() - 1 : story->packings % 3 == 1 ? closed.size() - 2 : 0;
  ++story->packings;
  CO_RETURN_IF_ERROR(co_await log->pack(closed[first].base, closed.back().end, {.stays = stays}));
  co_return Status{};
}

Task<void> work(Env& env, Story* story) {
  story->opened = false;
  story->last_found = 0;
  story->refused.clear();
  if (!env.disk.make_folder("/data/log") || !env.disk.sync_folder("/data")) co_return;
  auto log = co_await SegmentLog::open(env, options(), kNoLsn,
                                       [story](LogRecord record) { return check_record(story, record); });
  if (!log) {
    story->refused = log.error().to_string();
    co_return;
  }
  story->opened = true;
  for (uint64_t n = story->last_found + 1; n <= story->acknowledged; ++n) {
    if (!dies(n)) story->wrong = "record " + std::to_string(n) + " was acknowledged and is gone";
  }
  story->begun = story->acknowledged = std::max(story->last_found, story->acknowledged);
  while (story->begun < kRecords && !(*log)->failure()) {
    const uint64_t n = ++story->begun;
    (*log)->append({.type = 1, .head = std::to_string(n), .body = body_of(n), .body_checksum = {}});
    auto flushed = co_await (*log)->flush();
    if (!flushed) co_return;
    story->acknowledged = n;
    if (n % 5 == 0) (void)co_await pack_all(log->get(), story);
  }
}

void start(SimWorld& world, SimHost& host, Story* story) {
  world.start(host, "worker", [story](Env& env) { return work(env, story); });
  world.run_for(20s);
}

void expect_recovery(SimWorld& world, SimHost& host, Story* story) {
  start(world, host, story);
  EXPECT_EQ(story->wrong, "");
  ASSERT_TRUE(story->opened) << story->refused;
  EXPECT_EQ(story->acknowledged, kRecords);
}

TEST(PackedSegment, APowerCutAtEveryPoint) {
  for (uint64_t cut = 1;; ++cut) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      SCOPED_TRACE("cut " + std::to_string(cut) + " seed " + std::to_string(seed));
      SimWorld world(seed * 1000 + cut);
      SimHost& host = world.host("ss1");
      host.disk.put("/data/placeholder", "");
      Story story;
      host.disk.cut_power_at(cut);
      start(world, host, &story);
      if (host.powered) {
        ASSERT_GT(cut, 100u);  // The story is over: every point was there.
        ASSERT_EQ(story.acknowledged, kRecords);
        ASSERT_GT(story.packings, 5u);
        return;
      }
      world.power_on(host);
      host.disk.cut_power_at(seed % 2 == 1 ? 1 + seed * 7 % 20 : 0);
      start(world, host, &story);
      ASSERT_EQ(story.wrong, "");
      host.disk.cut_power_at(0);
      if (!host.powered) world.power_on(host);
      expect_recovery(world, host, &story);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(PackedSegment, EveryCallFailsOnce) {
  for (Code code : {Code::kInternal, Code::kNoSpace}) {
    for (uint64_t n = 1;; ++n) {
      SCOPED_TRACE(std::string(code_name(code)) + " at call " + std::to_string(n));
      SimWorld world(n);
      SimHost& host = world.host("ss1");
      host.disk.put("/data/placeholder", "");
      Story story;
      host.disk.fail_any_call(n, code);
      start(world, host, &story);
      const bool untouched = host.disk.failure_pending();
      host.disk.forget_failure();
      world.kill(*world.find_process("worker"));
      expect_recovery(world, host, &story);
      if (testing::Test::HasFailure()) return;
      if (untouched) {
        ASSERT_GT(n, 100u);
        break;
      }
    }
  }
}

// One log, and where its records stand.
struct Written {
  std::unique_ptr<SegmentLog> log;
  std::vector<Lsn> at;
  std::string wrong;
  bool done = false;
};

Task<void> write(Env& env, Written* written) {
  (void)env.disk.make_folder("/data/log");
  auto log = co_await SegmentLog::open(env, options(), kNoLsn, [](LogRecord) { return Status{}; });
  if (!log) co_return;
  written->log = *std::move(log);
  for (uint64_t n = 0; n < 200; ++n) {
    written->at.push_back(written->log->append({.type = 1, .head = std::to_string(n), .body = body_of(n), .body_checksum = {}}));
    auto flushed = co_await written->log->flush();
    if (!flushed) co_return;
  }
}

Task<void> read_all(Written* written, bool packed) {
  const Lsn active = (*written->log->closed_segments()).back().end;
  for (uint64_t n = 0; n < 200; ++n) {
    auto record = co_await written->log->read(written->at[n], n % 2 ? 4096 : 10);
    const bool gone = packed && dies(n) && written->at[n] < active;
    if (record.has_value() == gone) written->wrong = "record " + std::to_string(n);
    if (!record) continue;
    const Bytes body = packed && loses_body(n) && written->at[n] < active ? Bytes() : body_of(n);
    if (record->head != std::to_string(n) || record->body != body || record->lsn != written->at[n]) {
      written->wrong = "the content of record " + std::to_string(n);
    }
  }
}

// Packs all, in the middle of a scan that began before.
Task<void> scan_and_pack(Written* written) {
  auto closed = *written->log->closed_segments();
  uint64_t before = *written->log->stored_bytes();
  uint64_t seen = 0;
  Lsn in_first = closed[0].end;
  std::vector<uint64_t> found;
  auto scanned = co_await written->log->scan(kNoLsn, in_first, [&](LogRecord record) {
    found.push_back(std::stoull(record.head));
    return Status{};
  });
  if (!scanned || found.empty()) written->wrong = "no scan before";
  auto packed = co_await written->log->pack(closed[0].base, closed[2].end, {.stays = stays});
  if (!packed) written->wrong = packed.error().to_string();
  packed = co_await written->log->pack(closed[0].base, closed.back().end, {.stays = stays});
  if (!packed) written->wrong = packed.error().to_string();
  if ((*written->log->closed_segments()).size() != 1) written->wrong = "not one packed segment";
  if (*written->log->stored_bytes() >= before) written->wrong = "nothing was given back";
  auto at = co_await written->log->packed_at(written->at[0]);
  if (!at || *at != written->log->durable_end()) written->wrong = "packed_at";
  for (uint64_t from = 0; from < 200; from += 17) {
    uint64_t next = from;
    seen = 0;
    auto rest = co_await written->log->scan(written->at[from], written->log->durable_end(), [&](LogRecord record) {
      const uint64_t n = std::stoull(record.head);
      for (; next < n; ++next) {
        if (!dies(next)) written->wrong = "a scan leaves out " + std::to_string(next);
      }
      ++next;
      ++seen;
      return Status{};
    });
    if (!rest || seen == 0 || next != 200) written->wrong = "a scan from " + std::to_string(from);
  }
}

Task<void> reopen(Env& env, Written* written) {
  for (uint64_t from = 0; from < 200; from += 11) {
    written->log.reset();
    uint64_t first = UINT64_MAX;
    auto log = co_await SegmentLog::open(env, options(), written->at[from], [&](LogRecord record) {
      first = std::min<uint64_t>(first, std::stoull(record.head));
      return Status{};
    });
    if (!log || first < from || first > from + 2) {
      written->wrong = "opening from record " + std::to_string(from) + (log ? "" : log.error().to_string());
      co_return;
    }
    written->log = *std::move(log);
  }
}

// A scan that is under way when its segments are packed sees what it would have seen.
Task<void> scan_meanwhile(Written* written, uint64_t* seen) {
  auto scanned = co_await written->log->scan(kNoLsn, written->at[199], [seen](LogRecord) {
    ++*seen;
    return Status{};
  });
  if (!scanned) written->wrong = scanned.error().to_string();
}

Task<void> pack_meanwhile(Written* written, uint64_t* seen) {
  auto closed = *written->log->closed_segments();
  auto packed = co_await written->log->pack(closed[0].base, closed[1].end, {.stays = stays});
  if (!packed) written->wrong = packed.error().to_string();
  if (*seen == 199) written->wrong = "the scan was over before";
}

Task<void> write_and_look(Env& env, Written* written) {
  co_await write(env, written);
  co_await read_all(written, false);
  uint64_t seen = 0;
  {
    TaskGroup both(env.executor);
    both.spawn(scan_meanwhile(written, &seen));
    both.spawn(pack_meanwhile(written, &seen));
    co_await both.join();
  }
  if (seen < 120 || seen > 199) written->wrong = "the scan saw " + std::to_string(seen);
  co_await scan_and_pack(written);
  co_await read_all(written, true);
  co_await reopen(env, written);
  co_await read_all(written, true);
  written->done = true;
}

TEST(PackedSegment, PositionsStay) {
  SimWorld world(1);
  SimHost& host = world.host("ss1");
  host.disk.put("/data/placeholder", "");
  Written written;
  world.start(host, "worker", [&](Env& env) { return write_and_look(env, &written); });
  world.run_for(60s);
  EXPECT_EQ(written.wrong, "");
  EXPECT_TRUE(written.done);
}

TEST(PackedSegment, DamageIsSaid) {
  for (uint64_t byte : {10u, 100u, 700u, 5000u}) {
    SimWorld world(1);
    SimHost& host = world.host("ss1");
    host.disk.put("/data/placeholder", "");
    Story story;
    start(world, host, &story);
    ASSERT_EQ(story.acknowledged, kRecords);
    world.kill(*world.find_process("worker"));
    std::string path;
    for (const auto& [name, inode] : host.disk.find("/data/log")->entries) {
      if (name.ends_with(".pack") && path.empty()) path = "/data/log/" + name;
    }
    ASSERT_TRUE(host.disk.flip_bit(path, byte));
    start(world, host, &story);
    EXPECT_FALSE(story.opened);
    EXPECT_NE(story.refused.find(path), std::string::npos) << story.refused;
  }
}

TEST(PackedSegment, Names) {
  EXPECT_EQ(packed_name(Lsn{0x40}, Lsn{0x1000}), "0000000000000040-0000000000001000.pack");
  auto range = parse_packed_name("0000000000000040-0000000000001000.pack");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->base, Lsn{0x40});
  EXPECT_EQ(range->end, Lsn{0x1000});
  EXPECT_FALSE(parse_packed_name("0000000000001000-0000000000000040.pack"));
  EXPECT_FALSE(parse_packed_name("0000000000000040.log"));
  EXPECT_FALSE(parse_packed_name("000000000000004g-0000000000001000.pack"));
}

// How many records were looked at with nothing else running in between.
struct Turns {
  uint64_t in_a_row = 0, most = 0, all = 0;
  bool over = false;
};

Task<void> pack_many(Env& env, Turns* turns) {
  CO_ASSERT(env.disk.make_folder("/data/log"));
  auto log = co_await SegmentLog::open(env, {.folder = "/data/log", .store_id = StoreId(32, 'a'), .segment_size = 1 << 20}, kNoLsn,
                                       [](LogRecord) { return Status(); });
  CO_ASSERT(log);
  for (uint64_t n = 0; n < 40'000; ++n) (*log)->append({.type = 1, .head = "small", .body = {}, .body_checksum = {}});
  auto flush = (*log)->flush();
  CO_ASSERT(co_await flush);
  auto closed = (*log)->closed_segments();
  CO_ASSERT(closed && !closed->empty());
  PackOptions options;
  options.stays = [turns, clock = &env.clock](LogRecord&) {
    // Runs as soon as anything else does.
    if (turns->in_a_row == 0) clock->schedule(clock->now(), [turns] { turns->in_a_row = 0; });
    turns->most = std::max(turns->most, ++turns->in_a_row);
    return ++turns->all % 2 == 0;
  };
  auto packed = co_await (*log)->pack(closed->front().base, closed->front().end, std::move(options));
  CO_ASSERT(packed);
  turns->over = true;
}

// A server's heartbeats go out between the records, however many of them are read without waiting.
TEST(PackedSegment, PackingLetsTheOthersHaveTheirTurn) {
  SimWorld world(1);
  SimHost& host = world.host("ss1");
  Turns turns;
  world.start(host, "worker", [&turns](Env& env) { return pack_many(env, &turns); });
  world.run_for(20s);
  EXPECT_TRUE(turns.over);
  EXPECT_GT(turns.all, 10'000u);
  EXPECT_LE(turns.most, 64u);
}

}  // namespace
}  // namespace understudy::sim
