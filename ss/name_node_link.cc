#include "ss/name_node_link.h"

#include <algorithm>

#include "common/base/bounded_time.h"
#include "common/base/log.h"
#include "common/wire/call.h"
#include "ss/enrollment.h"
#include "ss/second_copies.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kBackoffMin = 20ms;
constexpr Duration kBackoffMax = 500ms;
constexpr Duration kAgainMin = 100ms;
constexpr Duration kAgainMax = 2s;
constexpr Duration kConnectTimeout = 2s;
constexpr Duration kRegisterTimeout = 10s;
constexpr uint32_t kHeartbeatsInFlightMax = 8;
constexpr Duration kLookAtCertificate = 500ms;

// Another name node, or the same a little later, may answer otherwise.
bool is_passing(Code code) {
  return code == Code::kUnavailable || code == Code::kMoved || code == Code::kInternal ||
         code == Code::kStaleEpoch || code == Code::kNoSpace;
}

}  // namespace

struct NameNodeLink::Connected {
  explicit Connected(NameNodeLink* link) : link_(link) {}
  Connected(const Connected&) = delete;
  Connected& operator=(const Connected&) = delete;
  // Destroying the tasks first: they use the peer.
  ~Connected() {
    tasks.cancel();
    link_->registered_ = false;
    link_->second_copies_->set_name_node(nullptr);
    link_->heartbeats_in_flight_ = 0;
    link_->heartbeat_due_.reset();
    link_->peer_.reset();
  }
  NameNodeLink* link_;
  TaskGroup tasks{link_->state_->env.executor};
};

NameNodeLink::NameNodeLink(ServerState* state, Announcer* announcer, PeerHandler* calls,
                           SecondCopies* second_copies, Incarnation incarnation, Address address)
    : state_(state),
      announcer_(announcer),
      second_copies_(second_copies),
      calls_(calls),
      incarnation_(incarnation),
      address_(std::move(address)),
      heartbeat_interval_(1s),
      failure_timeout_(3s),
      changed_(state->env.executor),
      lease_retry_(kBackoffMin) {}

NameNodeLink::~NameNodeLink() = default;

Task<Error> NameNodeLink::run() {
  Duration backoff = kBackoffMin;
  for (size_t turn = 0;; ++turn) {
    const auto& addresses = state_->options.name_nodes;
    auto ended = co_await stay_connected(addresses[turn % addresses.size()]);
    if (!ended && !is_passing(ended.error().code)) co_return ended.error();
    if (ended) {
      backoff = kBackoffMin;  // It worked for a while.
    } else if (attempts_failed_++ == addresses.size()) {
      log_warning("no name node takes this server, trying on: " + ended.error().to_string());
    }
    co_await sleep_for(state_->env, backoff);
    backoff = std::min(backoff * 2, kBackoffMax);
  }
}

Task<Status> NameNodeLink::stay_connected(Address address) {
  lost_ = false;
  register_again_ = false;
  Connected connected(this);
  const Enrollment* enrollment = state_->options.enrollment;
  while (enrollment && enrollment->joining()) co_await sleep_for(state_->env, kBackoffMin);
  const uint64_t shown = enrollment ? enrollment->shown() : 0;
  wire::HelloRequest hello;
  hello.set_protocol_version(kProtocolVersion);
  hello.set_role(wire::HelloRequest::STORAGE_SERVER);
  hello.set_name(state_->options.name);
  hello.set_cluster_id(state_->cluster_id);
  auto connected_to = co_await state_->env.net.connect(address, kConnectTimeout);
  if (!connected_to) co_return std::unexpected(for_now(connected_to.error()));
  auto connection = *std::move(connected_to);
  if (!connection->identity().may_be(PeerIdentity::Role::kNameNode)) {
    co_return fail(Code::kUnavailable, address + ": is no name node of this cluster, by its certificate; check --nm");
  }
  peer_ = std::make_unique<Peer>(state_->env, std::move(connection), this,
                                 PeerOptions{.handled_bytes_max = ServerState::kNameNodeBytesMax, .observer = state_->observer});
  connected.tasks.spawn(peer_->run());
  auto greeted = co_await call<wire::HelloReply>(peer_.get(), wire::HELLO, hello, kConnectTimeout);
  if (!greeted) co_return std::unexpected(for_now(greeted.error()));
  Status known = co_await register_here(peer_.get());
  // Dialled while this server joined another authority, it may have shown nothing, and was nobody.
  if (!known && enrollment && enrollment->shown() != shown) co_return std::unexpected(Error{Code::kUnavailable, known.error().message});
  CO_RETURN_IF_ERROR(known);
  attempts_failed_ = 0;
  connected.tasks.spawn(send_heartbeats(peer_.get()));
  if (state_->options.enrollment) connected.tasks.spawn(keep_certificate(peer_.get()));
  // Every registration is a command in the name node's log: not too often.
  Duration again_after = kAgainMin;
  while (!lost_ && !peer_->closed()) {
    if (!registered_) {
      co_await sleep_for(state_->env, again_after);
      again_after = std::min(again_after * 2, kAgainMax);
      auto again = co_await register_here(peer_.get());
      if (!again && !is_passing(again.error().code)) co_return again;
      if (!again) break;
    }
    register_again_ = false;
    Lsn confirmed = announcer_->confirmed();
    TaskGroup announcing(state_->env.executor);
    announcing.spawn(announce(peer_.get()));
    while (!lost_ && !register_again_) {
      auto changed = changed_.wait();
      co_await changed;
    }
    registered_ = false;
    second_copies_->set_name_node(nullptr);
    if (announcer_->confirmed() > confirmed) again_after = kAgainMin;
  }
  co_return Status{};
}

