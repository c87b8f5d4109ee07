// What clients do to a cluster while it is measured. All clients live in this process, each with a session (and so
// connections) of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/measurement.h"
#include "client/credentials.h"
#include "client/session.h"
#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy::bench {

struct Options {
  std::vector<Address> name_nodes;
  client::Login login;         // Of every client.
  std::string cluster;         // The folder of a local cluster; empty: processor time is this process's alone.
  uint32_t clients = 8;
  uint32_t size_bytes = 4096;
  bool sync = false;           // Every write with durability sync.
  uint32_t files = 10;         // Each client's, for what needs files that are there.
  std::chrono::milliseconds time{5000};
  uint64_t big_bytes = 1ull << 30;
  std::string event;           // For failover: a shell command, run after a third of the time.
  uint32_t writers = 2000;     // For writers: how many have a sentence open.
  uint32_t rate = 200;         // For failover: operations a second and client.
};

// A local file as what is uploaded.
class FileSource final : public client::Source {
 public:
  explicit FileSource(std::unique_ptr<File> file) : file_(std::move(file)) {}
  Task<Result<Bytes>> read(uint64_t offset, uint32_t size) override {
    auto bytes = file_->read(offset, size);
    co_return co_await bytes;
  }

 private:
  std::unique_ptr<File> file_;
};

class Workloads {
 public:
  Workloads(Env& env, Options options);

  // put, get, stat, delete: as fast as each client can, one operation at a time. Prints one line, whose processor
  // time counts until all is on both halves.
  Task<Status> small(std::string operation);
  // Opens a sentence each in so many sessions of their own, which then do nothing for as long as this lives.
  Task<Status> open_sentences(uint32_t count);
  // Half of the clients write and half read, at a steady rate, while `event` happens. Prints a line for each half.
  Task<Status> failover();
  // One big file in, until the other half has it, and out again. `source` is a local file.
  Task<Status> big(std::string source);

  // The last measurement's rate, to be held against a baseline.
  double operations_per_s() const { return operations_per_s_; }
  struct BigSeconds {
    double acknowledged = 0;
    double on_both = 0;
    double out = 0;
  };
  const BigSeconds& big_seconds() const { return big_seconds_; }

 private:
  enum class Kind : uint8_t { kPut, kOverwrite, kGet, kStat, kDelete };
  std::string path(Kind kind, uint32_t client, uint64_t n) const;
  Task<Status> once(Kind kind, uint32_t client, uint64_t n);
  // Until `until_`, or `count` operations.
  Task<void> client_loop(Kind kind, uint32_t client, uint64_t count, uint32_t rate, Recorder* recorder);
  Task<Status> prepare();
  Task<Status> wait_for_both();

  Env& env_;
  Options options_;
  std::string folder_;  // All of this run's files stand in it.
  std::vector<std::unique_ptr<client::Session>> sessions_;
  std::vector<std::unique_ptr<client::Session>> writers_;
  Bytes content_;
  SteadyTime until_{};
  std::string first_error_;
  bool prepared_ = false;
  uint64_t round_ = 0;  // Names of one measurement's new files never meet another's.
  double operations_per_s_ = 0;
  BigSeconds big_seconds_;
};

}  // namespace understudy::bench
