// What a store that lost something may ask of the other half of its pair, by way of the
// name node; and whom it tells of damage.
#pragma once

#include "common/base/chunk_hash.h"
#include "common/base/result.h"
#include "common/base/types.h"
#include "common/env/task.h"
#include "common/wire/integrity.pb.h"

namespace understudy {

class Partner {
 public:
  virtual ~Partner() = default;
  // UNAVAILABLE: not in reach now. The partner's own damage comes back as CORRUPT. What
  // is returned is not verified.
  virtual Task<Result<Bytes>> chunk(FileId file, ChunkHash hash, Version version) = 0;
  virtual Task<Result<wire::VersionRecord>> version(FileId file, Version parent, Version version) = 0;
  // From the name node itself; without a kind: the name is gone.
  virtual Task<Result<wire::NameRecord>> name(FileId object) = 0;
  // For EVENTS; kept until the name node has it, while the process lives.
  virtual void report(wire::Event event) = 0;
};

}  // namespace understudy
