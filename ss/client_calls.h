// The calls of clients to a storage server: changes under the epoch fence, reads
// of any half, and the editing of sentences. One object for all connections.
//
// Changes run in the ChangeTable, so they end, and are answered once, also when
// the client vanishes. Nothing is logged for a single request.
#pragma once

#include <map>
#include <optional>
#include <unordered_map>

#include "common/wire/peer.h"
#include "ss/server_state.h"

namespace understudy {

class ClientCalls : public PeerHandler {
 public:
  explicit ClientCalls(ServerState* state) : state_(state), writers_changed_(state->env.executor) {}

  Task<Result<Reply>> handle(Peer* peer, uint16_t type, Bytes message, Bytes body) override;
  void closed(Peer* peer) override;
  // After its last handler ended.
  void forget(Peer* peer);
  // Until cancelled: asks those who hold sentences open whether they are still there. A cable that was
  // pulled, a machine without power or a stopped process says nothing, and frees its sentences so.
  Task<void> watch_writers();
  static constexpr Duration kAskWritersEvery = std::chrono::seconds(10);
  static constexpr Duration kWriterAnswersWithin = std::chrono::seconds(10);

 private:
  struct Client {
    ConnectionId id{};
    std::string user;
  };
  // A connection that opened sentences.
  struct Writer {
    Peer* peer = nullptr;
    Instant look_at{};
    std::optional<Future<Result<Reply>>> asked;  // Until it is answered.
  };
  void watch(Peer* peer);
  Client& client(Peer* peer);

  Task<Result<Reply>> hello(Peer* peer, Bytes message);
  Task<Result<Reply>> put(wire::PutRequest request, Bytes body);
  Task<Result<Reply>> append(wire::AppendRequest request, Bytes body);
  Task<Result<Reply>> stage(wire::StageRequest request, Bytes body);
  Task<Result<Reply>> commit(wire::CommitRequest request);
  Task<Result<Reply>> undo(wire::UndoRequest request);
  Task<Result<Reply>> checkpoint(wire::CheckpointRequest request);
  Task<Result<Reply>> list_checkpoints(wire::ListCheckpointsRequest request);
  Task<Result<Reply>> revert(wire::RevertRequest request);
  Task<Result<Reply>> history(wire::HistoryRequest request);
  Task<Result<Reply>> read(wire::ReadRequest request, std::string user);
  Task<Result<Reply>> stat(wire::StatRequest request);
  Task<Result<Reply>> edit_open(Peer* peer, Bytes message);
  Task<Result<Reply>> edit_insert(ConnectionId owner, Bytes message);
  Task<Result<Reply>> edit_commit(ConnectionId owner, Bytes message);
  Task<Result<Reply>> edit_abort(ConnectionId owner, Bytes message);

  // What runs in the ChangeTable.
  Task<Result<VersionInfo>> perform_put(Change change, Bytes content);
  Task<Result<VersionInfo>> perform_append(Change change, Bytes content);
  Task<Result<VersionInfo>> perform_commit(Change change, wire::CommitRequest request);
  Task<Result<VersionInfo>> perform_undo(Change change);  // Or a REVERT.
  Task<Result<VersionInfo>> perform_checkpoint(Change change);
  // LOCKED unless the whole content may be replaced; a repeat of what is done already may always.
  Status may_replace(const Change& change) const;
  Status may_append(const Change& change, char first) const;
  Task<Result<char>> first_byte(FileId file, ChunkRefInfo chunk);

  Result<VersionInfo> newest(FileId file, Version at_least) const;

  ServerState* state_;
  std::unordered_map<Peer*, Client> clients_;  // Never iterated.
  uint64_t next_connection_ = 1;
  std::map<ConnectionId, Writer> writers_;
  std::multimap<Instant, ConnectionId> looks_;  // When to look at each of them next.
  Notifier writers_changed_;
};

}  // namespace understudy
