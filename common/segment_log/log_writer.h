// Group commit: appends get their positions at once and wait in memory; one write
// with one fdatasync at a time takes all that came meanwhile to the disk. Of a stream, what comes
// next is written while the disk syncs what came before; it counts only behind a sync of its own.
//
// A position is provisional until it is durable. When the disk is full, everything
// that is not durable is refused with NO_SPACE, nothing of it stays in the file, and
// the positions are given out again; the next append tries anew. Any other failure
// to write or sync is final: what was under way fails with UNAVAILABLE "outcome
// unknown", as does everything after it, and the process should end (failure()).
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/segment_log/segment_files.h"

namespace understudy {

struct LogEntry {
  uint32_t type = 0;
  Bytes head;
  Bytes body;
  std::optional<uint64_t> body_checksum;  // checksum(body), if a worker computed it already.
};

struct LogWriterOptions {
  StoreId store_id;
  uint64_t segment_size = 64 << 20;
  // Appends are refused while the disk has less than this free.
  uint64_t reserve_bytes = 0;
  // During the sync of a batch of at least this size, as much that waits is written ahead.
  uint64_t write_ahead_min = 1 << 20;
};

class LogWriter {
 public:
  // Called once, in the order of positions, when the append is durable or refused.
  // It may append; it must not destroy the log.
  using Done = std::move_only_function<void(const Status&)>;

  // Goes on at `end` in the last of `files`, which must be synced up to there.
  LogWriter(Env& env, SegmentFiles* files, LogWriterOptions options, Lsn end);

  Lsn append(LogEntry entry, Done done);
  // Set when all below `position` is durable, or will not be.
  Future<Status> durable(Lsn position);

  Lsn end() const { return end_; }  // Where the next append goes, about.
  Lsn durable_end() const { return durable_; }
  uint64_t buffered_bytes() const { return number(end_) - number(durable_); }
  // Waits while more than `bytes` wait for the disk.
  Task<void> room(uint64_t bytes);

  // A sync elsewhere in these files failed: nothing is known of what was written.
  void give_up(const Error& error);
  const std::optional<Error>& failure() const { return failure_; }
  Future<Unit> failed() { return failed_.future(); }

  // Waits until all is durable, then holds writing until the hold is gone.
  class Hold {
   public:
    explicit Hold(LogWriter* writer) : writer_(writer) {}
    Hold(Hold&& other) noexcept : writer_(std::exchange(other.writer_, nullptr)) {}
    Hold& operator=(Hold&&) = delete;
    ~Hold();

   private:
    LogWriter* writer_;
  };
  Task<Hold> hold();
  // Under a hold, with nothing appended meanwhile: the log now ends at `end`.
  void set_end(Lsn end);
  bool idle() const { return pending_.empty() && writing_.empty() && ahead_.empty(); }

 private:
  struct Pending {
    RecordHeader header;
    uint64_t payload_checksum = 0;
    bool starts_segment = false;
    Bytes head;
    Bytes body;
    Done done;
  };
  Task<void> run();
  void take_batch();
  void take(std::deque<Pending>* to, uint64_t bytes_max);
  // Of these records those from `from` on.
  std::vector<Bytes> encode(std::deque<Pending>* records, size_t from);
  Status has_space(uint64_t bytes);
  Task<Status> write_batch();
  Task<void> await_sync(Future<Status> sync);
  Task<void> write_ahead(std::shared_ptr<File> file, Lsn base);
  // Takes what may stand from `at` on out of the file, durably, and returns `why`. Where that fails nobody
  // knows what stands there, and it is final.
  Task<Status> cut(std::shared_ptr<File> file, Lsn base, Lsn at, Error why);
  void commit_batch();
  void refuse_all(Error error);
  void wake_waiters(const Status& status, Lsn upto);

  Env& env_;
  SegmentFiles* files_;
  LogWriterOptions options_;
  Lsn end_;
  Lsn durable_;
  Lsn end_base_;                 // The segment that end_ lies in.
  std::deque<Pending> pending_;  // In order of position, behind...
  std::deque<Pending> ahead_;    // ...what is in the file already, and not synced...
  std::deque<Pending> writing_;  // ...behind the batch under way,
  size_t written_ = 0;           // of which so many were written ahead.
  std::optional<Status> synced_;  // How the batch under way ended.
  Status ahead_status_;
  std::multimap<Lsn, Promise<Status>> waiters_;
  std::optional<Error> failure_;
  Promise<Unit> failed_;
  bool held_ = false;
  Notifier work_;      // Something to write, or the hold ended.
  Notifier progress_;  // A batch ended.
  TaskGroup tasks_;
};

}  // namespace understudy
