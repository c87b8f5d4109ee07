// The checksum under every byte on disk and every frame header: XXH3, 64 bits.
// It detects damage, not malice: chunks are named by chunk_hash for that.
#pragma once

#include <cstdint>

#include "common/base/types.h"

namespace understudy {

uint64_t checksum(BytesView bytes, uint64_t seed = 0);

}  // namespace understudy
