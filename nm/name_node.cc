#include "nm/name_node.h"

#include <algorithm>

#include "common/base/log.h"
#include "common/base/path.h"
#include "common/tls/tls_net.h"
#include "common/wire/understudy.pb.h"
#include "nm/authority.h"
#include "nm/capabilities.h"
#include "nm/catalogue_db.h"
#include "nm/cluster_calls.h"
#include "nm/failover_driver.h"
#include "nm/halves_keeper.h"
#include "nm/hand_off.h"
#include "nm/hint_keeper.h"
#include "nm/hint_store.h"
#include "nm/name_node_session.h"
#include "nm/namespace_calls.h"
#include "nm/people_calls.h"
#include "nm/raft_bridge.h"
#include "nm/rebuild.h"
#include "nm/sync_calls.h"
#include "nm/trust_calls.h"

namespace understudy {
namespace {

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
    case wire::Command::kEndSession:
    case wire::Command::kRemoveUser:
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

}  // namespace

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
  co_await peer->join_handlers();  // They use the session, and its peer.
  session.peer.reset();
}

}  // namespace understudy
