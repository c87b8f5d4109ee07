// A whole cluster in one thread: hosts with disks and clocks, processes, a network
// between them, and virtual time. Everything that happens follows from the seed:
// two runs of one seed give the same trace_hash().
//
// A test builds hosts, starts processes on them, and lets time pass; the code under
// test sees nothing but Env. Faults are the world's: kill, pause, power_cut here,
// partitions in net(), errors and bit rot in host.disk.
//
//   SimWorld world(seed);
//   SimProcess& p = world.start(world.host("ss1"), "ss1", [](Env& env) { return serve(env); });
//   world.run_for(5s);
//   world.kill(p);
//
// In the environment SIM_LOG=1 prints every log line with its virtual time and process,
// SIM_TRACE=1 every event.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/log.h"
#include "common/env/env.h"
#include "common/env/task.h"
#include "tests/sim/sim_clock.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_random.h"

namespace understudy::sim {

class SimProcess;

// A machine with a name, a clock and a disk. Hosts with one `machine` name are one
// machine: processes there can prove each other's death, and lose power together.
struct SimHost {
  SimHost(SimWorld& world, std::string name, std::string machine, uint32_t number);

  void act_as(PeerIdentity::Role role, std::string server) { identity = {.secured = true, .role = role, .name = server}; }
  // "ss1:7400"
  Address address(uint16_t port) const { return name + ":" + std::to_string(port); }

  const std::string name;
  const std::string machine;
  const uint32_t number;
  // What its processes prove to whoever they talk to, from the next connection on: a client's
  // nothing, unless a test says otherwise (act_as). There is no TLS here.
  PeerIdentity identity{.secured = true};
  uint32_t boots = 1;
  bool powered = true;
  SimHostClock clock;
  SimDisk disk;
};

// What a process runs; it ends when the task does. Objects it needs live in the
// task's frame, and are destroyed when it is killed.
using SimMain = std::function<Task<void>(Env&)>;

class SimProcess {
 public:
  enum class State : uint8_t { kRunning, kPaused, kDead };

  SimProcess(SimWorld& world, SimHost& host, std::string name, uint32_t pid);
  ~SimProcess();
  SimProcess(const SimProcess&) = delete;

  Env& env() { return env_; }
  SimHost& host() { return host_; }
  const std::string& name() const { return name_; }
  uint32_t pid() const { return pid_; }
  bool alive() const { return state_ != State::kDead; }
  bool running() const { return state_ == State::kRunning; }
  // One more task of this process.
  void spawn(Task<void> task);

 private:
  friend class SimWorld;
  struct Parts;

  SimWorld& world_;
  SimHost& host_;
  const std::string name_;
  const uint32_t pid_;
  const uint64_t start_time_;
  State state_ = State::kRunning;
  uint32_t depth_ = 0;  // How many of its calls are on the stack now.
  SimMain main_;
  std::unique_ptr<Parts> parts_;
  Env env_;
  std::optional<TaskGroup> tasks_;
  std::vector<Ref<Resumable>> held_;                          // Ready, but paused.
  std::vector<std::move_only_function<void()>> deferred_;     // Its events while it was paused.
  std::vector<Promise<Status>> death_watchers_;
};

class SimWorld {
 public:
  explicit SimWorld(uint64_t seed);
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;

  // Made on first use; `machine` counts then only, and is the host's name if empty.
  SimHost& host(const std::string& name, const std::string& machine = {});

  // Powers the host on if need be, and runs `main` up to its first wait.
  SimProcess& start(SimHost& host, std::string name, SimMain main);
  // A process for a test's own tasks (spawn, await); it runs until it is killed.
  SimProcess& start(SimHost& host, std::string name);

  // kill -9: its frames are destroyed where they wait, its connections break, its
  // locks are free; what it wrote stays in the page cache.
  void kill(SimProcess& process);
  // SIGSTOP: nothing of it runs while time passes and bytes arrive; SIGCONT.
  void pause(SimProcess& process);
  void resume(SimProcess& process);
  // Kills all that runs on the host's machine; its disks lose, keep or tear what was not
  // synced. Peers hear nothing until it is powered on again.
  void power_cut(SimHost& host);
  void power_on(SimHost& host);

  Instant now() const { return now_; }
  // The next event and all that it makes ready; false if nothing will ever happen.
  bool step();
  void run_for(Duration duration);
  // False if `limit` passed first.
  bool run_until(const std::function<bool()>& condition, Duration limit);
  // Runs `task` in `process` until it is done; nothing if the process died or `limit`
  // passed first (the task goes on then).
  template <class T>
  std::optional<T> try_await(SimProcess& process, Task<T> task, Duration limit = std::chrono::minutes(10)) {
    auto slot = std::make_shared<std::optional<T>>();
    process.spawn(fill(std::move(task), slot));
    run_until([&] { return slot->has_value() || !process.alive(); }, limit);
    return std::move(*slot);
  }
  template <class T>
  T await(SimProcess& process, Task<T> task) {
    auto value = try_await(process, std::move(task));
    CHECK(value.has_value());
    return *std::move(value);
  }
  void await(SimProcess& process, Task<void> task) { await(process, as_unit(std::move(task))); }

  // A host's clock from now on (1'050'000: gains 5 %), and a leap of it.
  void set_clock_rate(SimHost& host, int64_t parts_per_million);
  void jump_clock(SimHost& host, Duration forward);

  SimNet& net() { return *net_; }
  // The stream of randomness of that name.
  SimRandom random(std::string_view purpose) const { return root_random_.split(purpose); }
  uint64_t trace_hash() const { return trace_hash_; }
  // In the order of their start, the dead ones too.
  const std::vector<std::unique_ptr<SimProcess>>& processes() const { return processes_; }
  SimProcess* find_process(std::string_view name);  // The latest of that name; nullptr: none.

  // The rest is for the simulator's own parts.
  EventQueue& events() { return events_; }
  // Runs `action` as an event of `process`: later while it is paused, never once it is dead.
  EventId schedule(SimProcess& process, Instant at, EventKind kind, std::move_only_function<void()> action);
  void make_ready(SimProcess& process, Ref<Resumable> ready);
  void trace(EventKind kind, uint64_t subject, uint64_t detail);
  // Whose code runs now; nullptr: the test's.
  SimProcess* current() const { return current_; }
  std::vector<SimHost*> hosts();
  Future<Status> watch_death(SimProcess& watcher, const ProcessIdentity& process);
  ProcessIdentity identity(const SimProcess& process) const;

 private:
  friend class SimProcess;
  class Inside;

  template <class T>
  static Task<void> fill(Task<T> task, std::shared_ptr<std::optional<T>> slot) {
    slot->emplace(co_await task);
  }
  static Task<Unit> as_unit(Task<void> task) {
    co_await task;
    co_return Unit{};
  }
  Task<void> run_main(SimProcess* process);
  void bury(SimProcess& process);
  void run_ready();
  static void log_hook(void* context, LogLevel level, std::string_view message);

  const SimRandom root_random_;
  SimRandom latency_random_;
  Instant now_;
  uint64_t trace_hash_ = 0;
  uint64_t events_at_this_time_ = 0;
  EventQueue events_;
  std::unique_ptr<SimNet> net_;
  std::map<std::string, std::unique_ptr<SimHost>> hosts_;
  std::vector<std::unique_ptr<SimProcess>> processes_;
  std::deque<std::pair<SimProcess*, Ref<Resumable>>> ready_;
  std::vector<SimProcess*> to_bury_;
  SimProcess* current_ = nullptr;
};

}  // namespace understudy::sim
