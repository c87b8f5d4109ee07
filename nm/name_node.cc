#include "nm/name_node.h"

#include <algorithm>

#include "common/base/log.h"
#include "common/base/path.h"
#include "common/tls/tls_net.h"
#include "common/wire/call.h"
#include "common/wire/understudy.pb.h"
#include "nm/authority.h"
#include "nm/call_rules.h"
#include "nm/capabilities.h"
#include "nm/catalogue_db.h"
#include "nm/cluster_calls.h"
#include "nm/failover_driver.h"
#include "nm/halves_keeper.h"
#include "nm/hand_off.h"
#include "nm/hint_keeper.h"
#include "nm/hint_store.h"
#include "nm/namespace_calls.h"
#include "nm/people_calls.h"
#include "nm/raft_bridge.h"
#include "nm/rebuild.h"
#include "nm/sync_calls.h"
#include "nm/trust_calls.h"

namespace understudy {
namespace {

constexpr uint32_t kProtocolVersion = 1;
constexpr char kCatalogueFile[] = "catalogue.db";
constexpr auto kHouseworkEvery = std::chrono::milliseconds(500);

std::string hex_id(Random& random) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string id;
  for (int half = 0; half < 2; ++half) {
    uint64_t bits = random.next();
    for (int i = 0; i < 16; ++i, bits >>= 4) id += kDigits[bits & 15];
  }
  return id;
}

// On a disk that fills up deletions go on, and what storage servers did already is
// noted; what keeps pairs serving goes on to the last byte.
Reserve reserve_for(const wire::Command& command) {
  switch (command.change_case()) {
    case wire::Command::kRemoveIntent:
    case wire::Command::kRemoveDone:
    case wire::Command::kRemoveFolder:
    case wire::Command::kRemoveLink:
    case wire::Command::kPurgeNodes:
    case wire::Command::kForgetDeleted:
    case wire::Command::kUndeleteEnd:
    case wire::Command::kSetServerKey:
    case wire::Command::kDropJoinToken:
    case wire::Command::kAnnounced:
    case wire::Command::kJobsDone:
    case wire::Command::kDropHints:
    case wire::Command::kSetAccess:
    case wire::Command::kSetPassword:
    case wire::Command::kAddKeys:
    case wire::Command::kAddJobs: return Reserve::kHalf;
    case wire::Command::kRegisterServer:
    case wire::Command::kMemberFailed:
    case wire::Command::kMemberInSync:
    case wire::Command::kBeginEpoch:
    // Whoever was told "refused" must not see the file go after all.
    case wire::Command::kRemoveCancel: return Reserve::kAll;
    default: return Reserve::kKept;
  }
}

std::string not_who_it_says(const PeerIdentity& identity, const std::string& server) {
  if (identity.role == PeerIdentity::Role::kNone) {
    return printable(server) + " shows no certificate; let it join with --join-token";
  }
  return "a server whose certificate says " + printable(identity.name) + " cannot register as " + printable(server);
}

// Without the port: whoever dials again is the same.
std::string host_of(const Address& address) { return address.substr(0, address.rfind(':')); }

template <class Message>
Result<Reply> reply_with(Result<Message> message) {
  if (!message) return std::unexpected(std::move(message).error());
  return make_reply(*message);
}

}  // namespace

// One connection, of a client or of a storage server.
class NameNode::Session : public PeerHandler {
 public:
  explicit Session(NameNode* node) : node_(node) {}

  Task<Result<Reply>> handle(Peer*, uint16_t type, Bytes message, Bytes) override {
    return node_->dispatch(this, type, std::move(message));
  }

  std::shared_ptr<Peer> peer;
  bool greeted = false;
  wire::HelloRequest::Role role = wire::HelloRequest::ROLE_NONE;
  Caller caller;       // A client, once it is known.
  std::optional<Error> token_refused;  // Why not by the token that it showed.
  std::string server;  // Once registered.

 private:
  NameNode* node_;
};

NameNode::NameNode(Env& env, NameNodeOptions options)
    : env_(env), options_(std::move(options)), crowd_(env, options_.clients_max), ended_(env.executor), started_(env.executor), tasks_(env.executor) {}

NameNode::~NameNode() { drop_connections(); }

// Handlers live as long as their connection, and use all the rest.
void NameNode::drop_connections() {
  tasks_.cancel();
  links_.clear();
}

