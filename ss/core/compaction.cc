#include "ss/core/compaction.h"

#include <algorithm>
#include <bit>

namespace understudy {
namespace {

constexpr uint64_t kSegmentSizeMin = 4 << 20;
constexpr uint64_t kSegmentSizeMax = 64 << 20;
constexpr uint64_t kScarce = 48 << 20;
// Less than this is not worth a sync and a rename.
constexpr uint64_t kWorthwhile = 64 << 10;

}  // namespace

std::optional<SegmentRun> choose_compaction(const CompactionFacts& facts) {
  const auto& segments = facts.segments;
  // With little left, an eighth of a segment is worth its copy.
  const bool scarce = facts.free_bytes < std::max(facts.total_bytes / 8, kScarce);
  const uint64_t room = facts.free_bytes - std::min(facts.free_bytes, kPackingLeavesFree);
  // One between them may not be packed now.
  auto adjoin = [&](size_t i) { return segments[i].end == segments[i + 1].base; };
  std::optional<size_t> best;
  for (size_t i = 0; i < segments.size(); ++i) {
    const SegmentFacts& segment = segments[i];
    const uint64_t dead = std::min(segment.bytes, segment.dead_bytes);
    if (dead < std::min(kWorthwhile, facts.segment_size / 4) || dead < segment.bytes / (scarce ? 8 : 2) || segment.live() > room) continue;
    // The most given back for what is copied.
    auto better = [](const SegmentFacts& a, const SegmentFacts& b) {
      return std::pair(a.live(), b.dead_bytes) < std::pair(b.live(), a.dead_bytes);
    };
    if (!best || better(segment, segments[*best])) best = i;
  }
  if (!best) {
    // Neighbours that are small together: one file less.
    for (size_t i = 0; i + 1 < segments.size(); ++i) {
      const uint64_t both = segments[i].live() + segments[i + 1].live();
      if (adjoin(i) && both <= facts.segment_size / 4 && both <= room) return SegmentRun{segments[i].base, segments[i + 1].end};
    }
    return std::nullopt;
  }
  size_t first = *best, last = *best;
  uint64_t live = segments[*best].live();
  const uint64_t most = std::min(facts.segment_size, room);
  auto small = [&](size_t i) { return segments[i].live() <= facts.segment_size / 4 && live + segments[i].live() <= most; };
  while (first > 0 && adjoin(first - 1) && small(first - 1)) live += segments[--first].live();
  while (last + 1 < segments.size() && adjoin(last) && small(last + 1)) live += segments[++last].live();
  return SegmentRun{segments[first].base, segments[last].end};
}

uint64_t reclaimable_bytes(const std::vector<SegmentFacts>& segments) {
  uint64_t bytes = 0;
  for (const auto& segment : segments) bytes += std::min(segment.bytes, segment.dead_bytes);
  return bytes;
}

uint64_t segment_size_for(uint64_t disk_bytes) {
  return std::clamp(std::bit_floor(std::max<uint64_t>(disk_bytes / 512, 1)), kSegmentSizeMin, kSegmentSizeMax);
}

}  // namespace understudy
