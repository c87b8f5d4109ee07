// Makes a run from a seed: a cluster, workloads and faults, composed. Each seed chooses
// some kinds of each, so that rare ones meet each other.
#pragma once

#include "tests/sim/run_script.h"

namespace understudy::sim {

struct PlanOptions {
  Duration faulty_for{};  // 0: as the seed says.
  uint32_t pairs = 0;     // 0: as the seed says.
  bool real = false;      // Only what can be done to real processes on one machine.
};

RunScript plan_run(uint64_t seed, const PlanOptions& options = {});

}  // namespace understudy::sim