Future<Unit> NameNode::started() { return started_.future(); }

void NameNode::stop() { ended_.try_set({}); }

void NameNode::fatal(Error error) {
  log_error("the name node ends: " + error.to_string());
  ended_.try_set(std::unexpected(std::move(error)));
}

Task<Status> NameNode::run() {
  CO_RETURN_IF_ERROR(co_await open());
  auto ended = ended_.future();
  started_.try_set({});
  Status status = co_await ended;
  if (listener_) listener_->close();
  drop_connections();
  sync_.reset();
  hints_.reset();
  failover_.reset();
  if (status) {
    co_await raft_->close();
    status = catalogue_->commit();
  }
  co_return status;
}

Status NameNode::claim_folder() {
  if (options_.folder.empty()) return fail(Code::kInvalid, "--data is empty; give a folder");
  RETURN_IF_ERROR(env_.disk.make_folder(options_.folder));
  ASSIGN_OR_RETURN(auto names, env_.disk.list(options_.folder));
  auto has = [&names](std::string_view name) { return std::ranges::find(names, name) != names.end(); };
  bool ours = has(kCatalogueFile);
  if (ours && !options_.rebuild_from.empty()) {
    return fail(Code::kInvalid, options_.folder + ": has a catalogue, which a rebuilding would replace; start without "
                                                  "--rebuild-from-servers, or give an empty --data");
  }
  if (has("store")) {
    return fail(Code::kInvalid, options_.folder + ": is a storage server's folder; give another --data");
  }
  // Only what a start that was cut short, or whoever starts servers, leaves behind.
  constexpr std::string_view kLeftBehind[] = {"lock", "pid", "pid.new", "address", "address.new", "log", "audit", "stderr",
                                              "raft", "lost+found", "authority.pem", "authority.pem.new", "ca.pem", "ca.pem.new",
                                              "join-token", "join-token.new"};
  // A rebuilding that did not come to its end.
  constexpr std::string_view kRebuilding[] = {"catalogue.new", "catalogue.new-wal", "catalogue.new-shm", "rebuild.db",
                                              "rebuild.db-wal", "rebuild.db-shm"};
  auto rebuilding = [&](const std::string& name) {
    return !options_.rebuild_from.empty() && std::ranges::find(kRebuilding, name) != std::end(kRebuilding);
  };
  for (const auto& name : names) {
    if (ours || rebuilding(name) || std::ranges::find(kLeftBehind, name) != std::end(kLeftBehind)) continue;
    return fail(Code::kInvalid, options_.folder + ": has " + printable(name) + " but no " + kCatalogueFile +
                                    ": not a name node's folder; give an empty --data");
  }
  auto lock = env_.disk.lock(options_.folder + "/lock");
  if (!lock && lock.error().code == Code::kLocked) {
    return fail(Code::kLocked, options_.folder + ": another process has this folder; stop it, or give another --data");
  }
  if (!lock) return std::unexpected(lock.error());
  lock_ = *std::move(lock);
  return {};
}

Task<Status> NameNode::rebuild(const ClusterAuthority* authority) {
  Rebuild rebuild(env_, {options_.folder, options_.listen, options_.id, options_.rebuild_from, options_.rebuild_without, authority});
  CO_RETURN_IF_ERROR(co_await rebuild.run());
  // Those who came to be listed find it where it was.
  options_.listen = rebuild.address();
  co_return Status{};
}

