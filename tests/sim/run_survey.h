// A look into both halves of a healed cluster: every version of every file that
// either has, in the line of its head or set aside, held against the ledger.
#pragma once

#include "tests/sim/cluster.h"
#include "tests/sim/run_ledger.h"

namespace understudy::sim {

// Violations go to the ledger.
void survey_halves(Cluster& cluster, RunLedger* ledger);

}  // namespace understudy::sim
