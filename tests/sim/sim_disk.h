// The simulated disk of one host: files in memory, each with the content that
// programs see (the page cache) and the content that would survive a power cut.
//
// A write is seen at once and durable after a sync of its file; between, a power cut
// may lose it, keep it, or keep some of its 512-byte sectors. Names (creates, renames,
// removals) are durable after sync_folder; between, a power cut keeps the first so
// many of them, as a journal does, so a rename can survive whose file's content did
// not. A failed sync leaves the bytes readable, marked clean and never durable, as
// Linux does.
//
// Crash points: before and after each write and each sync (SQLite's too) a counter
// goes up; cut_power_at(n) cuts the host's power at the n-th from now.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "tests/sim/sim_random.h"

namespace understudy::sim {

class SimProcess;
class SimVfs;
class SimWorld;
struct SimHost;

// The kinds of calls that can be made to fail.
enum class DiskCall : uint8_t { kRead, kWrite, kSync, kName };  // kName: open, rename, remove, sync_folder, …
inline constexpr size_t kDiskCalls = 4;

struct DiskLatency {
  Duration min;
  Duration max;
};

struct SimInode {
  struct Unsynced {
    uint64_t sequence;
    uint64_t offset;  // Of the write; the new size of a truncation.
    Bytes bytes;
    bool truncation;
  };
  using Entries = std::map<std::string, std::shared_ptr<SimInode>>;

  uint64_t id = 0;
  FileInfo::Kind kind = FileInfo::Kind::kFile;
  uint32_t mode = 0644;
  WallTime modified{};
  std::string link_target;
  Bytes content;
  Bytes durable;
  std::deque<Unsynced> unsynced;  // From durable to content, in order, unless a sync failed.
  Entries entries;                // Of a folder.
  Entries durable_entries;
};
using InodeRef = std::shared_ptr<SimInode>;

class SimDisk {
 public:
  SimDisk(SimWorld& world, SimHost& host, SimRandom random);
  ~SimDisk();
  SimDisk(const SimDisk&) = delete;

  // --- Faults
  // The n-th call from now (1: the next) of a kind, or of any kind, fails with `code`.
  void fail_call(DiskCall call, uint64_t n, Code code = Code::kInternal);
  void fail_any_call(uint64_t n, Code code = Code::kInternal);
  void fail_no_call() { failure_.reset(); }
  bool failure_pending() const { return failure_.has_value(); }
  void forget_failure() { failure_.reset(); }
  void set_quota(std::optional<uint64_t> bytes) {
    quota_ = bytes;
    total_ = bytes;
  }
  // Others fill a large disk: so much is left.
  void leave_free(uint64_t bytes) {
    quota_ = used_bytes() + bytes;
    total_.reset();
  }
  void set_latency(DiskLatency write, DiskLatency sync, DiskLatency read);
  // Turns one bit of what is stored, in the cache and durably. False: no such byte.
  bool flip_bit(const std::string& path, uint64_t byte, unsigned bit = 0);
  // 0: not any more.
  void cut_power_at(uint64_t n) { cut_at_ = n == 0 ? 0 : crash_points_ + n; }
  uint64_t crash_points() const { return crash_points_; }  // Passed so far.
  // Something else at the n-th from now.
  void strike_at(uint64_t n, std::function<void()> action) {
    strike_at_ = crash_points_ + n;
    strike_ = std::move(action);
  }
  uint64_t calls() const { return std::accumulate(calls_.begin(), calls_.end(), uint64_t{0}); }  // Of any kind, so far.
  uint64_t calls(DiskCall call) const { return calls_[static_cast<size_t>(call)]; }
  // Becomes what `other` would be after a power cut now; `other` is left as it is.
  void copy_after_power_cut(const SimDisk& other);
  // Another disk, with nothing on it; nothing may run on the old one.
  void replace();
  // A test's look at a file's content: as programs see it, or what is durable now.
  std::optional<Bytes> peek(const std::string& path, bool durable = false) const;
  // Makes a folder or file durable at once, for setting a scene.
  void put(const std::string& path, Bytes content);

  // --- For SimDiskView and SimVfs. Every call takes effect at once.
  // Counts a call and says whether it is to fail.
  Status called(DiskCall call);
  // True: the power is gone, let go of everything.
  bool crash_point();
  // What was open before this changed belongs to a machine that has since lost power.
  uint64_t generation() const { return generation_; }
  InodeRef find(const std::string& path) const;
  Result<InodeRef> open(const std::string& path, OpenMode mode);
  // A file without a name.
  InodeRef make_inode(FileInfo::Kind kind);
  Status make_folder(const std::string& path);
  Status rename(const std::string& from, const std::string& to);
  Status remove(const std::string& path);
  Status sync_folder(const std::string& folder);
  Status make_link(const std::string& target, const std::string& path);
  Status write(SimInode& inode, uint64_t offset, BytesView bytes);
  Status truncate(SimInode& inode, uint64_t size);
  // A sync makes durable what was written before sync_mark(); finish_sync ends it.
  uint64_t sync_mark() const { return next_sequence_; }
  void finish_sync(SimInode& inode, uint64_t mark);
  void fail_sync(SimInode& inode, uint64_t mark);
  bool lock(const std::string& path, SimProcess* process);
  void unlock(const std::string& path);
  DiskSpace space() const;
  Duration write_latency() { return random_.between(write_latency_.min, write_latency_.max); }
  Duration sync_latency() { return random_.between(sync_latency_.min, sync_latency_.max); }
  Duration read_latency() { return random_.between(read_latency_.min, read_latency_.max); }
  void process_died(SimProcess& process);
  void lose_power();
  SimVfs& vfs() { return *vfs_; }
  SimWorld& world() { return world_; }
  SimHost& host() { return host_; }

 private:
  // One change of names: all of it survives a power cut, or none. No inode: removed.
  struct NameChange {
    struct Entry {
      InodeRef folder;
      std::string name;
      InodeRef inode;
    };
    std::vector<Entry> entries;
  };

  InodeRef parent_of(const std::string& path, std::string& name) const;
  void change_names(NameChange change);
  uint64_t used_bytes() const;
  void lose_unsynced(SimInode& inode);
  void restart_from_durable();

  SimWorld& world_;
  SimHost& host_;
  SimRandom random_;
  InodeRef root_;
  std::vector<NameChange> name_changes_;  // Not yet durable, in order.
  std::map<std::string, SimProcess*> locks_;
  std::unique_ptr<SimVfs> vfs_;

  struct Failure {
    std::optional<DiskCall> call;  // Any, if empty.
    uint64_t countdown;
    Code code;
  };
  std::optional<Failure> failure_;
  std::optional<uint64_t> quota_;
  std::optional<uint64_t> total_;  // As it says itself; empty: a large one.
  DiskLatency write_latency_{std::chrono::microseconds(5), std::chrono::microseconds(30)};
  DiskLatency sync_latency_{std::chrono::microseconds(50), std::chrono::microseconds(400)};
  DiskLatency read_latency_{std::chrono::microseconds(5), std::chrono::microseconds(100)};
  uint64_t next_inode_ = 1;
  uint64_t next_sequence_ = 1;
  uint64_t crash_points_ = 0;
  uint64_t cut_at_ = 0;  // 0: never.
  uint64_t strike_at_ = 0;
  std::function<void()> strike_;
  std::array<uint64_t, kDiskCalls> calls_{};
  uint64_t generation_ = 1;
};

}  // namespace understudy::sim
