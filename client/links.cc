#include "client/links.h"

#include <algorithm>

#include "common/wire/call.h"
#include "common/wire/understudy.pb.h"

namespace understudy::client {
namespace {

constexpr Duration kDialTimeout = std::chrono::seconds(2);
constexpr uint32_t kProtocolVersion = 1;

}  // namespace

struct Links::Link {
  Link(Env& env, Address address) : address(std::move(address)), changed(env.executor) {}
  Address address;
  std::shared_ptr<Peer> peer;
  bool dialling = false;
  Error refused{Code::kUnavailable, "not dialled"};
  Notifier changed;
};

Links::Links(Env& env, std::string user, std::vector<Address> name_nodes)
    : env_(env), user_(std::move(user)), name_nodes_(std::move(name_nodes)), tasks_(env.executor) {}

Links::~Links() = default;

Task<void> Links::run_peer(std::shared_ptr<Link> link, std::shared_ptr<Peer> peer) {
  auto running = peer->run();
  co_await running;
  link->changed.notify_all();
}

Task<void> Links::lost(Address address) {
  auto known = links_.find(address);
  if (known == links_.end()) co_return;
  std::shared_ptr<Link> link = known->second;
  std::shared_ptr<Peer> peer = link->peer;
  while (peer && !peer->closed()) {
    auto changed = link->changed.wait();
    co_await changed;
  }
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
    auto peer = std::make_shared<Peer>(env_, *std::move(connection), nullptr);
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

Task<CallOutcome> Links::call(Address address, uint16_t type, Bytes message, Bytes body, Duration timeout) {
  auto connecting = connected(std::move(address));
  auto peer = co_await connecting;
  if (!peer) co_return CallOutcome{std::unexpected(std::move(peer).error()), false};
  auto waiting = (*peer)->call(type, std::move(message), std::move(body), timeout);
  auto reply = co_await waiting;
  co_return CallOutcome{std::move(reply), true};
}

}  // namespace understudy::client
