// The list of a file's chunks, however long: cut into list chunks, which are chunks
// like the file's own, and lists of those, until the top is short enough to stand in
// a version's record (docs/decisions/0009-chunk-lists.md).
//
//   list chunk := "ULIST" level (1) 0 (2) entry+        entry := hash (32) size (4) span (8)
//
// Level 0 lists the file's own chunks (span 0), level n list chunks of level n - 1 (span: the
// file bytes under it). Where a list ends is decided by the hashes in it, so two lists
// that differ in one place share the list chunks elsewhere. Pure.
#pragma once

#include <vector>

#include "common/base/chunk_hash.h"
#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy {

struct ChunkRefInfo {
  ChunkHash hash;
  uint32_t size = 0;  // Of the chunk.
  uint64_t span = 0;  // Of a list chunk: the file bytes under it.
  // Of the file.
  uint64_t file_bytes() const { return span ? span : size; }
  bool operator==(const ChunkRefInfo&) const = default;
};

using ChunkRefs = std::vector<ChunkRefInfo>;

// Entries that stand in a version's record at most.
inline constexpr size_t kTopListMax = 128;
inline constexpr size_t kListSizeMin = 16;
inline constexpr size_t kListSizeMax = 256;

struct ListChunk {
  Bytes bytes;
  ChunkRefInfo ref;
};

struct BuiltList {
  uint32_t level = 0;             // Of what `top` names: 0, the file's own chunks.
  ChunkRefs top;
  std::vector<ListChunk> lists;   // In the order to store them: behind what they name.
};

// `spine[0]`: the last of the file's own chunks; `spine[n]`: the entries of level n that lead to it, of which the
// last names the list of spine[n - 1]; the last spine is the top. So `added` goes behind a list without reading the rest
// of it. A list from nothing: one empty spine.
BuiltList build_list(std::vector<ChunkRefs> spine, const ChunkRefs& added);

// CORRUPT if the bytes are no list chunk of this level.
Result<ChunkRefs> parse_list(BytesView bytes, uint32_t level);

}  // namespace understudy
