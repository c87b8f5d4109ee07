#include "common/base/result.h"

#include <array>
#include <cstdio>
#include <cstdlib>

namespace understudy {
namespace {

constexpr std::array<std::string_view, 18> kCodeNames = {
    "OK",          "INVALID",     "NOT_FOUND", "EXISTS",   "IS_FOLDER", "NOT_FOLDER",
    "NOT_EMPTY",   "DENIED",      "UNAUTHENTICATED", "LOCKED", "OUT_OF_RANGE", "CONFLICT",
    "UNAVAILABLE", "NO_SPACE",    "CORRUPT",   "INTERNAL", "STALE_EPOCH", "MOVED"};

}  // namespace

std::string_view code_name(Code code) {
  auto number = static_cast<size_t>(code);
  return number < kCodeNames.size() ? kCodeNames[number] : "INTERNAL";
}

Code code_from_number(uint32_t number) {
  return number >= 1 && number < kCodeNames.size() ? static_cast<Code>(number) : Code::kInternal;
}

std::string Error::to_string() const {
  std::string text(code_name(code));
  text += ": ";
  text += message;
  return text;
}

void check_failed(const char* file, int line, const char* what) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, what);
  std::abort();
}

}  // namespace understudy
