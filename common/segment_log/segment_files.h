// The segment files of one folder, by base position, with the recently used ones open.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/segment_log/log_format.h"

namespace understudy {

class SegmentFiles {
 public:
  SegmentFiles(Env& env, std::string folder) : env_(env), folder_(std::move(folder)) {}

  // Looks what is in the folder, which is made if it is not there.
  Status scan();
  // The same file as long as somebody holds it.
  Result<std::shared_ptr<File>> open(Lsn base);
  // An empty file, in the place of a torn one if there is one; counts only after keep().
  Result<std::shared_ptr<File>> create(Lsn base);
  // The created file is part of the log from now on: its name is made durable.
  Status keep(Lsn base, std::shared_ptr<File> file);
  // Durable when it returns.
  Status remove(Lsn base);

  bool empty() const { return segments_.empty(); }
  Lsn first() const { return segments_.begin()->first; }
  Lsn last() const { return segments_.rbegin()->first; }
  // The segment that `lsn` lies in; the first one if it is older than all.
  Lsn containing(Lsn lsn) const;
  // Bases from `from` on.
  std::vector<Lsn> bases_from(Lsn from) const;

  const std::string& folder() const { return folder_; }
  std::string path(Lsn base) const { return folder_ + "/" + segment_name(base); }

 private:
  struct Segment {
    std::shared_ptr<File> file;  // Null: closed.
    uint64_t used = 0;
  };
  void close_least_used();

  Env& env_;
  std::string folder_;
  std::map<Lsn, Segment> segments_;
  uint64_t uses_ = 0;
};

}  // namespace understudy
