// What the cluster was told about durability: flags of understudy-nm.
#pragma once

#include <cstdint>

#include "common/base/types.h"

namespace understudy {

struct DurabilitySettings {
  bool sync = false;    // --durability: of what is in no folder that says otherwise.
  bool direct = false;  // --replication-path: the other half fetches from the acting primary itself.
  bool hints = true;    // --hints
  Duration hint_interval = std::chrono::seconds(30);
  Duration hint_ttl = std::chrono::hours(24);
  uint64_t hint_bytes_max = uint64_t{1} << 30;
};

}  // namespace understudy
