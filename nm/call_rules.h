// Which calls to the name node are whose: the first half of docs/security.md's table.
// What a user may do with one file or folder is decided behind it.
#pragma once

#include <cstdint>

namespace understudy {

enum class CallRule : uint8_t {
  kAnybody,        // Also before a log-in.
  kUser,           // Logged in.
  kAdministrator,
  kServer,         // A storage server.
};

// kAdministrator for a call that nobody thought of here.
CallRule call_rule(uint16_t type);

}  // namespace understudy
