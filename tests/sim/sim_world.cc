#include "tests/sim/sim_world.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ranges>

#include "tests/sim/sim_file.h"

namespace understudy::sim {
namespace {

// Events without virtual time passing, after which something is taken to spin.
constexpr uint64_t kEventsAtOnceMax = 2'000'000;

// Time does not begin at zero, so that "a minute ago" exists.
constexpr Instant kStart{std::chrono::hours(1)};

Duration clock_offset(SimRandom random) { return random.between(std::chrono::seconds(0), std::chrono::hours(24)); }

class SimExecutor final : public Executor {
 public:
  SimExecutor(SimWorld& world, SimProcess& process) : world_(world), process_(process) {}
  void post(Ref<Resumable> ready) override { world_.make_ready(process_, std::move(ready)); }

 private:
  SimWorld& world_;
  SimProcess& process_;
};

class ProcessRandom final : public Random {
 public:
  explicit ProcessRandom(SimRandom random) : random_(random) {}
  uint64_t next() override { return random_.next(); }

 private:
  SimRandom random_;
};

class SimWorkers final : public Workers {
 public:
  SimWorkers(SimWorld& world, SimProcess& process, SimRandom random)
      : world_(world), process_(process), random_(random) {}
  Future<Unit> run(std::function<void()> work) override {
    Promise<Unit> done(process_.env().executor);
    Instant at = world_.now() + random_.between(std::chrono::microseconds(5), std::chrono::microseconds(200));
    world_.schedule(process_, at, EventKind::kWorker, [done, work = std::move(work)] {
      work();
      done.try_set({});
    });
    return done.future();
  }

 private:
  SimWorld& world_;
  SimProcess& process_;
  SimRandom random_;
};

class SimProcesses final : public Processes {
 public:
  SimProcesses(SimWorld& world, SimProcess& process) : world_(world), process_(process) {}
  ProcessIdentity self() const override { return world_.identity(process_); }
  Future<Status> died(ProcessIdentity process) override { return world_.watch_death(process_, process); }

 private:
  SimWorld& world_;
  SimProcess& process_;
};

Task<void> idle(Executor* executor) {
  Promise<Unit> never(*executor);
  auto future = never.future();
  co_await future;
}

}  // namespace

// Env's implementations for one process.
struct SimProcess::Parts {
  Parts(SimWorld& world, SimProcess& process, SimRandom random)
      : clock(world, process),
        net(world.net(), process),
        disk(world, process),
        random(random.split("env")),
        executor(world, process),
        workers(world, process, random.split("workers")),
        processes(world, process) {}
  SimClock clock;
  SimNetView net;
  SimDiskView disk;
  ProcessRandom random;
  SimExecutor executor;
  SimWorkers workers;
  SimProcesses processes;
};

SimHost::SimHost(SimWorld& world, std::string host_name, std::string machine_name, uint32_t host_number)
    : name(std::move(host_name)),
      machine(std::move(machine_name)),
      number(host_number),
      clock(world.now(), clock_offset(world.random("clock " + machine))),
      disk(world, *this, world.random("disk " + name)) {}

SimProcess::SimProcess(SimWorld& world, SimHost& host, std::string name, uint32_t pid)
    : world_(world),
      host_(host),
      name_(std::move(name)),
      pid_(pid),
      start_time_(static_cast<uint64_t>(world.now().time_since_epoch() / std::chrono::milliseconds(10))),
      parts_(std::make_unique<Parts>(world, *this, world.random("process " + std::to_string(pid)))),
      env_{parts_->clock,    parts_->net,     parts_->disk,     parts_->random,
           parts_->executor, parts_->workers, parts_->processes} {
  tasks_.emplace(parts_->executor);
}

SimProcess::~SimProcess() = default;

// The code of a process runs while one of these lives.
class SimWorld::Inside {
 public:
  Inside(SimWorld& world, SimProcess& process)
      : world_(world), process_(process), before_(std::exchange(world.current_, &process)) {
    ++process_.depth_;
  }
  ~Inside() {
    --process_.depth_;
    world_.current_ = before_;
  }
  Inside(const Inside&) = delete;

