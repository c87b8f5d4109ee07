// Runs in processes of their own, so that a crash or an endless loop is a finding like any
// other; and the shortest script that still breaks the same rule.
#pragma once

#include <chrono>
#include <string>

#include "tests/sim/random_run.h"

namespace understudy::sim {

// play() in a child process. What ends it early is a violation: "[crash] …", "[hang] …".
RunReport play_apart(const RunScript& script, std::chrono::seconds limit = std::chrono::seconds(120));

// Steps are left out as long as the first rule that `script` broke is still broken;
// ends after `limit` at the latest.
RunScript shortest(const RunScript& script, const RunReport& broken, std::chrono::seconds limit);

// "[lost] …" is of the rule "[lost]".
std::string rule_of(const std::string& violation);

}  // namespace understudy::sim
