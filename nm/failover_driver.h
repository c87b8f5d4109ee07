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
#include "nm/catalogue_types.h"
#include "nm/core/pair_monitor.h"
#include "nm/proposer.h"
#include "nm/replication_worker.h"
#include "nm/resync.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;
class HandOff;

class FailoverDriver {
 public:
  // All pointers outlive it. `begin()` once the catalogue is caught up with the log.
  FailoverDriver(Env& env, MonitorSettings settings, Catalogue* catalogue, Proposer* proposer, ServerLinks* links,
                 HandOff* hand_off, bool direct);

  void set_retention(Retention retention) { retention_ = retention; }
  void begin();
  // For the bytes that go to a half that is not in sync; 0: no limit.
  void set_resync_rate(uint64_t bytes_per_s) { resync_rate_ = bytes_per_s; }
  // Ticks until destroyed.
  Task<void> run();

  // `connection_number`: connections that came later have a greater one.
  Task<Result<wire::RegisterReply>> handle_register(std::weak_ptr<Peer> connection, uint64_t connection_number,
                                                    wire::RegisterRequest request);
  wire::HeartbeatReply handle_heartbeat(const wire::HeartbeatRequest& request);
  // With hand_over: answered when the other half acts, or cannot.
  Task<void> handle_leave(wire::LeaveRequest request);
  // The pair's preferred primary was changed in the log.
  void move_wanted(const std::string& pair);
  // The connection of a registered server ended.
  void connection_lost(const std::string& server, const Peer* peer);
  Task<Result<wire::PromoteReply>> promote(wire::PromoteRequest request);
  // Jobs were queued for somebody: look.
  void wake_workers();

  // What the log says of a pair changed by another's command: decide anew.
  void facts_changed();
  ReplicationWorker* worker(const std::string& server);
  bool is_alive(const std::string& server) const;
  // All that it lacks is on its way, and sync writes wait until it is in sync, or is not.
  bool is_closing(const std::string& server) const { return closing_.contains(server); }

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
  Task<Status> hand_off_promised(ServerId target);

  Env& env_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  HandOff* hand_off_;
  bool direct_;  // The replication path.
  PairMonitor monitor_;
  Notifier changed_;
  std::map<std::string, std::unique_ptr<ReplicationWorker>> workers_;
  std::map<std::string, Resync*> resyncs_;  // Under way; each lives in its task.
  std::set<std::string> closing_;
  std::set<std::string> being_failed_;  // MemberFailed is on its way into the log.
  Lsn replicated(const std::string& server, Epoch epoch);
  std::set<std::string> leaving_;  // Said goodbye, and have not registered since.
  Retention retention_;
  // What the last heartbeats were told, and when: it is not worked out for each of them.
  struct Told {
    Instant at{};
    Lsn replicated{};
  };
  uint64_t names_settled_ = 0;
  Instant names_settled_at_{};
  std::map<std::string, Told> replicated_;
  // Over which connection each server registered last.
  struct Registered {
    Incarnation incarnation = 0;
    uint64_t connection = 0;
  };
  std::map<std::string, Registered> registered_;
  uint64_t resync_rate_ = 0;
  TaskGroup tasks_;
};

}  // namespace understudy
