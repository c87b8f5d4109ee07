// compare_halves (core/compare_halves.h) for two halves that can be asked: their
// answers name a bounded number of a head's ancestors, and a half may have been away
// for more changes of a file than that.
#pragma once

#include <string>

#include "common/env/task.h"
#include "nm/core/compare_halves.h"
#include "nm/server_links.h"

namespace understudy {

Task<Result<HalvesPlan>> compare_asking(ServerLinks* links, std::string source_server, std::string target_server,
                                        FileId file, HalfView source, HalfView target);

}  // namespace understudy
