// Plays a run of the campaign on the simulator: a cluster, its clients and its faults as
// the script says; then everything is healed, must get in sync, and is held against the
// invariants. The same script always gives the same run.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/sim/run_plan.h"
#include "tests/sim/run_script.h"

namespace understudy::sim {

struct RunReport {
  std::vector<std::string> violations;
  uint64_t acknowledged = 0;
  uint64_t refused = 0;
  uint64_t unknown = 0;
  uint64_t reads = 0;
  uint64_t epochs = 0;
  uint64_t promotions = 0;
  uint64_t set_aside = 0;
  std::map<std::string, uint64_t> faults;  // By kind.
  uint64_t trace_hash = 0;
  Duration simulated{};

  uint64_t fault_count() const;
  std::string to_string() const;
};

// RUN_LOG=1 in the environment prints every step and fault with its time.
RunReport play(const RunScript& script);

}  // namespace understudy::sim
