#include "common/sqlite/checked_vfs.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "common/base/checksum.h"
#include "common/base/coding.h"

namespace understudy {
namespace {

constexpr int kFileHeaderSize = 100;

// A database file; others go to the VFS below as they are.
struct CheckedFile {
  sqlite3_file base;
  uint32_t page_size;  // 0: without checksums, or not known yet.
  Bytes* page;         // One of them, for passing through.
  // Behind it stands the file of the VFS below.
  sqlite3_file* below() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

CheckedFile* checked(sqlite3_file* file) { return reinterpret_cast<CheckedFile*>(file); }
sqlite3_file* below(sqlite3_file* file) { return checked(file)->below(); }

void look_at_header(CheckedFile* file, const void* bytes, int amount, sqlite3_int64 offset) {
  if (offset == 0 && amount >= kFileHeaderSize) {
    file->page_size = checked_page_size({static_cast<const char*>(bytes), static_cast<size_t>(amount)});
  }
}

int close_file(sqlite3_file* file) {
  delete checked(file)->page;
  return below(file)->pMethods->xClose(below(file));
}

// Small pieces (the file's header) are read as they are.
int read_file(sqlite3_file* file, void* to, int amount, sqlite3_int64 offset) {
  CheckedFile* self = checked(file);
  auto* under = below(file);
  const sqlite3_int64 size = self->page_size;
  if (size == 0 || amount <= kFileHeaderSize) {
    const int code = under->pMethods->xRead(under, to, amount, offset);
    if (code == SQLITE_OK) look_at_header(self, to, amount, offset);
    // The first page may be read before anything is known of it.
    const bool whole = code == SQLITE_OK && self->page_size != 0 && amount == static_cast<int>(self->page_size) && offset == 0;
    return whole && !page_fits({static_cast<const char*>(to), static_cast<size_t>(amount)}, 0) ? SQLITE_IOERR_DATA : code;
  }
  const sqlite3_int64 begin = offset / size * size;
  if (offset + amount > begin + size) return under->pMethods->xRead(under, to, amount, offset);
  self->page->resize(static_cast<size_t>(size));
  const int code = under->pMethods->xRead(under, self->page->data(), static_cast<int>(size), begin);
  std::memcpy(to, self->page->data() + (offset - begin), static_cast<size_t>(amount));
  if (code != SQLITE_OK) return code;
  if (begin == 0) look_at_header(self, self->page->data(), static_cast<int>(size), 0);
  return page_fits(*self->page, static_cast<uint64_t>(begin)) ? SQLITE_OK : SQLITE_IOERR_DATA;
}

int write_file(sqlite3_file* file, const void* from, int amount, sqlite3_int64 offset) {
  CheckedFile* self = checked(file);
  auto* under = below(file);
  look_at_header(self, from, amount, offset);
  if (self->page_size == 0 || amount != static_cast<int>(self->page_size) || offset % amount != 0) {
    return under->pMethods->xWrite(under, from, amount, offset);
  }
  Bytes& page = *self->page;
  page.assign(static_cast<const char*>(from), static_cast<size_t>(amount) - kPageChecksumSize);
  put_fixed<uint64_t>(page, checksum(page, static_cast<uint64_t>(offset)));
  return under->pMethods->xWrite(under, page.data(), amount, offset);
}

int truncate_file(sqlite3_file* file, sqlite3_int64 size) { return below(file)->pMethods->xTruncate(below(file), size); }
int sync_file(sqlite3_file* file, int flags) { return below(file)->pMethods->xSync(below(file), flags); }
int file_size(sqlite3_file* file, sqlite3_int64* size) { return below(file)->pMethods->xFileSize(below(file), size); }
int lock_file(sqlite3_file* file, int level) { return below(file)->pMethods->xLock(below(file), level); }
int unlock_file(sqlite3_file* file, int level) { return below(file)->pMethods->xUnlock(below(file), level); }
int check_reserved(sqlite3_file* file, int* out) { return below(file)->pMethods->xCheckReservedLock(below(file), out); }
int file_control(sqlite3_file* file, int what, void* data) { return below(file)->pMethods->xFileControl(below(file), what, data); }
int sector_size(sqlite3_file* file) { return below(file)->pMethods->xSectorSize(below(file)); }
int characteristics(sqlite3_file* file) { return below(file)->pMethods->xDeviceCharacteristics(below(file)); }
int shm_map(sqlite3_file* file, int region, int size, int extend, void volatile** to) {
  return below(file)->pMethods->xShmMap(below(file), region, size, extend, to);
}
int shm_lock(sqlite3_file* file, int offset, int count, int flags) {
  return below(file)->pMethods->xShmLock(below(file), offset, count, flags);
}
void shm_barrier(sqlite3_file* file) { below(file)->pMethods->xShmBarrier(below(file)); }
int shm_unmap(sqlite3_file* file, int remove) { return below(file)->pMethods->xShmUnmap(below(file), remove); }

// Version 2: no memory mapping, which would read past all this.
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

sqlite3_vfs* under(sqlite3_vfs* vfs) { return static_cast<sqlite3_vfs*>(vfs->pAppData); }

int open_file(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out_flags) {
  if ((flags & SQLITE_OPEN_MAIN_DB) == 0) return under(vfs)->xOpen(under(vfs), path, file, flags, out_flags);
  auto* self = checked(file);
  *self = {};
  const int code = under(vfs)->xOpen(under(vfs), path, self->below(), flags, out_flags);
  if (code != SQLITE_OK) return code;  // Without methods it is not closed.
  self->page = new Bytes();
  self->base.pMethods = &kMethods;
  return SQLITE_OK;
}

int delete_path(sqlite3_vfs* vfs, const char* path, int sync) { return under(vfs)->xDelete(under(vfs), path, sync); }
int access_path(sqlite3_vfs* vfs, const char* path, int flags, int* out) { return under(vfs)->xAccess(under(vfs), path, flags, out); }
int full_path(sqlite3_vfs* vfs, const char* path, int size, char* out) { return under(vfs)->xFullPathname(under(vfs), path, size, out); }
int randomness(sqlite3_vfs* vfs, int size, char* out) { return under(vfs)->xRandomness(under(vfs), size, out); }
int sleep_microseconds(sqlite3_vfs* vfs, int time) { return under(vfs)->xSleep(under(vfs), time); }
int current_time(sqlite3_vfs* vfs, double* out) { return under(vfs)->xCurrentTime(under(vfs), out); }
int current_time_int64(sqlite3_vfs* vfs, sqlite3_int64* out) { return under(vfs)->xCurrentTimeInt64(under(vfs), out); }
int last_error(sqlite3_vfs* vfs, int size, char* out) { return under(vfs)->xGetLastError(under(vfs), size, out); }

}  // namespace

struct CheckedVfs::Impl {
  std::string name;
  sqlite3_vfs vfs{};
};

CheckedVfs::CheckedVfs(const std::string& below) : impl_(std::make_unique<Impl>()) {
  sqlite3_vfs* under = sqlite3_vfs_find(below.empty() ? nullptr : below.c_str());
  CHECK(under != nullptr);
  // Nobody else's, in whatever thread: checkpoints open connections of their own.
  impl_->name = "checked-" + std::to_string(reinterpret_cast<uintptr_t>(impl_.get()));
  sqlite3_vfs& vfs = impl_->vfs;
  vfs.iVersion = 2;
  vfs.szOsFile = static_cast<int>(sizeof(CheckedFile)) + under->szOsFile;
  vfs.mxPathname = under->mxPathname;
  vfs.zName = impl_->name.c_str();
  vfs.pAppData = under;
  vfs.xOpen = open_file;
  vfs.xDelete = delete_path;
  vfs.xAccess = access_path;
  vfs.xFullPathname = full_path;
  vfs.xRandomness = randomness;
  vfs.xSleep = sleep_microseconds;
  vfs.xCurrentTime = current_time;
  vfs.xGetLastError = last_error;
  vfs.xCurrentTimeInt64 = current_time_int64;
  CHECK(sqlite3_vfs_register(&vfs, 0) == SQLITE_OK);
}

CheckedVfs::~CheckedVfs() { sqlite3_vfs_unregister(&impl_->vfs); }

const std::string& CheckedVfs::name() const { return impl_->name; }

void CheckedVfs::reserve_room(sqlite3* database) {
  int bytes = kPageChecksumSize;
  (void)sqlite3_file_control(database, "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes);
}

uint32_t checked_page_size(BytesView first_bytes) {
  // https://www.sqlite.org/fileformat.html: 16, the page size, big-endian, 1 for 64 KiB; 20, the room left free.
  constexpr std::string_view kMagic("SQLite format 3\0", 16);
  if (first_bytes.size() < kFileHeaderSize || !first_bytes.starts_with(kMagic)) return 0;
  const auto at = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(first_bytes[i])); };
  const uint32_t size = at(16) << 8 | at(17);
  return at(20) != kPageChecksumSize ? 0 : size == 1 ? 64 << 10 : size;
}

bool page_fits(BytesView page, uint64_t offset) {
  const BytesView content = page.substr(0, page.size() - kPageChecksumSize);
  if (load_fixed<uint64_t>(page.data() + content.size()) == checksum(content, offset)) return true;
  return page.find_first_not_of('\0') == BytesView::npos;
}

}  // namespace understudy
