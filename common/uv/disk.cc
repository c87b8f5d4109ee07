// The machine's file system. Reads that the page cache answers are done on the
// loop; other reads, writes and syncs on the thread pool, with buffers of their own.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>

#include "common/env/direct_read.h"
#include "common/uv/loop.h"

namespace understudy {
namespace {

// The code of a failed call on bytes of an open file.
Code bytes_code(int error_number) {
  switch (error_number) {
    case ENOSPC: case EDQUOT: return Code::kNoSpace;
    case EIO: return Code::kCorrupt;
    default: return Code::kInternal;
  }
}

// The code of a failed call on a name.
Code name_code(int error_number) {
  switch (error_number) {
    case ENOENT: return Code::kNotFound;
    case EEXIST: return Code::kExists;
    case EISDIR: return Code::kIsFolder;
    case ENOTDIR: return Code::kNotFolder;
    case ENOTEMPTY: return Code::kNotEmpty;
    case EACCES: case EPERM: case EROFS: return Code::kDenied;
    case ENAMETOOLONG: case EINVAL: return Code::kInvalid;
    default: return bytes_code(error_number);
  }
}

std::unexpected<Error> bytes_error(const std::string& what, int error_number) {
  return std::unexpected(system_error(bytes_code(error_number), what, error_number));
}
// Of a failed sync nobody knows what became of the bytes, whatever the number says; a full disk that a
// write meets is another matter. (A file system may find no room, or quota, only then.)
std::unexpected<Error> sync_error(const std::string& path, int error_number) {
  return std::unexpected(system_error(Code::kInternal, path + ": syncing", error_number));
}
std::unexpected<Error> name_error(const std::string& path, int error_number) {
  return std::unexpected(system_error(name_code(error_number), path, error_number));
}

template <class Call>
auto retried(Call call) {
  for (;;) {
    auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

// An open file description. Counted on the loop thread; the pool uses the number only.
struct Descriptor {
  Descriptor(int n, std::string p) : number(n), path(std::move(p)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(number); }
  int number;
  std::string path;
  bool reads_without_waiting = true;  // Until the file system says that it cannot.
  bool direct = false;                // Opened with O_DIRECT: whole blocks into aligned memory.
};

class ReadItem final : public PoolItem {
 public:
  ReadItem(std::shared_ptr<Descriptor> file, uint64_t offset, uint32_t size, Promise<Result<Bytes>> promise)
      : file_(std::move(file)), number_(file_->number), offset_(offset), size_(size), promise_(std::move(promise)) {
    bytes_.resize_and_overwrite(size, [](char*, size_t n) { return n; });
  }

  // All that the page cache has, on the loop. True: that is the whole answer.
  bool read_cached() {
    while (file_->reads_without_waiting && done_ < size_) {
      iovec where{bytes_.data() + done_, size_ - done_};
      ssize_t count = retried([&] { return preadv2(number_, &where, 1, offset_ + done_, RWF_NOWAIT); });
      if (count == 0) break;
      if (count < 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS) file_->reads_without_waiting = false;
        return false;
      }
      done_ += count;
    }
    return file_->reads_without_waiting;
  }

  void work() override {
    while (done_ < size_) {
      ssize_t count = retried([&] { return pread(number_, bytes_.data() + done_, size_ - done_, offset_ + done_); });
      if (count == 0) return;
      if (count < 0) {
        error_ = errno;
        return;
      }
      done_ += count;
    }
  }

  void done() override {
    if (error_ != 0) {
      promise_.try_set(bytes_error(file_->path + ": reading at " + std::to_string(offset_), error_));
      return;
    }
    bytes_.resize(done_);
    promise_.try_set(std::move(bytes_));
  }

 private:
  std::shared_ptr<Descriptor> file_;
  int number_;
  uint64_t offset_;
  size_t size_;
  Promise<Result<Bytes>> promise_;
  Bytes bytes_;
  size_t done_ = 0;
  int error_ = 0;
};

// Of a file that was opened with O_DIRECT.
class DirectReadItem final : public PoolItem {
 public:
  DirectReadItem(std::shared_ptr<Descriptor> file, uint64_t offset, uint32_t size, Promise<Result<Bytes>> promise)
      : file_(std::move(file)), number_(file_->number), offset_(offset), size_(size), promise_(std::move(promise)) {}

  void work() override {
    const uint64_t begin = offset_ / kBlock * kBlock, end = (offset_ + size_ + kBlock - 1) / kBlock * kBlock;
    std::unique_ptr<char, decltype(&std::free)> blocks(static_cast<char*>(std::aligned_alloc(kBlock, std::max(end - begin, kBlock))), &std::free);
    if (!blocks) {
      error_ = ENOMEM;
      return;
    }
    uint64_t got = 0;
    while (got < end - begin) {
      ssize_t count = retried([&] { return pread(number_, blocks.get() + got, end - begin - got, static_cast<off_t>(begin + got)); });
      if (count < 0) {
        error_ = errno;
        return;
      }
      got += static_cast<uint64_t>(count);
      if (count == 0 || got % kBlock != 0) break;  // The end of the file.
    }
    const uint64_t skipped = offset_ - begin;
    if (got > skipped) bytes_.assign(blocks.get() + skipped, std::min<uint64_t>(size_, got - skipped));
  }

  void done() override {
    if (error_ == 0) {
      promise_.try_set(std::move(bytes_));
    } else {
      promise_.try_set(bytes_error(file_->path + ": reading at " + std::to_string(offset_), error_));
    }
  }

 private:
  static constexpr uint64_t kBlock = 4096;
  std::shared_ptr<Descriptor> file_;
  int number_;
  uint64_t offset_;
  uint64_t size_;
  Promise<Result<Bytes>> promise_;
  Bytes bytes_;
  int error_ = 0;
};

class WriteItem final : public PoolItem {
 public:
  WriteItem(std::shared_ptr<Descriptor> file, uint64_t offset, std::vector<Bytes> pieces, Sync sync,
            Promise<Status> promise)
      : file_(std::move(file)), number_(file_->number), offset_(offset), pieces_(std::move(pieces)), sync_(sync),
        promise_(std::move(promise)) {}

  void work() override {
    std::vector<iovec> left;
    left.reserve(pieces_.size());
    for (Bytes& piece : pieces_) {
      if (!piece.empty()) left.push_back({piece.data(), piece.size()});
    }
    uint64_t at = offset_;
    for (size_t first = 0; first < left.size();) {
      int count = static_cast<int>(std::min<size_t>(left.size() - first, IOV_MAX));
      ssize_t taken = retried([&] { return pwritev(number_, &left[first], count, static_cast<off_t>(at)); });
      if (taken <= 0) {
        error_ = taken == 0 ? ENOSPC : errno;
        return;
      }
      at += taken;
      for (; first < left.size() && static_cast<size_t>(taken) >= left[first].iov_len; ++first) {
        taken -= left[first].iov_len;
      }
      if (taken > 0) {
        left[first].iov_base = static_cast<char*>(left[first].iov_base) + taken;
        left[first].iov_len -= taken;
      }
    }
    if (sync_ == Sync::kYes && retried([&] { return fdatasync(number_); }) != 0) {
      error_ = errno;
      syncing_ = true;
    }
  }

  void done() override {
    if (error_ == 0) {
      promise_.try_set({});
    } else if (syncing_) {
      promise_.try_set(sync_error(file_->path, error_));
    } else {
      promise_.try_set(bytes_error(file_->path + ": writing at " + std::to_string(offset_), error_));
    }
  }

 private:
  std::shared_ptr<Descriptor> file_;
  int number_;
  uint64_t offset_;
  std::vector<Bytes> pieces_;
  Sync sync_;
  Promise<Status> promise_;
  int error_ = 0;
  bool syncing_ = false;
};

class UvFile final : public File {
 public:
  UvFile(UvLoop& loop, std::shared_ptr<Descriptor> file) : loop_(loop), file_(std::move(file)) {}

  Future<Result<Bytes>> read(uint64_t offset, uint32_t size) override {
    Promise<Result<Bytes>> promise(loop_);
    if (file_->direct) {
      loop_.submit(std::make_unique<DirectReadItem>(file_, offset, size, promise));
      return promise.future();
    }
    auto item = std::make_unique<ReadItem>(file_, offset, size, promise);
    if (item->read_cached()) {
      item->done();
    } else {
      loop_.submit(std::move(item));
    }
    return promise.future();
  }

  Future<Status> write(uint64_t offset, std::vector<Bytes> pieces, Sync sync) override {
    Promise<Status> promise(loop_);
    loop_.submit(std::make_unique<WriteItem>(file_, offset, std::move(pieces), sync, promise));
    return promise.future();
  }

  Future<Status> sync() override { return write(0, {}, Sync::kYes); }

  Result<uint64_t> size() const override {
    struct stat about;
    if (fstat(file_->number, &about) != 0) return bytes_error(file_->path, errno);
    return static_cast<uint64_t>(about.st_size);
  }

  Status truncate(uint64_t size) override {
    if (retried([&] { return ftruncate(file_->number, static_cast<off_t>(size)); }) != 0) {
      return bytes_error(file_->path + ": truncating", errno);
    }
    return {};
  }

 private:
  UvLoop& loop_;
  std::shared_ptr<Descriptor> file_;
};

// flock belongs to the open file description, so that two locks of one process conflict too.
class UvFileLock final : public FileLock {
 public:
  explicit UvFileLock(std::unique_ptr<Descriptor> file) : file_(std::move(file)) {}

 private:
  std::unique_ptr<Descriptor> file_;
};

WallTime wall_time(const timespec& time) {
  auto since = std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  return WallTime(std::chrono::floor<WallTime::duration>(since));
}

class UvDisk final : public Disk, public DirectReads {
 public:
  explicit UvDisk(UvLoop& loop) : loop_(loop) {}

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    int flags = mode == OpenMode::kRead ? O_RDONLY : O_RDWR;
    if (mode == OpenMode::kCreate) flags |= O_CREAT;
    if (mode == OpenMode::kCreateExclusive) flags |= O_CREAT | O_EXCL;
    return open_with(path, flags);
  }

  // Not all file systems can.
  Result<std::unique_ptr<File>> open_direct(const std::string& path) override {
    auto file = open_with(path, O_RDONLY | O_DIRECT);
    return file || file.error().code != Code::kInvalid ? std::move(file) : open_with(path, O_RDONLY);
  }

  Result<std::unique_ptr<File>> open_with(const std::string& path, int flags) {
    int number = retried([&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0644); });
    if (number < 0) return name_error(path, errno);
    auto file = std::make_shared<Descriptor>(number, path);
    file->direct = (flags & O_DIRECT) != 0;
    struct stat about;
    if (fstat(number, &about) != 0) return name_error(path, errno);
    if (S_ISDIR(about.st_mode)) return name_error(path, EISDIR);
    return std::make_unique<UvFile>(loop_, std::move(file));
  }

