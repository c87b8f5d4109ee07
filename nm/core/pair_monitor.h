// Who is alive, who is acting primary, and what to do about it: the failure
// detector and the failover rules of docs/failover.md, without a clock, a socket
// or a disk. Facts (in_sync, acting primary, epoch) stand in the Raft log; the
// name node gives them in after each commit and carries out the effects.
//
// The one safety rule: an epoch is proposed for a member only while no other
// member of its pair can hold a lease, that is, when the acting primary is
// proven dead, has given its lease back, or was last answered a failure timeout
// ago (the lease it got with that answer is 0.8 of it, counted from earlier).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/types.h"

namespace understudy {

struct MonitorSettings {
  Duration heartbeat_interval = std::chrono::seconds(1);
  Duration failure_timeout = std::chrono::seconds(3);
  // Of the name node that ran before, where it was longer: its leases may live that long.
  Duration earlier_timeout{};
  Duration lease() const { return failure_timeout / 5 * 4; }
};

// What the Raft log says of a pair.
struct PairFacts {
  struct Member {
    std::string server;
    bool in_sync = false;
    bool failed = false;
  };
  std::string pair;
  std::vector<Member> members;  // One or two; the home primary has the pair's name.
  std::string preferred;        // Who is to act whenever it can; empty: the home primary.
  std::string acting_primary;   // Empty: never had one.
  Epoch epoch = kNoEpoch;
};

enum class EffectKind : uint8_t {
  kBeginEpoch,    // Propose BeginEpoch{pair, server, other_failed}; answer with epoch_begun().
  kMemberFailed,  // Propose MemberFailed{server}.
  kServe,         // Send SERVE{epoch} to the server; answer with served().
  kResync,        // Compare the server with the acting primary, queue what differs; answer with caught_up().
  kHandOver,      // Drain the acting primary for the server; answer with handed_over().
};

struct Effect {
  EffectKind kind;
  std::string pair;
  std::string server;
  Epoch epoch = kNoEpoch;
  bool other_failed = false;
};
std::string to_string(const Effect& effect);
using Effects = std::vector<Effect>;

enum class MemberState : uint8_t { kAbsent, kAlive, kFailed, kReturning };

class PairMonitor {
 public:
  // `started`: silence counts from here, so a fresh name node promotes nobody for
  // silence before one failure timeout has passed.
  PairMonitor(MonitorSettings settings, Instant started);

  // Give in after every commit that touched the pair, before the event below that tells of it.
  void set_facts(const PairFacts& facts);

  // ---- Events ----
  // After its RegisterServer is committed. `holds`: the epoch that this process says it
  // serves under (a new connection of the same process), or none.
  [[nodiscard]] Effects registered(const std::string& server, Incarnation incarnation, Epoch holds, Instant now);
  // The process is proven dead, or said goodbye after giving its lease back.
  [[nodiscard]] Effects died(const std::string& server, Incarnation incarnation, Instant now);
  [[nodiscard]] Effects tick(Instant now);
  // MemberFailed was not committed: it is to be proposed again.
  void not_failed(const std::string& server);
  [[nodiscard]] Effects epoch_begun(const std::string& pair, bool committed, Instant now);
  // SERVE was answered; `ok` false: it failed or the connection broke.
  [[nodiscard]] Effects served(const std::string& server, Epoch epoch, bool ok, Instant now);
  // The comparison is done, every job queued before its end is confirmed and
  // MemberInSync is committed (ok); or it failed and is to be tried again.
  [[nodiscard]] Effects caught_up(const std::string& server, bool ok, Instant now);
  // DRAIN is sent next: the acting primary gets no lease any more. Until then it serves as ever.
  void draining(const std::string& pair);
  // The hand-over ended: the old primary is drained and the other half has
  // confirmed everything (ok), or not: then the old one goes on under a new epoch.
  [[nodiscard]] Effects handed_over(const std::string& pair, bool ok, Instant now);
  // A planned move is wanted now: a hand-over that was put off is tried again. Give the facts in first.
  [[nodiscard]] Effects move_wanted(const std::string& pair, Instant now);
  // The process is about to stop, and serves until the other half has taken over, if it can.
  [[nodiscard]] Effects stopping(const std::string& server, Incarnation incarnation, Instant now);
  // An operator's PROMOTE --force. Empty: the server is not alive, or a lease may live.
  [[nodiscard]] Effects force(const std::string& pair, const std::string& server, Instant now);

  struct HeartbeatAnswer {
    bool register_again = false;
    Epoch lease_epoch = kNoEpoch;  // kNoEpoch: no lease.
  };
  // To be answered at `now`: a lease in the answer counts as given at `now`.
  HeartbeatAnswer heartbeat(const std::string& server, Incarnation incarnation, Epoch epoch, Instant now);

  // ---- For STATUS and LOCATE ----
  MemberState state(const std::string& server) const;
  std::optional<Duration> heartbeat_age(const std::string& server, Instant now) const;
  // The acting primary has confirmed its epoch and may hold a lease.
  bool serving(const std::string& pair) const;
  bool handing_over(const std::string& pair) const;
  // When silence alone will allow the next promotion of this pair; past: now.
  Instant lease_over_at(const std::string& pair) const;
  const MonitorSettings& settings() const { return settings_; }

 private:
  struct Member {
    std::string server;
    std::string pair;
    Incarnation incarnation = 0;  // Of the registration in force; 0: none.
    bool alive = false;
    bool in_sync = false;
    bool failed = false;   // The log says so.
    bool failing = false;  // MemberFailed is proposed.
    bool resyncing = false;
    bool stopping = false;  // It will be gone soon: it takes nothing over.
    Instant last_answer{};  // Or the name node's start.
    std::optional<Instant> last_heartbeat;
    Instant resync_at{};    // None before.
  };
  enum class Serve : uint8_t { kNeedsEpoch, kProposing, kSending, kServing };
  struct Pair {
    std::string name;
    std::vector<std::string> members;
    std::string acting;
    std::string preferred;
    std::string hand_over_to;
    Epoch epoch = kNoEpoch;
    Serve serve = Serve::kNeedsEpoch;
    bool fenced = false;  // The acting primary is known to hold no lease.
    bool no_lease_lives = false;  // When the epoch under way was proposed.
    bool inherited = false;       // Its epoch began under an earlier name node.
    Instant vacant_at{};  // Whoever acted before nobody did may hold a lease until then.
    bool handing_over = false;
    bool draining = false;
    Instant hand_over_at{};  // None before.
  };

  Member* member(const std::string& server);
  const Member* member(const std::string& server) const;
  Member* other_than(const Pair& pair, const std::string& server);
  void evaluate(Pair& pair, Instant now, Effects& effects);
  void propose_epoch(Pair& pair, const Member& server, bool other_failed, Instant now, Effects& effects);
  void observe(Instant now);
  Instant lease_over_at(const Pair& pair) const;
  void fail(Pair& pair, Member& member, Effects& effects);
  bool lease_may_live(const Pair& pair, Instant now) const;

  MonitorSettings settings_;
  Instant started_;
  bool looked_ = false;  // Facts that came before are of an earlier name node.
  Instant last_look_;
  Instant earlier_leases_end_;  // The earlier name node's.
  std::map<std::string, Pair> pairs_;
  std::map<std::string, Member> members_;
};

}  // namespace understudy
