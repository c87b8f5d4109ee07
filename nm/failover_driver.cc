#include "nm/failover_driver.h"

#include <algorithm>

#include "common/base/log.h"
#include "nm/catalogue_db.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

constexpr auto kLookAgain = std::chrono::milliseconds(2);

// How often it is worked out anew what the other half has.
constexpr auto kReplicatedEvery = std::chrono::milliseconds(500);
constexpr auto kNamesSettledEvery = std::chrono::seconds(1);

int64_t milliseconds_of(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

wire::Event event(std::string kind, std::string pair, std::string server, std::string text) {
  wire::Event e;
  e.set_kind(std::move(kind));
  e.set_pair(std::move(pair));
  e.set_server(std::move(server));
  e.set_text(std::move(text));
  return e;
}

}  // namespace

// A resync is found by its server while it runs.
class FailoverDriver::UnderWay {
 public:
  UnderWay(std::map<std::string, Resync*>* all, std::string server, Resync* resync) : all_(all), server_(std::move(server)) {
    (*all_)[server_] = resync;
  }
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;
  ~UnderWay() { all_->erase(server_); }

 private:
  std::map<std::string, Resync*>* all_;
  std::string server_;
};

// While it lives, no acknowledgement counts on hints for the server.
struct Closing {
  Closing(std::set<std::string>* all, std::string server) : all_(all), server_(std::move(server)) { all_->insert(server_); }
  Closing(const Closing&) = delete;
  Closing& operator=(const Closing&) = delete;
  ~Closing() { all_->erase(server_); }
  std::set<std::string>* all_;
  std::string server_;
};

FailoverDriver::FailoverDriver(Env& env, MonitorSettings settings, Catalogue* catalogue, Proposer* proposer,
                               ServerLinks* links, HandOff* hand_off, bool direct)
    : env_(env),
      catalogue_(catalogue),
      proposer_(proposer),
      links_(links),
      hand_off_(hand_off),
      direct_(direct),
      monitor_(settings, env.clock.now()),
      changed_(env.executor),
      tasks_(env.executor) {}

void FailoverDriver::begin() {
  monitor_ = PairMonitor(monitor_.settings(), env_.clock.now());
  update_facts();
  if (monitor_.settings().earlier_timeout > Duration::zero()) tasks_.spawn(note_lease());
  for (const auto& [id, server] : catalogue_->servers()) {
    worker(server.name);
    if (server.incarnation == 0 || server.failed) continue;
    // A server that died while no name node ran is known dead at once, by proof.
    tasks_.spawn(watch(server.name, server.incarnation, {server.machine, server.pid, server.pid_start_time}));
  }
}

// Leases of this name node may be as long as the log says that they may be: a longer one is
// noted before the first is given, a shorter one when the last of the longer ones is over.
Task<void> FailoverDriver::note_lease() {
  auto pause = sleep_for(env_, monitor_.settings().earlier_timeout);
  co_await pause;
  const int64_t wanted = milliseconds_of(monitor_.settings().failure_timeout);
  while (catalogue_->failure_timeout_ms() != wanted) {
    wire::Command command;
    command.mutable_note_lease()->set_failure_timeout_ms(wanted);
    auto noted = co_await proposer_->propose(std::move(command));
    if (noted) co_return;
    auto again = sleep_for(env_, std::chrono::seconds(1));
    co_await again;
  }
}

Task<void> FailoverDriver::run() {
  Duration tick = std::clamp<Duration>(monitor_.settings().heartbeat_interval / 10, std::chrono::milliseconds(5),
                                       std::chrono::milliseconds(100));
  while (true) {
    auto next = sleep_for(env_, tick);
    co_await next;
    perform(monitor_.tick(env_.clock.now()));
  }
}

