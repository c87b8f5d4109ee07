// What clients ask of the cluster: STATUS, EVENTS, WAIT, EXPLAIN, LOCKS, REPLACE.
#pragma once

#include <string>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/wire/understudy.pb.h"
#include "nm/catalogue_types.h"
#include "nm/durability_settings.h"
#include "nm/proposer.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;
class FailoverDriver;
class NamespaceCalls;

struct NameNodeFacts {
  uint64_t id = 1;
  Address address;
  DurabilitySettings durability;
};

class ClusterCalls {
 public:
  // All pointers outlive it.
  ClusterCalls(Env& env, const NameNodeFacts& facts, Catalogue* catalogue, Proposer* proposer, ServerLinks* links,
               FailoverDriver* failover, NamespaceCalls* names);

  wire::StatusReply status();
  Task<wire::EventsReply> events(wire::EventsRequest request);
  Task<Result<wire::WaitReply>> wait(wire::WaitRequest request);
  Task<Result<wire::ExplainReply>> explain(wire::ExplainRequest request, std::string user);
  // Who writes which sentence, or the end of that; lock_calls.cc.
  Task<Result<wire::LocksReply>> locks(wire::LocksRequest request, std::string user);
  // PROMOTE without force, HANDBACK, DRAIN; planned_moves.cc.
  Task<Result<wire::MovePrimaryReply>> move_primary(wire::MovePrimaryRequest request, std::string user);
  Task<Result<wire::ChangeReply>> replace(wire::ReplaceRequest request, std::string user);

 private:
  Task<Result<wire::LocksReply>> all_locks(std::string user);
  struct PlannedMove {
    std::string pair;
    std::string target;  // Who is to act.
  };
  // NOT_FOUND; CONFLICT: the target is not there.
  Result<PlannedMove> planned_move(const wire::MovePrimaryRequest& request) const;
  wire::PairStatus pair_status(const Pair& pair);
  wire::MemberStatus member_status(const Pair& pair, const Server& server);
  // What one pair still has to bring to its other half, after its primary announced all.
  Task<Result<wire::WaitReply>> wait_for_pair(PairId pair, FileId scope, Instant end);

  Env& env_;
  NameNodeFacts facts_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  FailoverDriver* failover_;
  NamespaceCalls* names_;
};

}  // namespace understudy
