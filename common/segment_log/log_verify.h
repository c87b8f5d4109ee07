// Reads a log from the disk and verifies every checksum in it, at a gentle rate.
#pragma once

#include <utility>
#include <vector>

#include "common/segment_log/segment_log.h"

namespace understudy {

// What is damaged, from which position to which, of what was durable when it began and stands at `from` or
// behind. A frame that is damaged counts as damage of no length. `log` outlives it.
Task<Result<std::vector<std::pair<Lsn, Lsn>>>> verify_log(Env& env, SegmentLog* log, Lsn from, uint64_t bytes_per_second);

}  // namespace understudy
