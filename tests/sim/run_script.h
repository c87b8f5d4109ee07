// A run of the campaign in words: what the cluster is, what each client asks for and
// which faults strike when. Made from a seed (run_plan.h), played (random_run.h), made
// shorter while it still breaks something (run_shrink.h), and kept as a text file.
//
//   scene seed=42 pairs=1 machine=one heartbeat=200ms clients=2 for=15s
//   client0 +12ms put /c0/n0 1234
//   client1 +3ms append /s/f0
//   at 1234ms kill ss1 for 2300ms
//
// A client does its steps one after the other, each so long after the end of the one
// before. A fault repairs itself after its time; in the end everything heals.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy::sim {

struct Scene {
  uint64_t seed = 1;
  uint32_t pairs = 1;
  bool one_machine = false;       // Deaths are proven then.
  Duration heartbeat = std::chrono::seconds(1);
  uint32_t clients = 3;
  Duration faulty_for = std::chrono::seconds(15);
  std::string durability = "async";  // Of the cluster.
  std::string path = "relay";        // --replication-path
  // Said only where they are not as they are here:
  std::string hints = "on";
  Duration hint_ttl = std::chrono::hours(24);
  uint64_t hint_bytes = 1 << 30;
  uint64_t retain = 100;             // --retain-versions
  uint32_t sync_clients = 0;         // The first clients: they ask for sync with every write.
  uint32_t guests = 0;               // The last clients: users who have what they are given.
};

bool is_guest(const Scene& scene, size_t client);
// Nothing goes wrong in it: acting primaries are moved as planned.
bool is_planned_move(const std::string& verb);

struct Step {
  int client = -1;                // -1: a fault.
  Duration time{};                // A client's: after the one before; a fault's: since the begin.
  std::vector<std::string> words;
};

struct RunScript {
  Scene scene;
  std::vector<Step> steps;        // A client's in its order, faults in order of time.
};

std::string render(const RunScript& script);
Result<RunScript> parse_run_script(std::string_view text);

// "1234ms"
std::string render_duration(Duration duration);

std::vector<std::string> pair_names(const Scene& scene);     // ss1, ss2, …
std::vector<std::string> server_names(const Scene& scene);   // nm, ss1, ss1_backup, …

}  // namespace understudy::sim