Task<Status> NameNode::open() {
  if (!lock_) CO_RETURN_IF_ERROR(claim_folder());
  std::unique_ptr<ClusterAuthority> authority;
  if (options_.tls) {
    AuthorityOptions wanted{options_.folder, "nm" + std::to_string(options_.id), options_.certificate_lifetime};
    CO_ASSIGN_OR_RETURN(authority, co_await ClusterAuthority::open(env_, std::move(wanted), options_.tls->credentials()));
  }
  if (!options_.rebuild_from.empty()) CO_RETURN_IF_ERROR(co_await rebuild(authority.get()));
  auto on_fatal = [this](Error error) { fatal(std::move(error)); };
  auto catalogue = Catalogue::open(env_, options_.folder + "/" + kCatalogueFile, on_fatal);
  if (!catalogue) co_return std::unexpected(catalogue.error());
  catalogue_ = *std::move(catalogue);

  RaftBridgeOptions raft;
  raft.folder = options_.folder + "/raft";
  raft.id = options_.id;
  raft.database_id = catalogue_->database_id();
  raft.applied_index = catalogue_->applied_index();
  RaftBridgeHooks hooks;
  hooks.apply = [this](uint64_t index, BytesView command) { return catalogue_->apply(index, command); };
  hooks.make_durable = [this] { return catalogue_->make_durable(); };
  hooks.accepts = [this] { return catalogue_->accepts_changes(); };
  hooks.fatal = on_fatal;
  auto bridge = co_await RaftBridge::start(env_, std::move(raft), std::move(hooks));
  if (!bridge) co_return std::unexpected(bridge.error());
  raft_ = *std::move(bridge);
  CO_RETURN_IF_ERROR(co_await found_cluster());

  CO_RETURN_IF_ERROR(co_await note_longer_lease());
  const std::string me = "nm" + std::to_string(options_.id);
  auto hint_store = co_await HintStore::open(env_, options_.folder + "/hints", catalogue_->cluster_id());
  if (!hint_store) co_return std::unexpected(hint_store.error());
  hint_store_ = *std::move(hint_store);

  if (options_.tls) {
    trust_ = std::make_unique<TrustCalls>(env_, TrustOptions{options_.folder}, options_.tls, std::move(authority), catalogue_.get(), this);
    // Without a token nobody new joins for now; that is no reason not to serve.
    if (auto opened = co_await trust_->open(); !opened) log_warning("the join token: " + opened.error().to_string());
  }
  auto listener = env_.net.listen(options_.listen);
  if (!listener) co_return std::unexpected(listener.error());
  listener_ = *std::move(listener);
  address_ = listener_->local();

  sessions_ = std::make_unique<Sessions>(env_, options_.identity, catalogue_.get(), this);
  CO_RETURN_IF_ERROR(co_await sessions_->begin(options_.folder));
  capabilities_ = std::make_unique<Capabilities>(env_, options_.identity, catalogue_.get(), this, &links_);
  hand_off_ = std::make_unique<HandOff>(env_, options_.id, catalogue_.get(), this, &links_, hint_store_.get());
  failover_ = std::make_unique<FailoverDriver>(env_, options_.monitor, catalogue_.get(), this, &links_, hand_off_.get(),
                                               options_.durability.direct);
  failover_->set_resync_rate(options_.resync_bytes_per_s);
  hints_ = std::make_unique<HintKeeper>(env_, options_.durability, options_.id, catalogue_.get(), this, &links_, failover_.get(),
                                        hint_store_.get(), hand_off_.get());
  sync_ = std::make_unique<SyncCalls>(env_, options_.durability, me, catalogue_.get(), this, &links_, failover_.get(), hints_.get());
  names_ = std::make_unique<NamespaceCalls>(env_, catalogue_.get(), this, &links_, failover_.get(), capabilities_.get(),
                                            options_.retention, options_.durability.sync);
  people_ = std::make_unique<PeopleCalls>(env_, catalogue_.get(), this, &links_, failover_.get(), sessions_.get());
  halves_ = std::make_unique<HalvesKeeper>(env_, options_.compare_interval, catalogue_.get(), this, &links_, failover_.get());
  cluster_ = std::make_unique<ClusterCalls>(env_, NameNodeFacts{options_.id, address_, options_.durability}, catalogue_.get(), this, &links_,
                                            failover_.get(), names_.get());
  failover_->set_retention(options_.retention);
  failover_->begin();
  tasks_.spawn(failover_->run());
  tasks_.spawn(accept());
  if (trust_) tasks_.spawn(trust_->run());
  tasks_.spawn(halves_->run());
  tasks_.spawn(keep_house());
  tasks_.spawn(hints_->run());
  for (bool sync : {false, true}) tasks_.spawn(watch_hint_store(sync));
  log_info("name node " + std::to_string(options_.id) + " of cluster " + catalogue_->cluster_id() + " listens on " + address_);
  co_return Status{};
}

Task<Status> NameNode::found_cluster() {
  if (!catalogue_->cluster_id().empty()) co_return Status{};
  wire::Command command;
  command.mutable_init_cluster()->set_cluster_id(hex_id(env_.random));
  auto outcome = co_await propose(std::move(command));
  if (!outcome) co_return std::unexpected(outcome.error());
  co_return Status{};
}

