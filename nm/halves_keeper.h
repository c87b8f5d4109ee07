// Keeps the halves of pairs equal beyond replication: relays what one of them lost to
// damage from the other, and compares both by digest every so often.
//
// A comparison counts only where nothing moved between its two digests: one log
// position, no jobs, one epoch. Where they differ, the half that does not act is
// compared file by file and filled, as one that returns.
#pragma once

#include <map>
#include <string>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/integrity.pb.h"
#include "common/wire/peer.h"
#include "nm/proposer.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;
class FailoverDriver;

class HalvesKeeper {
 public:
  // All pointers outlive it. Compares every `interval`; 0: never.
  HalvesKeeper(Env& env, Duration interval, Catalogue* catalogue, Proposer* proposer, ServerLinks* links,
               FailoverDriver* failover);

  Task<Result<Reply>> partner_fetch(wire::PartnerFetchRequest request);
  Task<Result<Reply>> report_damage(wire::ReportDamageRequest request);
  Task<void> run();

  struct Compared {
    int64_t equal_us = 0;  // When they were found equal last, in wall time.
    bool differ = false;
  };
  Compared compared(const std::string& pair) const;

 private:
  std::string partner_of(const std::string& server) const;
  // Nothing: it moved, or a half is not here.
  Task<std::optional<bool>> equal(std::string pair);
  Task<void> compare(std::string pair);

  Env& env_;
  Duration interval_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  FailoverDriver* failover_;
  std::map<std::string, Compared> compared_;
};

}  // namespace understudy
