#include "tests/sim/sim_vfs.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <new>
#include <vector>

#include "tests/sim/sim_world.h"

namespace understudy::sim {
namespace {

// The wal-index of one database: shared by all connections on this disk.
struct Shm {
  std::vector<std::unique_ptr<char[]>> regions;
};

// One open file of SQLite's.
struct Handle {
  SimVfs::Impl* vfs;
  SimProcess* process;  // nullptr: the test itself.
  uint64_t generation;
  InodeRef inode;
  std::string path;
  bool sync_name_too;   // The first sync of a new journal or WAL makes its name durable.
  bool delete_on_close;
  int lock = SQLITE_LOCK_NONE;
  std::shared_ptr<Shm> shm;
  uint32_t shm_shared = 0;     // Bit masks of the slots held.
  uint32_t shm_exclusive = 0;
  bool dead = false;
};

struct VfsFile {
  sqlite3_file base;
  Handle* handle;
};

std::string folder_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

int sqlite_code(const Status& status, int otherwise) {
  if (status) return SQLITE_OK;
  return status.error().code == Code::kNoSpace ? SQLITE_FULL : otherwise;
}

}  // namespace

struct SimVfs::Impl {
  SimDisk& disk;
  SimRandom random;
  std::string name;
  sqlite3_vfs vfs{};
  std::vector<Handle*> handles;  // Open and alive, in the order of opening.
  std::map<uint64_t, std::weak_ptr<Shm>> shm;

  Impl(SimDisk& d, SimRandom r) : disk(d), random(r) {}

