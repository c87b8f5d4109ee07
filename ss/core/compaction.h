// Which closed segments of a log are worth packing next. Pure.
//
// A segment is packed when at least half of it is dead; sooner where the disk runs full.
// Small neighbours are packed into one with it, so that what is left of a long log is
// not a heap of little files.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "common/base/types.h"

namespace understudy {

struct SegmentFacts {
  Lsn base{};
  Lsn end{};
  uint64_t bytes = 0;       // On the disk.
  uint64_t dead_bytes = 0;  // Of these, about.

  uint64_t live() const { return bytes - std::min(bytes, dead_bytes); }
};

struct CompactionFacts {
  std::vector<SegmentFacts> segments;  // Closed ones that may be packed, in order.
  uint64_t segment_size = 0;
  uint64_t free_bytes = 0;             // Of the disk.
  uint64_t total_bytes = 0;
};

struct SegmentRun {
  Lsn base{};
  Lsn end{};
  bool operator==(const SegmentRun&) const = default;
};

// What packing is not to take of a disk that is nearly full.
inline constexpr uint64_t kPackingLeavesFree = 2 << 20;

// Nothing: none is worth it, or the copy of none has room.
std::optional<SegmentRun> choose_compaction(const CompactionFacts& facts);

// What packing would give back.
uint64_t reclaimable_bytes(const std::vector<SegmentFacts>& segments);

// Smaller on a small disk, where a copy of a segment must find room when nearly all is taken.
uint64_t segment_size_for(uint64_t disk_bytes);

}  // namespace understudy
