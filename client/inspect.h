// `understudy inspect FILE`: what a file of a data folder says, in words. Reads only;
// the server may be running.
#pragma once

#include <string>

#include "client/output.h"
#include "common/base/result.h"
#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy::client {

// `out` outlives the task. INVALID for a file that is none of ours.
Task<Status> inspect_file(Env& env, std::string path, Output* out);

}  // namespace understudy::client
