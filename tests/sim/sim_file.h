// One process's view of its host's disk: Env's Disk and File. Reads, writes and
// syncs take seeded time; everything else takes effect at once. A dead process's
// calls do nothing.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "tests/sim/sim_disk.h"

namespace understudy::sim {

class SimDiskView final : public Disk {
 public:
  SimDiskView(SimWorld& world, SimProcess& process) : world_(world), process_(process) {}
  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Result<std::vector<std::string>> list(const std::string& folder) override;
  Result<FileInfo> info(const std::string& path) override;
  Status make_folder(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Status sync_folder(const std::string& folder) override;
  Status make_link(const std::string& target, const std::string& path) override;
  Status set_attributes(const std::string& path, uint32_t mode, WallTime modified) override;
  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override;
  Result<DiskSpace> space(const std::string& folder) override;
  std::string sqlite_vfs() const override;

 private:
  Status called(DiskCall call);
  SimDisk& disk() const;

  SimWorld& world_;
  SimProcess& process_;
};

}  // namespace understudy::sim
