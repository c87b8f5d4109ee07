#include "common/uv/server_process.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "common/env/env_util.h"

namespace understudy {

Result<Duration> parse_duration(const std::string& text) {
  int64_t count = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  std::string unit(end, text.data() + text.size());
  Duration one{};
  if (unit.empty() || unit == "s") one = std::chrono::seconds(1);
  if (unit == "ms") one = std::chrono::milliseconds(1);
  if (unit == "m") one = std::chrono::minutes(1);
  if (unit == "h") one = std::chrono::hours(1);
  if (error != std::errc() || one == Duration::zero() || count <= 0 || count > INT64_MAX / one.count()) {
    return fail(Code::kInvalid, text + ": is not a time such as 250ms, 5s or 2m");
  }
  return count * one;
}

Status check_insecure(const ServerFlags& flags, const std::vector<std::string>& addresses) {
  if (flags.insecure.empty()) return {};
  if (flags.insecure != "yes" && flags.insecure != "force") return fail(Code::kInvalid, "--insecure takes nothing, or =force");
  for (const std::string& address : addresses) {
    if (flags.insecure == "yes" && !address.empty() && !is_loopback(address)) {
      return fail(Code::kInvalid, address + ": --insecure is for this machine only (127.0.0.1); leave it away, or say --insecure=force");
    }
  }
  std::fprintf(stderr, "warning: %s\n", kInsecureWarning);
  return {};
}

size_t room_for_clients() {
  constexpr rlim_t kOwnFiles = 200;
  constexpr rlim_t kClientsMax = 16000;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kOwnFiles;
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = std::min(limit.rlim_max, kClientsMax + kOwnFiles);
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
  }
  return std::min(kClientsMax, limit.rlim_cur > 2 * kOwnFiles ? limit.rlim_cur - kOwnFiles : limit.rlim_cur / 2);
}

Status open_server_log(const ServerFlags& flags) {
  LogOptions options;
  options.file = flags.data + "/log";
  options.json = flags.log_format == "json";
  options.bytes_max = flags.log_bytes_max;
  options.files_max = flags.log_files_max;
  if (flags.log_level == "debug") options.level = LogLevel::kDebug;
  else if (flags.log_level == "info") options.level = LogLevel::kInfo;
  else if (flags.log_level == "warning") options.level = LogLevel::kWarning;
  else if (flags.log_level == "error") options.level = LogLevel::kError;
  else return fail(Code::kInvalid, flags.log_level + ": the log level is debug, info, warning or error");
  if (access(flags.data.c_str(), W_OK) != 0) return fail(Code::kInvalid, flags.data + ": " + std::strerror(errno));
  return log_open(options);
}

Result<std::unique_ptr<LineSink>> open_audit_file(const ServerFlags& flags) {
  if (flags.audit == "off") return nullptr;
  return open_rotated_file(flags.data + "/audit", flags.audit_bytes_max, flags.audit_files_max);
}

Status write_note(const std::string& folder, const std::string& name, const std::string& line) {
  std::string path = folder + "/" + name;
  std::string fresh = path + ".new";
  FILE* file = std::fopen(fresh.c_str(), "w");
  bool ok = file != nullptr && std::fprintf(file, "%s\n", line.c_str()) >= 0;
  if (file != nullptr) ok = std::fclose(file) == 0 && ok;
  if (!ok || std::rename(fresh.c_str(), path.c_str()) != 0) {
    return fail(errno == ENOSPC ? Code::kNoSpace : Code::kInternal, path + ": " + std::strerror(errno));
  }
  return {};
}

void remove_note(const std::string& folder, const std::string& name) { unlink((folder + "/" + name).c_str()); }

int fail_server(const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.to_string().c_str());
  log_error("ends: " + error.to_string());
  log_flush();
  return 1;
}

}  // namespace understudy