void FailoverDriver::update_facts() {
  for (const auto& [id, pair] : catalogue_->pairs()) {
    PairFacts facts;
    facts.pair = pair.name;
    facts.epoch = pair.epoch;
    if (const Server* preferred = catalogue_->server(pair.preferred)) facts.preferred = preferred->name;
    if (const Server* acting = catalogue_->server(pair.acting)) facts.acting_primary = acting->name;
    for (ServerId member : {pair.home, pair.backup}) {
      if (const Server* server = catalogue_->server(member)) {
        facts.members.push_back({server->name, server->in_sync, server->failed});
      }
    }
    monitor_.set_facts(facts);
  }
  changed_.notify_all();
}

ReplicationWorker* FailoverDriver::worker(const std::string& server) {
  auto& worker = workers_[server];
  if (!worker) {
    worker = std::make_unique<ReplicationWorker>(env_, server, catalogue_, proposer_, links_, hand_off_, direct_);
    worker->set_resync_rate(resync_rate_);
    tasks_.spawn(worker->run());
  }
  return worker.get();
}

void FailoverDriver::wake_workers() {
  for (auto& [name, worker] : workers_) worker->wake();
}

void FailoverDriver::perform(Effects effects) {
  for (Effect& effect : effects) {
    log_info("decided: " + to_string(effect));
    switch (effect.kind) {
      case EffectKind::kBeginEpoch: tasks_.spawn(begin_epoch(std::move(effect), false)); break;
      case EffectKind::kMemberFailed: tasks_.spawn(member_failed(std::move(effect))); break;
      case EffectKind::kServe: tasks_.spawn(serve(std::move(effect))); break;
      case EffectKind::kResync: tasks_.spawn(resync(std::move(effect))); break;
      case EffectKind::kHandOver: tasks_.spawn(hand_over(std::move(effect))); break;
    }
  }
}

Task<void> FailoverDriver::begin_epoch(Effect effect, bool forced) {
  const Pair* pair = catalogue_->pair(effect.pair);
  const Server* before = pair == nullptr ? nullptr : catalogue_->server(pair->acting);
  wire::Command command;
  auto* begin = command.mutable_begin_epoch();
  begin->set_pair(effect.pair);
  begin->set_server(effect.server);
  begin->set_other_failed(effect.other_failed);
  begin->set_forced(forced);
  if (pair != nullptr) begin->set_expected_epoch(number(pair->epoch));
  if (before != nullptr && before->name != effect.server) {
    *command.add_events() =
        effect.other_failed
            ? event("promoted", effect.pair, effect.server,
                    effect.server + " is acting primary: " + before->name +
                        (leaving_.contains(before->name) ? " was stopped" : " failed"))
        : effect.server == effect.pair
            ? event("handed-back", effect.pair, effect.server, effect.server + " is acting primary again")
            : event("handed-over", effect.pair, effect.server,
                    effect.server + " is acting primary: " + before->name + " handed everything over");
  }
  auto outcome = co_await proposer_->propose(std::move(command));
  if (!outcome) log_warning("no epoch for " + effect.server + ": " + outcome.error().to_string());
  update_facts();
  wake_workers();
  perform(monitor_.epoch_begun(effect.pair, outcome.has_value(), env_.clock.now()));
}

Task<void> FailoverDriver::member_failed(Effect effect) {
  // Its connection may hang for ever; whatever waits on it fails now.
  if (auto peer = links_->peer(effect.server)) peer->close();
  wire::Command command;
  command.mutable_member_failed()->set_server(effect.server);
  bool left = leaving_.contains(effect.server);
  *command.add_events() = left ? event("left", effect.pair, effect.server, effect.server + " was stopped")
                               : event("failed", effect.pair, effect.server, effect.server + " failed");
  worker(effect.server)->set_compared(false);
  being_failed_.insert(effect.server);
  auto outcome = co_await proposer_->propose(std::move(command));
  being_failed_.erase(effect.server);
  if (!outcome) {
    log_warning(effect.server + " not marked failed: " + outcome.error().to_string());
    monitor_.not_failed(effect.server);
  }
  update_facts();
}

Task<void> FailoverDriver::serve(Effect effect) {
  wire::ServeRequest request;
  request.set_epoch(number(effect.epoch));
  request.set_pair(effect.pair);
  auto reply = co_await call_server<wire::ServeReply>(links_, effect.server, wire::SERVE, request);
  if (!reply) log_warning(effect.server + " does not serve: " + reply.error().to_string());
  perform(monitor_.served(effect.server, effect.epoch, reply.has_value(), env_.clock.now()));
  changed_.notify_all();
}

