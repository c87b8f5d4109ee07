// Where a name node keeps the contents of hints: two segment logs in its data folder, one
// for hints that stand for an acknowledgement and one for those that expire, so that an
// old promise holds up nobody's space. The catalogue says which hints there are and
// where they stand here; what it does not name is nobody's, and goes with its segment.
//
// Records: a chunk, or a version with its inline content (common/wire/durability.proto).
#pragma once

#include <memory>
#include <string>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/segment_log/log_verify.h"
#include "common/wire/durability.pb.h"

namespace understudy {

class HintStore {
 public:
  // Makes the folder. CORRUPT: what was promised there cannot be read.
  static Task<Result<std::unique_ptr<HintStore>>> open(Env& env, std::string folder, StoreId store_id);

  // The position is provisional until durable() was awaited with success after it; NO_SPACE
  // there: nothing of what was appended since counts.
  Lsn append_chunk(bool sync, wire::HintChunk head, Bytes chunk);
  Lsn append_version(bool sync, wire::HintRecord record, Bytes inline_content);
  Task<Status> durable(bool sync);
  Task<void> room(bool sync);
  // NO_SPACE: the disk is too full for hints.
  Status has_room() const;

  // CORRUPT or NOT_FOUND if that is no such record.
  Task<Result<wire::HintRecord>> version(bool sync, Lsn lsn);  // Inline content in version.inline_content.
  struct Chunk {
    wire::HintChunk head;
    Bytes bytes;
  };
  Task<Result<Chunk>> chunk(bool sync, Lsn lsn, Bytes hash);

  // Nobody needs what stands before.
  void trim(bool sync, Lsn first_needed);

  // What is damaged of it on the disk.
  Task<Result<std::vector<std::pair<Lsn, Lsn>>>> verify(bool sync, uint64_t bytes_per_second) {
    return verify_log(env_, &log(sync), log(sync).begin(), bytes_per_second);
  }

  // Set once it cannot be written any more: the process should end.
  Future<Unit> failed(bool sync) { return log(sync).failed(); }

 private:
  explicit HintStore(Env& env) : env_(env) {}
  Task<Status> open_log(std::string folder, StoreId store_id, std::unique_ptr<SegmentLog>* log);
  SegmentLog& log(bool sync) { return sync ? *sync_ : *async_; }

  Env& env_;
  std::string folder_;
  std::unique_ptr<SegmentLog> sync_;
  std::unique_ptr<SegmentLog> async_;
};

}  // namespace understudy
