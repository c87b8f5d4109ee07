// A look into the halves of a healed cluster: every version of every file that any of
// them has, in the line of its head or set aside.
#pragma once

#include "ss/file_store.h"
#include "tests/sim/cluster.h"
#include "tests/sim/invariants.h"

namespace understudy::sim {

// One half. What cannot be read is a violation, unless it is behind `retained` newer versions: retention may have
// taken it. `store` and `violations` outlive the task.
Task<Result<FinalState::Half>> survey_half(FileStore* store, std::string server, std::string pair, bool with_contents,
                                           uint64_t retained, Violations* violations);

// All of a simulated cluster, while it runs.
FinalState survey(Cluster& cluster, const std::vector<std::string>& pairs, uint64_t retained, Violations* violations);

// The versions of `server`'s files that are in a line of a head there, now.
std::vector<std::pair<FileId, Version>> versions_on(Cluster& cluster, const std::string& server);

}  // namespace understudy::sim