  bool usable(const Handle& handle) const {
    return !handle.dead && handle.generation == disk.generation() &&
           (handle.process == nullptr || handle.process->alive());
  }
  bool caller_alive() const {
    SimProcess* process = disk.world().current();
    return process == nullptr || process->alive();
  }
  void bury(Handle& handle) {
    handle.dead = true;
    handle.lock = SQLITE_LOCK_NONE;
    handle.shm_shared = handle.shm_exclusive = 0;
    std::erase(handles, &handle);
    bool still_open = std::ranges::any_of(handles, [&](Handle* other) { return other->inode == handle.inode; });
    if (!still_open) shm.erase(handle.inode->id);
  }
};

namespace {

using Impl = SimVfs::Impl;

Handle& handle_of(sqlite3_file* file) { return *reinterpret_cast<VfsFile*>(file)->handle; }
Impl& impl_of(sqlite3_vfs* vfs) { return *static_cast<Impl*>(vfs->pAppData); }

int close_file(sqlite3_file* file) {
  Handle* handle = &handle_of(file);
  Impl& vfs = *handle->vfs;
  if (vfs.usable(*handle) && handle->delete_on_close && !handle->path.empty()) {
    (void)vfs.disk.remove(handle->path);  // Of a temporary file: nothing depends on it.
  }
  if (!handle->dead) vfs.bury(*handle);
  delete handle;
  return SQLITE_OK;
}

int read_file(sqlite3_file* file, void* to, int amount, sqlite3_int64 offset) {
  Handle& handle = handle_of(file);
  if (!handle.vfs->usable(handle) || !handle.vfs->disk.called(DiskCall::kRead)) return SQLITE_IOERR_READ;
  const Bytes& content = handle.inode->content;
  size_t at = std::min<size_t>(offset, content.size());
  size_t got = std::min<size_t>(amount, content.size() - at);
  std::memcpy(to, content.data() + at, got);
  if (got == static_cast<size_t>(amount)) return SQLITE_OK;
  std::memset(static_cast<char*>(to) + got, 0, amount - got);
  return SQLITE_IOERR_SHORT_READ;
}

int write_file(sqlite3_file* file, const void* from, int amount, sqlite3_int64 offset) {
  Handle& handle = handle_of(file);
  SimDisk& disk = handle.vfs->disk;
  if (!handle.vfs->usable(handle) || disk.crash_point()) return SQLITE_IOERR_WRITE;
  if (Status status = disk.called(DiskCall::kWrite); !status) return sqlite_code(status, SQLITE_IOERR_WRITE);
  BytesView bytes(static_cast<const char*>(from), amount);
  disk.world().trace(EventKind::kSqlite, handle.inode->id, checksum(bytes, offset));
  Status status = disk.write(*handle.inode, offset, bytes);
  if (disk.crash_point()) return SQLITE_IOERR_WRITE;
  return sqlite_code(status, SQLITE_IOERR_WRITE);
}

int truncate_file(sqlite3_file* file, sqlite3_int64 size) {
  Handle& handle = handle_of(file);
  if (!handle.vfs->usable(handle)) return SQLITE_IOERR_TRUNCATE;
  return sqlite_code(handle.vfs->disk.truncate(*handle.inode, size), SQLITE_IOERR_TRUNCATE);
}

int sync_file(sqlite3_file* file, int) {
  Handle& handle = handle_of(file);
  SimDisk& disk = handle.vfs->disk;
  if (!handle.vfs->usable(handle) || disk.crash_point()) return SQLITE_IOERR_FSYNC;
  disk.world().trace(EventKind::kSqlite, handle.inode->id, disk.sync_mark());
  if (Status status = disk.called(DiskCall::kSync); !status) {
    disk.fail_sync(*handle.inode, disk.sync_mark());
    return sqlite_code(status, SQLITE_IOERR_FSYNC);
  }
  disk.finish_sync(*handle.inode, disk.sync_mark());
  if (std::exchange(handle.sync_name_too, false) && !disk.sync_folder(folder_of(handle.path))) {
    return SQLITE_IOERR_DIR_FSYNC;
  }
  return disk.crash_point() ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

int file_size(sqlite3_file* file, sqlite3_int64* size) {
  *size = static_cast<sqlite3_int64>(handle_of(file).inode->content.size());
  return SQLITE_OK;
}

// The highest lock that another connection has on this file.
int lock_of_others(const Handle& handle) {
  int highest = SQLITE_LOCK_NONE;
  for (Handle* other : handle.vfs->handles) {
    if (other != &handle && other->inode == handle.inode) highest = std::max(highest, other->lock);
  }
  return highest;
}

int lock_file(sqlite3_file* file, int level) {
  Handle& handle = handle_of(file);
  if (!handle.vfs->usable(handle)) return SQLITE_IOERR_LOCK;
  if (handle.lock >= level) return SQLITE_OK;
  int others = lock_of_others(handle);
  if (level == SQLITE_LOCK_SHARED && others >= SQLITE_LOCK_PENDING) return SQLITE_BUSY;
  if (level >= SQLITE_LOCK_RESERVED && others >= SQLITE_LOCK_RESERVED) return SQLITE_BUSY;
  if (level == SQLITE_LOCK_EXCLUSIVE && others >= SQLITE_LOCK_SHARED) {
    handle.lock = SQLITE_LOCK_PENDING;
    return SQLITE_BUSY;
  }
  handle.lock = level;
  return SQLITE_OK;
}

int unlock_file(sqlite3_file* file, int level) {
  handle_of(file).lock = std::min(handle_of(file).lock, level);
  return SQLITE_OK;
}

int check_reserved(sqlite3_file* file, int* reserved) {
  Handle& handle = handle_of(file);
  *reserved = handle.lock >= SQLITE_LOCK_RESERVED || lock_of_others(handle) >= SQLITE_LOCK_RESERVED;
  return SQLITE_OK;
}

int file_control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int sector_size(sqlite3_file*) { return 4096; }
int characteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

int shm_map(sqlite3_file* file, int region, int size, int extend, void volatile** to) {
  Handle& handle = handle_of(file);
  *to = nullptr;
  if (!handle.vfs->usable(handle)) return SQLITE_IOERR_SHMMAP;
  if (!handle.shm) {
    auto& shared = handle.vfs->shm[handle.inode->id];
    handle.shm = shared.lock();
    if (!handle.shm) shared = handle.shm = std::make_shared<Shm>();
  }
  auto& regions = handle.shm->regions;
  if (static_cast<size_t>(region) >= regions.size() && extend == 0) return SQLITE_OK;
  while (regions.size() <= static_cast<size_t>(region)) regions.push_back(std::make_unique<char[]>(size));
  *to = regions[region].get();
  return SQLITE_OK;
}

int shm_lock(sqlite3_file* file, int offset, int count, int flags) {
  Handle& handle = handle_of(file);
  uint32_t slots = ((1u << count) - 1) << offset;
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    ((flags & SQLITE_SHM_SHARED) != 0 ? handle.shm_shared : handle.shm_exclusive) &= ~slots;
    return SQLITE_OK;
  }
  if (!handle.vfs->usable(handle)) return SQLITE_IOERR_SHMLOCK;
  uint32_t shared = 0, exclusive = 0;
  for (Handle* other : handle.vfs->handles) {
    if (other == &handle || other->inode != handle.inode) continue;
    shared |= other->shm_shared;
    exclusive |= other->shm_exclusive;
  }
  bool exclusively = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
  if ((slots & exclusive) != 0 || (exclusively && (slots & shared) != 0)) return SQLITE_BUSY;
  (exclusively ? handle.shm_exclusive : handle.shm_shared) |= slots;
  return SQLITE_OK;
}

void shm_barrier(sqlite3_file*) {}

int shm_unmap(sqlite3_file* file, int) {
  Handle& handle = handle_of(file);
  handle.shm_shared = handle.shm_exclusive = 0;
  handle.shm.reset();
  return SQLITE_OK;
}

constexpr sqlite3_io_methods kMethods = {
    .iVersion = 2,
    .xClose = close_file,
    .xRead = read_file,
    .xWrite = write_file,
    .xTruncate = truncate_file,
    .xSync = sync_file,
    .xFileSize = file_size,
    .xLock = lock_file,
    .xUnlock = unlock_file,
    .xCheckReservedLock = check_reserved,
    .xFileControl = file_control,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

int open_file(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out_flags) {
  file->pMethods = nullptr;
  Impl& impl = impl_of(vfs);
  if (!impl.caller_alive() || !impl.disk.called(DiskCall::kName)) return SQLITE_CANTOPEN;
  InodeRef inode;
  bool created = false;
  if (path == nullptr) {
    inode = impl.disk.make_inode(FileInfo::Kind::kFile);
  } else {
    created = !impl.disk.find(path);
    bool create = (flags & SQLITE_OPEN_CREATE) != 0;
    bool exclusive = (flags & SQLITE_OPEN_EXCLUSIVE) != 0;
    auto opened = impl.disk.open(path, !create     ? OpenMode::kReadWrite
                                       : exclusive ? OpenMode::kCreateExclusive
                                                   : OpenMode::kCreate);
    if (!opened) return SQLITE_CANTOPEN;
    inode = *std::move(opened);
  }
  bool journal = (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL | SQLITE_OPEN_SUPER_JOURNAL)) != 0;
  auto* handle = new Handle{&impl,
                            impl.disk.world().current(),
                            impl.disk.generation(),
                            std::move(inode),
                            path == nullptr ? "" : path,
                            created && journal,
                            (flags & SQLITE_OPEN_DELETEONCLOSE) != 0};
  impl.handles.push_back(handle);
  reinterpret_cast<VfsFile*>(file)->handle = handle;
  file->pMethods = &kMethods;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int delete_path(sqlite3_vfs* vfs, const char* path, int sync_folder) {
  Impl& impl = impl_of(vfs);
  if (!impl.caller_alive() || !impl.disk.called(DiskCall::kName)) return SQLITE_IOERR_DELETE;
  Status status = impl.disk.remove(path);
  if (!status) return status.error().code == Code::kNotFound ? SQLITE_IOERR_DELETE_NOENT : SQLITE_IOERR_DELETE;
  if (sync_folder != 0 && !impl.disk.sync_folder(folder_of(path))) return SQLITE_IOERR_DIR_FSYNC;
  return SQLITE_OK;
}

int access_path(sqlite3_vfs* vfs, const char* path, int flags, int* found) {
  InodeRef inode = impl_of(vfs).disk.find(path);
  // As on Unix: an empty file does not count as a journal that is there.
  *found = inode && (flags != SQLITE_ACCESS_EXISTS || !inode->content.empty()) ? 1 : 0;
  return SQLITE_OK;
}

int full_path(sqlite3_vfs*, const char* path, int size, char* to) {
  sqlite3_snprintf(size, to, "%s%s", path[0] == '/' ? "" : "/", path);
  return SQLITE_OK;
}

int randomness(sqlite3_vfs* vfs, int size, char* to) {
  for (int i = 0; i < size; ++i) to[i] = static_cast<char>(impl_of(vfs).random.next());
  return size;
}

int sleep_microseconds(sqlite3_vfs*, int microseconds) { return microseconds; }

int current_time(sqlite3_vfs* vfs, sqlite3_int64* julian_ms) {
  SimDisk& disk = impl_of(vfs).disk;
  constexpr sqlite3_int64 kUnixEpochJulianMs = 24405875LL * 8640000LL;
  auto wall = disk.host().clock.wall(disk.world().now()).time_since_epoch();
  *julian_ms = kUnixEpochJulianMs + std::chrono::duration_cast<std::chrono::milliseconds>(wall).count();
  return SQLITE_OK;
}

int current_time_days(sqlite3_vfs* vfs, double* days) {
  sqlite3_int64 ms = 0;
  current_time(vfs, &ms);
  *days = static_cast<double>(ms) / 86'400'000.0;
  return SQLITE_OK;
}

int last_error(sqlite3_vfs*, int, char*) { return 0; }

}  // namespace

SimVfs::SimVfs(SimDisk& disk, SimRandom random) : impl_(std::make_unique<Impl>(disk, random)) {
  // Names are SQLite's, one set for the whole process, and several worlds may exist.
  static uint64_t registered = 0;
  impl_->name = "sim-" + std::to_string(++registered);
  sqlite3_vfs& vfs = impl_->vfs;
  vfs.iVersion = 2;
  vfs.szOsFile = sizeof(VfsFile);
  vfs.mxPathname = 1024;
  vfs.zName = impl_->name.c_str();
  vfs.pAppData = impl_.get();
  vfs.xOpen = open_file;
  vfs.xDelete = delete_path;
  vfs.xAccess = access_path;
  vfs.xFullPathname = full_path;
  vfs.xRandomness = randomness;
  vfs.xSleep = sleep_microseconds;
  vfs.xCurrentTime = current_time_days;
  vfs.xGetLastError = last_error;
  vfs.xCurrentTimeInt64 = current_time;
  CHECK(sqlite3_vfs_register(&vfs, 0) == SQLITE_OK);
  auto seed = static_cast<int>(1 + impl_->random.below(1u << 30));
  sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, seed, static_cast<sqlite3*>(nullptr));
}

SimVfs::~SimVfs() {
  sqlite3_vfs_unregister(&impl_->vfs);
  // A connection that outlives its world would call into nothing.
  CHECK(impl_->handles.empty());
}

const std::string& SimVfs::name() const { return impl_->name; }

void SimVfs::process_died(SimProcess& process) {
  std::vector<Handle*> owned;
  for (Handle* handle : impl_->handles) {
    if (handle->process == &process) owned.push_back(handle);
  }
  for (Handle* handle : owned) impl_->bury(*handle);
}

void SimVfs::lose_power() {
  while (!impl_->handles.empty()) impl_->bury(*impl_->handles.back());
}

}  // namespace understudy::sim
