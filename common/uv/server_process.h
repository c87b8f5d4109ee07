// What both kinds of server's main do around their server: common options, the log,
// the pid and address files in the data folder, and a graceful end by signal.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/log.h"
#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy {

struct ServerFlags {
  std::string data;
  std::string insecure;  // --insecure: empty, "yes" or "force".
  std::string log_level = "info";
  std::string log_format = "text";
  uint64_t log_bytes_max = 32 << 20;
  uint32_t log_files_max = 4;
  std::string audit = "text";  // text, json or off.
  uint64_t audit_bytes_max = 64 << 20;
  uint32_t audit_files_max = 16;
};

// "250ms", "5s", "2m", "1h", or a bare number of seconds. INVALID otherwise.
Result<Duration> parse_duration(const std::string& text);

// INVALID if --insecure would be heard beyond this machine and is not forced. Warns on standard error.
Status check_insecure(const ServerFlags& flags, const std::vector<std::string>& addresses);
inline constexpr char kInsecureWarning[] = "--insecure: everybody who reaches this server reads and changes everything";

// How many connections there are descriptors for, once the limit was raised as far as may be.
size_t room_for_clients();

// Logs into DIR/log.
Status open_server_log(const ServerFlags& flags);
// DIR/audit, for an Audit; none if it is off.
Result<std::unique_ptr<LineSink>> open_audit_file(const ServerFlags& flags);

// Small informative files, not part of any state: DIR/pid, DIR/address.
Status write_note(const std::string& folder, const std::string& name, const std::string& line);
void remove_note(const std::string& folder, const std::string& name);

// A clear last line on standard error and in the log; the exit status: 1.
int fail_server(const Error& error);

}  // namespace understudy
