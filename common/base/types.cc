#include "common/base/types.h"

namespace understudy {

std::string Version::to_string() const {
  return std::to_string(number(epoch)) + "." + std::to_string(counter);
}

}  // namespace understudy
