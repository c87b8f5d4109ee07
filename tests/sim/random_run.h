// A seeded run of a whole cluster: several clients write, append, read, delete and
// move, while processes are killed and paused, links cut, machines lose power. Then
// everything is healed, and what was promised is checked: what was acknowledged is
// there, what was refused is not, nothing happened twice, both halves are equal.
//
// Faults never destroy what is durable, so nothing excuses a loss.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/types.h"

namespace understudy::sim {

struct RandomRunOptions {
  Duration faulty_for = std::chrono::seconds(15);
  int clients = 4;
};

struct RandomRunReport {
  std::vector<std::string> violations;
  uint64_t acknowledged = 0;
  uint64_t refused = 0;
  uint64_t unknown = 0;
  uint64_t reads = 0;
  uint64_t faults = 0;
  uint64_t promotions = 0;
  uint64_t set_aside = 0;
  uint64_t trace_hash = 0;
  std::string to_string() const;
};

// SIM_FAULTS=1 in the environment prints every fault with its time.
RandomRunReport random_run(uint64_t seed, const RandomRunOptions& options = {});

}  // namespace understudy::sim
