// understudy-bench: what a cluster does, and what the machine could do, in the same run. bench/README.md explains.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include "bench/baselines.h"
#include "bench/workloads.h"
#include "client/local_cluster.h"
#include "common/uv/uv_runtime.h"

namespace understudy::bench {
namespace {

const std::set<std::string> kStoreOperations = {"put", "get", "stat", "delete", "big", "failover", "writers"};
const std::set<std::string> kBaselines = {"plain", "loopback", "copy"};

struct Program {
  Options options;
  std::string scratch;       // A folder on the disk that the baselines are measured on.
  std::vector<std::string> operations;
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

Task<void> run(Env& env, Program* program) {
  Workloads workloads(env, program->options);
  const std::string source = program->scratch + "/source";
  for (std::string operation : program->operations) {
    Status status;
    if (operation == "plain") {
      plain(*program);
    } else if (operation == "loopback") {
      loopback(*program);
    } else if (operation == "copy" || operation == "big") {
      make_file(source, program->options.big_bytes);
      CopySeconds baseline = copy(*program, source);
      if (operation == "big") {
        status = co_await workloads.big(source);
        if (status) {
          print_ratio("big-put-on-both", "copy-twice", baseline.copy_twice / workloads.big_seconds().on_both);
          print_ratio("big-get", "cat", baseline.cat / workloads.big_seconds().out);
        }
      }
      std::filesystem::remove(source);
    } else if (operation == "failover") {
      status = co_await workloads.failover();
    } else if (operation == "writers") {
      status = co_await workloads.small("get");
      double without = workloads.operations_per_s();
      if (status) status = co_await workloads.open_sentences(program->options.writers);
      if (status) status = co_await workloads.small("get");
      if (status) print_ratio("get-beside-writers", "get", workloads.operations_per_s() / without);
    } else {
      double baseline = operation == "put" ? plain(*program) : operation == "get" ? loopback(*program) : 0;
      status = co_await workloads.small(operation);
      if (status && baseline > 0) print_ratio(operation, operation == "put" ? "plain" : "loopback", workloads.operations_per_s() / baseline);
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
  CLI::App app("Measures a cluster: one JSON line for each measurement, and for the baseline and the ratio where there is one.");
  app.add_option("operations", program.operations, "put get stat delete big failover writers; baselines alone: plain loopback copy")->required();
  app.add_option("--data", program.options.cluster, "a local cluster's folder, as `understudy up --data` made it");
  app.add_option("--nm", program.options.name_nodes, "a name node's HOST:PORT (processor time is then this process's alone)")->delimiter(',');
  app.add_option("--clients", program.options.clients, "how many at once")->check(CLI::Range(1, 10'000))->capture_default_str();
  app.add_option("--seconds", seconds, "how long each operation is measured")->check(CLI::Range(1, 3600))->capture_default_str();
  app.add_option("--size", program.options.size_bytes, "bytes of a small file")->check(CLI::Range(0, 1 << 20))->capture_default_str();
  app.add_option("--files", program.options.files, "files of each client that are there before")->check(CLI::Range(1, 1'000'000))->capture_default_str();
  app.add_option("--big-bytes", program.options.big_bytes, "bytes of the big file")->capture_default_str();
  app.add_option("--writers", program.options.writers, "writers: how many hold a sentence open and do nothing")->capture_default_str();
  app.add_option("--rate", program.options.rate, "failover: operations a second and client")->capture_default_str();
  app.add_option("--event", program.options.event, "failover: a shell command, run after a third of the time");
  app.add_option("--scratch", program.scratch, "a folder for the baselines' files; default: beside the cluster's, else the working folder");
  CLI11_PARSE(app, argc, argv);
  program.options.time = std::chrono::seconds(seconds);

  bool needs_cluster = false;
  for (const auto& operation : program.operations) {
    if (!kStoreOperations.contains(operation) && !kBaselines.contains(operation)) {
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
  if (program.scratch.empty()) program.scratch = program.options.cluster.empty() ? "." : program.options.cluster;
  program.scratch += fmt::format("/bench-scratch.{}", getpid());
  std::filesystem::create_directories(program.scratch);

  {
    UvRuntime runtime;
    runtime.run(run(runtime.env(), &program));
  }
  std::filesystem::remove_all(program.scratch);
  return program.failed ? 1 : 0;
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) { return understudy::bench::main(argc, argv); }
