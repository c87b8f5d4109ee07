// Small conveniences over Env that every server needs.
#pragma once

#include <string>

#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy {

// A small whole file (a descriptor, a configuration). `size_max` bounds it: a longer one is CORRUPT.
Task<Result<Bytes>> read_small_file(Env& env, std::string path, uint32_t size_max);

// Write-then-rename: whatever fails, `path` holds the old or the new content, whole;
// on success the new one is durable, the folder's entry included. Uses `path`.new.
Task<Status> replace_small_file(Env& env, std::string path, Bytes content);

}  // namespace understudy
