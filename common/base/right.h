// What a user may do with a file or folder; each right includes those below it. The
// numbers are the wire's (enum Right in common/wire/identity.proto) and the database's.
#pragma once

#include <cstdint>

namespace understudy {

enum class Right : uint8_t { kNone = 0, kRead = 1, kWrite = 2, kOwn = 3 };

}  // namespace understudy
