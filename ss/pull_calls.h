// PULL: what a half that is not acting fetches from the acting primary itself, at the
// name node's word, and applies here.
#pragma once

#include "common/base/chunk_list.h"
#include "common/env/task.h"
#include "common/wire/durability.pb.h"
#include "ss/partner_link.h"
#include "ss/server_state.h"

namespace understudy {

class PullCalls {
 public:
  PullCalls(ServerState* state, PartnerLink* partner) : state_(state), partner_(partner) {}

  // Whoever calls has made sure that this half may apply under request.epoch.
  // UNAVAILABLE: the source cannot be reached; INVALID: what it has does not go this way.
  Task<Result<wire::PullReply>> pull(wire::PullRequest request);

 private:
  Task<Status> pull_chunks(wire::Endpoint source, wire::VersionRecord version);
  // `about`: file and version.
  Task<Status> pull_list(wire::Endpoint source, wire::FetchChunkRequest about, ChunkRefs list, uint32_t level);
  Task<Status> pull_chunk(wire::Endpoint source, wire::FetchChunkRequest about, ChunkRefInfo ref, uint32_t level);

  ServerState* state_;
  PartnerLink* partner_;
};

}  // namespace understudy
