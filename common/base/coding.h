// Fixed-width little-endian integers in byte strings: what every on-disk header
// and frame header is made of.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "common/base/types.h"

namespace understudy {

static_assert(std::endian::native == std::endian::little, "the coding assumes a little-endian machine");

template <class Integer>
void put_fixed(Bytes& out, Integer value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class Integer>
void store_fixed(char* to, Integer value) {
  std::memcpy(to, &value, sizeof value);
}

template <class Integer>
Integer load_fixed(const char* from) {
  Integer value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Takes an integer off the front of `in`; false, with `in` untouched, if it is too short.
template <class Integer>
[[nodiscard]] bool get_fixed(BytesView& in, Integer& value) {
  if (in.size() < sizeof value) return false;
  value = load_fixed<Integer>(in.data());
  in.remove_prefix(sizeof value);
  return true;
}

}  // namespace understudy
