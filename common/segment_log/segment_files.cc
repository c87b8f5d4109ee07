#include "common/segment_log/segment_files.h"

#include "common/env/env_util.h"

namespace understudy {
namespace {

constexpr size_t kOpenFilesMax = 64;

}  // namespace

Status SegmentFiles::scan() {
  RETURN_IF_ERROR(make_folder_durably(env_, folder_));
  ASSIGN_OR_RETURN(auto names, env_.disk.list(folder_));
  for (const auto& name : names) {
    if (auto base = parse_segment_name(name)) segments_.try_emplace(*base);
  }
  return {};
}

Result<std::shared_ptr<File>> SegmentFiles::open(Lsn base) {
  auto found = segments_.find(base);
  if (found == segments_.end()) return fail(Code::kNotFound, path(base) + ": no such segment");
  Segment& segment = found->second;
  segment.used = ++uses_;
  if (!segment.file) {
    ASSIGN_OR_RETURN(segment.file, env_.disk.open(path(base), OpenMode::kReadWrite));
    close_least_used();
  }
  return segment.file;
}

Result<std::shared_ptr<File>> SegmentFiles::create(Lsn base) {
  ASSIGN_OR_RETURN(std::shared_ptr<File> file, env_.disk.open(path(base), OpenMode::kCreate));
  if (auto emptied = file->truncate(0); !emptied) {
    // A file that is no segment must not stand among them.
    RETURN_IF_ERROR(remove(base));
    return std::unexpected(std::move(emptied).error());
  }
  return file;
}

Status SegmentFiles::keep(Lsn base, std::shared_ptr<File> file) {
  RETURN_IF_ERROR(env_.disk.sync_folder(folder_));
  segments_[base] = {std::move(file), ++uses_};
  close_least_used();
  return {};
}

Status SegmentFiles::remove(Lsn base) {
  segments_.erase(base);
  RETURN_IF_ERROR(env_.disk.remove(path(base)));
  return env_.disk.sync_folder(folder_);
}

Lsn SegmentFiles::containing(Lsn lsn) const {
  auto above = segments_.upper_bound(lsn);
  return above == segments_.begin() ? above->first : std::prev(above)->first;
}

std::vector<Lsn> SegmentFiles::bases_from(Lsn from) const {
  std::vector<Lsn> bases;
  for (auto at = segments_.lower_bound(from); at != segments_.end(); ++at) bases.push_back(at->first);
  return bases;
}

void SegmentFiles::close_least_used() {
  size_t open = 0;
  Segment* least = nullptr;
  for (auto& [base, segment] : segments_) {
    if (!segment.file) continue;
    ++open;
    if (!least || segment.used < least->used) least = &segment;
  }
  if (open > kOpenFilesMax) least->file = nullptr;
}

}  // namespace understudy
