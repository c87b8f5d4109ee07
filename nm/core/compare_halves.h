// What one file of a returning half needs so that it equals the acting primary's:
// the decision behind resync and behind a job that did not fit its target.
#pragma once

#include <vector>

#include "common/base/types.h"

namespace understudy {

// One half's view of a file. `ancestors`: of the head, newest first; of each epoch the newest at least. In a
// line of versions those of one epoch are numbered from 1 on without a gap, so that says which ones are in it.
struct HalfView {
  bool present = false;
  bool deleted = false;
  Version head;
  uint64_t meta_version = 0;
  std::vector<Version> ancestors;
};

struct HalvesPlan {
  bool set_aside = false;   // The target's head goes back to `keep` first; what is behind it diverged.
  Version keep;             // None: it keeps nothing of this file.
  bool job = false;         // Versions (from, to] and the name go to the target.
  Version from;
  Version to;
  bool metadata = false;    // The target's name is older.
};

// The acting primary's view decides; what only the target has is set aside, never
// lost. A file that the source does not know at all is the target's own, diverged:
// absence never means deleted.
HalvesPlan compare_halves(const HalfView& source, const HalfView& target);

}  // namespace understudy
