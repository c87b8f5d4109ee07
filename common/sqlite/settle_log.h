// What an SQLite database's write-ahead log shows at a start may be in the page cache only, behind a sync that
// failed in an earlier life. Written in place and synced, it may be believed.
#pragma once

#include <string>

#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy {

// Before the database is opened, by whoever has its folder alone. No log: nothing to do.
Task<Status> settle_log(Env& env, std::string path);

}  // namespace understudy
