// One log line: a level, an event in words, and fields. Nothing is decided by a
// log and no test quotes one. spdlog is behind it (log.cc alone includes it).
//
//   log_info("registered ss1 store=...");  with fmt: log_info(fmt::format(...))
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"

namespace understudy {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

struct LogOptions {
  std::string file;                   // Empty: standard error.
  LogLevel level = LogLevel::kInfo;
  bool json = false;
};

// Call once, before anything logs; without it, warnings and errors go to standard error.
// INVALID: the file cannot be opened.
[[nodiscard]] Status log_open(const LogOptions& options);
void log_flush();
bool log_level_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view message);

// A line's origin when several servers live in one process (the simulator).
// The hook gets every line instead of the sink; nullptr restores the sink.
using LogHook = void (*)(void* context, LogLevel level, std::string_view message);
void log_set_hook(LogHook hook, void* context);

inline void log_debug(std::string_view m) { if (log_level_enabled(LogLevel::kDebug)) log_line(LogLevel::kDebug, m); }
inline void log_info(std::string_view m) { if (log_level_enabled(LogLevel::kInfo)) log_line(LogLevel::kInfo, m); }
inline void log_warning(std::string_view m) { if (log_level_enabled(LogLevel::kWarning)) log_line(LogLevel::kWarning, m); }
inline void log_error(std::string_view m) { if (log_level_enabled(LogLevel::kError)) log_line(LogLevel::kError, m); }

}  // namespace understudy