// A server that was taken once does not end because a stranger answers at its name node's address.
Error NameNodeLink::for_now(const Error& error) const {
  bool stranger = error.code == Code::kUnauthenticated || error.code == Code::kInvalid;
  return ever_registered_ && stranger ? Error{Code::kUnavailable, error.message} : error;
}

wire::RegisterRequest NameNodeLink::registration() {
  auto& fence = state_->fence;
  // A drain that was cut short: whoever hears "not serving" may let the other half
  // serve, so the lease is given back before it is said.
  if (fence.draining()) {
    fence.end_drain(fence.serving());
    state_->epoch_ended();
  }
  auto self = state_->env.processes.self();
  wire::RegisterRequest request;
  request.set_server(state_->options.name);
  request.set_backup_of(state_->options.backup_of);
  request.set_store_id(state_->store->store_id());
  request.set_incarnation(incarnation_);
  request.set_address(address_);
  request.set_machine(self.machine);
  request.set_pid(self.pid);
  request.set_pid_start_time(self.start_time);
  request.set_log_end_lsn(number(state_->store->durable_lsn()));
  request.set_epoch(number(fence.last_served()));
  request.set_damaged(state_->store->damaged_at_start());
  request.set_epoch_seen(number(fence.greatest_seen()));
  request.set_serving(fence.serving() != kNoEpoch);
  request.set_empty(state_->store->empty());
  request.set_cluster_id(state_->cluster_id);
  return request;
}

Task<Status> NameNodeLink::register_here(Peer* peer) {
  auto request = registration();
  Instant asked = state_->env.clock.now();
  CO_ASSIGN_OR_RETURN(
      auto reply, co_await call<wire::RegisterReply>(peer, wire::REGISTER, request, kRegisterTimeout));
  if (!state_->cluster_id.empty() && state_->cluster_id != reply.cluster_id()) {
    co_return fail(Code::kConflict, "the data folder " + state_->options.folder +
                                        " belongs to another cluster (" + state_->cluster_id +
                                        "); give another --data or --nm");
  }
  if (state_->cluster_id.empty()) {
    CO_RETURN_IF_ERROR(co_await state_->store->set_identity(reply.cluster_id(), state_->options.name));
    state_->cluster_id = reply.cluster_id();
  }
  using std::chrono::milliseconds;
  if (reply.heartbeat_interval_ms() > 0) heartbeat_interval_ = bounded_ms(reply.heartbeat_interval_ms());
  if (reply.failure_timeout_ms() > 0) failure_timeout_ = bounded_ms(reply.failure_timeout_ms());
  if (reply.edit_idle_limit_ms() > 0) state_->edits.set_idle_limit(bounded_ms(reply.edit_idle_limit_ms()));
  state_->pair = reply.pair();
  second_copies_->learn(reply.second_copy());
  state_->guard.set_keys(reply.capability_keys());
  state_->guard.learn_time(reply.server_time_us(), asked);
  state_->guard.registered(reply.server_time_us());
  Retention retention;
  retention.versions = reply.retain_versions();
  retention.age = bounded_ms(reply.retain_age_ms());
  retention.deleted = bounded_ms(reply.retain_deleted_ms());
  state_->store->set_retention(retention);
  announcer_->go_on_behind(Lsn{reply.announced_lsn()});
  registered_ = true;
  second_copies_->set_name_node(peer);
  state_->sync_writes->wake();
  ever_registered_ = true;
  log_info("registered " + state_->options.name + " of pair " + reply.pair() + " at " + peer->address());
  co_return Status{};
}

Task<void> NameNodeLink::announce(Peer* peer) {
  co_await announcer_->run(peer, std::max<Duration>(failure_timeout_, 5s));
  wake(/*lost=*/false);
}

Task<Result<Reply>> NameNodeLink::handle(Peer* peer, uint16_t type, Bytes message, Bytes body) {
  return calls_->handle(peer, type, std::move(message), std::move(body));
}

void NameNodeLink::closed(Peer*) { wake(/*lost=*/true); }

void NameNodeLink::wake(bool lost) {
  if (lost) lost_ = true;
  else register_again_ = true;
  changed_.notify_all();
}

