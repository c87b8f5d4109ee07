// The whole outside world of a process: clock, network, disk, randomness, the
// ready queue, and what is known of other processes. common/uv implements it on
// libuv, tests/sim as a seeded simulator with virtual time; nothing else in the
// tree may touch any of it. (In the spirit of LevelDB's Env.)
//
// One thread: every call is made from, and every callback and coroutine runs on,
// the thread that runs the executor. Operations own their buffers (future.h says
// why), so a waiting coroutine may be destroyed at any time.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"
#include "common/env/future.h"

namespace understudy {

enum class TimerId : uint64_t {};

class Clock {
 public:
  virtual ~Clock() = default;
  // Counts suspended time too (CLOCK_BOOTTIME): leases are measured on it.
  virtual Instant now() const = 0;
  virtual WallTime wall() const = 0;
  // Runs `callback` from the ready loop once now() >= at. An `at` in the past runs soon.
  virtual TimerId schedule(Instant at, std::function<void()> callback) = 0;
  // Nothing happens if it ran already.
  virtual void cancel(TimerId timer) = 0;
};

// "127.0.0.1:7400", "[::1]:7400", "ss1.example:7400" as given by a user. Port 0 in
// a listen address lets the kernel choose.
using Address = std::string;

// Who the other end of a connection has proven to be, by a certificate of the cluster's
// authority. Of a dialled connection known at once; of an accepted one from its first byte
// on, so a handler always knows it. The same until the end.
struct PeerIdentity {
  enum class Role : uint8_t { kNone, kNameNode, kStorageServer };
  // False: a plaintext connection (--insecure), on which nobody proves anything and
  // everybody can listen. Who asks for proof asks only where this is true.
  bool secured = false;
  Role role = Role::kNone;  // kNone: it has no certificate: a client, or a server that wants to join.
  std::string name;         // Of the server: "nm1", "ss1_backup"; empty with kNone.
  // SHA-256 of its public key; empty with kNone, and in the simulator.
  std::string key;

