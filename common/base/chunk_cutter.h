// Where a run of bytes is cut into chunks: by its content, so that bytes put in or taken
// out move only the cuts near them, and what lies behind is the same chunks as before.
//
// FastCDC (Xia et al., USENIX ATC 2016): a gear hash over the last 64 bytes, no look at a chunk's
// first kChunkSizeMin bytes, and a mask that is harder to meet before the wanted size than
// behind it. Pure. The cuts only save work: nothing is wrong where they differ between programs.
// The sizes are measured: docs/decisions/0012-content-defined-chunks.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/types.h"

namespace understudy {

inline constexpr uint32_t kChunkSizeMax = 1 << 20;  // A chunk is 1 byte to 1 MiB.
inline constexpr uint32_t kChunkSizeMin = 128 << 10;  // But for the last of a run, or one that was put alone.
inline constexpr uint32_t kChunkSizeWanted = 256 << 10;

struct ChunkSizes {
  uint32_t min = kChunkSizeMin;
  uint32_t wanted = kChunkSizeWanted;  // A power of two.
  uint32_t max = kChunkSizeMax;
};

// The size of the first chunk of `bytes`, which go on behind (then give at least
// `sizes.max` of them) or end there. 0 if there are none.
size_t cut_chunk(BytesView bytes, const ChunkSizes& sizes = {});

}  // namespace understudy
