// The way of a sync version to its second holder: by REPLICATE through the name node,
// which hands it to the other half or keeps it as a hint; where the replication path
// is direct, straight to the other half, as long as that one is known to be in sync
// and can be reached.
#pragma once

#include <string>
#include <vector>

#include "ss/server_state.h"
#include "ss/sync_writes.h"

namespace understudy {

class PartnerLink;
class Peer;

class SecondCopies : public SecondHolders {
 public:
  SecondCopies(ServerState* state, PartnerLink* partner, Incarnation incarnation)
      : state_(state), partner_(partner), incarnation_(incarnation) {}

  // What the name node says with every answer to a heartbeat.
  void learn(const wire::SecondCopy& route);
  // While this server is registered there, else nullptr.
  void set_name_node(Peer* peer) { name_node_ = peer; }

  Status possible() const override;
  Task<Result<Answer>> hold(Epoch epoch, std::vector<wire::VersionRecord> versions) override;

 private:
  bool may_go_directly() const { return route_.direct() && route_.in_sync() && !route_.other().address().empty(); }
  Task<Result<Answer>> directly(Epoch epoch, std::vector<wire::VersionRecord> versions);
  Task<Status> send_chunks(wire::VersionRecord version);
  Task<Result<Answer>> by_name_node(Epoch epoch, std::vector<wire::VersionRecord> versions);

  ServerState* state_;
  PartnerLink* partner_;
  Incarnation incarnation_;
  wire::SecondCopy route_;
  Peer* name_node_ = nullptr;
};

}  // namespace understudy
