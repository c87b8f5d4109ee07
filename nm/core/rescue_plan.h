// What is to become of the versions of one file that only a returning half has: the
// decision behind a rescue (nm/rescue.h). Pure.
#pragma once

#include <vector>

#include "common/base/types.h"
#include "common/wire/understudy.pb.h"

namespace understudy {

struct RescuePlan {
  // They go onto the acting primary's newest version, and the last of them is the newest again; else
  // they are kept beside its line.
  bool bring = false;
  // For each version of the target: as which one of the acting primary it came back already, by an
  // earlier rescue that was cut short; none: it is yet to come.
  std::vector<Version> came;
};

// Both: what the half has behind the newest common version, oldest first.
//
// The file stood still at the acting primary if nothing happened there but checkpoints, which change no content,
// and what an earlier rescue brought: versions under the requests that made the target's, in their order.
RescuePlan plan_rescue(const std::vector<wire::VersionRecord>& source, const std::vector<wire::VersionRecord>& target);

}  // namespace understudy
