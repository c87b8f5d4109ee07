// The choosers of a store's space: what retention takes of a past, which segments are
// worth packing.
#include <gtest/gtest.h>

#include "ss/core/compaction.h"
#include "ss/core/retention.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kSecondUs = 1'000'000;

// A line of `count` versions, one a second, 10 bytes each; the head was made at `count` seconds.
std::vector<PastVersion> line_of(uint64_t count) {
  std::vector<PastVersion> line;
  for (uint64_t n = count; n > 0; --n) {
    line.push_back({.version = {Epoch{1}, n}, .end = Lsn{n * 100}, .time_us = static_cast<int64_t>(n) * kSecondUs,
                    .bytes = 10, .first = n == 1});
  }
  return line;
}

// "v3 v2- ": the versions that lose their content, with - those whose record goes too.
std::string chosen(const std::vector<PastVersion>& line, const RetentionFacts& facts) {
  std::string text;
  for (const auto& step : choose_trims(line, facts).steps) {
    text += (text.empty() ? "v" : " v") + std::to_string(line[step.index].version.counter) + (step.gone ? "-" : "");
  }
  return text;
}

RetentionFacts facts_of(uint64_t versions, std::chrono::milliseconds age = 0ms) {
  return {.retention = {.versions = versions, .age = age, .deleted = 1h}, .now_us = 10 * kSecondUs, .replicated = Lsn{UINT64_MAX}};
}

TEST(Retention, TheNewestAndSoManyOlderOnesStay) {
  EXPECT_EQ(chosen(line_of(5), facts_of(2)), "v2 v1");
  EXPECT_EQ(chosen(line_of(3), facts_of(2)), "");
  EXPECT_EQ(chosen(line_of(300), facts_of(0)), "");
}

TEST(Retention, AVersionsAgeCountsFromItsReplacement) {
  // Version 7 was replaced at 8 s, two seconds ago.
  EXPECT_EQ(chosen(line_of(10), facts_of(0, 2s)), "v7 v6 v5 v4 v3 v2 v1");
  EXPECT_EQ(chosen(line_of(10), facts_of(2, 5s)), "v7 v6 v5 v4 v3 v2 v1");
  EXPECT_EQ(chosen(line_of(1), facts_of(1, 1s)), "");
}

TEST(Retention, NamedVersionsStayAndDoNotCount) {
  auto line = line_of(6);
  line[2].named = line[2].checkpoint = true;  // v4 names v3.
  line[3].named = true;
  EXPECT_EQ(chosen(line, facts_of(1)), "v2 v1");
  EXPECT_EQ(choose_trims(line, facts_of(1)).held.named, 20u);
}

TEST(Retention, WhatTheOtherHalfMayLackStaysAndTheNewestThatBothHave) {
  auto line = line_of(8);
  auto facts = facts_of(1);
  facts.replicated = Lsn{400};
  EXPECT_EQ(chosen(line, facts), "v3 v2 v1");
  EXPECT_EQ(choose_trims(line, facts).held.unreplicated, 30u);  // v6, v5, v4.
  facts.replicated = kNoLsn;
  EXPECT_EQ(chosen(line, facts), "");
}

TEST(Retention, WhatIsReadStays) {
  auto line = line_of(5);
  line[4].being_read = true;
  EXPECT_EQ(chosen(line, facts_of(2)), "v2");
  EXPECT_EQ(choose_trims(line, facts_of(2)).held.read, 10u);
}

TEST(Retention, ADeletedFileStaysForItsTimeThenGoesAltogether) {
  auto line = line_of(4);
  line[3].named = true;
  auto facts = facts_of(1);
  facts.deleted = true;
  EXPECT_EQ(chosen(line, facts), "v2");
  EXPECT_EQ(choose_trims(line, facts).held.deleted, 20u);
  facts.now_us += int64_t{3600} * kSecondUs;
  EXPECT_EQ(chosen(line, facts), "v3 v2 v1");
  facts.replicated = kNoLsn;  // Nobody needs to get what both forget.
  EXPECT_EQ(chosen(line, facts), "v3 v2 v1");
  facts.retention.deleted = -1ms;
  facts.replicated = Lsn{UINT64_MAX};
  EXPECT_EQ(chosen(line, facts), "v2");
}

