// Small conveniences over Env that every server needs.
#pragma once

#include <string>

#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy {

// The folder that `path` stands in.
std::string folder_of(const std::string& path);

// Whether only this machine reaches that address: 127.0.0.0/8, [::1], localhost.
bool is_loopback(const Address& address);

// A small whole file (a descriptor, a configuration). `size_max` bounds it: a longer one is CORRUPT.
Task<Result<Bytes>> read_small_file(Env& env, std::string path, uint32_t size_max);

// Write-then-rename: whatever fails, `path` holds the old or the new content, whole;
// on success the new one is durable, the folder's entry included. Uses `path`.new.
// `mode`: permission bits that it has before any content is in it (0600 for secrets); 0: the system's.
Task<Status> replace_small_file(Env& env, std::string path, Bytes content, uint32_t mode = 0);

// Makes the folder and its parents if they are not there, and their names durable: else
// a power cut may take away a folder with everything that was synced in it. Parents of
// its parent that may not be opened are left to the system.
[[nodiscard]] Status make_folder_durably(Env& env, const std::string& path);

}  // namespace understudy
