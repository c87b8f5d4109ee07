// Passwords as scrypt hashes. What a hash was made by stands beside it, so that the
// cost may grow later and old hashes still count.
#pragma once

#include <string>

#include "common/base/result.h"
#include "common/base/types.h"
#include "common/wire/identity.pb.h"

namespace understudy {

// 128 * r * 2^log2_n bytes of memory, p times over.
struct PasswordCost {
  uint32_t log2_n = 15;
  uint32_t r = 8;
  uint32_t p = 3;
};

inline constexpr size_t kPasswordSizeMin = 8;
inline constexpr size_t kPasswordSizeMax = 1024;
// INVALID: too short, too long.
Status check_new_password(BytesView password);

// Burns the processor for a good part of a second: for a worker, never the loop.
wire::PasswordHash hash_password(BytesView password, BytesView salt, PasswordCost cost);
// False too for parameters out of bounds. Takes the same time for any password.
bool password_matches(const wire::PasswordHash& hash, BytesView password);

}  // namespace understudy