 private:
  SimWorld& world_;
  SimProcess& process_;
  SimProcess* before_;
};

void SimProcess::spawn(Task<void> task) {
  if (!alive()) return;
  SimWorld::Inside inside(world_, *this);
  tasks_->spawn(std::move(task));
}

SimWorld::SimWorld(uint64_t seed)
    : root_random_(seed), latency_random_(root_random_.split("world")), now_(kStart) {
  net_ = std::make_unique<SimNet>(*this, random("net"));
  log_set_hook(log_hook, this);
}

SimWorld::~SimWorld() {
  for (auto& process : processes_) kill(*process);
  events_.clear();
  ready_.clear();
  log_set_hook(nullptr, nullptr);
}

SimHost& SimWorld::host(const std::string& name, const std::string& machine) {
  auto& slot = hosts_[name];
  if (!slot) {
    slot = std::make_unique<SimHost>(*this, name, machine.empty() ? name : machine,
                                     static_cast<uint32_t>(hosts_.size()));
    for (auto& [other_name, other] : hosts_) {
      if (!other || other == slot || other->machine != slot->machine) continue;
      slot->clock = other->clock;  // One machine has one clock, and one power supply.
      slot->boots = other->boots;
      slot->powered = other->powered;
    }
  }
  return *slot;
}

std::vector<SimHost*> SimWorld::hosts() {
  std::vector<SimHost*> all;
  for (auto& [name, host] : hosts_) all.push_back(host.get());
  return all;
}

SimProcess* SimWorld::find_process(std::string_view name) {
  for (auto& process : std::views::reverse(processes_)) {
    if (process->name() == name) return process.get();
  }
  return nullptr;
}

SimProcess& SimWorld::start(SimHost& host, std::string name, SimMain main) {
  power_on(host);
  auto pid = static_cast<uint32_t>(100 + processes_.size());
  processes_.push_back(std::make_unique<SimProcess>(*this, host, std::move(name), pid));
  SimProcess& process = *processes_.back();
  trace(EventKind::kHarness, pid, 1);
  process.main_ = std::move(main);
  process.spawn(run_main(&process));
  return process;
}

SimProcess& SimWorld::start(SimHost& host, std::string name) {
  return start(host, std::move(name), [](Env& env) { return idle(&env.executor); });
}

Task<void> SimWorld::run_main(SimProcess* process) {
  {
    // The frame goes before the process does: destructors still find their world.
    Task<void> task = process->main_(process->env());
    co_await task;
  }
  kill(*process);
}

void SimWorld::kill(SimProcess& process) {
  if (!process.alive()) return;
  trace(EventKind::kHarness, process.pid(), 2);
  process.state_ = SimProcess::State::kDead;
  // From here nothing that it does has an effect. What the kernel does for it:
  net_->process_died(process);
  process.host().disk.process_died(process);
  for (Promise<Status>& watcher : process.death_watchers_) {
    Duration delay = latency_random_.between(std::chrono::microseconds(50), std::chrono::milliseconds(1));
    events_.add(now_ + delay, EventKind::kDeath, process.pid(), [watcher] { watcher.try_set({}); });
  }
  process.death_watchers_.clear();
  if (process.depth_ > 0) {
    to_bury_.push_back(&process);  // Its own code is on the stack.
  } else {
    bury(process);
  }
}

void SimWorld::bury(SimProcess& process) {
  {
    Inside inside(*this, process);
    process.tasks_->cancel();
    process.parts_->clock.drop_all();
    process.held_.clear();
    process.deferred_.clear();
    process.main_ = nullptr;
  }
  std::erase_if(ready_, [&](auto& entry) { return entry.first == &process; });
}

void SimWorld::pause(SimProcess& process) {
  if (!process.running()) return;
  trace(EventKind::kHarness, process.pid(), 3);
  process.state_ = SimProcess::State::kPaused;
}

void SimWorld::resume(SimProcess& process) {
  if (process.state_ != SimProcess::State::kPaused) return;
  trace(EventKind::kHarness, process.pid(), 4);
  process.state_ = SimProcess::State::kRunning;
  for (auto& ready : process.held_) ready_.emplace_back(&process, std::move(ready));
  process.held_.clear();
  for (auto& action : std::exchange(process.deferred_, {})) {
    schedule(process, now_, EventKind::kTimer, std::move(action));
  }
}

void SimWorld::power_cut(SimHost& struck) {
  for (auto& [name, host] : hosts_) {
    if (host->machine != struck.machine || !host->powered) continue;
    trace(EventKind::kHarness, host->number, 5);
    host->powered = false;
    net_->host_lost(*host);
    for (auto& process : processes_) {
      if (&process->host() == host.get()) kill(*process);
    }
    host->disk.lose_power();
  }
}

void SimWorld::power_on(SimHost& dark) {
  if (dark.powered) return;
  for (auto& [name, host] : hosts_) {
    if (host->machine != dark.machine) continue;
    host->powered = true;
    ++host->boots;
    net_->host_back(*host);
  }
}

EventId SimWorld::schedule(SimProcess& process, Instant at, EventKind kind,
                           std::move_only_function<void()> action) {
  return events_.add(std::max(at, now_), kind, process.pid(),
                     [this, &process, action = std::move(action)]() mutable {
    if (process.state_ == SimProcess::State::kPaused) {
      process.deferred_.push_back(std::move(action));
    } else if (process.alive()) {
      Inside inside(*this, process);
      action();
    }
  });
}

void SimWorld::make_ready(SimProcess& process, Ref<Resumable> ready) {
  if (process.state_ == SimProcess::State::kPaused) {
    process.held_.push_back(std::move(ready));
  } else if (process.alive()) {
    ready_.emplace_back(&process, std::move(ready));
  }
}

void SimWorld::run_ready() {
  while (true) {
    while (!to_bury_.empty()) {
      SimProcess* dead = to_bury_.back();
      to_bury_.pop_back();
      bury(*dead);
    }
    if (ready_.empty()) return;
    auto [process, ready] = std::move(ready_.front());
    ready_.pop_front();
    if (process->state_ == SimProcess::State::kPaused) {
      process->held_.push_back(std::move(ready));
    } else if (process->alive()) {
      Inside inside(*this, *process);
      ready->resume();
    }
    CHECK(++events_at_this_time_ < kEventsAtOnceMax);
  }
}

bool SimWorld::step() {
  run_ready();
  if (events_.empty()) return false;
  if (events_.next_at() > now_) events_at_this_time_ = 0;
  CHECK(++events_at_this_time_ < kEventsAtOnceMax);
  auto [id, event] = events_.pop();
  now_ = id.at;
  trace(event.kind, event.subject, static_cast<uint64_t>(now_.time_since_epoch().count()));
  event.action();
  event.action = nullptr;
  run_ready();
  return true;
}

void SimWorld::run_for(Duration duration) {
  Instant end = now_ + duration;
  run_ready();
  while (!events_.empty() && events_.next_at() <= end) step();
  now_ = end;
}

bool SimWorld::run_until(const std::function<bool()>& condition, Duration limit) {
  Instant end = now_ + limit;
  run_ready();
  while (!condition()) {
    if (events_.empty() || events_.next_at() > end) {
      now_ = end;
      return condition();
    }
    step();
  }
  return true;
}

void SimWorld::set_clock_rate(SimHost& struck, int64_t parts_per_million) {
  for (auto& [name, host] : hosts_) {
    if (host->machine == struck.machine) host->clock.set_rate(now_, parts_per_million);
  }
  for (auto& process : processes_) process->parts_->clock.rearm();
}

void SimWorld::jump_clock(SimHost& struck, Duration forward) {
  for (auto& [name, host] : hosts_) {
    if (host->machine == struck.machine) host->clock.jump(now_, forward);
  }
  for (auto& process : processes_) process->parts_->clock.rearm();
}

void SimWorld::trace(EventKind kind, uint64_t subject, uint64_t detail) {
  static const bool print = std::getenv("SIM_TRACE") != nullptr;
  if (print) {
    std::fprintf(stderr, "trace %d %llu %llu\n", static_cast<int>(kind), static_cast<unsigned long long>(subject),
                 static_cast<unsigned long long>(detail));
  }
  trace_hash_ = mix(trace_hash_ ^ detail) ^ mix((subject << 8) | static_cast<uint64_t>(kind));
}

ProcessIdentity SimWorld::identity(const SimProcess& process) const {
  return {process.host_.machine + "#" + std::to_string(process.host_.boots), process.pid_, process.start_time_};
}

Future<Status> SimWorld::watch_death(SimProcess& watcher, const ProcessIdentity& watched) {
  Promise<Status> promise(watcher.env().executor);
  if (watched.machine.empty() || watched.machine != identity(watcher).machine) {
    promise.set(fail(Code::kUnavailable, "that process is not on this machine"));
    return promise.future();
  }
  for (auto& process : processes_) {
    if (!process->alive() || process->pid() != watched.pid || process->start_time_ != watched.start_time) continue;
    process->death_watchers_.push_back(promise);
    return promise.future();
  }
  promise.set({});
  return promise.future();
}

void SimWorld::log_hook(void* context, LogLevel level, std::string_view message) {
  static const bool print = std::getenv("SIM_LOG") != nullptr;
  if (!print) return;
  static constexpr const char* kLevels[] = {"debug", "info", "warning", "error", "off"};
  auto* world = static_cast<SimWorld*>(context);
  double seconds = std::chrono::duration<double>(world->now_ - kStart).count();
  std::fprintf(stderr, "%12.6f %-12s %-7s %.*s\n", seconds,
               world->current_ == nullptr ? "-" : world->current_->name().c_str(),
               kLevels[static_cast<int>(level)], static_cast<int>(message.size()), message.data());
}

}  // namespace understudy::sim
