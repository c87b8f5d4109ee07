#include "nm/rebuild.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/log.h"
#include "common/base/path.h"
#include "common/env/env_util.h"
#include "common/wire/call.h"
#include "nm/authority.h"
#include "nm/raft_bridge.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

constexpr uint32_t kPage = 1000;
constexpr char kNewCatalogue[] = "catalogue.new";
constexpr char kScratch[] = "rebuild.db";
constexpr int64_t kHeartbeatMs = 1000;
constexpr auto kTokenLifetime = std::chrono::hours(24);

}  // namespace

class Rebuild::Session : public PeerHandler {
 public:
  explicit Session(Rebuild* rebuild) : rebuild_(rebuild) {}

  Task<Result<Reply>> handle(Peer*, uint16_t type, Bytes message, Bytes) override {
    switch (type) {
      case wire::HELLO: {
        wire::HelloReply reply;
        reply.set_protocol_version(1);
        reply.set_cluster_id(rebuild_->catalogue_->cluster_id());
        reply.set_name("nm" + std::to_string(rebuild_->options_.id));
        co_return make_reply(reply);
      }
      case wire::REGISTER: {
        CO_ASSIGN_OR_RETURN(auto request, parse_message<wire::RegisterRequest>(message));
        if (!peer->identity().may_be(PeerIdentity::Role::kStorageServer, request.server())) {
          co_return fail(Code::kDenied, printable(request.server()) + ": its certificate does not say so; let it join with --join-token");
        }
        co_return rebuild_->register_server(this, request);
      }
      case wire::ENROLL: {
        CO_ASSIGN_OR_RETURN(auto request, parse_message<wire::EnrollRequest>(message));
        co_return rebuild_->enroll(request);
      }
      // Nobody serves before the name node itself says who.
      case wire::HEARTBEAT: co_return make_reply(wire::HeartbeatReply());
      default:
        co_return fail(Code::kUnavailable, "the name node's catalogue is being rebuilt from its storage servers; waiting for " +
                                               rebuild_->waiting_for());
    }
  }

  std::shared_ptr<Peer> peer;

 private:
  Rebuild* rebuild_;
};

Rebuild::Rebuild(Env& env, RebuildOptions options)
    : env_(env), options_(std::move(options)), changed_(env.executor), crowd_(env, 8000), tasks_(env.executor) {}

Rebuild::~Rebuild() { tasks_.cancel(); }

std::string Rebuild::waiting_for() const {
  std::string names;
  for (const auto& name : options_.servers) {
    if (!listed_.contains(name)) names += (names.empty() ? "" : ", ") + name;
  }
  return names.empty() ? "the disk" : names;
}

// What an earlier rebuilding left that did not come to its end.
Task<Status> Rebuild::clear_folder() {
  const std::string raft = options_.folder + "/raft";
  std::vector<std::string> paths;
  for (const char* name : {kNewCatalogue, kScratch}) {
    for (const char* part : {"", "-wal", "-shm", "-journal"}) paths.push_back(options_.folder + "/" + name + part);
  }
  if (auto segments = env_.disk.list(raft + "/log")) {
    for (const auto& name : *segments) paths.push_back(raft + "/log/" + name);
  }
  for (const char* name : {"/log", "/term", "/snapshot", "/term.new", "/snapshot.new", ""}) paths.push_back(raft + name);
  for (const auto& path : paths) {
    auto removed = env_.disk.remove(path);
    if (!removed && removed.error().code != Code::kNotFound) co_return removed;
  }
  co_return env_.disk.sync_folder(options_.folder);
}

Task<Status> Rebuild::run() {
  CO_RETURN_IF_ERROR(co_await clear_folder());
  const std::string path = options_.folder + "/" + kNewCatalogue;
  CO_ASSIGN_OR_RETURN(catalogue_, CatalogueRebuild::begin(env_, path, options_.folder + "/" + kScratch));
  for (const auto& name : options_.without) CO_RETURN_IF_ERROR(catalogue_->add_absent(name));
  CO_ASSIGN_OR_RETURN(listener_, env_.net.listen(options_.listen));
  address_ = listener_->local();
  if (options_.authority) CO_RETURN_IF_ERROR(co_await hand_out_token());
  log_info("rebuilding the catalogue at " + address_ + "; waiting for " + waiting_for());
  tasks_.spawn(accept());
  while (failure_ && std::ranges::any_of(options_.servers, [this](auto& name) { return !listed_.contains(name); })) {
    auto changed = changed_.wait();
    co_await changed;
  }
  CO_RETURN_IF_ERROR(failure_);
  CO_ASSIGN_OR_RETURN(auto summary, co_await catalogue_->finish(env_.clock.wall().time_since_epoch().count()));
  // The log's beginning first: the catalogue's name makes the folder a name node's.
  RaftBridgeOptions raft;
  raft.folder = options_.folder + "/raft";
  raft.id = options_.id;
  raft.database_id = summary.database_id;
  raft.applied_index = summary.index;
  CO_RETURN_IF_ERROR(co_await RaftBridge::begin_behind(env_, raft));
  catalogue_.reset();  // Closes the databases.
  listener_->close();
  tasks_.cancel();
  for (const char* part : {"", "-wal", "-shm", "-journal"}) (void)env_.disk.remove(options_.folder + "/" + kScratch + part);
  for (const char* part : {"-wal", "-shm"}) (void)env_.disk.remove(path + part);
  CO_RETURN_IF_ERROR(env_.disk.rename(path, options_.folder + "/catalogue.db"));
  CO_RETURN_IF_ERROR(env_.disk.sync_folder(options_.folder));
  log_info("the catalogue is rebuilt: " + summary.to_string());
  co_return Status{};
}

