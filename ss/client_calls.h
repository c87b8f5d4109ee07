// The calls of clients to a storage server: changes under the epoch fence, reads
// of any half, and the editing of sentences. One object for all connections.
//
// Every request of a client is checked by the capability that it carries
// (ss/capability_guard.h); whose it is, and the file's name, come from there too.
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
  explicit ClientCalls(ServerState* state);
  ~ClientCalls() override;

  Task<Result<Reply>> handle(Peer* peer, uint16_t type, Bytes message, Bytes body) override;
  // For the name node, over the server's own connection to it: it needs no capability.
  Task<Result<Reply>> handle_own(Peer* peer, uint16_t type, Bytes message, Bytes body);
  void closed(Peer* peer) override;
  // After its last handler ended.
  void forget(Peer* peer);
  // Where the calls go that only the other half of the pair may make.
  void set_partner_calls(PeerHandler* calls) { partner_calls_ = calls; }
  // Until cancelled: asks those who hold sentences open whether they are still there. A cable that was
  // pulled, a machine without power or a stopped process says nothing, and frees its sentences so.
  Task<void> watch_writers();
  static constexpr Duration kAskWritersEvery = std::chrono::seconds(10);
  static constexpr Duration kWriterAnswersWithin = std::chrono::seconds(10);

 private:
  struct Client {
    ConnectionId id{};
    bool partner = false;  // The other half of the pair.
  };
  // A connection that opened sentences.
  struct Writer {
    Peer* peer = nullptr;
    Instant look_at{};
    std::optional<Future<Result<Reply>>> asked;  // Until it is answered.
  };
  void watch(Peer* peer);
  Client& client(Peer* peer);
  // Who asks, as far as the request's capability says.
  struct Asker {
    Peer* peer = nullptr;  // For whoever notes who asked (common/wire's audit).
    bool name_node = false;
    std::string user;
    uint64_t access_generation = UINT64_MAX;
  };
  static Result<VersionInfo> of_asker(Result<VersionInfo> done, const std::string& user);
  // The request of `message`, if its asker may have it.
  template <class Request>
  Result<Request> admitted(const Bytes& message, Right wanted, Asker* asker) const;
  template <class Request>
  Task<Result<Reply>> change(Task<Result<Reply>> (ClientCalls::*method)(Request, Asker), const Bytes& message, Asker asker);
  template <class Request>
  Task<Result<Reply>> change(Task<Result<Reply>> (ClientCalls::*method)(Request, Asker, Bytes), const Bytes& message,
                             Asker asker, Bytes& body);
  template <class Request>
  Task<Result<Reply>> look(Task<Result<Reply>> (ClientCalls::*method)(Request), const Bytes& message, Asker asker);
  Task<Result<Reply>> handle(Peer* peer, uint16_t type, const Bytes& message, Bytes& body, Asker asker);

  Task<Result<Reply>> hello(Peer* peer, Bytes message);
  Task<Result<Reply>> put(wire::PutRequest request, Asker asker, Bytes body);
  Task<Result<Reply>> append(wire::AppendRequest request, Asker asker, Bytes body);
  Task<Result<Reply>> stage(wire::StageRequest request, Asker asker, Bytes body);
  Task<Result<Reply>> commit(wire::CommitRequest request, Asker asker);
  Task<Result<Reply>> undo(wire::UndoRequest request, Asker asker);
  Task<Result<Reply>> checkpoint(wire::CheckpointRequest request, Asker asker);
  Task<Result<Reply>> list_checkpoints(wire::ListCheckpointsRequest request);
  Task<Result<Reply>> revert(wire::RevertRequest request, Asker asker);
  Task<Result<Reply>> history(wire::HistoryRequest request);
  Task<Result<Reply>> read(wire::ReadRequest request, std::string user);
  Task<Result<Reply>> stat(wire::StatRequest request);
  Task<Result<Reply>> edit_open(Peer* peer, wire::EditOpenRequest request, Asker asker);
  Task<Result<Reply>> edit_insert(ConnectionId owner, Bytes message);
  Task<Result<Reply>> edit_commit(ConnectionId owner, wire::EditCommitRequest request);
  Task<Result<Reply>> edit_abort(ConnectionId owner, Bytes message);

  struct Asked {
    explicit Asked(const Change& change) : file(change.file), request(change.request), epoch(change.epoch), sync(change.sync) {}
    FileId file;
    RequestId request;
    Epoch epoch;
    bool sync;
  };
  // To its end, and to a second holder where that is promised.
  Task<Result<VersionInfo>> carried(Asked asked, Task<Result<VersionInfo>> change);
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
  PeerHandler* partner_calls_ = nullptr;
  std::unordered_map<Peer*, Client> clients_;  // Never iterated.
  uint64_t next_connection_ = 1;
  std::map<ConnectionId, Writer> writers_;
  std::multimap<Instant, ConnectionId> looks_;  // When to look at each of them next.
  Notifier writers_changed_;
};

}  // namespace understudy
