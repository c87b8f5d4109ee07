// The name node: one process that indexes names, decides who is acting primary and
// moves versions between halves. Everything that it must not forget goes through the
// Raft log. Runs on any Env; main.cc gives it the real one.
//
// Data folder: lock, raft/ (the log), catalogue.db (its index), and what main adds:
// address, pid, log.
#pragma once

#include <memory>
#include <string>

#include "common/base/retention.h"
#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/wire/peer.h"
#include "common/wire/peer_crowd.h"
#include "nm/core/pair_monitor.h"
#include "nm/durability_settings.h"
#include "nm/proposer.h"
#include "nm/server_links.h"
#include "nm/sessions.h"

namespace understudy {

namespace wire {
class AnnounceReply;
class AnnounceRequest;
class ChangeReply;
class Done;
class HeartbeatReply;
class HeartbeatRequest;
class HelloReply;
class HelloRequest;
class LeaveRequest;
class LoginReply;
class LoginRequest;
class PartnerFetchRequest;
class RegisterReply;
class RegisterRequest;
class ReplicateReply;
class ReplicateRequest;
class ReportDamageRequest;
class RotateKeysRequest;
class StatusReply;
class WhoAmIReply;
}  // namespace wire

class Capabilities;
class Catalogue;
class ClusterAuthority;
class ClusterCalls;
class HandOff;
class HintKeeper;
class HintStore;
class SyncCalls;
class FailoverDriver;
class HalvesKeeper;
class NamespaceCalls;
class PeopleCalls;
class RaftBridge;
class TlsNet;
class TrustCalls;

struct NameNodeOptions {
  std::string folder;
  Address listen = "127.0.0.1:7400";
  uint64_t id = 1;
  MonitorSettings monitor;
  Retention retention;
  DurabilitySettings durability;
  size_t clients_max = 8000;  // Connections at once.
  TlsNet* tls = nullptr;      // What the Env's network is; nullptr: no certificates (--insecure, the simulator).
  Duration certificate_lifetime = std::chrono::hours(30 * 24);  // Of servers.
  uint64_t resync_bytes_per_s = 0;  // To a half that is not in sync; 0: no limit.
  Duration edit_idle_limit = std::chrono::minutes(10);  // Of an open sentence's writer; travels with registration.
  Duration compare_interval = std::chrono::minutes(10);  // Of the halves of each pair, by digest; 0: never.
  // Not empty: the folder has no catalogue, and it is rebuilt from what these servers know
  // (nm/rebuild.h). Those of `rebuild_without` may come later.
  std::vector<std::string> rebuild_from;
  std::vector<std::string> rebuild_without;
  IdentityOptions identity;
};

class NameNode : public Proposer {
 public:
  NameNode(Env& env, NameNodeOptions options);
  ~NameNode() override;

  // Locks the folder, or says why it cannot be this name node's. run() does it unless it was done.
  [[nodiscard]] Status claim_folder();
  // Opens the folder, takes part in the log, listens: then started() is set. Ends by
  // stop(), or with the error that made going on impossible.
  Task<Status> run();
  void stop();
  // Hears of every request from run() on; outlives this.
  void set_observer(RequestObserver* observer) { observer_ = observer; }
  // The address that it listens on; empty before.
  const Address& address() const { return address_; }
  Future<Unit> started();
  // For tests that look inside; nullptr before it is open.
  const Catalogue* catalogue() const { return catalogue_.get(); }

  Task<Result<wire::CommandOutcome>> propose(wire::Command command) override;

 private:
  class Session;

  Task<Status> open();
  Task<Status> rebuild(const ClusterAuthority* authority);
  Task<Status> found_cluster();
  Task<Status> note_longer_lease();
  Task<void> accept();
  Task<void> serve(std::unique_ptr<Connection> connection);
  Task<Result<Reply>> dispatch(Session* session, uint16_t type, Bytes message);
  Task<Result<Reply>> dispatch_trust(Session* session, uint16_t type, Bytes message);
  // Whether that connection may ask for it at all.
  Status admit(Session* session, uint16_t type);
  Task<Result<wire::HelloReply>> hello(wire::HelloRequest request, Session* session);
  Task<Result<wire::LoginReply>> login(wire::LoginRequest request, Session* session);
  Task<Result<wire::ChangeReply>> logout(wire::LogoutRequest request, Session* session);
  wire::WhoAmIReply who_am_i(const Session& session);
  wire::StatusReply status();
  Task<Result<wire::ChangeReply>> rotate_keys(wire::RotateKeysRequest request, std::string user);
  Task<Result<wire::RegisterReply>> register_server(wire::RegisterRequest request, Session* session);
  Task<Result<wire::HeartbeatReply>> heartbeat(wire::HeartbeatRequest request, Session* session);
  Task<Result<wire::AnnounceReply>> announce(wire::AnnounceRequest request, Session* session);
  Task<Result<wire::ReplicateReply>> replicate(wire::ReplicateRequest request, Session* session);
  Task<Result<Reply>> partner_fetch(wire::PartnerFetchRequest request, Session* session);
  Task<Result<Reply>> report_damage(wire::ReportDamageRequest request, Session* session);
  Task<Result<wire::Done>> leave(wire::LeaveRequest request, Session* session);
  Task<void> keep_house();
  Task<void> watch_hint_store(bool sync);
  void fatal(Error error);
  void drop_connections();

  Env& env_;
  NameNodeOptions options_;
  uint64_t connections_ = 0;  // That came until now.
  Address address_;
  PeerCrowd crowd_;
  RequestObserver* observer_ = nullptr;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<Catalogue> catalogue_;
  std::unique_ptr<RaftBridge> raft_;
  ServerLinks links_;
  std::unique_ptr<HintStore> hint_store_;
  std::unique_ptr<HandOff> hand_off_;
  std::unique_ptr<Sessions> sessions_;
  std::unique_ptr<Capabilities> capabilities_;
  std::unique_ptr<PeopleCalls> people_;
  std::unique_ptr<FailoverDriver> failover_;
  std::unique_ptr<HintKeeper> hints_;
  std::unique_ptr<SyncCalls> sync_;
  std::unique_ptr<NamespaceCalls> names_;
  std::unique_ptr<HalvesKeeper> halves_;
  std::unique_ptr<ClusterCalls> cluster_;
  std::unique_ptr<TrustCalls> trust_;  // nullptr: without certificates.
  std::unique_ptr<Listener> listener_;
  Promise<Status> ended_;
  Promise<Unit> started_;
  TaskGroup tasks_;
};

}  // namespace understudy
