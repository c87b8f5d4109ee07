// Reading what the disk has, past the page cache: for verifying it. A Disk that can do so is a
// DirectReads too; on any other, and where the file system cannot, the file is read as always.
#pragma once

#include <memory>
#include <string>

#include "common/env/env.h"

namespace understudy {

class DirectReads {
 public:
  virtual ~DirectReads() = default;
  // As Disk::open with kRead. Nothing is pushed out of the page cache, nor put into it.
  virtual Result<std::unique_ptr<File>> open_direct(const std::string& path) = 0;
};

inline Result<std::unique_ptr<File>> open_for_verifying(Env& env, const std::string& path) {
  auto* direct = dynamic_cast<DirectReads*>(&env.disk);
  return direct ? direct->open_direct(path) : env.disk.open(path, OpenMode::kRead);
}

}  // namespace understudy
