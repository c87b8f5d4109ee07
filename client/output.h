// What the client says: results to standard output, everything else to standard
// error; and how sizes, times and ages are put for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "client/console.h"
#include "client/json.h"
#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy::client {

class Output {
 public:
  // `console` outlives it.
  Output(bool json, bool quiet, Console& console = process_console()) : json_(json), quiet_(quiet), console_(console) {}
  ~Output() { flush(); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  bool json() const { return json_; }
  bool quiet() const { return quiet_; }
  Console& console() const { return console_; }
  // Whether results go to a terminal.
  bool on_terminal() const { return console_.on_terminal(Console::Stream::kOutput); }

  // A result line, kept until flush().
  void line(std::string_view text);
  void object(const Json& object) { line(object.str()); }
  // What was done, for whoever watches: a result under --json, else a note.
  void done(std::string_view text, const Json& object);
  // To standard error, unless -q.
  void note(std::string_view text);
  void error(const Error& error);
  // False once standard output takes nothing more (its reader has gone).
  bool flush();

 private:
  bool json_;
  bool quiet_;
  Console& console_;
  bool broken_ = false;
  std::string pending_;
};

// A progress bar on a terminal's standard error; nothing elsewhere, or under -q.
class ProgressBar {
 public:
  // `total`: 0 if not known.
  ProgressBar(const Output& output, std::string what, uint64_t total_bytes);
  // Wipes itself.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  void set_total(uint64_t total_bytes) { total_ = total_bytes; }
  void show(uint64_t done_bytes, Instant now);

 private:
  Console& console_;
  bool shown_;
  std::string what_;
  uint64_t total_;
  Instant started_{};
  Instant drawn_{};
};

// "3 MB", "12 bytes": decimal units.
std::string format_size(uint64_t bytes);
// "120 ms", "4 s", "3 min", "2 h"
std::string format_age(int64_t milliseconds);
// Microseconds since 1970: local time to the second; "-" for 0.
std::string format_time(int64_t microseconds);
std::string format_time_utc(int64_t microseconds);
// "1 file", "3 files"
std::string counted(uint64_t count, std::string_view noun);

}  // namespace understudy::client
