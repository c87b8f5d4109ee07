#include "tests/sim/sim_file.h"

#include "tests/sim/sim_vfs.h"
#include "tests/sim/sim_world.h"

namespace understudy::sim {
namespace {

std::unexpected<Error> dead() { return fail(Code::kUnavailable, "the process is dead"); }

class SimFile final : public File {
 public:
  SimFile(SimWorld& world, SimProcess& process, InodeRef inode, std::string path, bool writable)
      : world_(world),
        process_(process),
        disk_(process.host().disk),
        inode_(std::move(inode)),
        path_(std::move(path)),
        writable_(writable) {}

  Future<Result<Bytes>> read(uint64_t offset, uint32_t size) override {
    Promise<Result<Bytes>> promise(process_.env().executor);
    if (!process_.alive()) return promise.future();
    world_.events().add(world_.now() + disk_.read_latency(), EventKind::kDisk, process_.pid(),
                        [promise, offset, size, path = path_, inode = inode_, &process = process_, &disk = disk_] {
      if (!process.alive()) return;
      if (Status status = disk.called(DiskCall::kRead); !status) {
        promise.set(fail(status.error().code, path + ": " + status.error().message));
      } else if (offset >= inode->content.size()) {
        promise.set(Bytes());
      } else {
        promise.set(inode->content.substr(offset, size));
      }
    });
    return promise.future();
  }

  Future<Status> write(uint64_t offset, std::vector<Bytes> pieces, Sync sync) override {
    Promise<Status> promise(process_.env().executor);
    if (!process_.alive()) return promise.future();
    if (!writable_) {
      promise.set(fail(Code::kInternal, path_ + ": not open for writing"));
      return promise.future();
    }
    Bytes bytes;
    for (Bytes& piece : pieces) {
      if (bytes.empty()) {
        bytes = std::move(piece);
      } else {
        bytes += piece;
      }
    }
    world_.events().add(world_.now() + disk_.write_latency(), EventKind::kDisk, process_.pid(),
                        [promise, offset, sync, bytes = std::move(bytes), path = path_, inode = inode_,
                         &process = process_, &disk = disk_] {
      if (!process.alive() || disk.crash_point()) return;
      BytesView written = bytes;
      Status status = disk.called(DiskCall::kWrite);
      // After an error, nothing is known of the bytes: here, half of them are there.
      if (!status) written = written.substr(0, written.size() / 2);
      if (Status done = disk.write(*inode, offset, written); !done) status = done;
      disk.world().trace(EventKind::kDisk, inode->id, checksum(written, offset));
      if (disk.crash_point()) return;
      if (!status) {
        promise.set(fail(status.error().code, path + ": " + status.error().message));
      } else if (sync == Sync::kYes) {
        begin_sync(process, inode, path, promise);
      } else {
        promise.set({});
      }
    });
    return promise.future();
  }

  Future<Status> sync() override {
    Promise<Status> promise(process_.env().executor);
    if (process_.alive()) begin_sync(process_, inode_, path_, promise);
    return promise.future();
  }

  Result<uint64_t> size() const override { return inode_->content.size(); }

  Status truncate(uint64_t size) override {
    if (!process_.alive()) return dead();
    if (!writable_) return fail(Code::kInternal, path_ + ": not open for writing");
    RETURN_IF_ERROR(disk_.called(DiskCall::kWrite));
    if (disk_.crash_point()) return dead();
    RETURN_IF_ERROR(disk_.truncate(*inode_, size));
    if (disk_.crash_point()) return dead();
    return {};
  }

 private:
  static void begin_sync(SimProcess& process, InodeRef inode, std::string path, Promise<Status> promise) {
    SimDisk& disk = process.host().disk;
    SimWorld& world = disk.world();
    world.events().add(world.now() + disk.sync_latency(), EventKind::kDisk, process.pid(),
                       [promise, mark = disk.sync_mark(), path = std::move(path), inode = std::move(inode), &process,
                        &disk] {
      if (!process.alive() || disk.crash_point()) return;
      Status status = disk.called(DiskCall::kSync);
      if (status) {
        disk.finish_sync(*inode, mark);
      } else {
        disk.fail_sync(*inode, mark);
        status = fail(status.error().code, path + ": " + status.error().message);
      }
      if (disk.crash_point()) return;
      promise.set(status);
    });
  }

