#include "common/base/chunk_cutter.h"

#include <algorithm>
#include <array>
#include <bit>

namespace understudy {
namespace {

// 256 numbers without a pattern (splitmix64).
constexpr std::array<uint64_t, 256> kGear = [] {
  std::array<uint64_t, 256> gear{};
  uint64_t state = 0;
  for (uint64_t& entry : gear) {
    uint64_t mixed = state += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    entry = mixed ^ (mixed >> 31);
  }
  return gear;
}();

// The highest bits depend on the most bytes.
constexpr uint64_t mask_of(int bits) { return ~uint64_t{0} << (64 - bits); }

// The first cut in [from, to), else `to`.
size_t find_cut(const unsigned char* bytes, size_t from, size_t to, uint64_t mask, uint64_t& hash) {
  uint64_t rolling = hash;
  for (size_t at = from; at < to; ++at) {
    rolling = (rolling << 1) + kGear[bytes[at]];
    if ((rolling & mask) == 0) {
      hash = rolling;
      return at + 1;
    }
  }
  hash = rolling;
  return to + 1;
}

}  // namespace

size_t cut_chunk(BytesView bytes, const ChunkSizes& sizes) {
  if (bytes.size() <= sizes.min) return bytes.size();
  const size_t end = std::min<size_t>(bytes.size(), sizes.max);
  const size_t wanted = std::min<size_t>(end, sizes.wanted);
  const int bits = std::bit_width(sizes.wanted) - 1;
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  uint64_t hash = 0;
  // Two bits more and two fewer: the paper's normalisation, level 2.
  size_t cut = find_cut(data, sizes.min, wanted, mask_of(bits + 2), hash);
  if (cut > wanted) cut = find_cut(data, wanted, end, mask_of(bits - 2), hash);
  return std::min(cut, end);
}

}  // namespace understudy
