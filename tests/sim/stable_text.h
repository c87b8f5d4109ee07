// Answers that read the same under every seed: epochs are named E1, E2, ... in the
// order in which they are first seen, times and ages and ports are blanked. Commands
// of a story may name versions the same way (READ f --version E1.2).
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace understudy::sim {

class StableText {
 public:
  std::string from_cluster(std::string_view text);
  std::string to_cluster(std::string_view text) const;
  // "E2" for the epoch 57.
  std::string epoch_name(uint64_t epoch);

 private:
  std::map<uint64_t, std::string> names_;
};

}  // namespace understudy::sim