// Whoever ran before may have given longer leases than this one will; whoever comes after has to
// know of those that this one gives.
Task<Status> NameNode::note_longer_lease() {
  using std::chrono::milliseconds;
  const auto ours = std::chrono::ceil<milliseconds>(options_.monitor.failure_timeout);
  milliseconds noted(catalogue_->failure_timeout_ms());
  // A catalogue that was rebuilt, or is older than these notes: leases of the default may live.
  if (noted.count() == 0 && !catalogue_->servers().empty()) {
    options_.monitor.earlier_timeout = MonitorSettings{}.failure_timeout;
  }
  if (noted > ours) options_.monitor.earlier_timeout = noted;
  if (noted >= ours) co_return Status{};
  wire::Command command;
  command.mutable_note_lease()->set_failure_timeout_ms(ours.count());
  auto outcome = co_await propose(std::move(command));
  if (!outcome) co_return std::unexpected(outcome.error());
  co_return Status{};
}

Task<Result<wire::CommandOutcome>> NameNode::propose(wire::Command command) {
  command.set_time_us(env_.clock.wall().time_since_epoch().count());
  auto applied = co_await raft_->propose(command.SerializeAsString(), reserve_for(command));
  if (!applied) co_return std::unexpected(applied.error());
  wire::CommandOutcome outcome;
  if (!outcome.ParseFromString(applied->result)) co_return fail(Code::kInternal, "a command without an outcome");
  if (outcome.code() != 0) co_return fail(code_from_number(outcome.code()), outcome.message());
  co_return outcome;
}

Task<void> NameNode::watch_hint_store(bool sync) {
  auto failed = hint_store_->failed(sync);
  co_await failed;
  fatal({Code::kInternal, "the hint store cannot be written any more"});
}

Task<void> NameNode::keep_house() {
  bool more = false;
  while (true) {
    if (!more) {
      auto next = sleep_for(env_, kHouseworkEvery);
      co_await next;
    }
    more = co_await names_->keep_house();
    co_await capabilities_->keep_house();
  }
}

Task<void> NameNode::accept() {
  while (true) {
    auto accepted = listener_->accept();
    auto connection = co_await accepted;
    if (!connection) {
      // Out of descriptors, say: those who hang up make room.
      log_warning("accept: " + connection.error().to_string());
      auto pause = sleep_for(env_, std::chrono::milliseconds(100));
      co_await pause;
      continue;
    }
    // Too many: those who are there go on.
    if (!crowd_.complete()) tasks_.spawn(serve(*std::move(connection)));
  }
}

Task<void> NameNode::serve(std::unique_ptr<Connection> connection) {
  Session session(this);
  session.peer = std::make_shared<Peer>(env_, std::move(connection), &session, PeerOptions{.crowd = &crowd_, .observer = observer_});
  std::shared_ptr<Peer> peer = session.peer;
  co_await peer->run();
  if (!session.server.empty()) failover_->connection_lost(session.server, peer.get());
  session.peer.reset();
  co_await peer->join_handlers();  // They use the session.
}

Result<Reply> NameNode::hello(Session* session, const wire::HelloRequest& request) {
  if (request.protocol_version() != kProtocolVersion) {
    return fail(Code::kInvalid, "protocol version " + std::to_string(request.protocol_version()) +
                                    " is not spoken here, only " + std::to_string(kProtocolVersion));
  }
  if (!request.cluster_id().empty() && request.cluster_id() != catalogue_->cluster_id()) {
    return fail(Code::kInvalid, "this is cluster " + catalogue_->cluster_id() + ", not " + request.cluster_id());
  }
  session->greeted = true;
  session->role = request.role();
  wire::HelloReply reply;
  if (request.role() == wire::HelloRequest::CLIENT && !request.token().empty()) {
    // One that does not hold is no reason to hang up: LOGIN comes next.
    if (auto caller = sessions_->caller(request.token())) {
      session->caller = *std::move(caller);
      session->peer->set_caller(session->caller.user);
      reply.set_user(session->caller.user);
      reply.set_token_left_ms(sessions_->left_ms(session->caller));
    } else {
      session->token_refused = caller.error();
    }
  }
  reply.set_protocol_version(kProtocolVersion);
  reply.set_cluster_id(catalogue_->cluster_id());
  reply.set_name("nm" + std::to_string(options_.id));
  return make_reply(reply);
}

