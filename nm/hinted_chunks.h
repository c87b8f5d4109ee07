// The content of a big version on its way into the hint store: of its chunks, and of the lists of them, those that
// the version before does not have. The target has that one, or a hint of it stands before this one, so with it they
// make the whole.
//
// One object for the versions of one call; a chunk that several of them name is stored once.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/chunk_list.h"
#include "common/env/task.h"
#include "common/wire/understudy.pb.h"
#include "nm/hint_store.h"
#include "nm/server_links.h"

namespace understudy {

class HintedChunks {
 public:
  // All pointers outlive it. `source` has the versions; at most `budget` bytes are stored.
  HintedChunks(HintStore* store, ServerLinks* links, std::string source, bool sync, uint64_t budget)
      : store_(store), links_(links), source_(std::move(source)), sync_(sync), budget_(budget) {}

  // Where each of version.chunks stands in the store; kNoLsn: the version before has it.
  // NO_SPACE beyond the budget.
  Task<Result<std::vector<Lsn>>> keep(wire::VersionRecord version);

  uint64_t bytes() const { return bytes_; }          // Stored so far.
  Lsn first() const { return first_; }               // Of all; the greatest number if there is none.

 private:
  struct About {
    uint64_t file_id = 0;
    wire::VersionNumber version;
    wire::VersionNumber before;
  };
  // A list of chunks of one level, and what it may share with.
  struct Lists {
    ChunkRefs refs;
    uint32_t level = 0;
    ChunkRefs before;
    uint32_t before_level = 0;
  };
  Task<Result<std::vector<Lsn>>> keep_list(About about, Lists lists);
  Task<Result<Lsn>> keep_chunk(About about, ChunkRefInfo ref, uint32_t level, ChunkRefs before, uint32_t before_level);
  Task<Result<Bytes>> fetch(About about, ChunkRefInfo ref, bool of_before);
  // What the lists name, one level down.
  Task<Result<ChunkRefs>> below(About about, ChunkRefs lists, uint32_t level);
  Task<Result<wire::VersionRecord>> record_before(wire::VersionRecord version);

  HintStore* store_;
  ServerLinks* links_;
  std::string source_;
  bool sync_;
  uint64_t budget_;
  uint64_t bytes_ = 0;
  Lsn first_{UINT64_MAX};
  std::map<ChunkHash, Lsn> stored_;
};

}  // namespace understudy
