// Random misfortune for a cluster of nm, ss1 and ss1_backup, and its end. It strikes
// by itself as time passes; whatever it does heals after a while, most of the time.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/cluster.h"
#include "tests/sim/sim_random.h"

namespace understudy::sim {

class RunFaults {
 public:
  RunFaults(Cluster& cluster, SimRandom random, std::vector<std::string> name_node_arguments,
            std::vector<std::string> clients)
      : cluster_(cluster),
        random_(random),
        name_node_arguments_(std::move(name_node_arguments)),
        clients_(std::move(clients)) {}

  // To be called often; does what is due.
  void pass();
  // Everything runs, everybody hears everybody.
  void heal();
  uint64_t count() const { return count_; }

 private:
  void strike();
  void start(const std::string& name);
  void kill(const std::string& name);
  void pause(const std::string& name);
  void cut_link(const std::string& a, const std::string& b);
  void cut_power(const std::string& host);
  void later(Duration after, std::function<void()> action);
  void tell(const std::string& what);
  std::string any_server();

  Cluster& cluster_;
  SimRandom random_;
  std::vector<std::string> name_node_arguments_;
  std::vector<std::string> clients_;
  Instant next_{};
  std::multimap<Instant, std::function<void()>> repairs_;
  uint64_t count_ = 0;
};

}  // namespace understudy::sim
