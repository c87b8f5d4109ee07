#include "ss/core/retention.h"

#include <algorithm>

namespace understudy {
namespace {

using namespace std::chrono_literals;

// A request is repeated for seconds, at the worst minutes, after it was first made.
constexpr int64_t kRecordsKeptUs = int64_t{15 * 60} * 1'000'000;

int64_t microseconds(std::chrono::milliseconds time) { return time.count() * 1000; }

}  // namespace

HeldBytes& HeldBytes::operator+=(const HeldBytes& other) {
  past += other.past;
  named += other.named;
  unreplicated += other.unreplicated;
  read += other.read;
  deleted += other.deleted;
  return *this;
}

RetentionPlan choose_trims(const std::vector<PastVersion>& line, const RetentionFacts& facts) {
  RetentionPlan plan;
  const Retention& retention = facts.retention;
  const bool over = facts.deleted && retention.deleted.count() >= 0 && !line.empty() &&
                    facts.now_us - line[0].time_us >= microseconds(retention.deleted);
  uint64_t older = 0;               // Unnamed ones that count against retention.versions.
  bool common_passed = false;       // The newest version that both halves have, which a divergence goes back to.
  int64_t replaced_us = 0;          // When the version was replaced by the one after it.
  for (size_t i = 0; i < line.size(); ++i) {
    const PastVersion& at = line[i];
    if (i > 0 && !line[i - 1].checkpoint) replaced_us = line[i - 1].time_us;
    const bool shared = at.end <= facts.replicated;
    const bool common = shared && !common_passed;
    common_passed |= shared;
    if (at.trimmed) {
      const bool old = facts.now_us - at.time_us >= kRecordsKeptUs;
      if (old && shared && !common && !at.first && !at.carries_name && i > 0) plan.steps.push_back({i, true});
      continue;
    }
    if (i == 0) continue;
    bool goes = over;
    if (!over && !at.named) {
      ++older;
      // A deleted file's last version is what comes back.
      const bool last_of_deleted = facts.deleted && older == 1;
      const bool many = retention.versions != 0 && older > retention.versions;
      const bool old = retention.age.count() > 0 && facts.now_us - replaced_us >= microseconds(retention.age);
      goes = (many || old) && !last_of_deleted;
    }
    // What the other half lacks of a file that both are to forget it need not get.
    if (goes && at.being_read) {
      plan.held.read += at.bytes;
    } else if (goes && !over && (!shared || common)) {
      plan.held.unreplicated += at.bytes;
    } else if (goes) {
      plan.steps.push_back({i, false});
    } else if (facts.deleted) {
      plan.held.deleted += at.bytes;
    } else {
      (at.named ? plan.held.named : plan.held.past) += at.bytes;
    }
  }
  return plan;
}

Duration retention_pass(const Retention& retention) {
  Duration shortest = 40min;
  if (retention.age.count() > 0) shortest = std::min<Duration>(shortest, retention.age);
  if (retention.deleted.count() >= 0) shortest = std::min<Duration>(shortest, retention.deleted);
  return std::clamp<Duration>(shortest / 4, 1s, 10min);
}

}  // namespace understudy