Task<void> Rebuild::accept() {
  while (true) {
    auto accepted = listener_->accept();
    auto connection = co_await accepted;
    if (!connection) {
      auto pause = sleep_for(env_, std::chrono::milliseconds(100));
      co_await pause;
      continue;
    }
    if (!crowd_.complete()) tasks_.spawn(serve(*std::move(connection)));
  }
}

Task<void> Rebuild::serve(std::unique_ptr<Connection> connection) {
  Session session(this);
  session.peer = std::make_shared<Peer>(env_, std::move(connection), &session, PeerOptions{.crowd = &crowd_});
  std::shared_ptr<Peer> peer = session.peer;
  co_await peer->run();
  session.peer.reset();
  co_await peer->join_handlers();
}

// With the catalogue went the tokens that it knew; the authority may be new too.
Task<Status> Rebuild::hand_out_token() {
  token_ = make_join_token(options_.authority->fingerprint(), env_.clock.wall() + kTokenLifetime);
  co_return co_await replace_small_file(env_, options_.folder + kJoinTokenFile, join_token_text(*token_) + "\n", kSecretFileMode);
}

Result<Reply> Rebuild::enroll(const wire::EnrollRequest& request) const {
  if (!token_ || request.token_id() != token_->id || !same_secret(request.token_secret(), token_->secret)) {
    return fail(Code::kUnauthenticated, "a storage server joins a rebuilding with the join token that it wrote: --join-token");
  }
  ASSIGN_OR_RETURN(auto issued, options_.authority->issue(request.request(), PeerIdentity::Role::kStorageServer, request.server()));
  wire::EnrollReply reply;
  for (Bytes& certificate : issued.certificates) reply.add_certificates(std::move(certificate));
  for (Bytes& certificate : options_.authority->believed()) reply.add_authorities(std::move(certificate));
  reply.set_trust_generation(options_.authority->generation());
  return make_reply(reply);
}

Result<Reply> Rebuild::register_server(Session* session, const wire::RegisterRequest& request) {
  const std::string& name = request.server();
  if (std::ranges::find(options_.servers, name) == options_.servers.end()) {
    return fail(Code::kUnavailable, "the catalogue is being rebuilt, and " + printable(name) +
                                        " is not named in --rebuild-from-servers: name it there, or wait");
  }
  RETURN_IF_ERROR(catalogue_->add_server(request));
  wire::RegisterReply reply;
  reply.set_cluster_id(request.cluster_id());
  reply.set_announced_lsn(request.log_end_lsn());
  reply.set_heartbeat_interval_ms(kHeartbeatMs);
  if (session->peer && !listed_.contains(name) && being_listed_.insert(name).second) {
    tasks_.spawn(list(session->peer, name));
  }
  return make_reply(reply);
}

Task<void> Rebuild::list(std::shared_ptr<Peer> peer, std::string server) {
  struct Ended {
    std::set<std::string>* under_way;
    std::string server;
    ~Ended() { under_way->erase(server); }
  } ended{&being_listed_, server};
  wire::ListObjectsRequest request;
  request.set_limit(kPage);
  uint64_t objects = 0;
  while (true) {
    auto page = co_await call<wire::ListObjectsReply>(peer.get(), wire::LIST_OBJECTS, request, kServerCallTimeout);
    if (!page) {
      // It registers again, and is listed from the start.
      log_warning(server + " was not listed to its end: " + page.error().to_string());
      co_return;
    }
    objects += static_cast<uint64_t>(page->objects_size());
    if (auto added = catalogue_->add_objects(server, *page); !added) {
      failure_ = added;
      break;
    }
    if (!page->more()) {
      listed_.insert(server);
      log_info(fmt::format("{} told of {} names; waiting for {}", server, objects, waiting_for()));
      break;
    }
    request.set_after(page->next_after());
  }
  changed_.notify_all();
}

}  // namespace understudy
