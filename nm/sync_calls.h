// REPLICATE: the acting primary asks for a second holder of sync versions. The other half,
// as long as the log says that it is in sync; once it does not, the hint store. So
// nothing is acknowledged without a half before that half's in_sync is cleared.
#pragma once

#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/durability.pb.h"
#include "nm/catalogue_types.h"
#include "nm/durability_settings.h"
#include "nm/proposer.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;
class FailoverDriver;
class HintKeeper;

class SyncCalls {
 public:
  // All pointers outlive it.
  SyncCalls(Env& env, DurabilitySettings settings, std::string holder, Catalogue* catalogue, Proposer* proposer,
            ServerLinks* links, FailoverDriver* failover, HintKeeper* hints)
      : env_(env),
        settings_(settings),
        holder_(std::move(holder)),
        catalogue_(catalogue),
        proposer_(proposer),
        links_(links),
        failover_(failover),
        hints_(hints) {}

  // UNAVAILABLE: not held now, ask again; STALE_EPOCH: not the acting primary.
  Task<Result<wire::ReplicateReply>> replicate(wire::ReplicateRequest request);
  // For a server's heartbeat: where a second holder is found, if it is acting primary.
  wire::SecondCopy second_copy(const std::string& server);

 private:
  Task<Result<wire::ReplicateReply>> relay(std::string source, std::string target, Epoch epoch, std::string pair,
                                           std::vector<wire::VersionRecord> versions);
  Task<Result<wire::ReplicateReply>> hint(std::string source, std::string target, Epoch epoch,
                                          std::vector<wire::VersionRecord> versions);
  Task<void> set_behind(std::string target, std::string why);

  Env& env_;
  DurabilitySettings settings_;
  std::string holder_;  // This name node.
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  FailoverDriver* failover_;
  HintKeeper* hints_;
};

}  // namespace understudy
