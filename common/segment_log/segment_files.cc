#include "common/segment_log/segment_files.h"

#include "common/env/aside.h"
#include "common/env/env_util.h"

namespace understudy {
namespace {

constexpr size_t kOpenFilesMax = 64;

}  // namespace

Task<Status> SegmentFiles::scan() {
  CO_RETURN_IF_ERROR(make_folder_durably(env_, folder_));
  CO_ASSIGN_OR_RETURN(auto names, env_.disk.list(folder_));
  std::vector<std::string> leftovers;
  for (const auto& name : names) {
    if (folder_ + "/" + name == packing_path()) leftovers.push_back(name);
    auto range = parse_packed_name(name);
    if (!range) continue;
    // Of two from one base the longer one is the later one.
    auto& packed_end = segments_[range->base].packed_end;
    if (!packed_end || *packed_end < range->end) packed_end = range->end;
  }
  // A packed segment had its name before the ones that it replaces lost theirs.
  Lsn covered = kNoLsn;
  for (auto at = segments_.begin(); at != segments_.end();) {
    if (*at->second.packed_end <= covered) {
      at = segments_.erase(at);
      continue;
    }
    covered = *at->second.packed_end;
    ++at;
  }
  for (const auto& name : names) {
    auto range = parse_packed_name(name);
    auto base = range ? range->base : parse_segment_name(name);
    if (!base) continue;
    auto above = segments_.upper_bound(*base);
    const bool inside = above != segments_.begin() && std::prev(above)->second.packed_end > *base &&
                        (!range || *base != std::prev(above)->first || range->end != std::prev(above)->second.packed_end);
    if (inside) {
      // Only what is whole replaces anything.
      auto whole = co_await open_any(std::prev(above)->first);
      if (!whole) co_return std::unexpected(std::move(whole).error());
      leftovers.push_back(name);
    } else {
      segments_.try_emplace(*base);
    }
  }
  for (const auto& [base, segment] : segments_) {
    auto next = segments_.upper_bound(base);
    if (!segment.packed_end || next == segments_.end() || next->first == *segment.packed_end) continue;
    co_return fail(Code::kCorrupt, path(base) + ": ends at another position than the next segment begins at");
  }
  for (const auto& name : leftovers) CO_RETURN_IF_ERROR(env_.disk.remove(folder_ + "/" + name));
  if (!leftovers.empty()) co_return env_.disk.sync_folder(folder_);
  co_return Status{};
}

std::string SegmentFiles::path(Lsn base) const {
  auto found = segments_.find(base);
  const bool packed = found != segments_.end() && found->second.packed_end;
  return folder_ + "/" + (packed ? packed_name(base, *found->second.packed_end) : segment_name(base));
}

std::optional<Lsn> SegmentFiles::end_of(Lsn base) const {
  auto found = segments_.find(base);
  if (found == segments_.end()) return std::nullopt;
  if (found->second.packed_end) return found->second.packed_end;
  auto next = std::next(found);
  if (next == segments_.end()) return std::nullopt;
  return next->first;
}

bool SegmentFiles::is_packed(Lsn base) const {
  auto found = segments_.find(base);
  return found != segments_.end() && found->second.packed_end;
}

Result<uint64_t> SegmentFiles::packed_bytes(Lsn base) {
  Segment& segment = segments_.at(base);
  if (segment.bytes == 0) {
    ASSIGN_OR_RETURN(auto info, env_.disk.info(path(base)));
    segment.bytes = info.size_bytes;
  }
  return segment.bytes;
}

Task<Result<OpenSegment>> SegmentFiles::open_any(Lsn base) {
  auto found = segments_.find(base);
  if (found == segments_.end()) co_return fail(Code::kNotFound, path(base) + ": no such segment");
  const std::string path = this->path(base);
  if (!found->second.packed_end) {
    CO_ASSIGN_OR_RETURN(auto file, open(base));
    co_return OpenSegment{std::move(file), nullptr, path};
  }
  if (found->second.file) {
    found->second.used = ++uses_;
    co_return OpenSegment{found->second.file, found->second.packed, path};
  }
  const Lsn end = *found->second.packed_end;
  const uint64_t packings = packings_;
  CO_ASSIGN_OR_RETURN(std::shared_ptr<File> file, env_.disk.open(path, OpenMode::kRead));
  CO_ASSIGN_OR_RETURN(auto packed, co_await load_packed(file, path));
  if (packed->header.base != base || packed->header.end != end) {
    co_return fail(Code::kCorrupt, path + ": is another packed segment than its name says");
  }
  // Packed anew meanwhile, it is an older one: good for this reader only.
  found = segments_.find(base);
  if (packings == packings_ && found != segments_.end() && !found->second.file) {
    found->second.file = file;
    found->second.packed = packed;
    found->second.used = ++uses_;
    close_least_used();
  }
  co_return OpenSegment{std::move(file), std::move(packed), path};
}

Result<std::shared_ptr<File>> SegmentFiles::create_packing() {
  ASSIGN_OR_RETURN(std::shared_ptr<File> file, env_.disk.open(packing_path(), OpenMode::kCreate));
  RETURN_IF_ERROR(file->truncate(0));
  return file;
}

Status SegmentFiles::drop_packing() { return env_.disk.remove(packing_path()); }

Task<Status> SegmentFiles::put_packed(Lsn base, Lsn end) {
  std::vector<std::string> replaced;
  const std::string packed = folder_ + "/" + packed_name(base, end);
  for (auto at = segments_.lower_bound(base); at != segments_.end() && at->first < end; ++at) {
    if (path(at->first) != packed) replaced.push_back(path(at->first));
  }
  CO_RETURN_IF_ERROR(env_.disk.rename(packing_path(), packed));
  ++packings_;
  // From here on new readers take the new file, which holds all that they may ask for.
  segments_.erase(segments_.lower_bound(base), segments_.lower_bound(end));
  segments_[base].packed_end = end;
  CO_RETURN_IF_ERROR(co_await sync_folder_aside(env_, folder_));
  for (const auto& path : replaced) CO_RETURN_IF_ERROR(co_await remove_aside(env_, path));
  if (replaced.empty()) co_return Status{};
  co_return co_await sync_folder_aside(env_, folder_);
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

Task<Status> SegmentFiles::keep(Lsn base, std::shared_ptr<File> file) {
  CO_RETURN_IF_ERROR(co_await sync_folder_aside(env_, folder_));
  segments_[base] = {.file = std::move(file), .used = ++uses_, .packed_end = {}, .packed = nullptr};
  close_least_used();
  co_return Status{};
}

Status SegmentFiles::remove(Lsn base) {
  const std::string gone = path(base);
  segments_.erase(base);
  RETURN_IF_ERROR(env_.disk.remove(gone));
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
  if (open <= kOpenFilesMax) return;
  least->file = nullptr;
  least->packed = nullptr;
}

}  // namespace understudy
