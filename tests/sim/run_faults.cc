#include "tests/sim/run_faults.h"

#include <cstdio>
#include <cstdlib>

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr const char* kServers[] = {"nm", "ss1", "ss1_backup"};

}  // namespace

void RunFaults::tell(const std::string& what) {
  static const bool print = std::getenv("SIM_FAULTS") != nullptr || std::getenv("SIM_LOG") != nullptr;
  if (!print) return;
  double seconds = std::chrono::duration<double>(cluster_.world().now().time_since_epoch() - std::chrono::hours(1)).count();
  std::fprintf(stderr, "%12.6f %-12s %s\n", seconds, "FAULT", what.c_str());
}

void RunFaults::later(Duration after, std::function<void()> action) {
  repairs_.emplace(cluster_.world().now() + after, std::move(action));
}

std::string RunFaults::any_server() { return kServers[random_.below(3)]; }

void RunFaults::start(const std::string& name) {
  SimProcess* process = cluster_.world().find_process(name);
  if (process != nullptr && process->alive()) return;
  tell("start " + name);
  cluster_.start(name, name == "nm" ? name_node_arguments_ : std::vector<std::string>());
}

void RunFaults::kill(const std::string& name) {
  SimProcess* process = cluster_.world().find_process(name);
  if (process == nullptr || !process->alive()) return;
  tell("kill " + name);
  cluster_.world().kill(*process);
  later(random_.between(50ms, 5s), [this, name] { start(name); });
}

void RunFaults::pause(const std::string& name) {
  SimProcess* process = cluster_.world().find_process(name);
  if (process == nullptr || !process->running()) return;
  tell("pause " + name);
  cluster_.world().pause(*process);
  later(random_.between(50ms, 6s), [this, name, process] {
    tell("resume " + name);
    cluster_.world().resume(*process);
  });
}

void RunFaults::cut_link(const std::string& a, const std::string& b) {
  SimNet& net = cluster_.world().net();
  if (random_.one_in(4)) {
    tell("reset " + a + " " + b);
    return net.cut(a, b);
  }
  bool one_way = random_.one_in(3);
  tell(std::string("partition ") + a + (one_way ? " -> " : " ") + b);
  one_way ? net.partition_one_way(a, b) : net.partition(a, b);
  later(random_.between(100ms, 6s), [this, a, b] {
    tell("heal " + a + " " + b);
    cluster_.world().net().heal(a, b);
  });
}

void RunFaults::cut_power(const std::string& name) {
  tell("power-cut " + name);
  cluster_.world().power_cut(cluster_.world().host(name));
  later(random_.between(100ms, 3s), [this] {
    for (const char* server : kServers) start(server);
  });
}

void RunFaults::strike() {
  ++count_;
  switch (random_.below(14)) {
    case 0:
    case 1:
    case 2: return kill(any_server());
    case 3:
    case 4: return pause(any_server());
    case 5: return cut_link("nm", random_.one_in(2) ? "ss1" : "ss1_backup");
    case 6: return cut_link(clients_[random_.below(clients_.size())], any_server());
    case 7: return cut_power(any_server());
    case 8: {
      // At the n-th crash point: in the middle of a write or a sync.
      std::string name = any_server();
      tell("power-cut soon " + name);
      cluster_.world().host(name).disk.cut_power_at(1 + random_.below(200));
      return later(random_.between(500ms, 3s), [this] {
        for (const char* server : kServers) start(server);
      });
    }
    case 9: {
      std::string name = any_server();
      tell("stop " + name);
      if (!cluster_.stop(name)) return;
      return later(random_.between(500ms, 4s), [this, name] { start(name); });
    }
    case 10: {
      std::string name = any_server();
      tell("slow disk " + name);
      cluster_.world().host(name).disk.set_latency({20us, 2ms}, {1ms, 80ms}, {20us, 5ms});
      return later(random_.between(500ms, 3s), [this, name] {
        cluster_.world().host(name).disk.set_latency({5us, 30us}, {50us, 400us}, {5us, 100us});
      });
    }
    case 11: {
      // A failed sync or write ends whoever met it.
      std::string name = any_server();
      bool sync = random_.one_in(2);
      tell(std::string(sync ? "failing sync " : "failing write ") + name);
      cluster_.world().host(name).disk.fail_call(sync ? DiskCall::kSync : DiskCall::kWrite, 1 + random_.below(50));
      return later(random_.between(500ms, 3s), [this, name] { start(name); });
    }
    case 12: {
      std::string name = any_server();
      tell("full disk " + name);
      cluster_.world().host(name).disk.set_quota(0);
      return later(random_.between(100ms, 2s), [this, name] {
        tell("disk has room " + name);
        cluster_.world().host(name).disk.set_quota(std::nullopt);
        // Who could not even begin is begun again.
        later(random_.between(10ms, 1s), [this, name] { start(name); });
      });
    }
    default: {
      std::string name = any_server();
      auto rate = static_cast<int64_t>(980'000 + random_.below(40'000));
      tell("clock rate " + name + " " + std::to_string(rate));
      return cluster_.world().set_clock_rate(cluster_.world().host(name), rate);
    }
  }
}

void RunFaults::pass() {
  Instant now = cluster_.world().now();
  while (!repairs_.empty() && repairs_.begin()->first <= now) {
    auto repair = repairs_.extract(repairs_.begin());
    repair.mapped()();
  }
  if (now < next_) return;
  if (next_ != Instant{}) strike();
  // Now and then one fault comes right behind another.
  next_ = now + (random_.one_in(4) ? random_.between(1ms, 50ms) : random_.between(200ms, 3s));
}

void RunFaults::heal() {
  tell("everything heals");
  repairs_.clear();
  SimWorld& world = cluster_.world();
  world.net().heal_all();
  for (const char* name : kServers) {
    world.host(name).disk.cut_power_at(0);
    world.host(name).disk.set_quota(std::nullopt);
    world.host(name).disk.fail_no_call();
    world.host(name).disk.set_latency({5us, 30us}, {50us, 400us}, {5us, 100us});
    world.set_clock_rate(world.host(name), 1'000'000);
    if (SimProcess* process = world.find_process(name)) world.resume(*process);
  }
  // Who was asked to stop does so first.
  world.run_for(15s);
  for (const char* name : kServers) start(name);
}

}  // namespace understudy::sim
