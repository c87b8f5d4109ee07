// Lists of chunks in chunks, and where bytes are cut into chunks.
#include "common/base/chunk_list.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "common/base/chunk_cutter.h"
#include "tests/sim/sim_world.h"

namespace understudy {
namespace {

Bytes random_bytes(uint64_t seed, size_t size) {
  sim::SimRandom random(seed);
  Bytes bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random.next());
  return bytes;
}

ChunkRefs some_refs(size_t count, size_t first = 0) {
  ChunkRefs refs;
  for (size_t i = first; i < first + count; ++i) refs.push_back({chunk_hash(std::to_string(i)), 1000, 0});
  return refs;
}

// A place for list chunks, as a store is.
class ChunkList : public ::testing::Test {
 protected:
  BuiltList build(const ChunkRefs& all) { return keep(build_list({{}}, all)); }
  BuiltList keep(BuiltList built) {
    fresh_ = 0;
    for (const auto& list : built.lists) fresh_ += lists_.try_emplace(list.ref.hash, list.bytes).second;
    return built;
  }
  ChunkRefs walk(const ChunkRefs& entries, uint32_t level) {
    if (level == 0) return entries;
    ChunkRefs all;
    for (const auto& entry : entries) {
      auto below = parse_list(lists_.at(entry.hash), level - 1);
      EXPECT_TRUE(below);
      uint64_t span = 0;
      for (const auto& one : *below) span += one.file_bytes();
      EXPECT_EQ(span, entry.span);
      for (const auto& one : walk(*below, level - 1)) all.push_back(one);
    }
    return all;
  }
  std::vector<ChunkRefs> spine(const BuiltList& built) {
    std::vector<ChunkRefs> spine{built.top};
    for (uint32_t level = built.level; level > 0; --level) {
      spine.insert(spine.begin(), *parse_list(lists_.at(spine[0].back().hash), level - 1));
    }
    return spine;
  }
  std::map<ChunkHash, Bytes> lists_;
  size_t fresh_ = 0;
};

TEST_F(ChunkList, AnyLengthComesBackAndTheTopIsShort) {
  for (size_t count : {0, 1, 128, 129, 5000, 200'000}) {
    ChunkRefs all = some_refs(count);
    BuiltList built = build(all);
    EXPECT_LE(built.top.size(), kTopListMax);
    EXPECT_EQ(built.level, count <= 128 ? 0u : count <= 5000 ? 1u : 2u);
    EXPECT_TRUE(walk(built.top, built.level) == all) << count;
  }
}

TEST_F(ChunkList, AppendingWritesOneListALevelAndEqualsBuildingAnew) {
  ChunkRefs all = some_refs(20'000);
  BuiltList built = build(all);
  for (size_t more = 0; more < 300; ++more) {
    ChunkRefs added = some_refs(1, 20'000 + more);
    all.push_back(added[0]);
    built = keep(build_list(spine(built), added));
    EXPECT_LE(fresh_, 2 * built.level);
  }
  EXPECT_TRUE(walk(built.top, built.level) == all);
  EXPECT_TRUE(build(all).top == built.top);
}

TEST_F(ChunkList, AnInsertionInTheMiddleSharesTheRest) {
  ChunkRefs all = some_refs(20'000);
  build(all);
  all.insert(all.begin() + 7'777, {chunk_hash("new"), 5, 0});
  BuiltList built = build(all);
  EXPECT_LE(fresh_, 8u);
  EXPECT_TRUE(walk(built.top, built.level) == all);
}

TEST_F(ChunkList, NoListIsRefused) {
  Bytes good = build(some_refs(200)).lists[0].bytes;
  EXPECT_TRUE(parse_list(good, 0));
  EXPECT_FALSE(parse_list(good, 1));
  for (size_t size = 0; size < good.size(); ++size) {
    if ((size - 8) % 44 != 0 || size <= 8) EXPECT_FALSE(parse_list(BytesView(good).substr(0, size), 0)) << size;
  }
  EXPECT_FALSE(parse_list(good + Bytes(44 * 300, 'x'), 0));
}

std::set<ChunkHash> cut_all(BytesView bytes) {
  std::set<ChunkHash> hashes;
  while (!bytes.empty()) {
    size_t size = cut_chunk(bytes.substr(0, kChunkSizeMax));
    EXPECT_GT(size, 0u);
    EXPECT_LE(size, kChunkSizeMax);
    if (size < bytes.size()) EXPECT_GE(size, kChunkSizeMin);
    hashes.insert(chunk_hash(bytes.substr(0, size)));
    bytes.remove_prefix(size);
  }
  return hashes;
}

TEST(ChunkCutter, AnInsertionMovesTheCutsNearItOnly) {
  Bytes content = random_bytes(1, 16 << 20);
  auto before = cut_all(content);
  content.insert(5'000'000, "a few bytes more");
  size_t fresh = 0;
  for (const auto& hash : cut_all(content)) fresh += !before.contains(hash);
  EXPECT_LE(fresh, 2u);
  EXPECT_GE(before.size(), 30u);
}

TEST(ChunkCutter, SmallAndMonotonousRuns) {
  EXPECT_EQ(cut_chunk(""), 0u);
  EXPECT_EQ(cut_chunk("x"), 1u);
  EXPECT_EQ(cut_chunk(Bytes(kChunkSizeMin, 'x')), kChunkSizeMin);
  EXPECT_LE(cut_chunk(Bytes(3 << 20, '\0')), kChunkSizeMax);
}

}  // namespace
}  // namespace understudy
