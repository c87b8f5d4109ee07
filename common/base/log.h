// One log line: a level, an event in words, and fields. Nothing is decided by a
// log and no test quotes one. spdlog is behind it (log.cc alone includes it).
//
//   log_info("registered ss1 store=...");  with fmt: log_info(fmt::format(...))
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace understudy {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

struct LogOptions {
  std::string file;                   // Empty: standard error.
  LogLevel level = LogLevel::kInfo;
  bool json = false;
  uint64_t bytes_max = 32 << 20;      // Of the file; then it begins anew.
  uint32_t files_max = 4;             // Older ones that are kept.
};

// Call once, before anything logs; without it, warnings and errors go to standard error.
// INVALID: the file cannot be opened.
[[nodiscard]] Status log_open(const LogOptions& options);
void log_flush();

class LineSink {
 public:
  virtual ~LineSink() = default;
  virtual void line(std::string_view text) = 0;
  // What was written so far is with whoever is behind it.
  virtual void flush() = 0;
};
// Lines into a file that begins anew when it is full: FILE, then FILE.1, … up to files_max older ones.
// A full disk ends nobody: lines are lost then. INVALID: the file cannot be opened.
Result<std::unique_ptr<LineSink>> open_rotated_file(const std::string& file, uint64_t bytes_max, uint32_t files_max);
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
