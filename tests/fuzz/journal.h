// A scene that goes on from input to input: what it was given since it was set is kept in the file FUZZ_JOURNAL, so that a
// finding can be seen again by FUZZ_REPLAY=that file. Each input stands there behind its size (4 bytes, little endian).
#pragma once

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "common/base/coding.h"
#include "common/base/types.h"

namespace understudy::fuzz {

class Journal {
 public:
  Journal() : name_(std::getenv("FUZZ_JOURNAL")) {}
  ~Journal() { begin(false); }
  void begin(bool open = true) {
    if (file_ != nullptr) std::fclose(file_);
    file_ = open && name_ != nullptr ? std::fopen(name_, "wb") : nullptr;
  }
  void add(const uint8_t* data, size_t size) {
    if (file_ == nullptr) return;
    Bytes head;
    put_fixed(head, static_cast<uint32_t>(size));
    std::fwrite(head.data(), 1, head.size(), file_);
    std::fwrite(data, 1, size, file_);
    std::fflush(file_);
  }

 private:
  const char* name_;
  std::FILE* file_ = nullptr;
};

// Runs what FUZZ_REPLAY holds, and ends the process: nothing if it is not set.
inline void replay(int (*run)(const uint8_t*, size_t)) {
  const char* name = std::getenv("FUZZ_REPLAY");
  if (name == nullptr) return;
  std::FILE* file = std::fopen(name, "rb");
  if (file == nullptr) std::exit(2);
  std::vector<uint8_t> input;
  uint8_t head[4];
  while (std::fread(head, 1, 4, file) == 4) {
    input.resize(head[0] | head[1] << 8 | head[2] << 16 | static_cast<uint32_t>(head[3]) << 24);
    if (std::fread(input.data(), 1, input.size(), file) != input.size()) break;
    run(input.data(), input.size());
  }
  std::fclose(file);
  std::exit(0);
}

}  // namespace understudy::fuzz
