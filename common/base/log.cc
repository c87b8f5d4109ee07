#include "common/base/log.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace understudy {
namespace {

struct Sink {
  std::shared_ptr<spdlog::logger> logger;
  bool json = false;
  LogHook hook = nullptr;
  void* hook_context = nullptr;

  Sink() {
    logger = std::make_shared<spdlog::logger>("understudy", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_level(spdlog::level::warn);
  }
};

// The one process-wide sink: a log has no owner that could pass it along.
Sink& sink() {
  static Sink instance;
  return instance;
}

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarning: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
    case LogLevel::kOff: return spdlog::level::off;
  }
  return spdlog::level::info;
}

std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20) {
      static constexpr char kDigits[] = "0123456789abcdef";
      out += "\\u00";
      out += kDigits[c >> 4];
      out += kDigits[c & 15];
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + "\"";
}

}  // namespace

Status log_open(const LogOptions& options) {
  Sink& s = sink();
  spdlog::sink_ptr target;
  try {
    if (options.file.empty()) {
      target = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      target = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(options.file, options.bytes_max, options.files_max);
    }
  } catch (const spdlog::spdlog_ex& error) {
    return fail(Code::kInvalid, error.what());
  }
  s.logger = std::make_shared<spdlog::logger>("understudy", target);
  s.logger->set_level(spdlog_level(options.level));
  s.logger->flush_on(spdlog::level::info);
  s.logger->set_error_handler([](const std::string&) {});  // A full disk under the log ends no server.
  s.json = options.json;
  s.logger->set_pattern(options.json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%fZ","level":"%l","pid":%P,"message":%v})"
                                     : "%Y-%m-%dT%H:%M:%S.%fZ %l [%P] %v",
                        spdlog::pattern_time_type::utc);
  return {};
}

namespace {

class RotatedFile final : public LineSink {
 public:
  explicit RotatedFile(std::shared_ptr<spdlog::logger> logger) : logger_(std::move(logger)) {}
  void line(std::string_view text) override { logger_->log(spdlog::level::info, "{}", text); }
  void flush() override { logger_->flush(); }

 private:
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace

Result<std::unique_ptr<LineSink>> open_rotated_file(const std::string& file, uint64_t bytes_max, uint32_t files_max) {
  try {
    auto sink = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(file, bytes_max, files_max);
    auto logger = std::make_shared<spdlog::logger>("lines", std::move(sink));
    logger->set_pattern("%v");
    logger->set_error_handler([](const std::string&) {});
    return std::make_unique<RotatedFile>(std::move(logger));
  } catch (const spdlog::spdlog_ex& error) {
    return fail(Code::kInvalid, error.what());
  }
}

void log_flush() { sink().logger->flush(); }

bool log_level_enabled(LogLevel level) {
  return sink().hook != nullptr || sink().logger->should_log(spdlog_level(level));
}

void log_line(LogLevel level, std::string_view message) {
  Sink& s = sink();
  if (s.hook != nullptr) {
    s.hook(s.hook_context, level, message);
  } else if (s.json) {
    s.logger->log(spdlog_level(level), "{}", json_quoted(message));
  } else {
    s.logger->log(spdlog_level(level), "{}", message);
  }
}

void log_set_hook(LogHook hook, void* context) {
  sink().hook = hook;
  sink().hook_context = context;
}

}  // namespace understudy
