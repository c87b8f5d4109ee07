// An append-only log in segment files, made durable by group commit: the truth of
// a storage server, and under the name node's Raft log.
//
// Positions (Lsn) are byte positions in everything ever appended; they stay what they are
// when compaction takes records out (packed_segment.h). The caller holds
// a lock on the folder. See log_writer.h for what an append promises and how a full
// or failing disk is met.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/segment_log/log_writer.h"

namespace understudy {

class LogReader;

struct SegmentLogOptions {
  std::string folder;
  StoreId store_id;
  uint64_t segment_size = 64 << 20;  // A larger record gets a segment of its own.
  uint64_t reserve_bytes = 0;
  uint64_t write_ahead_min = LogWriterOptions().write_ahead_min;
  // Called at opening for what is damaged in the middle: the replay goes on behind it. Without
  // this such a log is refused.
  std::function<void(Lsn from, Lsn to)> damaged = {};
};

// A segment behind which another one follows: it does not change any more, but by pack().
struct ClosedSegment {
  Lsn base = kNoLsn;
  Lsn end = kNoLsn;
  uint64_t bytes = 0;  // On the disk.
  bool packed = false;
};

struct PackOptions {
  // What becomes of a record: true: it stays, with the payload that it has on return; an
  // error ends the packing and leaves all as it was.
  std::function<Result<bool>(LogRecord& record)> stays;
  uint64_t bytes_per_second = 0;  // Read; 0: no limit.
};

class SegmentLog {
 public:
  using Done = LogWriter::Done;
  // A failure ends the opening with that error.
  using Replay = std::function<Status(LogRecord record)>;

  // Replays, in order, the valid records from `from` on: kNoLsn (all there are) or a
  // position that was durable. Cuts off a torn tail, and writes and syncs again
  // what may not have reached the disk, before anything counts. CORRUPT: damage
  // before the tail (file and offset named), another store's segment, a newer
  // format, or a log that begins behind or ends before `from`.
  static Task<Result<std::unique_ptr<SegmentLog>>> open(Env& env, SegmentLogOptions options, Lsn from,
                                                        Replay replay);

  // The position is given at once and is provisional until `done` was called with ok.
  // Head and body together are at most kRecordPayloadMax.
  Lsn append(LogEntry entry, Done done) { return writer_.append(std::move(entry), std::move(done)); }
  // The same, without a callback; await durable(end()) or the like.
  Lsn append(LogEntry entry) { return writer_.append(std::move(entry), nullptr); }
  // Set when all below `position` is durable, or with the error when it will not be.
  Future<Status> durable(Lsn position) { return writer_.durable(position); }
  // Everything appended so far.
  Future<Status> flush() { return writer_.durable(writer_.end()); }
  // Waits while more than `bytes` of appends wait for the disk: bounds memory.
  Task<void> room(uint64_t bytes) { return writer_.room(bytes); }

  Lsn begin() const { return Lsn{number(files_->first()) + kSegmentHeaderSize}; }
  Lsn durable_end() const { return writer_.durable_end(); }
  Lsn end() const { return writer_.end(); }

  // A durable record; CORRUPT if its bytes or position are wrong. `size_hint`: its
  // payload size as far as the caller knows; a good one saves a read.
  Task<Result<LogRecord>> read(Lsn lsn, uint32_t size_hint = 4096);

  // Every durable record from `from` (a record's position, or kNoLsn) up to `upto` (exclusive).
  Task<Status> scan(Lsn from, Lsn upto, Replay replay);

  // In order. The segment that is being written is not among them.
  Result<std::vector<ClosedSegment>> closed_segments() const;
  // Writes what stays of the closed segments in [base, end) into one packed segment, and
  // puts that in their place: durable before anything goes, whole after a crash at any
  // point. Readers are not disturbed. Returns the bytes that it takes now. NO_SPACE,
  // CORRUPT and the like change nothing. One at a time.
  Task<Result<uint64_t>> pack(Lsn base, Lsn end, PackOptions options);
  // The durable end when it was decided what stays of what stands at `lsn`; kNoLsn: never.
  Task<Result<Lsn>> packed_at(Lsn lsn);
  // Bytes of all segment files.
  Result<uint64_t> stored_bytes() const;
  // For verifying: the segments from the one on in which `from` lies, and a cursor over one of them,
  // from `from` if that lies in it, up to `upto`, which is durable.
  std::vector<Lsn> segment_bases(Lsn from) const { return files_->bases_from(files_->containing(from)); }
  Task<Result<std::unique_ptr<LogReader>>> open_segment(Lsn base, Lsn from, Lsn upto);
  // Puts whole records (encode_record) into the place of damaged ones, durably.
  Task<Status> put_back(std::map<Lsn, Bytes> records);  // Of one segment.
  bool is_packed(Lsn lsn) const { return files_->is_packed(files_->containing(lsn)); }

  // Unlinks the segments that lie wholly below `lsn`; never the last.
  Status trim_before(Lsn lsn);
  // Waits for what is under way, then cuts everything from `lsn` (a record's position) on, durably.
  Task<Status> truncate_from(Lsn lsn);

  // Set once the log failed for good: the process should end.
  const std::optional<Error>& failure() const { return writer_.failure(); }
  Future<Unit> failed() { return writer_.failed(); }

 private:
  SegmentLog(Env& env, SegmentLogOptions options, std::unique_ptr<SegmentFiles> files, Lsn end);
  Task<Result<uint64_t>> damaged_offset(OpenSegment segment, Lsn from, uint64_t size);
  Task<Result<uint64_t>> write_packed(Lsn base, Lsn end, PackOptions options);

  Env& env_;
  SegmentLogOptions options_;
  std::unique_ptr<SegmentFiles> files_;
  LogWriter writer_;
};

// One line of text for each record of a segment file, for `understudy inspect`.
// `describe` puts a payload into words.
Task<Status> describe_segment(Env& env, std::string path,
                              std::function<std::string(const LogRecord&)> describe,
                              std::function<void(std::string line)> print);

}  // namespace understudy
