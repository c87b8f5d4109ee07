#include "nm/core/rescue_plan.h"

namespace understudy {
namespace {

bool is_checkpoint(const wire::VersionRecord& record) { return record.kind() == wire::CHANGE_CHECKPOINT; }

bool same_request(const wire::VersionRecord& one, const wire::VersionRecord& other) {
  return one.request().client() != 0 && one.request().client() == other.request().client() &&
         one.request().sequence() == other.request().sequence();
}

}  // namespace

RescuePlan plan_rescue(const std::vector<wire::VersionRecord>& source, const std::vector<wire::VersionRecord>& target) {
  RescuePlan plan;
  plan.bring = !target.empty() && target.back().kind() != wire::CHANGE_DELETE;
  size_t next = 0;  // Of the target: what the source's next change of the content must be.
  for (const auto& change : source) {
    if (is_checkpoint(change)) continue;
    while (next < target.size() && is_checkpoint(target[next])) ++next;
    plan.bring = plan.bring && next < target.size() && same_request(change, target[next++]);
  }
  for (const auto& version : target) {
    Version came;
    for (const auto& change : source) {
      if (same_request(change, version)) came = {Epoch{change.version().epoch()}, change.version().counter()};
    }
    plan.came.push_back(came);
  }
  return plan;
}

}  // namespace understudy