// One at a time for each server. One that was begun for an earlier start of it ends by
// itself, its connection being gone, and has nothing to say any more.
Task<void> FailoverDriver::resync(Effect effect) {
  const Server* server = catalogue_->server(effect.server);
  Incarnation incarnation = server == nullptr ? 0 : server->incarnation;
  while (resyncs_.contains(effect.server)) {
    auto changed = changed_.wait();
    co_await changed;
  }
  if (replaced(effect.server, incarnation)) co_return;
  Status status;
  {
    Resync resync(env_, effect.server, catalogue_, proposer_, links_,
                  [this](const std::string& name) { return worker(name); });
    UnderWay under_way(&resyncs_, effect.server, &resync);
    status = co_await resync.run();
    const Server* target = catalogue_->server(effect.server);
    Closing closing(&closing_, effect.server);
    if (status && target != nullptr) status = co_await hand_off_promised(target->id);
    if (status) {
      wire::Command command;
      command.mutable_member_in_sync()->set_server(effect.server);
      command.mutable_member_in_sync()->set_incarnation(incarnation);
      *command.add_events() = event("in-sync", effect.pair, effect.server, effect.server + " has everything that was announced");
      auto outcome = co_await proposer_->propose(std::move(command));
      if (!outcome) status = std::unexpected(outcome.error());
    }
  }
  update_facts();
  if (replaced(effect.server, incarnation)) co_return;
  if (!status) log_warning("resync of " + effect.server + " to be tried again: " + status.error().to_string());
  perform(monitor_.caught_up(effect.server, status.has_value(), env_.clock.now()));
}

// In sync is who has everything that was acknowledged with hints, too: what came with them during
// the comparison is behind its end in the queue.
Task<Status> FailoverDriver::hand_off_promised(ServerId target) {
  const Instant end = env_.clock.now() + monitor_.settings().failure_timeout;
  while (catalogue_->hint_totals(target).sync_hints > 0) {
    if (env_.clock.now() >= end) co_return fail(Code::kUnavailable, "its hints are not handed off");
    auto pause = sleep_for(env_, kLookAgain);
    co_await pause;
  }
  co_return Status{};
}

void FailoverDriver::facts_changed() {
  update_facts();
  wake_workers();
  perform(monitor_.tick(env_.clock.now()));
}

bool FailoverDriver::replaced(const std::string& name, Incarnation incarnation) const {
  const Server* server = catalogue_->server(name);
  return server == nullptr || server->incarnation != incarnation;
}

Task<void> FailoverDriver::hand_over(Effect effect) {
  const Pair* pair = catalogue_->pair(effect.pair);
  const Server* acting = pair == nullptr ? nullptr : catalogue_->server(pair->acting);
  Status status = fail(Code::kInternal, "no acting primary");
  if (acting != nullptr) status = co_await drain_and_catch_up(effect.pair, acting->name, effect.server, effect.epoch);
  if (!status) log_warning("hand-over to " + effect.server + " put off: " + status.error().to_string());
  perform(monitor_.handed_over(effect.pair, status.has_value(), env_.clock.now()));
  changed_.notify_all();
}

