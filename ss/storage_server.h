// A storage server: one data folder, one listener for clients, one connection to
// the name node. Runs on any Env, unchanged.
//
// Destroying it at any time is a crash: what was acknowledged stands in the store.
#pragma once

#include <memory>
#include <optional>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/wire/peer_crowd.h"
#include "ss/server_state.h"

namespace understudy {

class Announcer;
class ClientCalls;
class NameNodeLink;
class PartnerCalls;
class PartnerLink;
class PullCalls;
class SecondCopies;
class SyncWrites;
class ReplicaCalls;

class StorageServer {
 public:
  StorageServer(Env& env, StorageServerOptions options);
  StorageServer(const StorageServer&) = delete;
  StorageServer& operator=(const StorageServer&) = delete;
  ~StorageServer();

  // Takes the data folder. Refused: one in use, of another server, of a newer
  // format, or no storage server's at all. run() does it if nobody did.
  Task<Status> open();
  // Serves until stop() or until it cannot go on: result() says which.
  Task<void> run();
  // Lets run() end well: changes under way end and are announced, the lease is given
  // back, the name node told.
  void stop();
  // Hears of every request from run() on; outlives this.
  void set_observer(RequestObserver* observer) { observer_ = observer; }

  const Status& result() const { return result_; }
  // Where clients reach it; empty before it listens.
  const Address& address() const { return address_; }
  // For tests: what it would acknowledge. nullptr before it runs.
  const ServerState* state() const { return state_.get(); }

 private:
  Task<Status> serve();
  Task<void> enroll();
  Task<void> watch_token();
  Task<void> accept_clients();
  Task<void> serve_client(std::unique_ptr<Connection> connection);
  Task<void> stay_linked();
  Task<void> keep_house();
  Task<void> watch_store();
  Task<void> drain(Epoch epoch, Promise<Unit> done);
  Task<void> shut_down();
  void end(Error error);

  Env& env_;
  StorageServerOptions options_;
  Address address_;
  Status result_;
  bool stopping_ = false;
  RequestObserver* observer_ = nullptr;
  bool enrolled_ = false;
  std::optional<Error> failure_;
  Notifier changed_;  // One of the above.

  // Destroyed from the bottom up: tasks before what they use.
  std::unique_ptr<FileStore> store_;
  std::unique_ptr<ServerState> state_;
  std::unique_ptr<PartnerLink> partner_;
  std::unique_ptr<PullCalls> pull_calls_;
  std::unique_ptr<SecondCopies> second_copies_;
  std::unique_ptr<SyncWrites> sync_writes_;
  std::unique_ptr<Announcer> announcer_;
  std::unique_ptr<ClientCalls> client_calls_;
  std::unique_ptr<ReplicaCalls> replica_calls_;
  std::unique_ptr<NameNodeLink> link_;
  std::unique_ptr<PartnerCalls> repair_calls_;
  std::unique_ptr<Listener> listener_;
  PeerCrowd crowd_;
  TaskGroup tasks_;
};

}  // namespace understudy
