// Big contents on their way: what an upload reads from and a download writes to.
// Both hold a window of a few chunks in memory whatever the size.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "common/base/result.h"
#include "common/base/types.h"
#include "common/env/task.h"

namespace understudy::client {

inline constexpr uint32_t kWindowChunks = 8;    // Of a download, of kChunkSizeMax each.
inline constexpr uint32_t kStagedAtOnce = 24;  // Of an upload, of any size up to that.

// What of a mode comes to a local file: nobody's upload is run with whoever fetched it as its user.
inline constexpr uint32_t kModeTaken = 0777;

struct Attributes {
  uint32_t mode = 0;        // Permission bits; 0: as before.
  int64_t modified_us = 0;  // 0: now.
};

class Source {
 public:
  virtual ~Source() = default;
  // Exactly `size` bytes, fewer only at the end. UNAVAILABLE if it cannot go back
  // that far. One read at a time.
  virtual Task<Result<Bytes>> read(uint64_t offset, uint32_t size) = 0;
};

class Sink {
 public:
  virtual ~Sink() = default;
  // In order, without gaps.
  virtual Task<Status> write(Bytes bytes) = 0;
  // All from the start again; UNAVAILABLE if what was written cannot be taken back.
  virtual Status restart() = 0;
};

using Progress = std::function<void(uint64_t done_bytes)>;

struct UploadOptions {
  Attributes attributes;
  bool append = false;
  Progress progress;
};

struct DownloadOptions {
  Version version{};              // {0,0}: the newest.
  std::optional<uint64_t> first;  // Bytes first to last, both inclusive.
  std::optional<uint64_t> last;
  std::function<void(uint64_t size_bytes)> size;  // Told before the first byte.
  Progress progress;
};

}  // namespace understudy::client