void NameNodeLink::heartbeat_soon() {
  if (heartbeat_due_) heartbeat_due_->try_set({});
}

Task<void> NameNodeLink::send_heartbeats(Peer* peer) {
  TaskGroup in_flight(state_->env.executor);
  while (!lost_) {
    Instant next = state_->env.clock.now() + heartbeat_interval_;
    // Sent on time also while earlier ones wait for their answers.
    if (heartbeats_in_flight_ < kHeartbeatsInFlightMax) in_flight.spawn(heartbeat(peer));
    Promise<Unit> due(state_->env.executor);
    heartbeat_due_ = due;
    auto timer = state_->env.clock.schedule(next, [due] { due.try_set({}); });
    co_await due.future();
    state_->env.clock.cancel(timer);
  }
}

Task<void> NameNodeLink::keep_certificate(Peer* peer) {
  while (!lost_) {
    co_await state_->options.enrollment->renew_if_due(peer);
    state_->options.enrollment->close_outdated();
    co_await sleep_for(state_->env, kLookAtCertificate);
  }
}

wire::HeartbeatRequest NameNodeLink::heartbeat_request() const {
  wire::HeartbeatRequest request;
  request.set_server(state_->options.name);
  request.set_incarnation(incarnation_);
  request.set_epoch(number(state_->fence.last_served()));
  request.set_log_end_lsn(number(state_->store->durable_lsn()));
  request.set_files(state_->store->file_count());
  request.set_bytes(state_->store->byte_count());
  request.set_divergent(state_->store->divergent_count());
  request.set_capability_key(state_->guard.newest_key());
  *request.mutable_space() = state_->store->space();
  *request.mutable_scrub() = state_->store->scrub_status();
  if (auto space = state_->env.disk.space(state_->options.folder)) {
    request.set_disk_free_bytes(space->free_bytes);
  }
  return request;
}

Task<void> NameNodeLink::heartbeat(Peer* peer) {
  ++heartbeats_in_flight_;
  auto request = heartbeat_request();
  Instant sent = state_->env.clock.now();
  auto reply = co_await call<wire::HeartbeatReply>(peer, wire::HEARTBEAT, request, failure_timeout_);
  --heartbeats_in_flight_;
  if (!reply) {
    log_info("the name node does not answer heartbeats, connecting anew: " + reply.error().to_string());
    wake(/*lost=*/true);
    co_return;
  }
  if (reply->register_again()) {
    wake(/*lost=*/false);
    co_return;
  }
  second_copies_->learn(reply->second_copy());
  if (!reply->capability_keys().empty()) state_->guard.set_keys(reply->capability_keys());
  state_->guard.learn_time(reply->name_node_time_us(), sent);
  if (state_->options.enrollment) state_->options.enrollment->heard(reply->trust_generation());
  // Not told: the other half may lack any of it.
  const Lsn announced = announcer_->confirmed();
  const bool acting = reply->lease_epoch() != 0;
  state_->store->may_trim(acting ? Lsn{reply->replicated_lsn()} : reply->may_trim() ? Lsn{UINT64_MAX} : kNoLsn, announced);
  state_->store->names_settled(reply->names_settled());
  auto& fence = state_->fence;
  fence.grant(Epoch{reply->lease_epoch()}, sent + bounded_ms(reply->lease_ms()));
  if (reply->lease_epoch() != 0 || fence.serving() == kNoEpoch || fence.lease_live(state_->env.clock.now())) {
    lease_retry_ = kBackoffMin;
    co_return;
  }
  // Serving without a lease: this heartbeat may just have overtaken the answer to
  // SERVE. Ask again soon rather than refuse changes for a whole interval.
  if (lease_retry_ < heartbeat_interval_) {
    co_await sleep_for(state_->env, lease_retry_);
    lease_retry_ *= 2;
    heartbeat_soon();
  }
}

Task<Result<Reply>> NameNodeLink::ask(uint16_t type, Bytes message, Duration timeout) {
  if (!peer_ || !registered_) co_return fail(Code::kUnavailable, "not connected to a name node");
  auto asking = peer_->call(type, std::move(message), {}, timeout);
  co_return co_await asking;
}

Task<Status> NameNodeLink::leave() { return say_goodbye(false, 2s); }

Task<Status> NameNodeLink::ask_for_hand_over(Duration limit) { return say_goodbye(true, limit); }

Task<Status> NameNodeLink::say_goodbye(bool hand_over, Duration limit) {
  if (!peer_ || !registered_) co_return fail(Code::kUnavailable, "not connected to a name node");
  wire::LeaveRequest request;
  request.set_server(state_->options.name);
  request.set_incarnation(incarnation_);
  request.set_hand_over(hand_over);
  auto done = co_await call<wire::Done>(peer_.get(), wire::LEAVE, request, limit);
  if (!done) co_return std::unexpected(done.error());
  co_return Status{};
}

}  // namespace understudy
