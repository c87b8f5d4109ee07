// A cursor over the records of one segment file, plain or packed, in order, a
// megabyte at a time. Assumes that nobody writes to the part of the file that it reads.
// What the disk cannot read is damage like any other: what stands around it is read.
#pragma once

#include <memory>
#include <optional>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/segment_log/packed_segment.h"

namespace understudy {

class LogReader {
 public:
  // `path` is for errors. Reads records from `from` to the first invalid byte or `file_size`.
  LogReader(std::shared_ptr<File> file, std::string path, Lsn base, Lsn from, uint64_t file_size);
  // The records of a packed segment from position `from` on.
  LogReader(std::shared_ptr<File> file, std::string path, std::shared_ptr<const PackedTable> packed, Lsn from);

  // The next valid record; nothing where the valid records end, for whatever reason.
  Task<Result<std::optional<LogRecord>>> next();

  // The same, also of a packed segment from before `from`, where the reading begins a little earlier.
  Task<Result<std::optional<LogRecord>>> next_whole();

  // Goes on at the next valid record behind damage, or at the end of what is read.
  Task<Status> skip_damage();

  // Behind the last valid record; in a packed segment the next one may stand further on.
  Lsn position() const { return packed_ ? position_ : Lsn{base_ + offset_}; }
  // The same as a place in the file.
  uint64_t offset() const { return offset_; }
  // All bytes of the file (before the table of a packed one) were valid records.
  bool at_file_end() const { return offset_ == file_size_; }

  // Whether a valid record behind position() says that position() had been synced
  // when it was written: then what stands there is damage, no torn tail. So is what the disk cannot read.
  Task<Result<bool>> proves_damage();

 private:
  // Makes [offset, offset + size) stand in the window, unless the file is shorter.
  Task<Status> fill(uint64_t offset, uint64_t size);
  Task<Result<Bytes>> read_around(uint64_t offset, uint64_t size);
  bool holds(uint64_t offset, uint64_t size) const {
    return offset >= window_at_ && offset + size <= window_at_ + window_.size();
  }
  BytesView view(uint64_t offset, uint64_t size) const {
    return BytesView(window_).substr(offset - window_at_, size);
  }
  // Copies the record at `offset` out if a valid one stands there.
  Task<Result<std::optional<LogRecord>>> record_at(uint64_t offset);

  std::shared_ptr<File> file_;
  std::string path_;
  uint64_t base_;
  uint64_t offset_;
  uint64_t file_size_;
  std::shared_ptr<const PackedTable> packed_;  // Null: a plain segment.
  Lsn position_ = kNoLsn;                      // Of a packed one.
  Lsn from_ = kNoLsn;
  Bytes window_;
  uint64_t window_at_ = 0;
  uint64_t unreadable_end_ = 0;  // Of the last block that the disk could not read; 0: none.
};

}  // namespace understudy
