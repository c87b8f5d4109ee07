// Carries out what PairMonitor decides: registrations and heartbeats in; epochs,
// SERVE, leases, resyncs and hand-overs out. One for the name node.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "common/base/retention.h"
#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/wire/understudy.pb.h"
#include "nm/core/pair_monitor.h"
#include "nm/proposer.h"
#include "nm/replication_worker.h"
#include "nm/resync.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;

class FailoverDriver {
 public:
  // All pointers outlive it. `begin()` once the catalogue is caught up with the log.
  FailoverDriver(Env& env, MonitorSettings settings, Catalogue* catalogue, Proposer* proposer, ServerLinks* links);

  void set_retention(Retention retention) { retention_ = retention; }
  void begin();
  // Ticks until destroyed.
  Task<void> run();

  Task<Result<wire::RegisterReply>> handle_register(std::weak_ptr<Peer> connection, wire::RegisterRequest request);
  wire::HeartbeatReply handle_heartbeat(const wire::HeartbeatRequest& request);
  // With hand_over: answered when the other half acts, or cannot.
  Task<void> handle_leave(wire::LeaveRequest request);
  // The pair's preferred primary was changed in the log.
  void move_wanted(const std::string& pair);
  // The connection of a registered server ended.
  void connection_lost(const std::string& server, const Peer* peer);
  Task<Result<wire::PromoteReply>> promote(wire::PromoteRequest request);
  // A half in sync that was found to differ: compares it with the acting primary and fills it.
  void compare_again(const std::string& pair, const std::string& server);
  // Jobs were queued for somebody: look.
  void wake_workers();

  const PairMonitor& monitor() const { return monitor_; }
  const ResyncProgress* resync_progress(const std::string& server) const;
  // Someone serves, an epoch began, a server came or went.
  Notifier& changed() { return changed_; }

 private:
  Task<void> note_lease();
  void update_facts();
  void perform(Effects effects);
  Task<void> begin_epoch(Effect effect, bool forced);
  Task<void> member_failed(Effect effect);
  Task<void> serve(Effect effect);
  class UnderWay;
  Task<void> resync(Effect effect);
  Task<Status> earlier_start_is_over(std::string server);
  bool replaced(const std::string& name, Incarnation incarnation) const;
  Task<void> hand_over(Effect effect);
  Task<void> hand_over_before_stop(std::string server, Incarnation incarnation);
  Task<Status> drain_and_catch_up(std::string pair, std::string from, std::string to, Epoch epoch);
  Task<void> watch(std::string server, Incarnation incarnation, ProcessIdentity process);
  ReplicationWorker* worker(const std::string& server);
  bool is_alive(const std::string& server) const;

  Env& env_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  PairMonitor monitor_;
  Notifier changed_;
  std::map<std::string, std::unique_ptr<ReplicationWorker>> workers_;
  std::map<std::string, Resync*> resyncs_;  // Under way; each lives in its task.
  std::set<std::string> being_failed_;  // MemberFailed is on its way into the log.
  Lsn replicated(const std::string& server, Epoch epoch);
  std::set<std::string> leaving_;  // Said goodbye, and have not registered since.
  Retention retention_;
  // What the last heartbeats were told, and when: it is not worked out for each of them.
  struct Told {
    Instant at{};
    Lsn replicated{};
  };
  std::map<std::string, Told> replicated_;
  TaskGroup tasks_;
};

}  // namespace understudy
