// What only a lost disk had. The acting primary's own jobs tell of versions that the other half
// alone had when it went; once that half is settled, or is given up, nobody waits for
// what is left of them: EVENTS (`lost`), INFO and STATUS name it.
#pragma once

#include <string>

#include "common/env/task.h"
#include "nm/proposer.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;

// `source` acts; `target` is its other half, compared and settled by now, or gone for good. All pointers outlive it.
Task<Status> settle_lost(Catalogue* catalogue, Proposer* proposer, ServerLinks* links, std::string source, std::string target,
                         bool gone);

}  // namespace understudy