Status NameNode::admit(Session* session, uint16_t type) {
  if (!session->greeted) return fail(Code::kInvalid, "the first message must be HELLO");
  bool is_client = session->role == wire::HelloRequest::CLIENT;
  switch (call_rule(type)) {
    case CallRule::kAnybody: return {};
    case CallRule::kServer:
      return is_client ? fail(Code::kDenied, "only storage servers may ask for that") : Status{};
    case CallRule::kUser:
    case CallRule::kAdministrator: break;
  }
  if (!is_client) return fail(Code::kDenied, "only clients may ask for that");
  if (session->caller.user.empty() && session->token_refused) return std::unexpected(*session->token_refused);
  RETURN_IF_ERROR(sessions_->check(&session->caller));
  if (call_rule(type) == CallRule::kUser || catalogue_->is_administrator(session->caller.user)) return {};
  return fail(Code::kDenied, session->caller.user + " may not do that; an administrator may");
}

Task<Result<Reply>> NameNode::login(Session* session, wire::LoginRequest request) {
  if (session->role != wire::HelloRequest::CLIENT) co_return fail(Code::kDenied, "only clients log in");
  auto reply = co_await sessions_->login(std::move(request), host_of(session->peer->address()));
  if (!reply) co_return std::unexpected(reply.error());
  auto caller = sessions_->caller(reply->token());
  if (!caller) co_return std::unexpected(caller.error());
  session->caller = *std::move(caller);
  session->peer->set_caller(session->caller.user);
  co_return make_reply(*reply);
}

