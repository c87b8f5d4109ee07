#include "ss/partner_link.h"

#include "common/base/log.h"
#include "common/base/path.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kConnectTimeout = 1s;
constexpr Duration kAgainAfter = 1s;

}  // namespace

Task<void> PartnerLink::run(std::shared_ptr<Peer> peer) { co_await peer->run(); }

Task<Result<std::shared_ptr<Peer>>> PartnerLink::connected(wire::Endpoint other) {
  struct Turn {
    Semaphore* semaphore;
    ~Turn() { semaphore->release(1); }
  };
  if (peer_ && !peer_->closed() && address_ == other.address()) co_return peer_;
  co_await connecting_.acquire(1);
  Turn turn{&connecting_};
  if (peer_ && !peer_->closed() && address_ == other.address()) co_return peer_;
  if (address_ == other.address() && state_->env.clock.now() < not_before_) co_return fail(Code::kUnavailable, why_);
  const Address address = other.address();
  const std::string name = other.server();
  auto connected = co_await connect(std::move(other));
  address_ = address;
  if (!connected) {
    why_ = state_->options.name + " cannot reach " + name + " at " + address + ": " + connected.error().message;
    log_warning(why_);
    not_before_ = state_->env.clock.now() + kAgainAfter;
    co_return fail(Code::kUnavailable, why_);
  }
  log_info("connected to " + name + " at " + address);
  co_return peer_;
}

Task<Status> PartnerLink::connect(wire::Endpoint other) {
  if (peer_) peer_->close();
  if (other.address().empty()) co_return fail(Code::kUnavailable, "its address is not known");
  CO_ASSIGN_OR_RETURN(auto connection, co_await state_->env.net.connect(other.address(), kConnectTimeout));
  if (!connection->identity().may_be(PeerIdentity::Role::kStorageServer, other.server())) {
    co_return fail(Code::kUnavailable, "another server answers there");
  }
  auto peer = std::make_shared<Peer>(state_->env, std::move(connection), nullptr);
  tasks_.spawn(run(peer));
  wire::HelloRequest hello;
  hello.set_protocol_version(kProtocolVersion);
  hello.set_role(wire::HelloRequest::STORAGE_SERVER);
  hello.set_name(state_->options.name);
  hello.set_cluster_id(state_->cluster_id);
  auto greeted = co_await understudy::call<wire::HelloReply>(peer.get(), wire::HELLO, hello, kConnectTimeout);
  if (!greeted) {
    peer->close();
    co_return std::unexpected(greeted.error());
  }
  if (greeted->name() != other.server()) {
    peer->close();
    co_return fail(Code::kUnavailable, printable(greeted->name()) + " answers there");
  }
  peer_ = std::move(peer);
  co_return Status{};
}

Status check_partner(const ServerState& state, const Peer& peer, const std::string& name) {
  if (state.partner.empty() || name != state.partner) {
    return fail(Code::kDenied, printable(name) + " is not the other half of this server's pair");
  }
  if (!peer.identity().may_be(PeerIdentity::Role::kStorageServer, name)) {
    return fail(Code::kDenied, printable(name) + " has not proven to be that server");
  }
  return {};
}

}  // namespace understudy
