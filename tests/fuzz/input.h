// A fuzzer's bytes taken apart: numbers from single bytes, texts up to a zero byte.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace understudy::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  bool ended() const { return rest_.empty(); }
  // 0 at the end.
  uint8_t byte() {
    if (rest_.empty()) return 0;
    auto value = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  // Up to a zero byte, the end, or `size_max`.
  std::string text(size_t size_max) {
    size_t end = std::min(rest_.find('\0'), rest_.size());
    std::string value(rest_.substr(0, std::min(end, size_max)));
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    return value;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace understudy::fuzz
