// Partner over the connection to the name node.
#pragma once

#include <deque>

#include "common/env/sync.h"
#include "ss/name_node_link.h"
#include "ss/partner.h"

namespace understudy {

class PartnerCalls final : public Partner {
 public:
  // Both outlive it.
  PartnerCalls(ServerState* state, NameNodeLink* link)
      : state_(state), link_(link), reported_(state->env.executor) {}

  Task<Result<Bytes>> chunk(FileId file, ChunkHash hash, Version version) override;
  Task<Result<wire::VersionRecord>> version(FileId file, Version parent, Version version) override;
  Task<Result<wire::NameRecord>> name(FileId object) override;
  void report(wire::Event event) override;

  // Sends reports until destroyed.
  Task<void> run();

 private:
  Task<Result<Reply>> fetch(wire::PartnerFetchRequest request);

  ServerState* state_;
  NameNodeLink* link_;
  std::deque<wire::Event> events_;
  Notifier reported_;
};

}  // namespace understudy
