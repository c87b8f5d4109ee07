// A source in chunks, cut where the content says (common/base/chunk_cutter.h): a worker cuts
// what was read while the next part is being read.
#pragma once

#include <memory>
#include <vector>

#include "client/transfer.h"
#include "common/env/env.h"

namespace understudy::client {

class ChunkedSource {
 public:
  // `source` outlives it.
  ChunkedSource(Env& env, Source* source) : env_(env), source_(source) {}
  // The next chunks in order, about kPart of them; none at the end.
  Task<Result<std::vector<Bytes>>> next();

 private:
  static constexpr uint32_t kPart = 4 << 20;
  Task<Result<Bytes>> read_part();

  Env& env_;
  Source* source_;
  uint64_t read_to_ = 0;
  bool began_ = false;
  bool at_end_ = false;
  Bytes uncut_;
};

}  // namespace understudy::client
