#include "nm/core/compare_halves.h"

#include <algorithm>

namespace understudy {
namespace {

bool contains(const std::vector<Version>& versions, const Version& version) {
  return std::ranges::find(versions, version) != versions.end();
}

bool is_head_or_ancestor(const HalfView& half, const Version& version) {
  return version == half.head || contains(half.ancestors, version);
}

}  // namespace

HalvesPlan compare_halves(const HalfView& source, const HalfView& target) {
  HalvesPlan plan;
  if (source.present && source.deleted && target.present && target.deleted) return plan;
  plan.metadata = source.present && source.meta_version > (target.present ? target.meta_version : 0);
  Version source_head = source.present ? source.head : Version{};
  Version target_head = target.present ? target.head : Version{};
  if (source_head == target_head) return plan;

  Version common;  // The newest that both have; none: everything travels.
  if (is_head_or_ancestor(source, target_head)) {
    common = target_head;
  } else if (is_head_or_ancestor(target, source_head)) {
    common = source_head;
  } else {
    for (const Version& version : target.ancestors) {
      if (contains(source.ancestors, version)) {
        common = version;
        break;
      }
    }
  }
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
