// What one client knows of the names below its own folder, which nobody else uses: the rule
// "session" of invariants.h as far as whole histories of one session tell.
#pragma once

#include "tests/sim/invariants.h"

namespace understudy::sim {

void check_own_names(const History& history, size_t session, Violations* violations);

}  // namespace understudy::sim
