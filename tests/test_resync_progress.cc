// What STATUS says of a resync under way.
#include <gtest/gtest.h>

#include "nm/resync.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

TEST(ResyncProgress, TheEstimateIsTheSlowerOfFilesAndBytes) {
  const Instant began = Instant(1000s);
  ResyncProgress progress{.files_total = 100, .files_left = 100, .bytes_total = 1000, .bytes_left = 1000, .began = began};
  EXPECT_FALSE(progress.time_left(began + 10s)) << "nothing moved, nothing is known";
  progress.bytes_left = 500;
  EXPECT_EQ(progress.time_left(began + 10s), Duration(10s)) << "one big file on its way counts too";
  progress.files_left = 50;
  progress.bytes_left = 900;
  EXPECT_EQ(progress.time_left(began + 10s), Duration(90s));
  progress.bytes_left = 10;
  EXPECT_EQ(progress.time_left(began + 10s), Duration(10s));
  progress.files_left = progress.bytes_left = 0;
  EXPECT_EQ(progress.time_left(began + 10s), Duration(0));
}

}  // namespace
}  // namespace understudy
