// How long a cluster keeps the past of a file: a setting of the name node that travels
// to the storage servers with their registration. A version that a checkpoint names
// stays in any case.
#pragma once

#include <chrono>
#include <cstdint>

namespace understudy {

struct Retention {
  // Older versions of a file that stay beside the newest; 0: all.
  uint64_t versions = 100;
  // Older ones than that go although they are among those; 0: none goes for its age.
  std::chrono::milliseconds age{0};
  // So long a deleted file can come back; negative: for ever.
  std::chrono::milliseconds deleted = std::chrono::hours(7 * 24);
};

}  // namespace understudy
