// Big contents on their way in: the chunks staged so far under (file, upload id),
// in any order, until COMMIT makes a version of them or nobody asks for too long.
// Memory holds names of chunks only; the bytes stand in the log, pinned.
//
// An upload belongs to no connection: a client that lost its own goes on with it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"
#include "common/env/env.h"
#include "ss/file_store.h"

namespace understudy {

class Uploads {
 public:
  static constexpr size_t kUploadsMax = 4096;
  static constexpr uint64_t kIndexMax = 1 << 24;  // 16 TiB of full chunks.

  Uploads(Env& env, FileStore* store, Duration idle_limit);

  // Before a chunk is stored. INVALID: no such index can be; UNAVAILABLE: too many uploads at once.
  [[nodiscard]] Status check(FileId file, uint64_t upload, uint64_t index);
  // Takes over the pin of a stored chunk; one staged again replaces the first. The number staged.
  uint64_t add(FileId file, uint64_t upload, uint64_t index, ChunkRefInfo chunk);

  // An upload taken out for its commit: put back if that is refused, its chunks
  // unpinned when it goes.
  class Taken {
   public:
    Taken(Uploads* uploads, FileId file, uint64_t upload, std::map<uint64_t, ChunkRefInfo> chunks)
        : uploads_(uploads), file_(file), upload_(upload), chunks_(std::move(chunks)) {}
    Taken(Taken&& other) noexcept;
    Taken& operator=(Taken&&) = delete;
    ~Taken();
    ChunkRefs chunks() const;
    void put_back();

   private:
    Uploads* uploads_;
    FileId file_;
    uint64_t upload_;
    std::map<uint64_t, ChunkRefInfo> chunks_;
  };
  // NOT_FOUND names the first chunk that is not staged; INVALID: the sizes do not add up.
  Result<Taken> take(FileId file, uint64_t upload, uint64_t chunk_count, uint64_t size_bytes);

  // Drops those idle for too long.
  void expire(Instant now);
  size_t size() const { return uploads_.size(); }

 private:
  using Key = std::pair<FileId, uint64_t>;
  struct Upload {
    std::map<uint64_t, ChunkRefInfo> chunks;
    Instant last_used{};
  };
  void unpin(FileId file, const std::map<uint64_t, ChunkRefInfo>& chunks);

  Env& env_;
  FileStore* store_;
  Duration idle_limit_;
  std::map<Key, Upload> uploads_;
};

}  // namespace understudy
