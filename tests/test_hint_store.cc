// The hint store on the simulated disk: the power goes, or a call fails, at every point
// of a story in turn, and every hint whose writing was confirmed reads back whole.
#include <gtest/gtest.h>

#include <map>

#include "nm/hint_store.h"
#include "tests/sim/sim_world.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kHints = 12;

Bytes content_of(uint64_t n) { return Bytes(100 + n * 331 % 900, static_cast<char>('a' + n % 26)); }
Bytes chunk_of(uint64_t n) { return Bytes(5000 + n, static_cast<char>('A' + n % 26)); }
Bytes hash_of(uint64_t n) { return Bytes(32, static_cast<char>(n)); }

struct Story {
  std::map<uint64_t, Lsn> confirmed;
  bool opened = false;
  bool finished = false;
  std::string refused;
  std::string wrong;
};

Task<Status> write_hint(HintStore* store, uint64_t n, Lsn* lsn) {
  wire::HintRecord record;
  record.set_target("ss1_backup");
  record.mutable_version()->set_file_id(n);
  record.mutable_version()->add_chunks()->set_hash(hash_of(n));
  wire::HintChunk chunk;
  chunk.set_file_id(n);
  chunk.set_hash(hash_of(n));
  record.add_chunk_lsns(number(store->append_chunk(n % 2 == 0, chunk, chunk_of(n))));
  *lsn = store->append_version(n % 2 == 0, std::move(record), content_of(n));
  co_return co_await store->durable(n % 2 == 0);
}

Task<void> check_hints(HintStore* store, Story* story) {
  for (const auto& [n, lsn] : story->confirmed) {
    auto hint = co_await store->version(n % 2 == 0, lsn);
    if (!hint || hint->version().file_id() != n || hint->version().inline_content() != content_of(n)) {
      story->wrong = "hint " + std::to_string(n) + ": " + (hint ? "another one" : hint.error().to_string());
      co_return;
    }
    auto chunk = co_await store->chunk(n % 2 == 0, Lsn{hint->chunk_lsns(0)}, hash_of(n));
    if (!chunk || chunk->bytes != chunk_of(n)) story->wrong = "the chunk of hint " + std::to_string(n);
  }
}

Task<void> keep_hints(Env& env, Story* story) {
  story->opened = false;
  story->refused.clear();
  auto store = co_await HintStore::open(env, "/data/hints", StoreId(32, 'a'));
  if (!store) {
    story->refused = store.error().to_string();
    co_return;
  }
  story->opened = true;
  co_await check_hints(store->get(), story);
  for (uint64_t n = 1; n <= kHints; ++n) {
    if (story->confirmed.contains(n)) continue;
    Lsn lsn{};
    Status written = co_await write_hint(store->get(), n, &lsn);
    // A full disk refuses this one only.
    if (!written && written.error().code == Code::kNoSpace) written = co_await write_hint(store->get(), n, &lsn);
    if (!written) co_return;
    story->confirmed[n] = lsn;
  }
  co_await check_hints(store->get(), story);
  story->finished = story->wrong.empty();
}

void start_keeper(SimWorld& world, SimHost& host, Story* story) {
  world.start(host, "keeper", [story](Env& env) { return keep_hints(env, story); });
  world.run_for(10s);
}

TEST(HintStore, APowerCutAtEveryPoint) {
  for (uint64_t cut = 1;; ++cut) {
    SCOPED_TRACE("cut " + std::to_string(cut));
    SimWorld world(cut);
    SimHost& host = world.host("nm");
    host.disk.put("/data/placeholder", "");
    Story story;
    host.disk.cut_power_at(cut);
    start_keeper(world, host, &story);
    if (host.powered) {
      ASSERT_GT(cut, 20u);  // The story is over: every point was there.
      ASSERT_TRUE(story.finished) << story.wrong;
      return;
    }
    world.power_on(host);
    start_keeper(world, host, &story);
    ASSERT_TRUE(story.opened) << story.refused;
    ASSERT_EQ(story.wrong, "");
    ASSERT_TRUE(story.finished);
  }
}

TEST(HintStore, EveryCallFailsOnce) {
  for (Code code : {Code::kInternal, Code::kNoSpace}) {
    for (uint64_t n = 1;; ++n) {
      SCOPED_TRACE(std::string(code_name(code)) + " at call " + std::to_string(n));
      SimWorld world(n);
      SimHost& host = world.host("nm");
      host.disk.put("/data/placeholder", "");
      Story story;
      host.disk.fail_any_call(n, code);
      start_keeper(world, host, &story);
      bool untouched = host.disk.failure_pending();
      host.disk.forget_failure();
      if (auto* process = world.find_process("keeper")) world.kill(*process);
      story.wrong.clear();  // A reading that failed told no lie.
      world.power_cut(host);
      world.power_on(host);
      start_keeper(world, host, &story);
      ASSERT_TRUE(story.opened) << story.refused;
      ASSERT_EQ(story.wrong, "");
      ASSERT_TRUE(story.finished);
      if (untouched) {
        ASSERT_GT(n, 20u);
        break;
      }
    }
  }
}

}  // namespace
}  // namespace understudy::sim