Task<Status> FailoverDriver::drain_and_catch_up(std::string pair, std::string from, std::string to, Epoch epoch) {
  // Nearly caught up first: writes wait only for the last few jobs.
  const Server* target = catalogue_->server(to);
  if (target == nullptr) co_return fail(Code::kInternal, to + " is unknown");
  ServerId id = target->id;
  constexpr uint64_t kFewJobs = 64;
  Instant end = env_.clock.now() + monitor_.settings().failure_timeout;
  while (catalogue_->lag(id).jobs > kFewJobs) {
    if (env_.clock.now() >= end) co_return fail(Code::kUnavailable, "too many jobs are waiting");
    auto pause = sleep_for(env_, kLookAgain);
    co_await pause;
  }
  monitor_.draining(pair);
  wire::DrainRequest request;
  request.set_epoch(number(epoch));
  auto drained = co_await call_server<wire::DrainReply>(links_, from, wire::DRAIN, request,
                                                  monitor_.settings().failure_timeout);
  if (!drained) co_return std::unexpected(drained.error());
  end = env_.clock.now() + monitor_.settings().failure_timeout;
  while (catalogue_->lag(id).jobs > 0) {
    if (env_.clock.now() >= end || !links_->peer(to)) co_return fail(Code::kUnavailable, to + " did not catch up");
    auto pause = sleep_for(env_, kLookAgain);
    co_await pause;
  }
  co_return Status{};
}

Task<void> FailoverDriver::watch(std::string server, Incarnation incarnation, ProcessIdentity process) {
  auto died = env_.processes.died(process);
  Status proof = co_await died;
  if (!proof) co_return;  // Another machine: silence has to tell.
  const Server* known = catalogue_->server(server);
  if (known == nullptr || known->incarnation != incarnation) co_return;
  log_info(server + " is proven dead");
  perform(monitor_.died(server, incarnation, env_.clock.now()));
}

// A new start of a store proves the earlier one dead by the folder's lock, but a copy of the
// folder has a lock of its own: while the earlier one's connection lives, it is asked.
Task<Status> FailoverDriver::earlier_start_is_over(std::string server) {
  std::shared_ptr<Peer> earlier = links_->peer(server);
  if (!earlier || earlier->closed()) co_return Status{};
  wire::MemberStatRequest anything;
  anything.set_file_id(1);
  auto answer = co_await earlier->call(wire::MEMBER_STAT, anything.SerializeAsString(), {}, monitor_.settings().failure_timeout / 3);
  const Server* known = catalogue_->server(server);
  if (answer && known != nullptr) {
    co_return fail(Code::kConflict, server + ": runs already, at " + known->address +
                                        ", and this is a copy of its data folder; stop one of them, or give another --data");
  }
  if (earlier->closed() || links_->peer(server) != earlier) co_return Status{};
  co_return fail(Code::kUnavailable, server + ": its earlier start is not known to be over; it is tried again");
}

