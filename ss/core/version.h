// The numbers of versions.
#pragma once

#include "common/base/types.h"

namespace understudy {

// The number of a change made under `epoch` onto `parent` ({}: the first version).
// Assumes that epochs only grow.
constexpr Version next_version(Epoch epoch, Version parent) {
  return {epoch, parent.epoch == epoch ? parent.counter + 1 : 1};
}

}  // namespace understudy
