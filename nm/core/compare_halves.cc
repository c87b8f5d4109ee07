#include "nm/core/compare_halves.h"

#include <algorithm>

namespace understudy {
namespace {

// The newest version of `epoch` in the line of `half`; none: the line has none.
Version newest_of(const HalfView& half, Epoch epoch) {
  if (half.head.epoch == epoch) return half.head;
  auto found = std::ranges::find(half.ancestors, epoch, &Version::epoch);
  return found == half.ancestors.end() ? Version{} : *found;
}

// The newest version that is in both lines; none: nothing is.
Version newest_common(const HalfView& source, const HalfView& target) {
  auto common = [&](Version at) { return std::min(at, newest_of(source, at.epoch)); };
  Version found = common(target.head);
  for (auto at = target.ancestors.begin(); !found && at != target.ancestors.end(); ++at) found = common(*at);
  return found;
}

}  // namespace

HalvesPlan compare_halves(const HalfView& source, const HalfView& target) {
  HalvesPlan plan;
  if (source.present && source.deleted && target.present && target.deleted) return plan;
  plan.metadata = source.present && source.meta_version > (target.present ? target.meta_version : 0);
  Version source_head = source.present ? source.head : Version{};
  Version target_head = target.present ? target.head : Version{};
  if (source_head == target_head) return plan;

  Version common;  // None: everything travels.
  if (source.present && target.present) common = newest_common(source, target);
  if (target_head && common != target_head) {
    plan.set_aside = true;
    plan.keep = common;
  }
  if (source_head && common != source_head) {
    plan.job = true;
    plan.from = common;
    plan.to = source_head;
  }
  return plan;
}

}  // namespace understudy
