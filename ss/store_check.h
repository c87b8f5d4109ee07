// Verifies the folder of a storage server that does not run: every record of the log and
// every chunk's hash, SQLite's own checks of the index, and the index against the log.
// Changes nothing but for what SQLite does on opening a database.
#pragma once

#include <functional>
#include <string>

#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy {

struct StoreCheck {
  uint64_t segments = 0;
  uint64_t records = 0;
  uint64_t chunks = 0;
  uint64_t versions = 0;
  uint64_t bytes = 0;
  uint64_t damages = 0;   // Each was told by `say`.
  bool index_checked = false;
};

// LOCKED: a server runs there. INVALID: no storage server's folder. Damage is told and counted.
Task<Result<StoreCheck>> check_store(Env& env, std::string folder, std::function<void(std::string)> say);

}  // namespace understudy
