// The 256-bit name of a chunk within its file: SHA-256 of its bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "common/base/chunk_cutter.h"
#include "common/base/types.h"

namespace understudy {

struct ChunkHash {
  std::array<uint8_t, 32> bytes{};
  auto operator<=>(const ChunkHash&) const = default;
  BytesView view() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  std::string to_hex() const;
};

ChunkHash chunk_hash(BytesView bytes);

// False if `bytes` is not 32 bytes long.
[[nodiscard]] bool parse_chunk_hash(BytesView bytes, ChunkHash& hash);


}  // namespace understudy
