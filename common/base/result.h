// Result<T>: a value, or an Error that says what was wrong in one line.
//
// Nothing of ours throws. What can fail returns a Result; what can only fail
// through a programmer's mistake calls CHECK, which aborts in release too.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace understudy {

// One set of codes for the user, the wire, the logs and the metrics. The values
// are the wire's (common/wire/understudy.proto) and never change meaning.
// kStaleEpoch and kMoved are handled by the client library; no user sees them.
enum class Code : uint8_t {
  kInvalid = 1,
  kNotFound = 2,
  kExists = 3,
  kIsFolder = 4,
  kNotFolder = 5,
  kNotEmpty = 6,
  kDenied = 7,
  kUnauthenticated = 8,
  kLocked = 9,
  kOutOfRange = 10,
  kConflict = 11,
  kUnavailable = 12,
  kNoSpace = 13,
  kCorrupt = 14,
  kInternal = 15,
  kStaleEpoch = 16,
  kMoved = 17,
};

// "NOT_FOUND", "STALE_EPOCH", ...: as users, logs and metrics spell a code.
std::string_view code_name(Code code);

// The code of a number that came over the wire; kInternal for an unknown one.
Code code_from_number(uint32_t number);

struct Error {
  Code code;
  std::string message;  // One line, no code in front, no full stop at the end.

  // "NOT_FOUND: a.txt: no such file"
  std::string to_string() const;
  bool operator==(const Error&) const = default;
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

// return fail(Code::kInvalid, "...");
[[nodiscard]] inline std::unexpected<Error> fail(Code code, std::string message) {
  return std::unexpected(Error{code, std::move(message)});
}

[[noreturn]] void check_failed(const char* file, int line, const char* what);

}  // namespace understudy

// An invariant of ours. Stays on in release: a server that has lost its mind
// must stop before it acknowledges anything.
#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) ::understudy::check_failed(__FILE__, __LINE__, #condition); \
  } while (false)

#define UNDERSTUDY_CONCAT_(a, b) a##b
#define UNDERSTUDY_CONCAT(a, b) UNDERSTUDY_CONCAT_(a, b)

// ASSIGN_OR_RETURN(auto size, file.size());
#define ASSIGN_OR_RETURN(declaration, expression) \
  ASSIGN_OR_RETURN_IMPL_(UNDERSTUDY_CONCAT(result_, __LINE__), declaration, expression, return)
#define CO_ASSIGN_OR_RETURN(declaration, expression) \
  ASSIGN_OR_RETURN_IMPL_(UNDERSTUDY_CONCAT(result_, __LINE__), declaration, expression, co_return)
#define ASSIGN_OR_RETURN_IMPL_(name, declaration, expression, keyword)          \
  auto name = (expression);                                                     \
  if (!name) [[unlikely]] keyword std::unexpected(std::move(name).error());     \
  declaration = *std::move(name)

#define RETURN_IF_ERROR(expression) RETURN_IF_ERROR_IMPL_(expression, return)
#define CO_RETURN_IF_ERROR(expression) RETURN_IF_ERROR_IMPL_(expression, co_return)
#define RETURN_IF_ERROR_IMPL_(expression, keyword)                              \
  do {                                                                          \
    auto status_ = (expression);                                                \
    if (!status_) [[unlikely]] keyword std::unexpected(std::move(status_).error()); \
  } while (false)
