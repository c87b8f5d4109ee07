// understudy-bench: what a cluster does, and what the machine could do, in the same run. bench/README.md explains.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>

#include "bench/baselines.h"
#include "bench/engine.h"
#include "bench/workloads.h"
#include "client/credentials.h"
#include "client/local_cluster.h"
#include "client/trusted.h"
#include "common/uv/server_process.h"
#include "common/uv/uv_runtime.h"
#include "common/wire/call.h"
#include "common/wire/understudy.pb.h"

namespace understudy::bench {
namespace {

const std::set<std::string> kStoreOperations = {"put", "get", "stat", "delete", "big", "failover", "idle", "writers"};
const std::set<std::string> kEngineOperations = {"engine", "engine-big", "engine-fill", "engine-open"};
const std::set<std::string> kBaselines = {"plain", "loopback", "copy"};

struct Program {
  Options options;
  std::string scratch;       // A folder on the disk that the baselines are measured on.
  std::vector<std::string> operations;
  bool keep = false;
  bool failed = false;
};

void print_ratio(const std::string& operation, const std::string& baseline, double ratio) {
  JsonLine().text("op", operation).text("baseline", baseline).number("ratio", ratio, 2).print();
}

double plain(const Program& program) {
  Recorder recorder = plain_files(program.scratch, program.options.clients, program.options.size_bytes, program.options.time);
  JsonLine().text("op", "baseline-plain").number("clients", program.options.clients).number("size", program.options.size_bytes).recorder(recorder).print();
  return recorder.operations_per_s();
}

double loopback(const Program& program) {
  Recorder recorder = loopback_round_trips(program.options.clients, program.options.time);
  JsonLine().text("op", "baseline-loopback").number("clients", program.options.clients).number("size", 1).recorder(recorder).print();
  return recorder.operations_per_s();
}

struct CopySeconds {
  double copy_twice;
  double cat;
};
CopySeconds copy(const Program& program, const std::string& source) {
  double mib = static_cast<double>(program.options.big_bytes) / (1 << 20);
  CopySeconds seconds{copy_twice_seconds(source), cat_seconds(source)};
  JsonLine().text("op", "baseline-copy-twice").number("bytes", static_cast<double>(program.options.big_bytes)).number("seconds", seconds.copy_twice, 3).number("mib_per_s", mib / seconds.copy_twice).print();
  JsonLine().text("op", "baseline-cat").number("bytes", static_cast<double>(program.options.big_bytes)).number("seconds", seconds.cat, 3).number("mib_per_s", mib / seconds.cat).print();
  return seconds;
}

uint64_t resident_kib(const std::string& process) {
  std::ifstream status("/proc/" + process + "/status");
  std::string word;
  uint64_t kib = 0;
  while (status >> word && word != "VmRSS:") {}
  status >> kib;
  return kib;
}

Task<void> run_peer(std::shared_ptr<Peer> peer) { co_await peer->run(); }

Task<Status> greet(Env* env, Address address, std::vector<std::shared_ptr<Peer>>* peers, TaskGroup* running) {
  CO_ASSIGN_OR_RETURN(auto connection, co_await env->net.connect(address, std::chrono::seconds(20)));
  auto peer = std::make_shared<Peer>(*env, std::move(connection), nullptr);
  running->spawn(run_peer(peer));
  wire::HelloRequest hello;
  hello.set_protocol_version(1);
  hello.set_role(wire::HelloRequest::CLIENT);
  auto greeted = co_await call<wire::HelloReply>(peer.get(), wire::HELLO, hello, std::chrono::seconds(20));
  if (!greeted) co_return std::unexpected(greeted.error());
  peers->push_back(std::move(peer));
  co_return Status();
}

// So many connections that say hello and then nothing, to the name node: what each costs it, and what it answers meanwhile.
Task<Status> idle(Env& env, const Options* options) {
  std::string name_node;
  std::ifstream(options->cluster + "/nm1/pid") >> name_node;
  TaskGroup running(env.executor);
  std::vector<std::shared_ptr<Peer>> peers;
  uint64_t before = resident_kib(name_node), own = resident_kib("self");
  Instant begun = env.clock.now();
  for (size_t i = 0; i < options->clients; ++i) {
    CO_RETURN_IF_ERROR(co_await greet(&env, options->name_nodes.front(), &peers, &running));
  }
  double seconds = std::chrono::duration<double>(env.clock.now() - begun).count();
  double count = static_cast<double>(options->clients);
  uint64_t after = resident_kib(name_node), own_after = resident_kib("self");
  begun = env.clock.now();
  auto status = co_await call<wire::StatusReply>(peers.front().get(), wire::STATUS, wire::StatusRequest(), std::chrono::seconds(20));
  double asked = std::chrono::duration<double>(env.clock.now() - begun).count();
  if (!status) co_return std::unexpected(status.error());
  JsonLine().text("op", "idle").number("connections", count).number("connections_per_s", count / seconds)
      .number("nm_kib_each", (static_cast<double>(after) - static_cast<double>(before)) / count, 1).number("nm_mib", static_cast<double>(after) / 1024)
      .number("client_kib_each", (static_cast<double>(own_after) - static_cast<double>(own)) / count, 1).number("status_ms", asked * 1000, 2).print();
  for (auto& peer : peers) peer->close();
  running.cancel();
  co_return Status();
}

Task<Status> engine(Env& env, const Program* program, std::string operation) {
  EngineBench bench(env, program->options, program->scratch);
  if (operation == "engine") co_return co_await bench.small();
  if (operation == "engine-fill") co_return co_await bench.fill();
  if (operation == "engine-open") co_return co_await bench.open_only();
  const std::string source = program->scratch + "/source";
  make_file(source, program->options.big_bytes);
  Status status = co_await bench.big(source);
  std::filesystem::remove(source);
  co_return status;
}

Task<void> run(Env& env, Program* program) {
  std::unique_ptr<Workloads> cluster;  // Without name nodes there is none.
  if (!program->options.name_nodes.empty()) cluster = std::make_unique<Workloads>(env, program->options);
  const std::string source = program->scratch + "/source";
  for (std::string operation : program->operations) {
    Status status;
    if (kEngineOperations.contains(operation)) {
      status = co_await engine(env, program, operation);
    } else if (operation == "plain") {
      plain(*program);
    } else if (operation == "loopback") {
      loopback(*program);
    } else if (operation == "copy" || operation == "big") {
      make_file(source, program->options.big_bytes);
      CopySeconds baseline = copy(*program, source);
      if (operation == "big") {
        status = co_await cluster->big(source);
        if (status) {
          print_ratio("big-put-on-both", "copy-twice", baseline.copy_twice / cluster->big_seconds().on_both);
          print_ratio("big-get", "cat", baseline.cat / cluster->big_seconds().out);
        }
      }
      std::filesystem::remove(source);
    } else if (operation == "idle") {
      status = co_await idle(env, &program->options);
    } else if (operation == "failover") {
      status = co_await cluster->failover();
    } else if (operation == "writers") {
      status = co_await cluster->small("get");
      double without = cluster->operations_per_s();
      if (status) status = co_await cluster->open_sentences(program->options.writers);
      if (status) status = co_await cluster->small("get");
      if (status) print_ratio("get-beside-writers", "get", cluster->operations_per_s() / without);
    } else {
      double baseline = operation == "put" ? plain(*program) : operation == "get" ? loopback(*program) : 0;
      status = co_await cluster->small(operation);
      if (status && baseline > 0) print_ratio(operation, operation == "put" ? "plain" : "loopback", cluster->operations_per_s() / baseline);
    }
    if (!status) {
      fmt::print(stderr, "error: {}: {}\n", operation, status.error().to_string());
      program->failed = true;
    }
  }
}

int main(int argc, char** argv) {
  Program program;
  uint32_t seconds = 5;
  bool insecure = false;
  CLI::App app("Measures a cluster: one JSON line for each measurement, and for the baseline and the ratio where there is one.");
  app.add_option("operations", program.operations, "put get stat delete big failover idle writers; of the engine alone: engine engine-big engine-fill engine-open; baselines alone: plain loopback copy")->required();
  app.add_option("--data", program.options.cluster, "a local cluster's folder, as `understudy up --data` made it");
  app.add_option("--nm", program.options.name_nodes, "a name node's HOST:PORT (processor time is then this process's alone)")->delimiter(',');
  app.add_option("--clients", program.options.clients, "how many at once")->check(CLI::Range(1, 10'000))->capture_default_str();
  app.add_option("--seconds", seconds, "how long each operation is measured")->check(CLI::Range(1, 3600))->capture_default_str();
  app.add_option("--size", program.options.size_bytes, "bytes of a small file")->check(CLI::Range(0, 1 << 20))->capture_default_str();
  app.add_flag("--sync", program.options.sync, "writes with durability sync");
  app.add_option("--files", program.options.files, "files of each client that are there before")->check(CLI::Range(1, 1'000'000))->capture_default_str();
  app.add_option("--big-bytes", program.options.big_bytes, "bytes of the big file")->capture_default_str();
  app.add_option("--writers", program.options.writers, "writers: how many hold a sentence open and do nothing")->capture_default_str();
  app.add_option("--rate", program.options.rate, "failover: operations a second and client")->capture_default_str();
  app.add_option("--event", program.options.event, "failover: a shell command, run after a third of the time");
  app.add_flag("--keep", program.keep, "use the --scratch folder itself, and leave it (engine-fill, then engine-open)");
  app.add_option("--scratch", program.scratch, "a folder for the baselines' files; default: beside the cluster's, else the working folder");
  app.add_flag("--insecure", insecure, "the cluster runs without TLS");
  CLI11_PARSE(app, argc, argv);
  program.options.time = std::chrono::seconds(seconds);
  (void)room_for_clients();  // Raises the limit of descriptors.

  bool needs_cluster = false;
  for (const auto& operation : program.operations) {
    if (!kStoreOperations.contains(operation) && !kBaselines.contains(operation) && !kEngineOperations.contains(operation)) {
      fmt::print(stderr, "error: INVALID: {}: no such operation; --help lists them\n", operation);
      return 2;
    }
    needs_cluster |= kStoreOperations.contains(operation);
  }
  if (needs_cluster && program.options.name_nodes.empty()) {
    auto addresses = client::read_name_nodes(program.options.cluster);
    if (!addresses) {
      fmt::print(stderr, "error: {}\n", addresses.error().to_string());
      return 1;
    }
    program.options.name_nodes = *addresses;
  }
  if (needs_cluster) {
    std::string named;
    for (const auto& address : program.options.name_nodes) named += (named.empty() ? "" : ",") + address;
    auto login = client::Credentials(program.options.cluster, named).find("");
    if (!login) {
      fmt::print(stderr, "error: {}\n", login.error().to_string());
      return 1;
    }
    program.options.login = *login;
  }
  client::ClientOptions whom;
  whom.name_nodes = program.options.name_nodes;
  whom.data = program.options.cluster;
  whom.insecure = insecure ? "yes" : "";
  if (program.scratch.empty()) program.scratch = program.options.cluster.empty() ? "." : program.options.cluster;
  if (!program.keep) program.scratch += fmt::format("/bench-scratch.{}", getpid());
  std::filesystem::create_directories(program.scratch);

  {
    UvRuntime runtime;
    client::ClientNet net(runtime.env());
    if (auto set = needs_cluster ? net.set(whom, program.options.cluster) : Status(); !set) {
      fmt::print(stderr, "error: {}\n", set.error().to_string());
      return 1;
    }
    runtime.run(run(net.env(), &program));
  }
  if (!program.keep) std::filesystem::remove_all(program.scratch);
  return program.failed ? 1 : 0;
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) { return understudy::bench::main(argc, argv); }
