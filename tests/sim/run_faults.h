// Does to a simulated cluster what a run's script says, and undoes it: each fault repairs
// itself after its time, and heal() ends all of them.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/cluster.h"
#include "tests/sim/run_clients.h"
#include "tests/sim/run_script.h"

namespace understudy::sim {

class RunFaults {
 public:
  RunFaults(Cluster& cluster, const Scene& scene, RunRecord* record, std::vector<Step> steps);

  void start_all();
  // To be called often: does what is due, counted from the first call.
  void pass();
  // Everything runs, everybody hears everybody.
  void heal();
  // Whoever begins with a new disk may be refused until REPLACE was said: it is begun again.
  void keep_lost_ones_running();
  // How often each kind struck.
  const std::map<std::string, uint64_t>& counts() const { return counts_; }

 private:
  using Words = std::vector<std::string>;

  // False if it could not be done now.
  bool strike(const Words& words);
  void note_silence(const Words& words);
  bool strike_process(const Words& words, Duration time);
  bool strike_net(const Words& words, Duration time);
  bool strike_disk(const Words& words, Duration time);
  void start(const std::string& name);
  bool strike_planned(const Words& words);
  bool lose_disk(const std::string& name, Duration time);
  bool rot(const std::string& name, uint64_t place);
  std::optional<std::vector<std::pair<FileId, Version>>> held_by_other_half(const std::string& name);
  bool replay(const std::string& client, const std::string& server);
  void later(Duration after, std::function<void()> action);
  void start_later(const std::string& name, Duration after);
  void tell(const std::string& what);
  SimHost& host(const std::string& name) { return cluster_.world().host(name); }
  SimProcess* running(const std::string& name);
  static Task<void> send_again(Env& env, Address address, Bytes bytes);
  Task<Status> say_replace(client::Session* session, std::string server);
  Task<void> replace(client::Session* session, std::string server);
  void set_name_node_arguments(const std::string& heartbeat);

  Cluster& cluster_;
  Scene scene_;
  RunRecord* record_;
  std::vector<std::string> servers_;
  std::vector<Step> steps_;
  size_t next_ = 0;
  Instant silent_until_{};  // Until then somebody may be taken for failed.
  std::optional<Instant> begun_;
  std::vector<std::string> name_node_arguments_;
  std::multimap<Instant, std::function<void()>> repairs_;
  std::map<std::string, bool> lost_disks_;  // And whether REPLACE was said: no new one is begun before.
  std::map<std::string, uint64_t> counts_;
};

}  // namespace understudy::sim