  Result<std::vector<std::string>> list(const std::string& folder) override {
    std::unique_ptr<DIR, int (*)(DIR*)> stream(opendir(folder.c_str()), closedir);
    if (!stream) return name_error(folder, errno);
    std::vector<std::string> names;
    for (;;) {
      errno = 0;
      const dirent* entry = readdir(stream.get());
      if (!entry) {
        if (errno != 0) return name_error(folder, errno);
        break;
      }
      std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(std::move(name));
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<FileInfo> info(const std::string& path) override {
    struct stat about;
    if (lstat(path.c_str(), &about) != 0) return name_error(path, errno);
    FileInfo info;
    info.kind = S_ISREG(about.st_mode)   ? FileInfo::Kind::kFile
                : S_ISDIR(about.st_mode) ? FileInfo::Kind::kFolder
                : S_ISLNK(about.st_mode) ? FileInfo::Kind::kLink
                                         : FileInfo::Kind::kOther;
    info.size_bytes = static_cast<uint64_t>(about.st_size);
    info.mode = about.st_mode & 07777;
    info.modified = wall_time(about.st_mtim);
    if (info.kind == FileInfo::Kind::kLink) {
      char target[PATH_MAX];
      ssize_t size = readlink(path.c_str(), target, sizeof target);
      if (size < 0) return name_error(path, errno);
      info.link_target.assign(target, static_cast<size_t>(size));
    }
    return info;
  }

  Status make_folder(const std::string& path) override {
    for (size_t end = 0; end != std::string::npos;) {
      end = path.find('/', end + 1);
      std::string part = path.substr(0, end);
      if (mkdir(part.c_str(), 0755) == 0) continue;
      int error_number = errno;
      struct stat about;
      bool is_folder = stat(part.c_str(), &about) == 0 && S_ISDIR(about.st_mode);
      if (!is_folder) return name_error(part, error_number == EEXIST ? ENOTDIR : error_number);
    }
    return {};
  }

  Status rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return name_error(from + " to " + to, errno);
    return {};
  }

  Status remove(const std::string& path) override {
    if (::remove(path.c_str()) != 0) return name_error(path, errno);
    return {};
  }

  Status sync_folder(const std::string& folder) override {
    int number = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (number < 0) return name_error(folder, errno);
    Descriptor file(number, folder);
    if (retried([&] { return fsync(number); }) != 0) return sync_error(folder, errno);
    return {};
  }

  Status make_link(const std::string& target, const std::string& path) override {
    if (symlink(target.c_str(), path.c_str()) != 0) return name_error(path, errno);
    return {};
  }

  Status set_attributes(const std::string& path, uint32_t mode, WallTime modified) override {
    if (mode != 0 && chmod(path.c_str(), mode & 07777) != 0) return name_error(path, errno);
    auto since = modified.time_since_epoch();
    auto seconds = std::chrono::floor<std::chrono::seconds>(since);
    auto rest = std::chrono::nanoseconds(since - seconds);
    timespec times[2] = {{0, UTIME_OMIT}, {seconds.count(), rest.count()}};
    if (utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return name_error(path, errno);
    return {};
  }

  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override {
    int number = retried([&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644); });
    if (number < 0) return name_error(path, errno);
    auto file = std::make_unique<Descriptor>(number, path);
    if (retried([&] { return flock(number, LOCK_EX | LOCK_NB); }) != 0) {
      if (errno == EWOULDBLOCK) return fail(Code::kLocked, path + ": locked by another process");
      return name_error(path, errno);
    }
    return std::make_unique<UvFileLock>(std::move(file));
  }

  Result<DiskSpace> space(const std::string& folder) override {
    struct statvfs about;
    if (statvfs(folder.c_str(), &about) != 0) return name_error(folder, errno);
    return DiskSpace{uint64_t{about.f_bavail} * about.f_frsize, uint64_t{about.f_blocks} * about.f_frsize};
  }

 private:
  UvLoop& loop_;
};

}  // namespace

std::unique_ptr<Disk> make_disk(UvLoop& loop) { return std::make_unique<UvDisk>(loop); }

}  // namespace understudy
