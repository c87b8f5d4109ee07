// understudy-nm: the name node as a process.
#include <csignal>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <google/protobuf/stubs/logging.h>

#include "common/base/version.h"
#include "common/tls/tls_net.h"
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
  std::string certificate_lifetime = "720h";
  uint32_t heartbeat_misses = 3;
  std::string edit_idle_limit = "10m";
  std::string rebuild_from, rebuild_without, compare_interval = "10m";
  uint64_t retain_versions = Retention().versions;
  std::string retain_age = "all", retain_deleted = "168h";
  uint64_t resync_rate = 0;
  std::string peers, durability = "async", replication_path = "relay", hints = "on", metrics;
  std::string hint_interval = "30s", hint_ttl = "24h";
  uint64_t hint_bytes = uint64_t{1} << 30;
  std::string session_life = "12h", capability_life = "60s", key_life = "24h";
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
  auto& durability = options.durability;
  durability.sync = flags.durability == "sync";
  durability.direct = flags.replication_path == "direct";
  durability.hints = flags.hints == "on";
  durability.hint_bytes_max = flags.hint_bytes;
  ASSIGN_OR_RETURN(durability.hint_interval, parse_duration(flags.hint_interval));
  ASSIGN_OR_RETURN(durability.hint_ttl, parse_duration(flags.hint_ttl));
  if (durability.hint_interval < std::chrono::milliseconds(10)) return fail(Code::kInvalid, "--hint-interval is 10ms or more");
  if (durability.hint_ttl <= Duration::zero()) return fail(Code::kInvalid, "--hint-ttl is more than 0");
  auto life = [](const std::string& option, const std::string& text, Duration least, Duration most, Duration& value) -> Status {
    ASSIGN_OR_RETURN(value, parse_duration(text));
    if (value >= least && value <= most) return {};
    return fail(Code::kInvalid, option + " is out of bounds; see --help");
  };
  using namespace std::chrono_literals;
  auto& identity = options.identity;
  RETURN_IF_ERROR(life("--session-life", flags.session_life, 1min, 24h * 365, identity.session_life));
  RETURN_IF_ERROR(life("--capability-life", flags.capability_life, 5s, 5min, identity.capability_life));
  RETURN_IF_ERROR(life("--key-life", flags.key_life, 10min, 24h * 365, identity.key_life));
  ASSIGN_OR_RETURN(options.certificate_lifetime, parse_duration(flags.certificate_lifetime));
  if (options.certificate_lifetime < std::chrono::seconds(3)) return fail(Code::kInvalid, "--certificate-lifetime is at least 3s");
  RETURN_IF_ERROR(check_insecure(flags, {flags.listen}));
  if (flags.resync_rate > 1 << 20) return fail(Code::kInvalid, "--resync-rate is 0 to 1048576, in MiB a second");
  options.resync_bytes_per_s = flags.resync_rate << 20;
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
  TlsCredentials credentials;
  TlsNet tls(runtime->env(), &credentials);
  Env env = tls.env();
  if (flags.insecure.empty()) options.tls = &tls;
  std::unique_ptr<LineSink> audit_file;
  std::optional<Audit> audit;
  NameNode node(flags.insecure.empty() ? env : runtime->env(), options);
  // The log is opened once the folder is ours: a refused start leaves no trace in it.
  *ended = node.claim_folder();
  if (*ended) *ended = open_server_log(flags);
  if (!*ended) co_return;
  auto opened = open_audit_file(flags);
  if (!opened) *ended = std::unexpected(opened.error());
  if (!*ended) co_return;
  audit_file = *std::move(opened);
  if (audit_file) node.set_observer(&audit.emplace(runtime->env(), audit_file.get(), flags.audit == "json"));
  if (!flags.insecure.empty()) log_warning(kInsecureWarning);
  TaskGroup beside(runtime->env().executor);
  beside.spawn(stop_by_signal(runtime, &node));
  beside.spawn(tell_address(&node, options.folder));
  *ended = co_await node.run();
  beside.cancel();
}

int run(int argc, char** argv) {
  umask(077);  // Keys and hashes of passwords stand in the data folder.
  Flags flags;
  CLI::App app{"Understudy's name node: names, and who is acting primary"};
  app.option_defaults()->always_capture_default();
  app.set_version_flag("--version", std::string(kProgram) + " " + kVersion);
  app.set_config("--config", "", "Options from a file of lines such as listen=127.0.0.1:7400");
  app.add_option("--data", flags.data, "Data folder")->required();
  app.add_option("--listen", flags.listen, "Address to listen on; port 0 lets the kernel choose");
  app.add_option("--id", flags.id, "This name node's number");
  app.add_option("--peers", flags.peers, "All name nodes; not available in this version");
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
  app.add_option("--resync-rate", flags.resync_rate, "MiB a second to a half that is not in sync; 0: no limit");
  app.add_option("--session-life", flags.session_life, "How long a log-in holds without being used: 1m to a year");
  app.add_option("--capability-life", flags.capability_life, "How long a look-up lets a client work with a file: 5s to 5m");
  app.add_option("--key-life", flags.key_life, "How old the keys of sessions and capabilities get: 10m to a year");
  app.add_option("--durability", flags.durability, "What an acknowledged write means where no folder says otherwise: async or sync")
      ->check(CLI::IsMember({"async", "sync"}));
  app.add_option("--replication-path", flags.replication_path, "relay: through the name node; direct: from half to half")
      ->check(CLI::IsMember({"relay", "direct"}));
  app.add_option("--hints", flags.hints, "on: keep the contents of what a half that is away misses")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--hint-interval", flags.hint_interval, "How often hints are taken in and looked through");
  app.add_option("--hint-ttl", flags.hint_ttl, "Older hints go, unless they stand for an acknowledgement");
  app.add_option("--hint-bytes", flags.hint_bytes, "How many bytes the hints may take")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--certificate-lifetime", flags.certificate_lifetime, "How long a server's certificate lasts; it renews itself at two thirds");
  app.add_flag("--insecure{yes}", flags.insecure, "Plaintext, on this machine only; --insecure=force: anywhere");
  app.add_option("--metrics", flags.metrics, "Address for metrics; not available in this version");
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

int main(int argc, char** argv) {
  // What strangers send is refused, and audited; it fills no file of its own.
  google::protobuf::SetLogHandler(nullptr);
  return understudy::run(argc, argv);
}
