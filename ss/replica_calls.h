// The name node's calls to a storage server: who serves (SERVE, DRAIN, FLUSH), the
// moving of versions between halves (FETCH … SET_ASIDE) and DELETE_FILE. They come
// over the connection that this server opened to the name node, and no other.
#pragma once

#include "common/wire/durability.pb.h"
#include "common/wire/peer.h"
#include "ss/announcer.h"
#include "ss/client_calls.h"
#include "ss/server_state.h"

namespace understudy {

class PullCalls;

class ReplicaCalls : public PeerHandler {
 public:
  // `serving` is called when SERVE is about to be answered. PUT, STAGE and COMMIT go to
  // `clients`: by them the name node brings a rescued version back.
  ReplicaCalls(ServerState* state, Announcer* announcer, ClientCalls* clients, PullCalls* pull_calls,
               std::function<void()> serving)
      : state_(state), announcer_(announcer), clients_(clients), pull_calls_(pull_calls), serving_(std::move(serving)) {}

  Task<Result<Reply>> handle(Peer* peer, uint16_t type, Bytes message, Bytes body) override;
  void closed(Peer*) override {}

  // Stops acknowledging, lets what is under way end, announces all, gives the lease back.
  Task<Status> drain(Epoch epoch);

 private:
  Task<Result<Reply>> serve(wire::ServeRequest request);
  Task<Result<Reply>> drain_call(wire::DrainRequest request);
  Task<Result<Reply>> flush();
  Task<Result<Reply>> apply(wire::ApplyRequest request);
  Task<Result<Reply>> keep_aside(wire::KeepAsideRequest request);
  Task<Result<Reply>> pull(wire::PullRequest request);
  Task<Result<Reply>> set_aside(wire::SetAsideRequest request);
  Task<Result<Reply>> store_chunk(wire::StoreChunkRequest request, Bytes body);
  Task<Result<Reply>> fetch_chunk(wire::FetchChunkRequest request);
  Task<Result<Reply>> break_lock(wire::BreakLockRequest request);
  Task<Result<Reply>> raise_access(wire::RaiseAccessRequest request);
  Task<Result<Reply>> delete_file(wire::DeleteFileRequest request);
  Task<Result<Reply>> undelete_file(wire::UndeleteFileRequest request);
  Task<Result<VersionInfo>> perform_undelete(Change change);
  Task<Result<VersionInfo>> perform_delete(Change change);
  // Another half's epoch brings versions: if it is newer, ours is over.
  Status make_way(Epoch epoch);

  ServerState* state_;
  Announcer* announcer_;
  ClientCalls* clients_;
  PullCalls* pull_calls_;
  std::function<void()> serving_;
  Epoch drained_ = kNoEpoch;  // By this process, to the end.
};

}  // namespace understudy
