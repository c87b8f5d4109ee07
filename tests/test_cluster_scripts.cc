// The stories of tests/scripts: a whole cluster on the simulator, a text file each.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/sim/cluster_verbs.h"

namespace understudy::sim {
namespace {

class ClusterStory : public testing::TestWithParam<std::string> {};

TEST_P(ClusterStory, Plays) { check_script(GetParam(), make_cluster_stage); }

std::string story_name(const testing::TestParamInfo<std::string>& story) {
  std::string name = std::filesystem::path(story.param).stem().string();
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Scripts, ClusterStory, testing::ValuesIn(scripts_in("tests/scripts")), story_name);

}  // namespace
}  // namespace understudy::sim
