// A version as it stands in the log, in memory: immutable, shared by whoever reads
// it, and a cache of the recently used ones.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "common/base/chunk_hash.h"
#include "common/base/result.h"
#include "common/base/types.h"
#include "common/segment_log/log_format.h"
#include "ss/records.h"

namespace understudy {

struct StoredVersion {
  Lsn lsn{};
  Lsn end{};
  wire::LocalVersion local;
  Bytes inline_content;

  const wire::VersionRecord& record() const { return local.version(); }
  FileId file() const { return FileId{record().file_id()}; }
  Version version() const { return version_from_wire(record().version()); }
  Version parent() const { return version_from_wire(record().parent()); }
  bool deleted() const { return record().kind() == wire::CHANGE_DELETE; }
  bool is_inline() const { return record().chunks_size() == 0; }
  uint32_t list_level() const { return record().list_level(); }
  // The top of the list of chunks: of the file's own at level 0, else of list chunks.
  ChunkRefs top() const;
  // As it travels between halves.
  wire::VersionRecord to_wire() const;
  // About what it takes in memory.
  uint64_t memory_bytes() const {
    return 1024 + inline_content.size() + uint64_t{160} * record().chunks_size();
  }
};

using StoredVersionRef = std::shared_ptr<const StoredVersion>;

// CORRUPT if the record is no whole version.
Result<StoredVersionRef> decode_stored_version(LogRecord record);

// The most recently used durable versions, by position, up to so many bytes.
class VersionCache {
 public:
  explicit VersionCache(uint64_t bytes_max) : bytes_max_(bytes_max) {}
  // Null if it is not there.
  StoredVersionRef find(Lsn lsn);
  void add(StoredVersionRef version);

 private:
  struct Entry {
    StoredVersionRef version;
    std::list<Lsn>::iterator use;
  };
  uint64_t bytes_max_;
  uint64_t bytes_ = 0;
  std::list<Lsn> uses_;                     // Most recent first.
  std::unordered_map<Lsn, Entry> entries_;  // Never iterated.
};

}  // namespace understudy
