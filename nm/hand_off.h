// Hands hints off: what the hint store has for a target goes there, and nothing newer
// there is ever overwritten, because a version is taken only onto its parent.
//
// With the target's other half there, the replication worker asks for the jobs of its
// batches, and fetches from the acting primary what no hint has. Without it, the name
// node's hints and what the target confirmed are all there is: restore() brings as
// much as they make.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/durability.pb.h"
#include "nm/catalogue_types.h"
#include "nm/proposer.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;
class HintStore;

class HandOff {
 public:
  // All pointers outlive it.
  HandOff(Env& env, uint64_t name_node, Catalogue* catalogue, Proposer* proposer, ServerLinks* links, HintStore* store)
      : env_(env), name_node_(name_node), catalogue_(catalogue), proposer_(proposer), links_(links), store_(store) {}

  struct Done {
    Version upto;            // The target has it durably up to here by hints; {}: none was of use.
    bool diverged = false;   // Its newest version is not what it confirmed.
  };
  // As many as jobs. UNAVAILABLE: the target does not answer.
  Task<Result<std::vector<Done>>> bring(std::string target, std::vector<Job> jobs);

  // What was handed off since it was last asked, for EVENTS.
  struct Handed {
    uint64_t hints = 0;
    uint64_t bytes = 0;
  };
  Handed take_handed(const std::string& target) { return std::exchange(handed_[target], {}); }

  // For a target whose acting primary is away: brings all that there are hints for, sets
  // aside what is in their way, ends the jobs. OK: every version that was announced for it is there.
  Task<Status> restore(std::string target);

 private:
  struct Wanted {
    size_t job = 0;
    Hint hint;
  };
  std::vector<Hint> chain(ServerId target, const Job& job);
  Task<Status> bring_chunks(std::string target, bool sync, wire::HintRecord hint);
  Task<Status> bring_list(std::string target, bool sync, uint64_t file_id, std::vector<Bytes> hashes, std::vector<Lsn> places);
  Task<Status> set_aside(std::string target, std::vector<Job> jobs);
  Task<Status> end_jobs(std::string target, std::vector<Job> jobs, std::vector<Done> done);

  Env& env_;
  uint64_t name_node_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  HintStore* store_;
  std::map<std::string, Handed> handed_;
};

}  // namespace understudy
