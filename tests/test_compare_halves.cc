#include "nm/core/compare_halves.h"

#include <gtest/gtest.h>

namespace understudy {
namespace {

Version V(uint64_t epoch, uint64_t counter) { return {Epoch{epoch}, counter}; }

HalfView Half(std::vector<Version> newest_first, uint64_t meta = 1) {
  HalfView half{.present = true, .meta_version = meta};
  if (!newest_first.empty()) {
    half.head = newest_first.front();
    half.ancestors.assign(newest_first.begin() + 1, newest_first.end());
  }
  return half;
}

TEST(CompareHalves, EqualNeedsNothing) {
  auto plan = compare_halves(Half({V(1, 2), V(1, 1)}), Half({V(1, 2), V(1, 1)}));
  EXPECT_FALSE(plan.job || plan.set_aside || plan.metadata);
}

TEST(CompareHalves, BehindGetsWhatItLacks) {
  auto plan = compare_halves(Half({V(2, 1), V(1, 2), V(1, 1)}), Half({V(1, 1)}));
  EXPECT_TRUE(plan.job);
  EXPECT_EQ(plan.from, V(1, 1));
  EXPECT_EQ(plan.to, V(2, 1));
  EXPECT_FALSE(plan.set_aside);
}

TEST(CompareHalves, MissingGetsEverything) {
  auto plan = compare_halves(Half({V(1, 1)}), HalfView{});
  EXPECT_TRUE(plan.job && plan.metadata);
  EXPECT_FALSE(plan.from);
}

TEST(CompareHalves, AheadIsSetAside) {
  auto plan = compare_halves(Half({V(1, 1)}), Half({V(1, 2), V(1, 1)}));
  EXPECT_TRUE(plan.set_aside);
  EXPECT_EQ(plan.keep, V(1, 1));
  EXPECT_FALSE(plan.job);
}

TEST(CompareHalves, ForkedGoesBackToTheCommonAncestor) {
  auto plan = compare_halves(Half({V(2, 1), V(1, 2), V(1, 1)}), Half({V(1, 4), V(1, 3), V(1, 2), V(1, 1)}));
  EXPECT_TRUE(plan.set_aside && plan.job);
  EXPECT_EQ(plan.keep, V(1, 2));
  EXPECT_EQ(plan.from, V(1, 2));
  EXPECT_EQ(plan.to, V(2, 1));
}

// Only the newest of each epoch is named where a line is long.
TEST(CompareHalves, LongLinesAreComparedByTheirEpochs) {
  auto behind = compare_halves(Half({V(9, 500), V(9, 499), V(4, 21)}), Half({V(4, 21), V(4, 20)}));
  EXPECT_FALSE(behind.set_aside);
  EXPECT_TRUE(behind.job);
  EXPECT_EQ(behind.from, V(4, 21));
  auto long_behind = compare_halves(Half({V(9, 500), V(4, 21)}), Half({V(4, 2), V(4, 1)}));
  EXPECT_FALSE(long_behind.set_aside);
  EXPECT_EQ(long_behind.from, V(4, 2));
  auto ahead = compare_halves(Half({V(4, 2)}), Half({V(4, 700), V(4, 699), V(3, 8)}));
  EXPECT_TRUE(ahead.set_aside);
  EXPECT_FALSE(ahead.job);
  EXPECT_EQ(ahead.keep, V(4, 2));
  auto forked = compare_halves(Half({V(9, 500), V(9, 499), V(4, 21), V(3, 5)}), Half({V(6, 3), V(6, 2), V(4, 30)}));
  EXPECT_TRUE(forked.set_aside && forked.job);
  EXPECT_EQ(forked.keep, V(4, 21));
  auto strangers = compare_halves(Half({V(9, 1)}), Half({V(6, 1)}));
  EXPECT_TRUE(strangers.set_aside && strangers.job);
  EXPECT_FALSE(strangers.keep);
}

TEST(CompareHalves, UnknownToTheSourceIsSetAsideNeverDeleted) {
  auto plan = compare_halves(HalfView{}, Half({V(1, 1)}));
  EXPECT_TRUE(plan.set_aside);
  EXPECT_FALSE(plan.keep);
  EXPECT_FALSE(plan.job);
}

TEST(CompareHalves, DeletedOnBothIsEqualWhateverTheTombstone) {
  HalfView a = Half({V(2, 1)}), b = Half({V(1, 9)});
  a.deleted = b.deleted = true;
  auto plan = compare_halves(a, b);
  EXPECT_FALSE(plan.job || plan.set_aside);
}

TEST(CompareHalves, OlderNameGetsTheName) {
  auto plan = compare_halves(Half({V(1, 1)}, 7), Half({V(1, 1)}, 5));
  EXPECT_TRUE(plan.metadata);
  EXPECT_FALSE(plan.job);
}

}  // namespace
}  // namespace understudy
