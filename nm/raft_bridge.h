// The name node's log: commands in, in one order, durable and applied when their
// proposer hears of it. C-Raft over RaftIo, as coroutines.
//
// Commands proposed while the disk is busy go together in one append and share its
// fdatasync; there is one append at a time, so that a full disk can refuse all of it
// cleanly: NO_SPACE, nothing changed, and the next proposal tries anew. Any other
// failure of the disk goes to `fatal`, and the outcome of what was under way is unknown.
//
// After 10,000 entries or 64 MiB of log a snapshot is taken: the database is made
// durable, and the log and its memory shrink.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"

struct raft_buffer;

namespace understudy {

class RaftIo;
class SegmentLog;

struct RaftBridgeOptions {
  std::string folder;            // For the log, the term and the descriptor.
  uint64_t id = 1;
  std::string address = "1";
  std::string database_id;       // Of the database that commands are applied to,
  uint64_t applied_index = 0;    // and how far: nothing up to here is applied again.
  uint64_t snapshot_entries = 10'000;
  uint64_t snapshot_bytes = 64 << 20;
  uint64_t segment_size = 16 << 20;
  // Proposals are refused with NO_SPACE while the disk has less than this free, or
  // than an eighth of it.
  uint64_t reserve_bytes = 16 << 20;
};

// What the log drives. All are called from the ready loop's thread.
struct RaftBridgeHooks {
  // Once for each command, in order of index; deterministic. May run inside start().
  std::function<Bytes(uint64_t index, BytesView command)> apply;
  // Everything applied so far is durable in the database when it ends.
  std::function<Task<Status>()> make_durable;
  // Asked before a proposal is taken; its error refuses it. May be empty.
  std::function<Status()> accepts;
  // The process must end. May return (in the simulator); nothing is acknowledged after it.
  std::function<void(Error)> fatal;
};

// How much of the reserved space a proposal may use.
enum class Reserve : uint8_t { kKept, kHalf, kAll };

struct Applied {
  uint64_t index = 0;
  Bytes result;  // What `apply` returned.
};

class RaftBridge {
 public:
  // Replays the log into `apply`; as the only voter it is leader when this ends. CORRUPT
  // if the database and the log do not belong together.
  static Task<Result<std::unique_ptr<RaftBridge>>> start(Env& env, RaftBridgeOptions options, RaftBridgeHooks hooks);
  // In an empty folder: a later start() finds a log that begins behind options.applied_index, in
  // options.database_id. For a catalogue that was made without a log.
  static Task<Status> begin_behind(Env& env, RaftBridgeOptions options);
  // Lets go at once: what was proposed and not answered is unknown. close() first to end cleanly.
  ~RaftBridge();

  // Resolves once the command is durable on a majority and applied. NO_SPACE, INVALID (more
  // than 16 MiB) or what `accepts` says: nothing changed. UNAVAILABLE: not the
  // leader, nothing changed, or "outcome unknown".
  Task<Result<Applied>> propose(Bytes command, Reserve reserve = Reserve::kKept);

  bool is_leader() const;
  uint64_t term() const;
  // The last index in the log when this node became leader: what is behind is its own.
  uint64_t leader_start_index() const { return leader_start_index_; }
  // Changes of is_leader().
  Notifier& leadership() { return leadership_; }
  // OK if this node was the leader at some time after the call. A group of one needs no
  // round trip for that and no disk, full or not.
  Task<Status> barrier();

  uint64_t applied_index() const { return applied_index_; }
  uint64_t last_index() const;
  uint64_t snapshot_index() const;
  // For verifying what the disk has: the log, and from where on it counts.
  SegmentLog& log();
  Lsn replay_from() const;
  // A snapshot is taken with the next entry, so that what the log holds now counts no more.
  void snapshot_soon();
  // Commands per append so far, for tests and metrics.
  uint64_t appends() const { return appends_; }

  // Refuses further proposals and waits for those under way.
  Task<void> close();

 private:
  struct Core;      // C-Raft's structures.
  struct Proposal {
    Bytes command;
    Promise<Result<Applied>> promise;
  };

  RaftBridge(Env& env, RaftBridgeOptions options, RaftBridgeHooks hooks);
  Task<Status> open();
  Status check_belongs() const;
  Status check_space(Reserve reserve);
  Task<void> run();
  void append_batch();
  void fill_batch();
  void apply_entry(const raft_buffer& buffer);
  void batch_ended(int status);
  void watch_leadership();
  void watch_log_size();
  void fail_for_good(Error error);

  uint64_t snapshot_wanted_ = 0;  // Up to there.
  Env& env_;
  RaftBridgeOptions options_;
  RaftBridgeHooks hooks_;
  std::unique_ptr<RaftIo> io_;
  std::unique_ptr<Core> core_;
  std::deque<Proposal> queue_;
  uint64_t queued_bytes_ = 0;
  std::deque<Proposal> batch_;   // The append under way, from batch_next_ on not applied yet.
  uint64_t batch_first_ = 0;     // Its first index.
  bool batch_under_way_ = false;
  uint64_t applied_index_ = 0;
  uint64_t leader_start_index_ = 0;
  bool was_leader_ = false;
  bool failed_ = false;
  bool closing_ = false;
  uint64_t appends_ = 0;
  Instant space_checked_at_{};
  Result<DiskSpace> space_{};
  Notifier work_;
  Notifier leadership_;
  TaskGroup tasks_;
};

}  // namespace understudy
