// The segment files of one folder, plain and packed, by base position, with the
// recently used ones open.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/segment_log/packed_segment.h"

namespace understudy {

// A segment for reading: goes on as it was opened, whatever becomes of its name.
struct OpenSegment {
  std::shared_ptr<File> file;
  std::shared_ptr<const PackedTable> packed;  // Null: a plain one.
  std::string path;
};

class SegmentFiles {
 public:
  SegmentFiles(Env& env, std::string folder) : env_(env), folder_(std::move(folder)) {}

  // Looks what is in the folder, which is made if it is not there, and takes away what a
  // packing that was cut short left behind. CORRUPT: a packed segment is damaged, or
  // what should follow it is not there.
  Task<Status> scan();
  // A plain one; the same file as long as somebody holds it.
  Result<std::shared_ptr<File>> open(Lsn base);
  Task<Result<OpenSegment>> open_any(Lsn base);
  // An empty file, in the place of a torn one if there is one; counts only after keep().
  Result<std::shared_ptr<File>> create(Lsn base);
  // The created file is part of the log from now on: its name is made durable.
  Task<Status> keep(Lsn base, std::shared_ptr<File> file);
  // Durable when it returns.
  Status remove(Lsn base);
  // A file that becomes a packed segment by put_packed(); empty.
  Result<std::shared_ptr<File>> create_packing();
  Status drop_packing();
  // What create_packing() gave, whole and synced, takes the place of the segments in
  // [base, end). After an error either stands there, with the same meaning.
  Task<Status> put_packed(Lsn base, Lsn end);

  bool empty() const { return segments_.empty(); }
  Lsn first() const { return segments_.begin()->first; }
  Lsn last() const { return segments_.rbegin()->first; }
  // The segment that `lsn` lies in; the first one if it is older than all.
  Lsn containing(Lsn lsn) const;
  // Bases from `from` on.
  std::vector<Lsn> bases_from(Lsn from) const;

  // Where the segment ends, if another one follows or it is packed.
  std::optional<Lsn> end_of(Lsn base) const;
  bool is_packed(Lsn base) const;
  // Of a packed one: what it takes on the disk.
  Result<uint64_t> packed_bytes(Lsn base);

  const std::string& folder() const { return folder_; }
  // Of the file that holds the segment now; of a plain one if there is none.
  std::string path(Lsn base) const;

 private:
  struct Segment {
    std::shared_ptr<File> file;  // Null: closed.
    uint64_t used = 0;
    std::optional<Lsn> packed_end;
    std::shared_ptr<const PackedTable> packed;  // Of an open packed one.
    uint64_t bytes = 0;                         // Of a packed one; 0: not asked yet.
  };
  void close_least_used();
  std::string packing_path() const { return folder_ + "/packing.new"; }

  Env& env_;
  std::string folder_;
  std::map<Lsn, Segment> segments_;
  uint64_t uses_ = 0;
  uint64_t packings_ = 0;
};

}  // namespace understudy
