// SQLite on a simulated disk: one registered VFS for each host. Its writes, syncs and
// removals are the disk's, with its faults and crash points; WAL shared memory lives
// on the heap and dies with the last process that has it open; time and randomness
// come from the simulator (SQLite's own generator is one for the whole process, and
// is seeded anew whenever a host is made: simulate one world at a time).
//
// The handles of a killed process, or of a machine that lost its power, are dead:
// closing them does nothing, all else fails.
#pragma once

#include <memory>
#include <string>

#include "tests/sim/sim_random.h"

namespace understudy::sim {

class SimDisk;
class SimProcess;

class SimVfs {
 public:
  SimVfs(SimDisk& disk, SimRandom random);
  ~SimVfs();
  const std::string& name() const;
  void process_died(SimProcess& process);
  void lose_power();

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::sim
