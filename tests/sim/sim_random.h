// The simulator's randomness: one seed, split into streams by purpose, so that one
// more draw in one place shifts nothing anywhere else. SplitMix64 (Steele, Lea and
// Flood 2014) seeds and splits; xoshiro256** (Blackman and Vigna 2018) draws.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "common/base/checksum.h"
#include "common/base/types.h"

namespace understudy::sim {

constexpr uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

class SimRandom {
 public:
  explicit SimRandom(uint64_t seed) : seed_(seed) {
    for (uint64_t& word : state_) word = seed = mix(seed);
  }
  // A stream of its own: the same seed and purpose always give the same one.
  SimRandom split(std::string_view purpose) const { return SimRandom(checksum(purpose, seed_)); }

  uint64_t next() {
    uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }
  // 0 to bound - 1; the bias of a remainder does not matter here.
  uint64_t below(uint64_t bound) { return bound == 0 ? 0 : next() % bound; }
  bool one_in(uint64_t n) { return below(n) == 0; }
  Duration between(Duration low, Duration high) {
    return low + Duration(static_cast<int64_t>(below(static_cast<uint64_t>((high - low).count()) + 1)));
  }

 private:
  uint64_t seed_;
  uint64_t state_[4];
};

}  // namespace understudy::sim