TEST(Retention, TheLastContentOfADeletedFileOutlivesAgeAndCount) {
  auto facts = facts_of(1, 1s);
  facts.deleted = true;
  EXPECT_EQ(chosen(line_of(3), facts), "v1");
}

TEST(Retention, RecordsFollowWhenNobodyRepeatsTheirRequest) {
  auto line = line_of(5);
  for (auto& at : line) at.trimmed = at.version.counter < 4;
  line[3].carries_name = true;
  auto facts = facts_of(1);
  EXPECT_EQ(chosen(line, facts), "");
  facts.now_us += int64_t{16 * 60} * kSecondUs;
  EXPECT_EQ(chosen(line, facts), "v3-");  // v2 has the name, v1 is the first.
}

CompactionFacts disk_of(std::vector<SegmentFacts> segments, uint64_t free_bytes = 100 << 20) {
  return {.segments = std::move(segments), .segment_size = 64 << 20, .free_bytes = free_bytes, .total_bytes = 200 << 20};
}

SegmentFacts segment(uint64_t n, uint64_t mib, uint64_t dead_mib) {
  return {Lsn{n << 26}, Lsn{(n + 1) << 26}, mib << 20, dead_mib << 20};
}

TEST(Compaction, HalfDeadIsWorthIt) {
  EXPECT_FALSE(choose_compaction(disk_of({})));
  EXPECT_FALSE(choose_compaction(disk_of({segment(0, 64, 20), segment(1, 64, 31)})));
  EXPECT_EQ(choose_compaction(disk_of({segment(0, 64, 40), segment(1, 64, 50)})), (SegmentRun{Lsn{1 << 26}, Lsn{2 << 26}}));
}

TEST(Compaction, ANearlyFullDiskTakesWhatFits) {
  EXPECT_EQ(choose_compaction(disk_of({segment(0, 64, 10)}, 60 << 20)), std::nullopt);
  EXPECT_EQ(choose_compaction(disk_of({segment(0, 40, 30), segment(1, 64, 10)}, 20 << 20)), (SegmentRun{Lsn{0}, Lsn{1 << 26}}));
  EXPECT_EQ(choose_compaction(disk_of({segment(0, 64, 64)}, 3 << 20)), (SegmentRun{Lsn{0}, Lsn{1 << 26}}));
  EXPECT_EQ(choose_compaction(disk_of({segment(0, 64, 40)}, 20 << 20)), std::nullopt);
}

TEST(Compaction, SmallNeighboursBecomeOne) {
  EXPECT_EQ(choose_compaction(disk_of({segment(0, 10, 0), segment(1, 64, 64), segment(2, 12, 0), segment(3, 60, 0)})),
            (SegmentRun{Lsn{0}, Lsn{3 << 26}}));
  EXPECT_EQ(choose_compaction(disk_of({segment(0, 60, 0), segment(1, 5, 0), segment(2, 6, 0)})),
            (SegmentRun{Lsn{1 << 26}, Lsn{3 << 26}}));
  // Not over one between them that is not to be packed now.
  EXPECT_EQ(choose_compaction(disk_of({segment(0, 10, 0), segment(2, 64, 64), segment(4, 12, 0)})),
            (SegmentRun{Lsn{2 << 26}, Lsn{3 << 26}}));
  EXPECT_FALSE(choose_compaction(disk_of({segment(0, 5, 0), segment(2, 6, 0)})));
}

TEST(Compaction, SegmentsSuitTheDisk) {
  EXPECT_EQ(segment_size_for(1 << 20), 4u << 20);
  EXPECT_EQ(segment_size_for(uint64_t{8} << 30), 16u << 20);
  EXPECT_EQ(segment_size_for(uint64_t{1} << 40), 64u << 20);
}

}  // namespace
}  // namespace understudy
