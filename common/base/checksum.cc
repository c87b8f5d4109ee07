#include "common/base/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace understudy {

uint64_t checksum(BytesView bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace understudy