// Each case parses, asks and answers; the parts behind it know nothing of frames.
Task<Result<Reply>> NameNode::dispatch(Session* session, uint16_t type, Bytes message) {
#define PARSE(Type, name)                                                \
  auto parsed_##name = parse_message<wire::Type>(message);                       \
  if (!parsed_##name) co_return std::unexpected(parsed_##name.error());  \
  auto& name = *parsed_##name

  if (type == wire::HELLO) {
    PARSE(HelloRequest, request);
    co_return hello(session, request);
  }
  CO_RETURN_IF_ERROR(admit(session, type));
  std::string user = session->caller.user;
  // Who speaks for a server has registered it here.
  auto speaks_for = [session](const std::string& server) -> Status {
    if (session->server == server) return {};
    return fail(Code::kDenied, printable(server) + " is not registered on this connection");
  };
  switch (type) {
    case wire::LOCATE: {
      PARSE(LocateRequest, request);
      co_return reply_with(co_await names_->locate(std::move(request), user));
    }
    case wire::CREATE_FOLDER: {
      PARSE(CreateFolderRequest, request);
      co_return reply_with(co_await names_->create_folder(std::move(request), user));
    }
    case wire::CREATE_LINK: {
      PARSE(CreateLinkRequest, request);
      co_return reply_with(co_await names_->create_link(std::move(request), user));
    }
    case wire::REMOVE: {
      PARSE(RemoveRequest, request);
      co_return reply_with(co_await names_->remove(std::move(request), user));
    }
    case wire::UNDELETE: {
      PARSE(UndeleteRequest, request);
      co_return reply_with(co_await names_->undelete(std::move(request), user));
    }
    case wire::LIST_DELETED: {
      PARSE(ListDeletedRequest, request);
      co_return reply_with(names_->list_deleted(request, user));
    }
    case wire::MOVE: {
      PARSE(MoveRequest, request);
      co_return reply_with(co_await names_->move(std::move(request), user));
    }
    case wire::SET_ATTRIBUTES: {
      PARSE(SetAttributesRequest, request);
      co_return reply_with(co_await names_->set_attributes(std::move(request), user));
    }
    case wire::LIST_FOLDER: {
      PARSE(ListFolderRequest, request);
      co_return reply_with(names_->list_folder(request, user));
    }
    case wire::VIEW: {
      PARSE(ViewRequest, request);
      co_return reply_with(names_->view(request, user));
    }
    case wire::SEARCH: {
      PARSE(SearchRequest, request);
      co_return reply_with(names_->search(request));
    }
    case wire::PARTNER_FETCH: {
      PARSE(PartnerFetchRequest, request);
      CO_RETURN_IF_ERROR(speaks_for(request.server()));
      co_return co_await halves_->partner_fetch(std::move(request));
    }
    case wire::REPORT_DAMAGE: {
      PARSE(ReportDamageRequest, request);
      CO_RETURN_IF_ERROR(speaks_for(request.server()));
      co_return co_await halves_->report_damage(std::move(request));
    }
    case wire::STATUS: {
      auto status = cluster_->status();
      for (auto& pair : *status.mutable_pairs()) {
        const auto compared = halves_->compared(pair.pair());
        pair.set_compared_us(compared.equal_us);
        pair.set_halves_differ(compared.differ);
        for (auto& member : *pair.mutable_members()) {
          if (trust_) trust_->describe(member.server(), &member);
        }
      }
      co_return make_reply(status);
    }
    case wire::EVENTS: {
      PARSE(EventsRequest, request);
      co_return make_reply(co_await cluster_->events(std::move(request)));
    }
    case wire::WAIT: {
      PARSE(WaitRequest, request);
      co_return reply_with(co_await cluster_->wait(std::move(request)));
    }
    case wire::EXPLAIN: {
      PARSE(ExplainRequest, request);
      co_return reply_with(co_await cluster_->explain(std::move(request), user));
    }
    case wire::LOCKS: {
      PARSE(LocksRequest, request);
      co_return reply_with(co_await cluster_->locks(std::move(request), user));
    }
    case wire::PROMOTE: {
      PARSE(PromoteRequest, request);
      co_return reply_with(co_await failover_->promote(std::move(request)));
    }
    case wire::MOVE_PRIMARY: {
      PARSE(MovePrimaryRequest, request);
      co_return reply_with(co_await cluster_->move_primary(std::move(request), user));
    }
    case wire::REPLACE: {
      PARSE(ReplaceRequest, request);
      co_return reply_with(co_await cluster_->replace(std::move(request), user));
    }
    case wire::REGISTER: {
      PARSE(RegisterRequest, request);
      if (session->role != wire::HelloRequest::STORAGE_SERVER) co_return fail(Code::kDenied, "only storage servers register");
      std::string server = request.server();
      if (!session->peer->identity().may_be(PeerIdentity::Role::kStorageServer, server)) {
        co_return fail(Code::kDenied, not_who_it_says(session->peer->identity(), server));
      }
      if (trust_) CO_RETURN_IF_ERROR(trust_->check_key(session->peer->identity()));
      auto reply = co_await failover_->handle_register(session->peer, std::move(request));
      if (reply) session->server = server;
      if (reply) reply->set_edit_idle_limit_ms(options_.edit_idle_limit / std::chrono::milliseconds(1));
      if (reply) *reply->mutable_second_copy() = sync_->second_copy(server);
      if (reply) co_await capabilities_->keep_house();
      if (reply) capabilities_->hand_out(server, &*reply);
      // No crowd of clients holds up a storage server.
      if (reply) session->peer->leave_crowd();
      co_return reply_with(std::move(reply));
    }
    case wire::HEARTBEAT: {
      PARSE(HeartbeatRequest, request);
      CO_RETURN_IF_ERROR(speaks_for(request.server()));
      CO_RETURN_IF_ERROR(co_await raft_->barrier());
      auto reply = failover_->handle_heartbeat(request);
      *reply.mutable_second_copy() = sync_->second_copy(request.server());
      capabilities_->hand_out(request, &reply);
      if (trust_) reply.set_trust_generation(trust_->generation());
      co_return make_reply(reply);
    }
    case wire::ANNOUNCE: {
      PARSE(AnnounceRequest, request);
      CO_RETURN_IF_ERROR(speaks_for(request.server()));
      wire::Command command;
      auto* announced = command.mutable_announced();
      const Server* server = catalogue_->server(request.server());
      if (server == nullptr) co_return fail(Code::kNotFound, request.server() + " is not registered");
      announced->set_server(request.server());
      announced->set_store_id(server->store_id);
      announced->set_epoch(request.epoch());
      announced->set_from_lsn(request.from_lsn());
      announced->set_to_lsn(request.to_lsn());
      announced->mutable_items()->Swap(request.mutable_items());
      auto outcome = co_await propose(std::move(command));
      if (!outcome) co_return std::unexpected(outcome.error());
      failover_->wake_workers();
      wire::AnnounceReply reply;
      reply.set_announced_lsn(outcome->announced_lsn());
      co_return make_reply(reply);
    }
    case wire::REPLICATE: {
      PARSE(ReplicateRequest, request);
      CO_RETURN_IF_ERROR(speaks_for(request.server()));
      co_return reply_with(co_await sync_->replicate(std::move(request)));
    }
    case wire::SET_DURABILITY: {
      PARSE(SetDurabilityRequest, request);
      co_return reply_with(co_await names_->set_durability(std::move(request), user));
    }
    case wire::ENROLL:
    case wire::AUTHORITY:
    case wire::ISSUE_TOKEN:
    case wire::LIST_TOKENS:
    case wire::REVOKE_TOKEN:
    case wire::ROTATE_AUTHORITY: co_return co_await dispatch_trust(session, type, std::move(message));
    case wire::LEAVE: {
      PARSE(LeaveRequest, request);
      CO_RETURN_IF_ERROR(speaks_for(request.server()));
      co_await failover_->handle_leave(std::move(request));
      co_return make_reply(wire::Done());
    }
    default: co_return co_await dispatch_people(session, type, std::move(message));
  }
}

Task<Result<Reply>> NameNode::dispatch_people(Session* session, uint16_t type, Bytes message) {
  std::string user = session->caller.user;
  switch (type) {
    case wire::LOGIN: {
      PARSE(LoginRequest, request);
      co_return co_await login(session, std::move(request));
    }
    case wire::WHO_AM_I: {
      wire::WhoAmIReply reply;
      reply.set_user(user);
      reply.set_administrator(catalogue_->is_administrator(user));
      reply.set_left_ms(sessions_->left_ms(session->caller));
      co_return make_reply(reply);
    }
    case wire::ADD_USER: {
      PARSE(AddUserRequest, request);
      co_return reply_with(co_await people_->add_user(std::move(request), user));
    }
    case wire::SET_PASSWORD: {
      PARSE(SetPasswordRequest, request);
      co_return reply_with(co_await people_->set_password(std::move(request), user, host_of(session->peer->address())));
    }
    case wire::LIST_USERS: {
      PARSE(ListUsersRequest, request);
      co_return make_reply(people_->list_users(request));
    }
    case wire::SET_ACCESS: {
      PARSE(SetAccessRequest, request);
      co_return reply_with(co_await people_->set_access(std::move(request), user));
    }
    case wire::REQUEST_ACCESS: {
      PARSE(RequestAccessRequest, request);
      co_return reply_with(co_await people_->request_access(std::move(request), user));
    }
    case wire::LIST_REQUESTS: {
      PARSE(ListRequestsRequest, request);
      co_return make_reply(people_->list_requests(request, user));
    }
    case wire::ANSWER_REQUEST: {
      PARSE(AnswerRequestRequest, request);
      co_return reply_with(co_await people_->answer_request(std::move(request), user));
    }
    case wire::ROTATE_KEYS: {
      PARSE(RotateKeysRequest, request);
      auto outcome = co_await capabilities_->rotate(user, request.request());
      if (!outcome) co_return std::unexpected(outcome.error());
      wire::ChangeReply reply;
      reply.set_raft_index(outcome->raft_index());
      reply.set_count(outcome->count());
      co_return make_reply(reply);
    }
    default: co_return fail(Code::kInvalid, "message type " + std::to_string(type) + " is not a name node's");
  }
}

Task<Result<Reply>> NameNode::dispatch_trust(Session* session, uint16_t type, Bytes message) {
  if (!trust_) co_return fail(Code::kInvalid, "this cluster runs with --insecure: it has no certificates and no tokens");
  switch (type) {
    case wire::ENROLL: {
      PARSE(EnrollRequest, request);
      co_return reply_with(co_await trust_->enroll(std::move(request), session->peer->identity()));
    }
    case wire::AUTHORITY: co_return make_reply(trust_->authority());
    case wire::ISSUE_TOKEN: {
      PARSE(IssueTokenRequest, request);
      co_return reply_with(co_await trust_->issue_token(std::move(request)));
    }
    case wire::LIST_TOKENS: co_return make_reply(trust_->list_tokens());
    case wire::REVOKE_TOKEN: {
      PARSE(RevokeTokenRequest, request);
      co_return reply_with(co_await trust_->revoke_token(std::move(request)));
    }
    default: {
      PARSE(RotateAuthorityRequest, request);
      co_return reply_with(co_await trust_->rotate(std::move(request)));
    }
  }
}
#undef PARSE

}  // namespace understudy
