// Times that came over the wire.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace understudy {

// At most a century either way, so that no sum or conversion of it overflows.
inline std::chrono::milliseconds bounded_ms(int64_t count) {
  constexpr std::chrono::milliseconds kMost = std::chrono::hours(24 * 36500);
  return std::clamp(std::chrono::milliseconds(count), -kMost, kMost);
}
inline std::chrono::milliseconds bounded_ms(uint64_t count) {
  return bounded_ms(static_cast<int64_t>(std::min<uint64_t>(count, INT64_MAX)));
}
inline std::chrono::milliseconds bounded_ms(uint32_t count) { return bounded_ms(static_cast<int64_t>(count)); }
inline std::chrono::milliseconds bounded_ms(int32_t count) { return bounded_ms(static_cast<int64_t>(count)); }

}  // namespace understudy