  SimWorld& world_;
  SimProcess& process_;
  SimDisk& disk_;
  InodeRef inode_;
  std::string path_;
  bool writable_;
};

class SimFileLock final : public FileLock {
 public:
  SimFileLock(SimProcess& process, std::string path) : process_(process), path_(std::move(path)) {}
  ~SimFileLock() override {
    // Its process's death has freed it, and another may hold it since.
    if (process_.alive()) process_.host().disk.unlock(path_);
  }

 private:
  SimProcess& process_;
  std::string path_;
};

}  // namespace

SimDisk& SimDiskView::disk() const { return process_.host().disk; }

Status SimDiskView::called(DiskCall call) {
  if (!process_.alive()) return dead();
  return disk().called(call);
}

Result<std::unique_ptr<File>> SimDiskView::open(const std::string& path, OpenMode mode) {
  RETURN_IF_ERROR(called(DiskCall::kName));
  ASSIGN_OR_RETURN(InodeRef inode, disk().open(path, mode));
  return std::make_unique<SimFile>(world_, process_, std::move(inode), path, mode != OpenMode::kRead);
}

Result<std::vector<std::string>> SimDiskView::list(const std::string& folder) {
  RETURN_IF_ERROR(called(DiskCall::kName));
  InodeRef inode = disk().find(folder);
  if (!inode) return fail(Code::kNotFound, folder + ": no such folder");
  if (inode->kind != FileInfo::Kind::kFolder) return fail(Code::kNotFolder, folder + ": not a folder");
  std::vector<std::string> names;
  for (auto& [name, child] : inode->entries) names.push_back(name);
  return names;
}

Result<FileInfo> SimDiskView::info(const std::string& path) {
  RETURN_IF_ERROR(called(DiskCall::kName));
  InodeRef inode = disk().find(path);
  if (!inode) return fail(Code::kNotFound, path + ": no such file");
  return FileInfo{inode->kind, inode->content.size(), inode->mode, inode->modified, inode->link_target};
}

Status SimDiskView::make_folder(const std::string& path) {
  RETURN_IF_ERROR(called(DiskCall::kName));
  return disk().make_folder(path);
}

Status SimDiskView::rename(const std::string& from, const std::string& to) {
  RETURN_IF_ERROR(called(DiskCall::kName));
  return disk().rename(from, to);
}

Status SimDiskView::remove(const std::string& path) {
  RETURN_IF_ERROR(called(DiskCall::kName));
  return disk().remove(path);
}

Status SimDiskView::sync_folder(const std::string& folder) {
  RETURN_IF_ERROR(called(DiskCall::kName));
  if (disk().crash_point()) return dead();
  RETURN_IF_ERROR(disk().sync_folder(folder));
  if (disk().crash_point()) return dead();
  return {};
}

Status SimDiskView::make_link(const std::string& target, const std::string& path) {
  RETURN_IF_ERROR(called(DiskCall::kName));
  return disk().make_link(target, path);
}

Status SimDiskView::set_attributes(const std::string& path, uint32_t mode, WallTime modified) {
  RETURN_IF_ERROR(called(DiskCall::kName));
  InodeRef inode = disk().find(path);
  if (!inode) return fail(Code::kNotFound, path + ": no such file");
  if (mode != 0) inode->mode = mode;
  inode->modified = modified;
  return {};
}

Result<std::unique_ptr<FileLock>> SimDiskView::lock(const std::string& path) {
  RETURN_IF_ERROR(called(DiskCall::kName));
  RETURN_IF_ERROR(disk().open(path, OpenMode::kCreate));
  if (!disk().lock(path, &process_)) return fail(Code::kLocked, path + ": another process holds it");
  return std::make_unique<SimFileLock>(process_, path);
}

Result<DiskSpace> SimDiskView::space(const std::string& folder) {
  RETURN_IF_ERROR(called(DiskCall::kName));
  if (!disk().find(folder)) return fail(Code::kNotFound, folder + ": no such folder");
  return disk().space();
}

std::string SimDiskView::sqlite_vfs() const { return disk().vfs().name(); }

}  // namespace understudy::sim