Task<Result<wire::RegisterReply>> FailoverDriver::handle_register(std::weak_ptr<Peer> connection, uint64_t connection_number,
                                                                  wire::RegisterRequest request) {
  // What a server said over a connection that it has given up may come late: it is not so any more, and to believe
  // that it holds no epoch would let another act beside it.
  auto newest = registered_.find(request.server());
  if (newest != registered_.end() && newest->second.incarnation == request.incarnation() && connection_number < newest->second.connection) {
    co_return fail(Code::kUnavailable, request.server() + " registered over a newer connection");
  }
  wire::Command command;
  *command.mutable_register_server()->mutable_request() = request;
  const Server* known = catalogue_->server(request.server());
  bool another_folder = known != nullptr && known->store_id != request.store_id() && !known->replaced;
  if (another_folder && links_->peer(request.server()) && is_alive(request.server())) {
    // A folder that was left out by mistake must not push out the one that serves.
    co_return fail(Code::kConflict, request.server() + ": such a server runs already, at " + known->address +
                                        ", with another data folder; stop that one first, or give another --name");
  }
  bool another_start = known != nullptr && known->store_id == request.store_id() && known->incarnation != request.incarnation();
  if (another_start) {
    CO_RETURN_IF_ERROR(co_await earlier_start_is_over(request.server()));
    known = catalogue_->server(request.server());
  }
  if (known == nullptr || known->incarnation != request.incarnation()) {
    *command.add_events() = event("registered", "", request.server(), request.server() + " registered from " + request.address());
  }
  bool new_incarnation = false;
  auto outcome = co_await proposer_->propose(command);
  while (outcome) {
    new_incarnation |= outcome->new_incarnation();
    // It may have been taken for failed just now, behind its registration in the log: then it
    // stands there as failed, though it is here.
    const Server* now = catalogue_->server(request.server());
    if (now == nullptr || (!now->failed && !being_failed_.contains(request.server()))) break;
    while (being_failed_.contains(request.server())) {
      auto changed = changed_.wait();
      co_await changed;
    }
    command.clear_events();
    outcome = co_await proposer_->propose(command);
  }
  if (!outcome) co_return std::unexpected(outcome.error());
  // Held across the wait, it would keep its own connection alive, whose task this is.
  std::shared_ptr<Peer> peer = connection.lock();
  if (!peer || peer->closed()) co_return fail(Code::kUnavailable, request.server() + " hung up");
  // What still waits on an older connection of this server waits in vain.
  if (auto older = links_->peer(request.server()); older && older != peer) older->close();
  leaving_.erase(request.server());
  registered_[request.server()] = {request.incarnation(), connection_number};
  links_->set({.server = request.server(), .incarnation = request.incarnation(), .peer = peer, .last_heartbeat = {}});
  update_facts();
  ReplicationWorker* carrier = worker(request.server());
  if (new_incarnation) carrier->set_compared(false);

  const Server* server = catalogue_->server(request.server());
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr) co_return fail(Code::kInternal, "registered without a pair");
  if (new_incarnation) {
    tasks_.spawn(watch(request.server(), request.incarnation(),
                       {request.machine(), request.pid(), request.pid_start_time()}));
  }
  Epoch holds = request.serving() ? Epoch{request.epoch()} : kNoEpoch;
  Effects effects = monitor_.registered(request.server(), request.incarnation(), holds, env_.clock.now());

  wire::RegisterReply reply;
  reply.set_cluster_id(catalogue_->cluster_id());
  reply.set_announced_lsn(outcome->announced_lsn());
  reply.set_heartbeat_interval_ms(milliseconds_of(monitor_.settings().heartbeat_interval));
  reply.set_failure_timeout_ms(milliseconds_of(monitor_.settings().failure_timeout));
  reply.set_pair(pair->name);
  reply.set_retain_versions(retention_.versions);
  reply.set_retain_age_ms(retention_.age.count());
  reply.set_retain_deleted_ms(retention_.deleted.count());
  if (pair->acting == server->id && holds == pair->epoch && monitor_.serving(pair->name)) {
    reply.set_acting_epoch(number(pair->epoch));
  }
  perform(std::move(effects));
  wake_workers();
  co_return reply;
}

wire::HeartbeatReply FailoverDriver::handle_heartbeat(const wire::HeartbeatRequest& request) {
  wire::HeartbeatReply reply;
  auto answer =
      monitor_.heartbeat(request.server(), request.incarnation(), Epoch{request.epoch()}, env_.clock.now());
  reply.set_register_again(answer.register_again);
  reply.set_lease_epoch(number(answer.lease_epoch));
  if (answer.lease_epoch != kNoEpoch) reply.set_lease_ms(milliseconds_of(monitor_.settings().lease()));
  if (ServerLink* link = links_->find(request.server())) link->last_heartbeat = request;
  if (answer.lease_epoch != kNoEpoch) reply.set_replicated_lsn(number(replicated(request.server(), answer.lease_epoch)));
  if (const Instant now = env_.clock.now(); now >= names_settled_at_) {
    names_settled_ = std::max(names_settled_, catalogue_->names_settled());
    names_settled_at_ = now + kNamesSettledEvery;
  }
  reply.set_names_settled(names_settled_);
  const Server* server = catalogue_->server(request.server());
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  reply.set_may_trim(!answer.register_again && pair != nullptr && pair->acting != server->id && server->in_sync &&
                     server->incarnation == request.incarnation());
  return reply;
}

Lsn FailoverDriver::replicated(const std::string& name, Epoch epoch) {
  const Server* server = catalogue_->server(name);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr || pair->epoch != epoch) return kNoLsn;
  Told& told = replicated_[name];
  const Instant now = env_.clock.now();
  if (now >= told.at + kReplicatedEvery || told.at == Instant{}) told = {now, catalogue_->replicated(*server)};
  return told.replicated;
}