  // Whether this is that server, as far as anybody can prove anything here.
  bool may_be(Role wanted, std::string_view server) const { return !secured || (role == wanted && name == server); }
  bool may_be(Role wanted) const { return !secured || role == wanted; }
};

// An ordered, reliable byte stream with a peer, as TCP gives it. Closing is
// destroying, or close().
class Connection {
 public:
  virtual ~Connection() = default;
  // The next bytes that arrived, 1 to 256 KiB; empty at the peer's end of stream.
  // UNAVAILABLE once the connection is broken or closed. One read at a time.
  virtual Future<Result<Bytes>> read() = 0;
  // Sends the pieces in order after all earlier writes. The future is set when
  // the kernel has taken the last byte; writers bound what they have in flight
  // by awaiting it. Any number of writes may be under way.
  virtual Future<Status> write(std::vector<Bytes> pieces) = 0;
  // Breaks the connection for both sides: waiting reads and writes fail.
  virtual void close() = 0;
  virtual Address peer() const = 0;
  virtual const PeerIdentity& identity() const = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;
  virtual Future<Result<std::unique_ptr<Connection>>> accept() = 0;
  // With the real port where 0 was asked for.
  virtual Address local() const = 0;
  virtual void close() = 0;
};

class Net {
 public:
  virtual ~Net() = default;
  // UNAVAILABLE: refused, unreachable, or not answered within `timeout`.
  virtual Future<Result<std::unique_ptr<Connection>>> connect(Address address, Duration timeout) = 0;
  // INVALID: not an address; UNAVAILABLE: in use or not this machine's.
  virtual Result<std::unique_ptr<Listener>> listen(const Address& address) = 0;
};

enum class Sync : bool { kNo, kYes };

// An open file. Reads and writes at positions; any number under way at once, in
// no order among each other. Errors: NO_SPACE, else CORRUPT or INTERNAL with the
// system's words.
class File {
 public:
  virtual ~File() = default;
  // Exactly `size` bytes, fewer only at the end of the file.
  virtual Future<Result<Bytes>> read(uint64_t offset, uint32_t size) = 0;
  // Writes the pieces one behind the other from `offset`; with kYes, an fdatasync
  // follows before the future is set, and all that was written to this file
  // before is then durable. After an error nothing is known of the bytes.
  virtual Future<Status> write(uint64_t offset, std::vector<Bytes> pieces, Sync sync) = 0;
  virtual Future<Status> sync() = 0;
  // Blocking, for opening and repairing a log.
  virtual Result<uint64_t> size() const = 0;
  virtual Status truncate(uint64_t size) = 0;
};

// Held until destroyed; two processes never hold one lock at once, and the death
// of its holder frees it.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

enum class OpenMode : uint8_t {
  kRead,             // NOT_FOUND if it is not there.
  kReadWrite,        // NOT_FOUND if it is not there.
  kCreate,           // Made if it is not there.
  kCreateExclusive,  // EXISTS if it is there.
};

struct FileInfo {
  enum class Kind : uint8_t { kFile, kFolder, kLink, kOther };
  Kind kind = Kind::kFile;
  uint64_t size_bytes = 0;
  uint32_t mode = 0;  // The permission bits.
  WallTime modified{};
  std::string link_target;
};

struct DiskSpace {
  uint64_t free_bytes = 0;
  uint64_t total_bytes = 0;
};

// Names are paths of the machine's own file system. What is not a Future blocks
// for the time of one small system call.
class Disk {
 public:
  virtual ~Disk() = default;
  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
  // The names in a folder, sorted, without "." and "..".
  virtual Result<std::vector<std::string>> list(const std::string& folder) = 0;
  // NOT_FOUND if there is nothing. Does not follow links.
  virtual Result<FileInfo> info(const std::string& path) = 0;
  // Parents too; no error if it is there already.
  virtual Status make_folder(const std::string& path) = 0;
  // Replaces `to`. Durable only after sync_folder of the folder(s).
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  virtual Status remove(const std::string& path) = 0;  // A file, a link or an empty folder.
  virtual Status sync_folder(const std::string& folder) = 0;
  virtual Status make_link(const std::string& target, const std::string& path) = 0;
  // Mode 0: left as it is. Of a link the link's own time (it has no mode).
  virtual Status set_attributes(const std::string& path, uint32_t mode, WallTime modified) = 0;
  // LOCKED if another process holds it. The file is made if it is not there.
  virtual Result<std::unique_ptr<FileLock>> lock(const std::string& path) = 0;
  virtual Result<DiskSpace> space(const std::string& folder) = 0;
  // The name of the SQLite VFS that reaches this disk; empty for SQLite's own.
  virtual std::string sqlite_vfs() const { return {}; }
};

class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t next() = 0;
};

// What one process can prove about another on its machine. Two processes share a
// machine when both fields are equal and not empty.
struct ProcessIdentity {
  std::string machine;  // Boot id and PID namespace.
  uint64_t pid = 0;
  uint64_t start_time = 0;  // As /proc/PID/stat counts it: tells a reused pid apart.
};

class Processes {
 public:
  virtual ~Processes() = default;
  virtual ProcessIdentity self() const = 0;
  // Set once that process is proven dead (a pidfd in production); UNAVAILABLE at
  // once if it cannot be watched from here, which proves nothing.
  virtual Future<Status> died(ProcessIdentity process) = 0;
};

// Runs `work` where it may block or burn the processor, away from the ready loop.
// It must not touch anything that the loop touches meanwhile.
class Workers {
 public:
  virtual ~Workers() = default;
  virtual Future<Unit> run(std::function<void()> work) = 0;
};

struct Env {
  Clock& clock;
  Net& net;
  Disk& disk;
  Random& random;
  Executor& executor;
  Workers& workers;
  Processes& processes;
};

// Runs from the ready loop after `duration`.
Future<Unit> sleep_for(Env& env, Duration duration);

// Puts the caller behind everything that is ready now.
Future<Unit> yield_now(Env& env);

}  // namespace understudy
