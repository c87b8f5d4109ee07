// Keeps hints: for a half that is away it takes in, every hint interval, what its jobs
// would bring, as far as the byte budget goes; lets go of those that are older than
// their time limit (the jobs stay, so resync brings what they held); and restores a
// half that returned while its acting primary is away from what was hinted for it.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/durability.pb.h"
#include "nm/catalogue_types.h"
#include "nm/durability_settings.h"
#include "nm/hand_off.h"
#include "nm/proposer.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;
class FailoverDriver;
class HintStore;

class HintKeeper {
 public:
  // All pointers outlive it.
  HintKeeper(Env& env, DurabilitySettings settings, uint64_t name_node, Catalogue* catalogue, Proposer* proposer,
             ServerLinks* links, FailoverDriver* failover, HintStore* store, HandOff* hand_off);

  // Until destroyed.
  Task<void> run();

  // Stores versions for a target and has them listed under the epoch of `source`, parents first;
  // their chunks come from there. CONFLICT: the target is in sync. NO_SPACE or
  // UNAVAILABLE: nothing is promised.
  Task<Result<uint64_t>> keep(std::string target, std::string source, Epoch epoch, bool sync,
                              std::vector<wire::VersionRecord> versions, std::vector<Lsn> lsns);
  // Why no (more) hints are kept; ok: they are.
  Status possible() const;

 private:
  Task<void> collect(std::string target, std::string source, Epoch epoch);
  Task<void> expire(std::string target);
  // In NM time: what is older is not kept.
  int64_t oldest_kept_us() const;
  Task<void> restore(std::string target, Incarnation incarnation);
  Task<void> look_after_pair(PairId pair, bool collecting);
  Task<void> tell(std::string target);

  Env& env_;
  DurabilitySettings settings_;
  uint64_t name_node_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  FailoverDriver* failover_;
  HintStore* store_;
  HandOff* hand_off_;
  std::map<std::string, Instant> restore_at_;  // None before, for the start
  std::map<std::string, Incarnation> restored_;  // that was tried last.
  bool budget_told_ = false;
  uint32_t keeping_ = 0;  // Under way between the store and the log.
};

}  // namespace understudy