bool FailoverDriver::is_alive(const std::string& server) const {
  MemberState state = monitor_.state(server);
  return state == MemberState::kAlive || state == MemberState::kReturning;
}

void FailoverDriver::move_wanted(const std::string& pair) {
  update_facts();
  perform(monitor_.move_wanted(pair, env_.clock.now()));
}

Task<void> FailoverDriver::hand_over_before_stop(std::string name, Incarnation incarnation) {
  perform(monitor_.stopping(name, incarnation, env_.clock.now()));
  for (;;) {
    const Server* server = catalogue_->server(name);
    const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
    if (pair == nullptr || server->incarnation != incarnation) co_return;
    bool acts = pair->acting == server->id;
    if (acts ? !monitor_.handing_over(pair->name) && monitor_.serving(pair->name) : monitor_.serving(pair->name)) co_return;
    auto changed = changed_.wait();
    co_await changed;
  }
}

Task<void> FailoverDriver::handle_leave(wire::LeaveRequest request) {
  if (request.hand_over()) {
    // It stops at its own time limit, whatever comes of this.
    auto moved = hand_over_before_stop(request.server(), request.incarnation());
    co_return co_await moved;
  }
  // Nothing is asked of it any more; its connection stays until it has its answer.
  if (ServerLink* link = links_->find(request.server()); link != nullptr && link->incarnation == request.incarnation()) {
    links_->drop(request.server(), link->peer.get());
  }
  leaving_.insert(request.server());
  perform(monitor_.died(request.server(), request.incarnation(), env_.clock.now()));
}

void FailoverDriver::connection_lost(const std::string& server, const Peer* peer) {
  // Proves nothing by itself: the process may be there and dial again.
  links_->drop(server, peer);
  changed_.notify_all();
}

Task<Result<wire::PromoteReply>> FailoverDriver::promote(wire::PromoteRequest request) {
  const Pair* pair = catalogue_->pair(request.pair());
  if (pair == nullptr) co_return fail(Code::kNotFound, request.pair() + ": no such pair");
  if (monitor_.serving(pair->name)) {
    co_return fail(Code::kConflict, pair->name + " has an acting primary: nothing to force");
  }
  const Server* acting = catalogue_->server(pair->acting);
  const Server* candidate = nullptr;
  for (ServerId id : {pair->home, pair->backup}) {
    const Server* server = catalogue_->server(id);
    if (server != nullptr && links_->peer(server->name) && (candidate == nullptr || server->in_sync)) candidate = server;
  }
  if (candidate == nullptr) co_return fail(Code::kUnavailable, pair->name + ": neither half is connected");
  Effects effects = monitor_.force(pair->name, candidate->name, env_.clock.now());
  if (effects.empty()) {
    co_return fail(Code::kUnavailable, pair->name + ": the last acting primary may still hold its lease; try again in a few seconds");
  }
  uint64_t maybe_lost = catalogue_->lag(candidate->id).files;
  std::string other = acting != nullptr && acting != candidate ? acting->name : "";
  std::string name = candidate->name;
  std::string pair_name = pair->name;
  co_await begin_epoch(std::move(effects.front()), true);
  const Pair* now = catalogue_->pair(pair_name);
  const Server* acts = now == nullptr ? nullptr : catalogue_->server(now->acting);
  if (acts == nullptr || acts->name != name) co_return fail(Code::kUnavailable, pair_name + ": " + name + " was not promoted");
  wire::PromoteReply reply;
  reply.set_acting_primary(name);
  reply.set_epoch(number(now->epoch));
  reply.set_files_maybe_lost(maybe_lost);
  std::string text = name + " is acting primary by force";
  if (!other.empty()) {
    text += "; what only " + other + " holds is missing until it returns: " + std::to_string(maybe_lost) +
            " files are known of, unannounced ones may be more";
  }
  reply.set_text(text);
  co_return reply;
}

const ResyncProgress* FailoverDriver::resync_progress(const std::string& server) const {
  auto at = resyncs_.find(server);
  return at == resyncs_.end() ? nullptr : &at->second->progress();
}

}  // namespace understudy
