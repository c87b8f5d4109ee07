#include "client/links.h"

#include <algorithm>
#include <set>

#include "common/base/path.h"
#include "common/wire/call.h"
#include "common/wire/understudy.pb.h"

namespace understudy::client {
namespace {

constexpr Duration kDialTimeout = std::chrono::seconds(2);
constexpr uint32_t kProtocolVersion = 1;
constexpr size_t kSessionsOverMax = 10'000;

}  // namespace

struct Links::Link {
  Link(Env& env, Address address) : address(std::move(address)), changed(env.executor) {}
  Address address;
  std::shared_ptr<Peer> peer;
  bool dialling = false;
  Error refused{Code::kUnavailable, "not dialled"};
  Notifier changed;
  std::set<uint64_t> sessions_over;  // As its server told over this connection.
};

Links::Links(Env& env, std::string user, std::vector<Address> name_nodes)
    : env_(env), user_(std::move(user)), name_nodes_(std::move(name_nodes)), tasks_(env.executor) {}

Links::~Links() = default;

Task<void> Links::run_peer(std::shared_ptr<Link> link, std::shared_ptr<Peer> peer) {
  auto running = peer->run();
  co_await running;
  link->changed.notify_all();
}

Task<Result<Reply>> Links::handle(Peer* peer, uint16_t type, Bytes message, Bytes) {
  if (type == wire::PING) co_return make_reply(wire::Done());
  if (type != wire::EDIT_LOST) co_return fail(Code::kInvalid, "nothing of that kind is asked of a client");
  CO_ASSIGN_OR_RETURN(auto told, parse_message<wire::EditLostRequest>(message));
  for (auto& [address, link] : links_) {
    if (link->peer.get() != peer) continue;
    if (link->sessions_over.size() < kSessionsOverMax) link->sessions_over.insert(told.session());
    link->changed.notify_all();
  }
  co_return make_reply(wire::Done());
}

Task<bool> Links::lost(Address address, uint64_t session) {
  auto known = links_.find(address);
  if (known == links_.end()) co_return false;
  std::shared_ptr<Link> link = known->second;
  std::shared_ptr<Peer> peer = link->peer;
  while (peer && !peer->closed()) {
    if (link->sessions_over.contains(session)) co_return true;
    auto changed = link->changed.wait();
    co_await changed;
  }
  co_return false;
}

Task<void> Links::dial(std::shared_ptr<Link> link) {
  auto connecting = env_.net.connect(link->address, kDialTimeout);
  auto connection = co_await connecting;
  bool name_node = std::ranges::find(name_nodes_, link->address) != name_nodes_.end();
  auto role = name_node ? PeerIdentity::Role::kNameNode : PeerIdentity::Role::kStorageServer;
  if (!connection) {
    link->refused = std::move(connection).error();
  } else if (!(*connection)->identity().may_be(role)) {
    link->refused = {Code::kUnavailable, link->address + ": is no " + (name_node ? "name node" : "storage server") +
                                             " of this cluster, by its certificate"};
  } else {
    auto peer = std::make_shared<Peer>(env_, *std::move(connection), static_cast<PeerHandler*>(this));
    link->sessions_over.clear();
    tasks_.spawn(run_peer(link, peer));
    wire::HelloRequest hello;
    hello.set_protocol_version(kProtocolVersion);
    hello.set_role(wire::HelloRequest::CLIENT);
    hello.set_name(user_);
    if (name_node) hello.set_token(token_);
    auto greeting = understudy::call<wire::HelloReply>(peer.get(), wire::HELLO, hello, kDialTimeout);
    auto greeted = co_await greeting;
    if (greeted) {
      link->peer = std::move(peer);
      const auto& told = greeted->authorities();
      if (name_node && on_authorities_ && !told.empty()) on_authorities_({told.begin(), told.end()});
    } else {
      link->refused = std::move(greeted).error();
      peer->close();
    }
  }
  link->dialling = false;
  link->changed.notify_all();
}

Task<Result<std::shared_ptr<Peer>>> Links::connected(Address address) {
  auto& known = links_[address];
  if (!known) known = std::make_shared<Link>(env_, address);
  std::shared_ptr<Link> link = known;
  if (link->peer && !link->peer->closed()) co_return link->peer;
  if (!link->dialling) {
    link->peer.reset();
    link->dialling = true;
    tasks_.spawn(dial(link));
  }
  while (link->dialling) {
    auto changed = link->changed.wait();
    co_await changed;
  }
  if (link->peer) co_return link->peer;
  co_return std::unexpected(link->refused);
}

void Links::hang_up(const Address& address) {
  auto link = links_.find(address);
  if (link != links_.end() && link->second->peer) link->second->peer->close();
}

Task<CallOutcome> Links::call(Address address, std::string server, uint16_t type, Bytes message, Bytes body, Duration timeout) {
  auto connecting = connected(address);
  auto peer = co_await connecting;
  if (!peer) co_return CallOutcome{std::unexpected(std::move(peer).error()), false};
  const PeerIdentity& identity = (*peer)->identity();
  if (!server.empty() && !identity.may_be(PeerIdentity::Role::kStorageServer, server)) {
    Error other{Code::kUnavailable, address + ": is not " + printable(server) + " but " + printable(identity.name) + ", by its certificate"};
    (*peer)->close();  // Whoever comes back there is looked at again.
    co_return CallOutcome{std::unexpected(std::move(other)), false};
  }
  auto waiting = (*peer)->call(type, std::move(message), std::move(body), timeout);
  auto reply = co_await waiting;
  co_return CallOutcome{std::move(reply), true};
}

}  // namespace understudy::client
