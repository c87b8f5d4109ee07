// understudy-ss: a storage server as a process.
#include <CLI/CLI.hpp>
#include <google/protobuf/stubs/logging.h>
#include <signal.h>
#include <sys/stat.h>

#include <charconv>
#include <cstdio>
#include <string>

#include "common/base/log.h"
#include "common/base/version.h"
#include "common/tls/tls_net.h"
#include "common/uv/server_process.h"
#include "common/uv/uv_runtime.h"
#include "common/wire/audit.h"
#include "ss/enrollment.h"
#include "ss/store_check.h"
#include "ss/storage_server.h"

namespace understudy {
namespace {

constexpr int kExitUsage = 2;

constexpr char kProgram[] = "understudy-ss";

struct Arguments {
  std::string join_token;
  StorageServerOptions server;
  std::string scrub_rate = "8M", scrub_interval = "24h";
  bool check = false;
  bool rebuild_index = false;
  ServerFlags flags;
};

Task<void> stop_on_signal(UvRuntime* runtime, StorageServer* server) {
  int signal = co_await runtime->signal({SIGTERM, SIGINT});
  log_info("stopping: signal " + std::to_string(signal));
  server->stop();
}

// The log is opened once the folder is ours: a refused start leaves one line on
// standard error and no trace in the folder.
Task<void> run_server(UvRuntime* runtime, const Arguments* arguments, Status* ended) {
  const bool secured = arguments->flags.insecure.empty();
  TlsCredentials credentials;
  TlsNet tls(runtime->env(), &credentials);
  Env env = tls.env();
  StorageServerOptions options = arguments->server;
  Enrollment enrollment(runtime->env(), {options.name, options.folder, options.name_nodes, arguments->join_token}, &tls);
  if (secured) options.enrollment = &enrollment;
  std::unique_ptr<LineSink> audit_file;
  std::optional<Audit> audit;
  StorageServer server(secured ? env : runtime->env(), options);
  *ended = co_await server.open();
  if (*ended) *ended = open_server_log(arguments->flags);
  if (!*ended) co_return;
  auto opened = open_audit_file(arguments->flags);
  if (!opened) *ended = std::unexpected(opened.error());
  if (!*ended) co_return;
  audit_file = *std::move(opened);
  if (audit_file) server.set_observer(&audit.emplace(runtime->env(), audit_file.get(), arguments->flags.audit == "json"));
  if (!secured) log_warning(kInsecureWarning);
  TaskGroup watching(runtime->env().executor);
  watching.spawn(stop_on_signal(runtime, &server));
  co_await server.run();
  *ended = server.result();
}

// "8M": bytes a second.
Result<uint64_t> parse_rate(const std::string& text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const uint64_t factor = unit.empty() ? 1 : unit == "K" ? 1 << 10 : unit == "M" ? 1 << 20 : unit == "G" ? 1 << 30 : 0;
  if (error != std::errc() || factor == 0 || value > (uint64_t{1} << 40) / factor) {
    return fail(Code::kInvalid, "--scrub-rate is bytes per second, as 500K or 8M; 0: never");
  }
  return value * factor;
}

// The two acts on a folder whose server does not run.
Task<void> check_folder(UvRuntime* runtime, std::string folder, Status* ended) {
  auto checked = co_await check_store(runtime->env(), folder, [](std::string line) { std::printf("%s\n", line.c_str()); });
  if (!checked) {
    *ended = std::unexpected(checked.error());
    co_return;
  }
  std::printf("%s: %lu segments, %lu records, %lu of them versions and %lu chunks, %lu bytes; %s: ", folder.c_str(),
              checked->segments, checked->records, checked->versions, checked->chunks, checked->bytes,
              checked->index_checked ? "the index was compared with the log" : "no index was compared");
  if (checked->damages == 0) {
    std::printf("all is well\n");
  } else {
    std::printf("%lu damaged\n", checked->damages);
    *ended = fail(Code::kCorrupt, folder + ": is damaged; started, the server repairs what its partner has");
  }
}

Task<void> rebuild_index(UvRuntime* runtime, std::string folder, Status* ended) {
  // Without a store there is nothing to make an index of, and no folder is made.
  if (!runtime->env().disk.info(folder + "/store")) {
    *ended = fail(Code::kInvalid, folder + ": has no file 'store': not a storage server's folder");
    co_return;
  }
  FileStoreOptions options;
  options.folder = folder;
  options.rebuild_index = true;
  auto store = co_await FileStore::open(runtime->env(), std::move(options));
  if (!store) {
    *ended = std::unexpected(store.error());
    co_return;
  }
  std::printf("%s: the index is made anew from the log: %lu files, %lu bytes, log up to %lu\n", folder.c_str(),
              (*store)->file_count(), (*store)->byte_count(), number((*store)->durable_lsn()));
  const bool damaged = (*store)->damaged_at_start();
  *ended = co_await (*store)->close();
  if (*ended && damaged) *ended = fail(Code::kCorrupt, folder + ": the log is damaged; --check says where");
}

int run_main(int argc, char** argv) {
  umask(077);  // What users store is nobody else's on this machine.
  Arguments arguments;
  auto& server = arguments.server;
  auto& flags = arguments.flags;
  std::string name_nodes, metrics;
  CLI::App app("A storage server of an Understudy store: holds file bytes and serves clients directly.",
               kProgram);
  app.set_version_flag("--version", std::string(kProgram) + " " + kVersion);
  app.set_config("--config", "", "Read options from FILE (name=value lines)");
  app.add_option("--name", server.name, "This server: ss1, or ss1_backup for its backup");
  app.add_option("--data", server.folder, "The data folder; made if missing")->required();
  app.add_option("--nm", name_nodes, "Name nodes: HOST:PORT[,HOST:PORT...]");
  app.add_option("--listen", server.listen, "Where clients connect; port 0: the kernel chooses")
      ->capture_default_str();
  app.add_option("--advertise", server.advertise, "HOST:PORT under which clients reach this server");
  app.add_option("--backup-of", server.backup_of, "The server that this one is the backup of");
  app.add_option("--compaction-rate", server.compaction_mib_per_second,
                 "MiB a second that compaction reads at the most; 0: no limit")
      ->capture_default_str();
  app.add_option("--join-token", arguments.join_token,
                 "FILE with a join token (the name node's data folder has one); needed once, until there is a certificate");
  app.add_flag("--insecure{yes}", flags.insecure, "Plaintext, on this machine only; --insecure=force: anywhere");
  app.add_option("--scrub-rate", arguments.scrub_rate, "Bytes per second that are read and verified in the background; 0: none")
      ->capture_default_str();
  app.add_option("--scrub-interval", arguments.scrub_interval, "From the end of one such pass to the next")->capture_default_str();
  auto* check = app.add_flag("--check", arguments.check, "Verify the folder of a server that does not run, and end");
  app.add_flag("--rebuild-index", arguments.rebuild_index, "Make its index anew from its log, and end")->excludes(check);
  app.add_option("--metrics", metrics, "Not available in this version");
  app.add_option("--log-level", flags.log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  app.add_option("--log-format", flags.log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
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
    std::fprintf(stderr, "error: INVALID: %s; see understudy-ss --help\n", error.what());
    return kExitUsage;
  }
  if (!metrics.empty()) {
    std::fprintf(stderr, "error: INVALID: --metrics: not available in this version\n");
    return kExitUsage;
  }
  if (arguments.check || arguments.rebuild_index) {
    (void)log_open({.level = LogLevel::kOff});
    Status ended;
    UvRuntime runtime;
    runtime.run(arguments.check ? check_folder(&runtime, server.folder, &ended) : rebuild_index(&runtime, server.folder, &ended));
    std::fflush(stdout);
    if (ended) return 0;
    std::fprintf(stderr, "error: %s\n", ended.error().to_string().c_str());
    return 1;
  }
  if (server.name.empty()) {
    std::fprintf(stderr, "error: INVALID: --name is required; see understudy-ss --help\n");
    return kExitUsage;
  }
  auto rate = parse_rate(arguments.scrub_rate);
  auto interval = parse_duration(arguments.scrub_interval);
  if (interval && *interval < std::chrono::seconds(1)) interval = fail(Code::kInvalid, "--scrub-interval is at least 1s");
  for (auto failed : {rate ? Status() : Status(std::unexpected(rate.error())), interval ? Status() : Status(std::unexpected(interval.error()))}) {
    if (failed) continue;
    std::fprintf(stderr, "error: %s\n", failed.error().to_string().c_str());
    return kExitUsage;
  }
  server.scrub = {*rate, *interval};
  for (size_t at = 0; at <= name_nodes.size();) {
    size_t comma = std::min(name_nodes.find(',', at), name_nodes.size());
    if (comma > at) server.name_nodes.push_back(name_nodes.substr(at, comma - at));
    at = comma + 1;
  }
  if (server.name_nodes.empty()) {
    std::fprintf(stderr, "error: INVALID: --nm names no name node; give HOST:PORT\n");
    return kExitUsage;
  }
  flags.data = server.folder;
  if (auto checked = check_insecure(flags, {server.listen, server.advertise}); !checked) {
    std::fprintf(stderr, "error: %s\n", checked.error().to_string().c_str());
    return kExitUsage;
  }
  server.clients_max = room_for_clients();
  (void)log_open({.level = LogLevel::kOff});  // Standard error cannot fail to open.
  Status ended;
  {
    UvRuntime runtime;
    runtime.run(run_server(&runtime, &arguments, &ended));
  }
  if (!ended) return fail_server(ended.error());
  log_info("stopped");
  log_flush();
  return 0;
}

}  // namespace
}  // namespace understudy

int main(int argc, char** argv) {
  // What strangers send is refused, and audited; it fills no file of its own.
  google::protobuf::SetLogHandler(nullptr);
  return understudy::run_main(argc, argv);
}
