// understudy-nm: the name node as a process.
#include <csignal>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "common/base/version.h"
#include "common/uv/server_process.h"
#include "common/uv/uv_runtime.h"
#include "common/wire/audit.h"
#include "nm/name_node.h"

namespace understudy {
namespace {

constexpr char kProgram[] = "understudy-nm";

struct Flags : ServerFlags {
  std::string listen = "127.0.0.1:7400";
  uint64_t id = 1;
  std::string heartbeat_interval = "1s";
  uint32_t heartbeat_misses = 3;
  std::string edit_idle_limit = "10m";
  std::string rebuild_from, rebuild_without, compare_interval = "10m";
  uint64_t retain_versions = Retention().versions;
  std::string retain_age = "all", retain_deleted = "168h";
  std::string peers, durability = "async", replication_path = "relay", hints = "off", hint_interval, hint_ttl, metrics;
};

// "a,b" as names.
std::vector<std::string> names_of(std::string_view text) {
  std::vector<std::string> names;
  for (size_t at = 0; at <= text.size();) {
    size_t comma = std::min(text.find(',', at), text.size());
    if (comma > at) names.emplace_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return names;
}

// `all`: what stands for no limit.
Result<std::chrono::milliseconds> retention_time(const std::string& option, const std::string& text, int64_t all) {
  if (text == "all") return std::chrono::milliseconds(all);
  if (text == "0" && all < 0) return std::chrono::milliseconds(0);
  auto time = parse_duration(text);
  if (!time) return fail(Code::kInvalid, option + " " + text + ": is neither a time such as 30s, 12h or 720h, nor all");
  return std::chrono::duration_cast<std::chrono::milliseconds>(*time);
}

Status check(const Flags& flags, NameNodeOptions& options) {
  auto later = [](const std::string& option) {
    return fail(Code::kInvalid, option + " is not available in this version");
  };
  if (!flags.peers.empty()) return later("--peers");
  if (flags.durability != "async") return later("--durability " + flags.durability);
  if (flags.replication_path != "relay") return later("--replication-path " + flags.replication_path);
  if (flags.hints != "off") return later("--hints " + flags.hints);
  if (!flags.hint_interval.empty()) return later("--hint-interval");
  if (!flags.hint_ttl.empty()) return later("--hint-ttl");
  if (!flags.metrics.empty()) return later("--metrics");
  if (flags.id != 1) return later("--id other than 1");
  ASSIGN_OR_RETURN(Duration interval, parse_duration(flags.heartbeat_interval));
  if (interval < std::chrono::milliseconds(10) || interval > std::chrono::minutes(10)) {
    return fail(Code::kInvalid, "--heartbeat-interval is 10ms to 10m");
  }
  if (flags.heartbeat_misses < 2 || flags.heartbeat_misses > 100) {
    return fail(Code::kInvalid, "--heartbeat-misses is 2 to 100");
  }
  ASSIGN_OR_RETURN(options.edit_idle_limit, parse_duration(flags.edit_idle_limit));
  if (options.edit_idle_limit < std::chrono::seconds(1) || options.edit_idle_limit > std::chrono::hours(24 * 7)) {
    return fail(Code::kInvalid, "--edit-idle-limit is 1s to 168h");
  }
  ASSIGN_OR_RETURN(options.compare_interval, parse_duration(flags.compare_interval));
  options.rebuild_from = names_of(flags.rebuild_from);
  options.rebuild_without = names_of(flags.rebuild_without);
  if (options.rebuild_from.empty() && !options.rebuild_without.empty()) {
    return fail(Code::kInvalid, "--rebuild-without goes with --rebuild-from-servers");
  }
  options.retention.versions = flags.retain_versions;
  ASSIGN_OR_RETURN(options.retention.age, retention_time("--retain-age", flags.retain_age, 0));
  ASSIGN_OR_RETURN(options.retention.deleted, retention_time("--retain-deleted", flags.retain_deleted, -1));
  options.folder = flags.data;
  options.clients_max = room_for_clients();
  options.listen = flags.listen;
  options.id = flags.id;
  options.monitor.heartbeat_interval = interval;
  options.monitor.failure_timeout = interval * flags.heartbeat_misses;
  return {};
}

Task<void> stop_by_signal(UvRuntime* runtime, NameNode* node) {
  auto signal = runtime->signal({SIGTERM, SIGINT});
  int number = co_await signal;
  log_info("stopping: signal " + std::to_string(number));
  node->stop();
}

Task<void> tell_address(NameNode* node, std::string folder) {
  auto started = node->started();
  co_await started;
  Status noted = write_note(folder, "pid", std::to_string(getpid()));
  if (noted) noted = write_note(folder, "address", node->address());
  if (!noted) log_warning(noted.error().to_string());
}

Task<void> serve(UvRuntime* runtime, NameNodeOptions options, ServerFlags flags, Status* ended) {
  std::unique_ptr<LineSink> audit_file;
  std::optional<Audit> audit;
  NameNode node(runtime->env(), options);
  // The log is opened once the folder is ours: a refused start leaves no trace in it.
  *ended = node.claim_folder();
  if (*ended) *ended = open_server_log(flags);
  if (!*ended) co_return;
  auto opened = open_audit_file(flags);
  if (!opened) *ended = std::unexpected(opened.error());
  if (!*ended) co_return;
  audit_file = *std::move(opened);
  if (audit_file) node.set_observer(&audit.emplace(runtime->env(), audit_file.get(), flags.audit == "json"));
  TaskGroup beside(runtime->env().executor);
  beside.spawn(stop_by_signal(runtime, &node));
  beside.spawn(tell_address(&node, options.folder));
  *ended = co_await node.run();
  beside.cancel();
}

int run(int argc, char** argv) {
  Flags flags;
  CLI::App app{"Understudy's name node: names, and who is acting primary"};
  app.option_defaults()->always_capture_default();
  app.set_version_flag("--version", std::string(kProgram) + " " + kVersion);
  app.set_config("--config", "", "Options from a file of lines such as listen=127.0.0.1:7400");
  app.add_option("--data", flags.data, "Data folder")->required();
  app.add_option("--listen", flags.listen, "Address to listen on; port 0 lets the kernel choose");
  app.add_option("--id", flags.id, "This name node's number");
  app.add_option("--peers", flags.peers, "All name nodes (later)");
  app.add_option("--heartbeat-interval", flags.heartbeat_interval, "Time between heartbeats");
  app.add_option("--heartbeat-misses", flags.heartbeat_misses, "Missed heartbeats that make a server failed");
  app.add_option("--edit-idle-limit", flags.edit_idle_limit, "An open sentence is dropped when its writer was idle for longer");
  app.add_option("--compare-interval", flags.compare_interval, "Between two comparisons of the halves of a pair by digest; 0s: never");
  app.add_option("--rebuild-from-servers", flags.rebuild_from,
                 "SERVER[,SERVER...]: every name node's disk is lost; rebuild the catalogue from these storage servers");
  app.add_option("--rebuild-without", flags.rebuild_without, "SERVER[,SERVER...] that cannot come now, and may later");
  app.add_option("--retain-versions", flags.retain_versions, "Older versions kept of each file; 0: all");
  app.add_option("--retain-age", flags.retain_age, "Older versions go after so long, however few; all: none does");
  app.add_option("--retain-deleted", flags.retain_deleted, "How long a deleted file can come back; all: for ever");
  app.add_option("--durability", flags.durability, "async (sync: later)");
  app.add_option("--replication-path", flags.replication_path, "relay (direct: later)");
  app.add_option("--hints", flags.hints, "off (on: later)");
  app.add_option("--hint-interval", flags.hint_interval, "(later)");
  app.add_option("--hint-ttl", flags.hint_ttl, "(later)");
  app.add_option("--metrics", flags.metrics, "(later)");
  app.add_option("--log-format", flags.log_format, "text or json");
  app.add_option("--log-level", flags.log_level, "debug, info, warning or error");
  app.add_option("--log-size", flags.log_bytes_max, "Bytes after which the log begins anew")
      ->transform(CLI::AsSizeValue(false))->check(CLI::Range(uint64_t{64} << 10, uint64_t{1} << 40));
  app.add_option("--log-files", flags.log_files_max, "Older logs that are kept")->check(CLI::Range(0, 1000));
  app.add_option("--audit", flags.audit, "DIR/audit, a line for each request: text, json or off")
      ->check(CLI::IsMember({"text", "json", "off"}))->capture_default_str();
  app.add_option("--audit-size", flags.audit_bytes_max, "Bytes after which the audit trail begins anew")
      ->transform(CLI::AsSizeValue(false))->check(CLI::Range(uint64_t{64} << 10, uint64_t{1} << 40));
  app.add_option("--audit-files", flags.audit_files_max, "Older audit trails that are kept")->check(CLI::Range(0, 1000));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 reports --help and --version this way too.
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "error: INVALID: %s; see %s --help\n", error.what(), kProgram);
    return 2;
  }
  NameNodeOptions options;
  if (Status checked = check(flags, options); !checked) {
    std::fprintf(stderr, "error: %s\n", checked.error().to_string().c_str());
    return 2;
  }
  (void)log_open({.level = LogLevel::kOff});  // Standard error cannot fail to open.
  Status ended;
  {
    UvRuntime runtime;
    runtime.run(serve(&runtime, options, flags, &ended));
  }
  if (!ended) return fail_server(ended.error());
  remove_note(flags.data, "pid");
  remove_note(flags.data, "address");
  log_info("stopped");
  log_flush();
  return 0;
}

}  // namespace
}  // namespace understudy

int main(int argc, char** argv) { return understudy::run(argc, argv); }
