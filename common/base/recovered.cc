#include "common/base/recovered.h"

#include <fmt/format.h>

#include <chrono>

namespace understudy {

std::string recovered_tag(int64_t time_us, Version version) {
  using namespace std::chrono;
  const year_month_day day(floor<days>(sys_time<microseconds>(microseconds(time_us))));
  return fmt::format("recovered-{:04}-{:02}-{:02}-{}", static_cast<int>(day.year()), static_cast<unsigned>(day.month()),
                     static_cast<unsigned>(day.day()), version.to_string());
}

}  // namespace understudy
