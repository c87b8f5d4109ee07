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
