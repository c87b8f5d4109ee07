// The name that users find a diverged content under: the same wherever it is kept.
#pragma once

#include <string>

#include "common/base/types.h"

namespace understudy {

// "recovered-2026-11-20-7.3": when it was made, and which version it was.
std::string recovered_tag(int64_t time_us, Version version);

}  // namespace understudy
