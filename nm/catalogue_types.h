// The rows of the name node's catalogue as plain values. The numbers of the enums
// are those of the wire and of the database.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/types.h"

namespace understudy {

enum class ServerId : uint64_t {};
enum class PairId : uint64_t {};
inline constexpr ServerId kNoServer{0};
inline constexpr PairId kNoPair{0};
constexpr uint64_t number(ServerId v) { return static_cast<uint64_t>(v); }
constexpr uint64_t number(PairId v) { return static_cast<uint64_t>(v); }

// Where a folder removed with all that is in it hangs until that is gone. No path leads there.
inline constexpr FileId kTrashFolder{2};
// Where deleted files hang that can come back, each under its id. There is no such node.
inline constexpr FileId kDeletedFolder{3};

enum class NodeKind : uint8_t { kFile = 1, kFolder = 2, kLink = 3 };

enum class NodeState : uint8_t {
  kPending = 0,   // A file that no version was ever announced of.
  kLive = 1,
  kDeleting = 2,  // Its removal was begun; still found by name.
  kDeleted = 3,   // Can come back; hidden from everything but that (nm/catalogue_deleted.cc).
  kReturning = 4, // Has its name again; its acting primary is yet to bring it back.
};

struct Node {
  FileId id = kNoFile;
  FileId parent = kNoFile;
  std::string name;
  NodeKind kind = NodeKind::kFile;
  NodeState state = NodeState::kLive;
  std::string owner;
  PairId pair = kNoPair;  // Files only.
  uint64_t access_generation = 0;
  int64_t created_us = 0;
  int64_t modified_us = 0;
  uint32_t mode = 0;
  std::string link_target;
  uint64_t meta_version = 0;  // Raft index of the last change of what stands above.
  Version announced;
  uint64_t size_bytes = 0;  // Of the announced version.
  ServerId announced_by = kNoServer;
  Lsn announced_lsn = kNoLsn;
};

// A deleted file that can come back, by the path that it had.
struct DeletedFile {
  FileId id = kNoFile;
  std::string path;
  int64_t deleted_us = 0;
  std::string deleted_by;
  std::string owner;
  uint64_t size_bytes = 0;
};

struct Server {
  ServerId id = kNoServer;
  std::string name;
  PairId pair = kNoPair;
  bool is_backup = false;
  StoreId store_id;  // Empty after REPLACE, until the new one registers.
  Incarnation incarnation = 0;
  std::string address;
  std::string machine;
  uint64_t pid = 0;
  uint64_t pid_start_time = 0;
  bool in_sync = false;
  bool failed = false;
  bool replaced = false;        // An empty store may come under this name.
  Lsn announced_lsn = kNoLsn;   // Of the store id; everything up to here was announced.
  Lsn confirmed_lsn = kNoLsn;   // Of the store id; it said that its log was durable up to here.
  bool unannounced = false;     // It failed as acting primary: its disk may have what nobody has heard of.
  bool operator==(const Server&) const = default;
};

struct Pair {
  PairId id = kNoPair;
  std::string name;               // The home primary's.
  ServerId home = kNoServer;      // Missing while only the backup has come.
  ServerId backup = kNoServer;
  ServerId acting = kNoServer;    // Who held `epoch`; whether it still serves is not known here.
  Epoch epoch = kNoEpoch;
  uint64_t files = 0;             // Announced ones, and their bytes.
  uint64_t bytes = 0;
  ServerId preferred = kNoServer;  // Who is to act whenever it can: none said is the home primary.
  // The last disk that was given up with what nobody had heard of: whose, when, and under which epoch the
  // other half wrote on, if it did. Empty: none.
  std::string lost_disk;
  int64_t lost_us = 0;
  Epoch lost_before = kNoEpoch;
  uint64_t objects_before = 0;    // How many objects had been made when `epoch` began: their ids are below.

  bool operator==(const Pair&) const = default;
  ServerId other_half(ServerId server) const { return server == home ? backup : home; }
};

enum class JobKind : uint8_t { kCreate = 1, kWrite = 2, kDelete = 3, kMetadata = 4, kSync = 5 };

// What one object still lacks at one target. A DELETE with no `to` is that of a
// name (a folder or link), known by its meta_version.
struct Job {
  ServerId target = kNoServer;
  FileId object = kNoFile;
  uint64_t sequence = 0;  // Order of queueing.
  JobKind kind = JobKind::kWrite;
  Version from;           // Exclusive.
  Version to;             // Inclusive; none if only names changed.
  uint64_t meta_version = 0;  // 0: the name did not change.
  uint64_t bytes = 0;
  Lsn announce_lsn = kNoLsn;  // Of the oldest change in it, or below; 0 for names.
  Lsn newest_lsn = kNoLsn;
  int64_t created_us = 0;
};

// The content of one version in a name node's hint store, for a target that lacks it.
struct Hint {
  ServerId target = kNoServer;
  FileId object = kNoFile;
  Version version;
  Version parent;
  uint64_t name_node = 0;   // Whose store, and where there:
  Lsn lsn = kNoLsn;
  Lsn first_lsn = kNoLsn;   // its first chunk.
  uint64_t bytes = 0;
  int64_t time_us = 0;      // The version's.
  int64_t created_us = 0;   // The hint's, in NM time.
  bool sync = false;        // It stands for an acknowledgement: no time limit.
};

struct HintTotals {
  uint64_t hints = 0;
  uint64_t bytes = 0;
  uint64_t sync_hints = 0;
  uint64_t sync_bytes = 0;
};

// The newest version of a file, which was on a lost disk only. Until the next is announced.
struct LostVersion {
  PairId pair = kNoPair;
  Version version;
  std::string server;
  int64_t time_us = 0;
};

struct Lag {
  uint64_t jobs = 0;
  uint64_t files = 0;         // Jobs that bring a version or a removal.
  uint64_t bytes = 0;
  int64_t oldest_us = 0;      // created_us of the oldest job; 0: none.
  bool cut_short = false;     // There are more jobs than were looked at: perhaps there is more of this.
};

}  // namespace understudy
