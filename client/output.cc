#include "client/output.h"

#include <fmt/format.h>

#include <ctime>

#include "common/base/path.h"

namespace understudy::client {
namespace {

constexpr size_t kPendingMax = 1 << 16;

}  // namespace

void Output::line(std::string_view text) {
  pending_ += text;
  pending_ += '\n';
  if (pending_.size() > kPendingMax) flush();
}

void Output::done(std::string_view text, const Json& object) {
  if (json_) {
    this->object(object);
  } else {
    note(text);
  }
}

void Output::note(std::string_view text) {
  if (quiet_) return;
  flush();
  console_.write(Console::Stream::kError, std::string(text) + "\n");
}

void Output::error(const Error& error) {
  flush();
  std::string line;
  if (json_) {
    Json inner;
    inner.text("code", code_name(error.code)).text("message", error.message);
    line = Json().object("error", inner).str();
  } else {
    // One line, whatever a server put into it.
    line = "error: " + error.to_string();
    for (char& c : line) {
      if (c == '\n' || c == '\r') c = ' ';
    }
  }
  console_.write(Console::Stream::kError, line + "\n");
}

bool Output::flush() {
  if (!pending_.empty() && !broken_) broken_ = !console_.write(Console::Stream::kOutput, pending_);
  pending_.clear();
  return !broken_;
}

ProgressBar::ProgressBar(const Output& output, std::string what, uint64_t total_bytes)
    : console_(output.console()),
      shown_(!output.quiet() && console_.on_terminal(Console::Stream::kError)),
      what_(std::move(what)),
      total_(total_bytes) {}

ProgressBar::~ProgressBar() {
  if (shown_ && drawn_ != Instant{}) console_.write(Console::Stream::kError, "\r\x1b[K");
}

void ProgressBar::show(uint64_t done_bytes, Instant now) {
  if (!shown_) return;
  if (started_ == Instant{}) started_ = now;
  if (drawn_ != Instant{} && now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  double seconds = std::chrono::duration<double>(now - started_).count();
  std::string line = fmt::format("\r\x1b[K{}  {}", what_, format_size(done_bytes));
  if (total_ > 0) line += fmt::format(" of {} ({} %)", format_size(total_), done_bytes * 100 / total_);
  if (seconds > 0.5) line += fmt::format("  {}/s", format_size(static_cast<uint64_t>(done_bytes / seconds)));
  console_.write(Console::Stream::kError, line);
}

std::string format_size(uint64_t bytes) {
  if (bytes < 1000) return counted(bytes, "byte");
  double value = static_cast<double>(bytes);
  for (std::string_view unit : {"KB", "MB", "GB", "TB", "PB"}) {
    value /= 1000;
    if (value < 999.5) return fmt::format("{:.3g} {}", value, unit);
  }
  return fmt::format("{} EB", bytes / 1'000'000'000'000'000'000);
}

std::string format_age(int64_t milliseconds) {
  if (milliseconds < 1000) return fmt::format("{} ms", milliseconds);
  int64_t seconds = milliseconds / 1000;
  if (seconds < 120) return fmt::format("{} s", seconds);
  if (seconds < 7200) return fmt::format("{} min", seconds / 60);
  if (seconds < 172'800) return fmt::format("{} h", seconds / 3600);
  return fmt::format("{} days", seconds / 86'400);
}

std::string format_time(int64_t microseconds) {
  if (microseconds == 0) return "-";
  std::time_t seconds = microseconds / 1'000'000;
  std::tm parts{};
  localtime_r(&seconds, &parts);
  char text[40];
  size_t size = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return std::string(text, size);
}

std::string format_time_utc(int64_t microseconds) {
  // Rounded down, also before 1970.
  int64_t fraction = ((microseconds % 1'000'000) + 1'000'000) % 1'000'000;
  std::time_t seconds = (microseconds - fraction) / 1'000'000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[40];
  size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:06}Z", std::string_view(text, size), fraction);
}

std::string counted(uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

}  // namespace understudy::client
