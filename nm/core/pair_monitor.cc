#include "nm/core/pair_monitor.h"

#include <algorithm>

#include "common/base/result.h"

namespace understudy {

std::string to_string(const Effect& effect) {
  switch (effect.kind) {
    case EffectKind::kBeginEpoch:
      return "begin-epoch " + effect.server + (effect.other_failed ? " other-failed" : "");
    case EffectKind::kMemberFailed: return "member-failed " + effect.server;
    case EffectKind::kServe: return "serve " + effect.server + " epoch " + std::to_string(number(effect.epoch));
    case EffectKind::kResync: return "resync " + effect.server;
    case EffectKind::kHandOver: return "hand-over to " + effect.server;
  }
  return "?";
}

PairMonitor::PairMonitor(MonitorSettings settings, Instant started)
    : settings_(settings),
      started_(started),
      last_look_(started),
      earlier_leases_end_(started + std::max(settings.earlier_timeout, settings.failure_timeout)) {}

// Were we asleep ourselves, or did our clock leap, the silence was ours: heartbeats may lie
// unread. The margin between a lease and the failure timeout bears what is not noticed.
void PairMonitor::observe(Instant now) {
  const Duration unnoticed = settings_.failure_timeout / 10;
  const Duration asleep = now - last_look_ - unnoticed;
  last_look_ = now;
  looked_ = true;
  if (asleep <= Duration::zero()) return;
  for (auto& [name, m] : members_) m.last_answer = std::min(now, m.last_answer + asleep);
  for (auto& [name, pair] : pairs_) {
    if (pair.vacant_at != Instant{}) pair.vacant_at += asleep;
  }
  earlier_leases_end_ += asleep;
}

void PairMonitor::set_facts(const PairFacts& facts) {
  Pair& pair = pairs_[facts.pair];
  pair.name = facts.pair;
  if (pair.epoch != facts.epoch || pair.acting != facts.acting_primary) {
    if (facts.acting_primary.empty() && facts.epoch != kNoEpoch && !pair.fenced) {
      // Its place is to be taken. It may be cut off from here only, and hold its lease.
      const Member* last = member(pair.acting);
      pair.vacant_at = last == nullptr ? earlier_leases_end_ : last->last_answer + settings_.failure_timeout;
      if (pair.inherited) pair.vacant_at = std::max(pair.vacant_at, earlier_leases_end_);
    }
    pair.inherited = !looked_ || (pair.inherited && pair.acting == facts.acting_primary);
    // A fresh name node finds an epoch in its log whose holder may be serving: it
    // counts as serving when it registers and says so.
    pair.acting = facts.acting_primary;
    pair.epoch = facts.epoch;
    pair.fenced = false;
  }
  pair.preferred = facts.preferred.empty() ? facts.pair : facts.preferred;
  pair.members.clear();
  for (const auto& fact : facts.members) {
    pair.members.push_back(fact.server);
    auto [at, fresh] = members_.try_emplace(fact.server);
    Member& m = at->second;
    if (fresh) m.last_answer = started_;
    m.server = fact.server;
    m.pair = facts.pair;
    m.in_sync = fact.in_sync;
    m.failed = fact.failed;
    if (fact.failed) m.failing = false;
  }
}

PairMonitor::Member* PairMonitor::member(const std::string& server) {
  auto at = members_.find(server);
  return at == members_.end() ? nullptr : &at->second;
}

const PairMonitor::Member* PairMonitor::member(const std::string& server) const {
  auto at = members_.find(server);
  return at == members_.end() ? nullptr : &at->second;
}

PairMonitor::Member* PairMonitor::other_than(const Pair& pair, const std::string& server) {
  for (const auto& name : pair.members) {
    if (name != server) return member(name);
  }
  return nullptr;
}

Instant PairMonitor::lease_over_at(const Pair& pair) const {
  if (pair.acting.empty() || pair.fenced) return pair.vacant_at;
  const Member* acting = member(pair.acting);
  if (acting == nullptr) return pair.vacant_at;
  Instant over = acting->last_answer + settings_.failure_timeout;
  return std::max(pair.inherited ? std::max(over, earlier_leases_end_) : over, pair.vacant_at);
}

bool PairMonitor::lease_may_live(const Pair& pair, Instant now) const { return now < lease_over_at(pair); }

Instant PairMonitor::lease_over_at(const std::string& name) const {
  auto at = pairs_.find(name);
  return at == pairs_.end() ? Instant{} : lease_over_at(at->second);
}

Effects PairMonitor::registered(const std::string& server, Incarnation incarnation, Epoch holds, Instant now) {
  observe(now);
  Effects effects;
  Member* m = member(server);
  CHECK(m != nullptr);
  Pair& pair = pairs_[m->pair];
  bool same_process = m->incarnation == incarnation;
  m->incarnation = incarnation;
  m->alive = true;
  m->failing = false;
  m->last_heartbeat = now;
  if (!same_process) m->resyncing = m->stopping = false;
  if (server == pair.acting && pair.serve != Serve::kProposing) {
    if (holds == pair.epoch && holds != kNoEpoch && !pair.fenced) {
      if (!pair.handing_over) pair.serve = Serve::kServing;
    } else if (!(same_process && pair.serve == Serve::kSending)) {
      // A drained one holds no lease; neither does a new process, which proves the old one
      // dead, since both need the folder's lock. One that only missed its newest epoch may.
      pair.fenced |= !same_process || holds == kNoEpoch;
      pair.serve = Serve::kNeedsEpoch;
    }
  }
  m->last_answer = std::max(m->last_answer, now);
  evaluate(pair, now, effects);
  return effects;
}

void PairMonitor::fail(Pair& pair, Member& m, Effects& effects) {
  m.alive = false;
  m.resyncing = false;
  if (!m.failed && !m.failing) {
    m.failing = true;
    effects.push_back({EffectKind::kMemberFailed, pair.name, m.server});
  }
}

void PairMonitor::not_failed(const std::string& server) {
  if (Member* m = member(server)) m->failing = false;
}

Effects PairMonitor::died(const std::string& server, Incarnation incarnation, Instant now) {
  observe(now);
  Effects effects;
  Member* m = member(server);
  if (m == nullptr || (m->incarnation != 0 && m->incarnation != incarnation)) return effects;
  Pair& pair = pairs_[m->pair];
  m->incarnation = 0;
  if (pair.acting == server) {
    pair.fenced = true;
    if (pair.serve != Serve::kProposing) pair.serve = Serve::kNeedsEpoch;
  }
  fail(pair, *m, effects);
  evaluate(pair, now, effects);
  return effects;
}

Effects PairMonitor::tick(Instant now) {
  observe(now);
  Effects effects;
  for (auto& [name, m] : members_) {
    if (now < m.last_answer + settings_.failure_timeout) continue;
    if (m.alive || !m.failed) fail(pairs_[m.pair], m, effects);
  }
  for (auto& [name, pair] : pairs_) evaluate(pair, now, effects);
  return effects;
}

void PairMonitor::propose_epoch(Pair& pair, const Member& m, bool other_failed, Instant now, Effects& effects) {
  pair.serve = Serve::kProposing;
  pair.no_lease_lives = !lease_may_live(pair, now);
  effects.push_back({EffectKind::kBeginEpoch, pair.name, m.server, kNoEpoch, other_failed});
}

void PairMonitor::evaluate(Pair& pair, Instant now, Effects& effects) {
  if (pair.serve == Serve::kProposing || pair.handing_over) return;
  Member* acting = pair.acting.empty() ? nullptr : member(pair.acting);
  if (acting == nullptr) {
    // Never had a primary (the home primary begins), or its place is to be taken by
    // an empty one (whoever has everything goes on).
    if (lease_may_live(pair, now)) return;
    for (const auto& name : pair.members) {
      Member* m = member(name);
      if (!m->alive || !m->in_sync || (name != pair.name && pair.epoch == kNoEpoch)) continue;
      propose_epoch(pair, *m, false, now, effects);
      return;
    }
    return;
  }
  if (!acting->alive) {
    Member* understudy = other_than(pair, pair.acting);
    if (understudy != nullptr && understudy->alive && understudy->in_sync && !lease_may_live(pair, now)) {
      propose_epoch(pair, *understudy, true, now, effects);
    }
    return;
  }
  if (pair.serve == Serve::kNeedsEpoch) {
    // The same member again: whatever lease it may hold is its own.
    if (acting->in_sync) {
      propose_epoch(pair, *acting, false, now, effects);
      return;
    }
    Member* understudy = other_than(pair, pair.acting);
    if (understudy != nullptr && understudy->alive && understudy->in_sync && !lease_may_live(pair, now)) {
      propose_epoch(pair, *understudy, true, now, effects);
    }
    return;
  }
  if (pair.serve != Serve::kServing) return;
  Member* rest = other_than(pair, pair.acting);
  if (rest == nullptr || !rest->alive) return;
  if (!rest->in_sync) {
    if (!rest->resyncing && now >= rest->resync_at) {
      rest->resyncing = true;
      effects.push_back({EffectKind::kResync, pair.name, rest->server, pair.epoch});
    }
  } else if (now >= pair.hand_over_at && !rest->stopping && (rest->server == pair.preferred || acting->stopping)) {
    pair.handing_over = true;
    pair.hand_over_to = rest->server;
    effects.push_back({EffectKind::kHandOver, pair.name, rest->server, pair.epoch});
  }
}

Effects PairMonitor::epoch_begun(const std::string& name, bool committed, Instant now) {
  observe(now);
  Effects effects;
  Pair& pair = pairs_[name];
  if (!committed) {
    pair.serve = Serve::kNeedsEpoch;
    return effects;  // The next tick looks again.
  }
  // Until SERVE is confirmed nobody can have a lease of the new epoch; the member that had the
  // one before may still have a lease of that.
  pair.fenced = pair.no_lease_lives;
  pair.inherited &= !pair.fenced;
  Member* acting = member(pair.acting);
  if (acting != nullptr && acting->alive) {
    pair.serve = Serve::kSending;
    effects.push_back({EffectKind::kServe, name, pair.acting, pair.epoch});
  } else {
    pair.serve = Serve::kNeedsEpoch;
    evaluate(pair, now, effects);
  }
  return effects;
}

Effects PairMonitor::served(const std::string& server, Epoch epoch, bool ok, Instant now) {
  observe(now);
  Effects effects;
  Member* m = member(server);
  if (m == nullptr) return effects;
  Pair& pair = pairs_[m->pair];
  if (pair.acting != server || pair.epoch != epoch || pair.serve != Serve::kSending) return effects;
  if (ok && m->alive) {
    pair.serve = Serve::kServing;
    pair.fenced = false;
    m->last_answer = now;
    evaluate(pair, now, effects);
  } else {
    pair.serve = Serve::kNeedsEpoch;  // The next registration or tick looks again.
  }
  return effects;
}

Effects PairMonitor::caught_up(const std::string& server, bool ok, Instant now) {
  observe(now);
  Effects effects;
  Member* m = member(server);
  if (m == nullptr) return effects;
  m->resyncing = false;
  if (!ok) m->resync_at = now + settings_.heartbeat_interval;
  evaluate(pairs_[m->pair], now, effects);
  return effects;
}

void PairMonitor::draining(const std::string& name) {
  Pair& pair = pairs_[name];
  pair.draining = pair.handing_over;
}

Effects PairMonitor::handed_over(const std::string& name, bool ok, Instant now) {
  observe(now);
  Effects effects;
  Pair& pair = pairs_[name];
  if (!pair.handing_over) return effects;
  // Put off before anything was asked of the acting primary: it serves on as it is.
  if (ok || pair.draining) pair.serve = Serve::kNeedsEpoch;
  pair.handing_over = pair.draining = false;
  pair.hand_over_at = now + settings_.failure_timeout;
  Member* next = member(pair.hand_over_to);
  if (ok && next != nullptr && next->alive && next->in_sync) {
    pair.fenced = true;  // Drained: it gave its lease back.
    propose_epoch(pair, *next, false, now, effects);
  } else {
    evaluate(pair, now, effects);
  }
  return effects;
}

Effects PairMonitor::move_wanted(const std::string& name, Instant now) {
  Effects effects;
  auto at = pairs_.find(name);
  if (at == pairs_.end()) return effects;
  at->second.hand_over_at = now;
  evaluate(at->second, now, effects);
  return effects;
}

Effects PairMonitor::stopping(const std::string& server, Incarnation incarnation, Instant now) {
  Member* m = member(server);
  if (m == nullptr || m->incarnation != incarnation) return {};
  m->stopping = true;
  return move_wanted(m->pair, now);
}

Effects PairMonitor::force(const std::string& name, const std::string& server, Instant now) {
  observe(now);
  Effects effects;
  auto at = pairs_.find(name);
  Member* m = member(server);
  if (at == pairs_.end() || m == nullptr || m->pair != name || !m->alive) return effects;
  Pair& pair = at->second;
  if (pair.serve == Serve::kProposing || pair.handing_over || lease_may_live(pair, now)) return effects;
  propose_epoch(pair, *m, true, now, effects);
  return effects;
}

PairMonitor::HeartbeatAnswer PairMonitor::heartbeat(const std::string& server, Incarnation incarnation, Epoch epoch,
                                                    Instant now) {
  observe(now);
  Member* m = member(server);
  if (m == nullptr || m->incarnation != incarnation || !m->alive) return {.register_again = true};
  m->last_heartbeat = now;
  HeartbeatAnswer answer;
  Pair& pair = pairs_[m->pair];
  // While another epoch is being proposed, or the primary is being drained, no lease
  // is given; an epoch of a proposal that fails is then simply renewed.
  if (pair.acting == server && pair.serve == Serve::kServing && !pair.draining && epoch == pair.epoch) {
    answer.lease_epoch = pair.epoch;
  }
  m->last_answer = now;
  return answer;
}

MemberState PairMonitor::state(const std::string& server) const {
  const Member* m = member(server);
  if (m == nullptr) return MemberState::kAbsent;
  if (!m->alive) return m->failed || m->failing ? MemberState::kFailed : MemberState::kAbsent;
  auto at = pairs_.find(m->pair);
  if (!m->in_sync && at != pairs_.end() && at->second.acting != server) return MemberState::kReturning;
  return MemberState::kAlive;
}

std::optional<Duration> PairMonitor::heartbeat_age(const std::string& server, Instant now) const {
  const Member* m = member(server);
  if (m == nullptr || !m->last_heartbeat) return std::nullopt;
  return now - *m->last_heartbeat;
}

bool PairMonitor::handing_over(const std::string& name) const {
  auto at = pairs_.find(name);
  return at != pairs_.end() && at->second.handing_over;
}

bool PairMonitor::serving(const std::string& name) const {
  auto at = pairs_.find(name);
  return at != pairs_.end() && at->second.serve == Serve::kServing;
}

}  // namespace understudy
