// C-Raft's outside world over Env: its log in a segment log, its term and vote and
// its snapshot descriptor in small files.
//
// One log record an entry: head {index, term, type}, body the entry's bytes. A record
// whose index was there already replaces that entry and all behind it: so a
// truncation needs no record of its own, and one that is lost in a crash leaves
// uncommitted entries that the next leader truncates again.
//
// A snapshot is a descriptor: index, term, configuration and the id of the database that
// holds everything up to that index, durably, before the descriptor is written. The log
// is replayed from it; the segments in front of it are unlinked.
//
// Term and vote are written behind C-Raft's back: its calls for it are synchronous, so
// the write only starts there, and nothing is sent before it is durable. Entries may be
// durable before it: a vote in their term was not given away, and opening takes their
// term. A group of one never changes either.
//
// Used by RaftBridge only. A failure of the disk goes to `fatal`, except a full disk in
// append, which C-Raft is told (RAFT_NOSPACE) when nothing of the entries is on disk.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/segment_log/segment_log.h"

struct raft_io;
struct raft_entry;
struct raft_snapshot;
struct raft_io_append;
struct raft_io_snapshot_put;
struct raft_io_snapshot_get;

namespace understudy {

struct RaftIoOptions {
  std::string folder;
  uint64_t id = 1;
  std::string address;         // This server's, in the configuration of a new group of one.
  std::string database_id;
  uint64_t applied_index = 0;        // The database has all up to here.
  uint64_t segment_size = 16 << 20;
  // Everything applied so far is durable in the database when it ends.
  std::function<Task<Status>()> make_durable;
  std::function<void(Error)> fatal;
};

class RaftIo {
 public:
  // In an empty folder: makes a group of one whose log begins behind `index`, durably; all up to
  // there is in the database. For a catalogue that was made without a log.
  static Task<Status> begin_behind(Env& env, RaftIoOptions options, uint64_t index);

  // Reads what is there, or makes a new group of one, durably. Where the log is damaged and the
  // database has all that stood there, the log begins anew behind it. CORRUPT if it has not, or if the
  // descriptor names another database.
  static Task<Result<std::unique_ptr<RaftIo>>> open(Env& env, RaftIoOptions options);
  ~RaftIo();

  // What C-Raft is given; valid as long as this.
  raft_io* face() { return face_.get(); }

  uint64_t snapshot_index() const { return snapshot_.index; }
  uint64_t last_index() const { return first_index_ + positions_.size() - 1; }
  // Of the entries behind the last snapshot: what C-Raft keeps in memory.
  uint64_t log_bytes() const { return log_bytes_; }
  SegmentLog& log() { return *log_; }
  // Nothing in front of it counts any more.
  Lsn replay_from() const { return snapshot_.replay_from; }
  // Ends callbacks: what C-Raft still waits for is cancelled. Called by C-Raft's close.
  void cancel_all();

 private:
  struct Descriptor {
    uint64_t index = 0;  // 0: no snapshot yet.
    uint64_t term = 0;
    uint64_t configuration_index = 0;
    Bytes configuration;  // As C-Raft encodes it.
    std::string database_id;
    Lsn replay_from = kNoLsn;
  };
  struct Loaded {
    uint64_t term = 0;
    uint16_t type = 0;
    Bytes bytes;
  };
  struct Appending {
    raft_io_append* request = nullptr;
    uint64_t first_index = 0;
    Lsn first = kNoLsn;
  };
  struct Position {
    Lsn lsn = kNoLsn;
    uint32_t size = 0;
  };
  struct Calls;  // The functions behind face_.

  RaftIo(Env& env, RaftIoOptions options);
  std::string term_path() const { return options_.folder + "/term"; }
  std::string snapshot_path() const { return options_.folder + "/snapshot"; }

  Task<Status> load();
  Task<Status> read_term();
  Task<Status> read_descriptor();
  Task<Status> make_group();
  Status replay(LogRecord record);
  Bytes encode_term() const;
  static Bytes encode_descriptor(const Descriptor& descriptor);
  static Status decode_descriptor(BytesView bytes, Descriptor& descriptor);
  Bytes configuration_of_one() const;
  Bytes servers_of_one() const;

  Lsn append_record(uint64_t index, uint64_t term, uint16_t type, Bytes bytes, SegmentLog::Done done);
  void forget_from(uint64_t index);
  void appended(const Status& status);
  Task<void> refuse(Lsn first);
  void finish_append(int status);
  void save_term();
  Task<void> write_term();
  Task<void> put_snapshot(Descriptor descriptor);
  Task<Status> write_snapshot(Descriptor descriptor);
  void tick();

  Env& env_;
  RaftIoOptions options_;
  std::unique_ptr<raft_io> face_;
  std::unique_ptr<SegmentLog> log_;
  StoreId store_id_;
  uint64_t term_ = 0;
  uint64_t voted_for_ = 0;
  bool term_dirty_ = false;
  bool term_writing_ = false;
  Descriptor snapshot_;
  uint64_t first_index_ = 1;         // Of positions_.
  std::deque<Position> positions_;   // Where each entry behind the snapshot stands.
  uint64_t log_bytes_ = 0;
  std::deque<Loaded> loaded_;        // Until C-Raft takes them.
  std::deque<Appending> appending_;
  raft_io_snapshot_put* putting_ = nullptr;
  bool closed_ = false;
  bool damaged_ = false;    // Of opening: something in the log was,
  bool begins_anew_ = false;  // and the log begins behind it.
  std::optional<TimerId> tick_timer_;
  Duration tick_every_{};
  void (*on_tick_)(raft_io*) = nullptr;
  TaskGroup tasks_;
};

}  // namespace understudy
