// What the name node is asked: who may ask, and which part answers. The parts know nothing of frames.
#include "common/base/path.h"
#include "common/wire/understudy.pb.h"
#include "nm/answers.h"
#include "nm/call_rules.h"
#include "nm/capabilities.h"
#include "nm/catalogue_db.h"
#include "nm/cluster_calls.h"
#include "nm/failover_driver.h"
#include "nm/halves_keeper.h"
#include "nm/name_node_session.h"
#include "nm/namespace_calls.h"
#include "nm/people_calls.h"
#include "nm/raft_bridge.h"
#include "nm/sync_calls.h"
#include "nm/trust_calls.h"

namespace understudy {
namespace {

constexpr uint32_t kProtocolVersion = 1;

std::string not_who_it_says(const PeerIdentity& identity, const std::string& server) {
  if (identity.role == PeerIdentity::Role::kNone) {
    return printable(server) + " shows no certificate; let it join with --join-token";
  }
  return "a server whose certificate says " + printable(identity.name) + " cannot register as " + printable(server);
}

// Without the port: whoever dials again is the same.
std::string host_of(const Address& address) { return address.substr(0, address.rfind(':')); }

}  // namespace

Status NameNode::Session::speaks_for(const std::string& name) const {
  if (server == name) return {};
  return fail(Code::kDenied, printable(name) + " is not registered on this connection");
}

Task<Result<wire::HelloReply>> NameNode::hello(wire::HelloRequest request, Session* session) {
  if (request.protocol_version() != kProtocolVersion) {
    co_return fail(Code::kInvalid, "protocol version " + std::to_string(request.protocol_version()) +
                                    " is not spoken here, only " + std::to_string(kProtocolVersion));
  }
  if (!request.cluster_id().empty() && request.cluster_id() != catalogue_->cluster_id()) {
    co_return fail(Code::kInvalid, "this is cluster " + catalogue_->cluster_id() + ", not " + request.cluster_id());
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
  if (trust_) {
    for (const Bytes& fingerprint : trust_->fingerprints()) reply.add_authorities(fingerprint);
  }
  reply.set_protocol_version(kProtocolVersion);
  reply.set_cluster_id(catalogue_->cluster_id());
  reply.set_name("nm" + std::to_string(options_.id));
  co_return reply;
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

Task<Result<wire::LoginReply>> NameNode::login(wire::LoginRequest request, Session* session) {
  if (session->role != wire::HelloRequest::CLIENT) co_return fail(Code::kDenied, "only clients log in");
  CO_ASSIGN_OR_RETURN(auto reply, co_await sessions_->login(std::move(request), host_of(session->peer->address())));
  CO_ASSIGN_OR_RETURN(session->caller, sessions_->caller(reply.token()));
  session->peer->set_caller(session->caller.user);
  co_return reply;
}

Task<Result<wire::ChangeReply>> NameNode::logout(wire::LogoutRequest request, Session* session) {
  CO_RETURN_IF_ERROR(co_await sessions_->end(session->caller, request.all()));
  session->caller = {};
  session->token_refused.reset();
  co_return wire::ChangeReply();
}

Task<Result<Reply>> NameNode::dispatch(Session* session, uint16_t type, Bytes message) {
  if (type == wire::HELLO) return with(this, &NameNode::hello, message, session);
  if (auto admitted = admit(session, type); !admitted) return refused(admitted.error());
  std::string user = session->caller.user;
  switch (type) {
    // ---- Names.
    case wire::LOCATE: return with(names_.get(), &NamespaceCalls::locate, message, user);
    case wire::CREATE_FOLDER: return with(names_.get(), &NamespaceCalls::create_folder, message, user);
    case wire::CREATE_LINK: return with(names_.get(), &NamespaceCalls::create_link, message, user);
    case wire::REMOVE: return with(names_.get(), &NamespaceCalls::remove, message, user);
    case wire::UNDELETE: return with(names_.get(), &NamespaceCalls::undelete, message, user);
    case wire::LIST_DELETED: return with(names_.get(), &NamespaceCalls::list_deleted, message, user);
    case wire::MOVE: return with(names_.get(), &NamespaceCalls::move, message, user);
    case wire::SET_ATTRIBUTES: return with(names_.get(), &NamespaceCalls::set_attributes, message, user);
    case wire::SET_DURABILITY: return with(names_.get(), &NamespaceCalls::set_durability, message, user);
    case wire::LIST_FOLDER: return with(names_.get(), &NamespaceCalls::list_folder, message, user);
    case wire::VIEW: return with(names_.get(), &NamespaceCalls::view, message, user);
    case wire::SEARCH: return with(names_.get(), &NamespaceCalls::search, message);

    // ---- The cluster.
    case wire::STATUS: return at_once(status());
    case wire::EVENTS: return with(cluster_.get(), &ClusterCalls::events, message);
    case wire::WAIT: return with(cluster_.get(), &ClusterCalls::wait, message);
    case wire::EXPLAIN: return with(cluster_.get(), &ClusterCalls::explain, message, user);
    case wire::LOCKS: return with(cluster_.get(), &ClusterCalls::locks, message, user);
    case wire::PROMOTE: return with(failover_.get(), &FailoverDriver::promote, message);
    case wire::MOVE_PRIMARY: return with(cluster_.get(), &ClusterCalls::move_primary, message, user);
    case wire::REPLACE: return with(cluster_.get(), &ClusterCalls::replace, message, user);

    // ---- People.
    case wire::LOGIN: return with(this, &NameNode::login, message, session);
    case wire::WHO_AM_I: return at_once(who_am_i(*session));
    case wire::ADD_USER: return with(people_.get(), &PeopleCalls::add_user, message, user);
    case wire::SET_PASSWORD:
      return with(people_.get(), &PeopleCalls::set_password, message, user, host_of(session->peer->address()));
    case wire::LOGOUT: return with(this, &NameNode::logout, message, session);
    case wire::REMOVE_USER: return with(people_.get(), &PeopleCalls::remove_user, message, user);
    case wire::LIST_USERS: return with(people_.get(), &PeopleCalls::list_users, message);
    case wire::SET_ACCESS: return with(people_.get(), &PeopleCalls::set_access, message, user);
    case wire::REQUEST_ACCESS: return with(people_.get(), &PeopleCalls::request_access, message, user);
    case wire::LIST_REQUESTS: return with(people_.get(), &PeopleCalls::list_requests, message, user);
    case wire::ANSWER_REQUEST: return with(people_.get(), &PeopleCalls::answer_request, message, user);
    case wire::ROTATE_KEYS: return with(this, &NameNode::rotate_keys, message, user);

    // ---- Storage servers.
    case wire::REGISTER: return with(this, &NameNode::register_server, message, session);
    case wire::HEARTBEAT: return with(this, &NameNode::heartbeat, message, session);
    case wire::ANNOUNCE: return with(this, &NameNode::announce, message, session);
    case wire::REPLICATE: return with(this, &NameNode::replicate, message, session);
    case wire::PARTNER_FETCH: return with(this, &NameNode::partner_fetch, message, session);
    case wire::REPORT_DAMAGE: return with(this, &NameNode::report_damage, message, session);
    case wire::LEAVE: return with(this, &NameNode::leave, message, session);

    case wire::ENROLL:
    case wire::AUTHORITY:
    case wire::ISSUE_TOKEN:
    case wire::LIST_TOKENS:
    case wire::REVOKE_TOKEN:
    case wire::ROTATE_AUTHORITY: return dispatch_trust(session, type, std::move(message));
    default: return refused({Code::kInvalid, "message type " + std::to_string(type) + " is not a name node's"});
  }
}

Task<Result<Reply>> NameNode::dispatch_trust(Session* session, uint16_t type, Bytes message) {
  if (!trust_) return refused({Code::kInvalid, "this cluster runs with --insecure: it has no certificates and no tokens"});
  switch (type) {
    case wire::ENROLL: return with(trust_.get(), &TrustCalls::enroll, message, session->peer->identity());
    case wire::AUTHORITY: return at_once(trust_->authority());
    case wire::ISSUE_TOKEN: return with(trust_.get(), &TrustCalls::issue_token, message);
    case wire::LIST_TOKENS: return at_once(trust_->list_tokens());
    case wire::REVOKE_TOKEN: return with(trust_.get(), &TrustCalls::revoke_token, message);
    default: return with(trust_.get(), &TrustCalls::rotate, message);
  }
}

wire::StatusReply NameNode::status() {
  auto status = cluster_->status();
  for (auto& pair : *status.mutable_pairs()) {
    const auto compared = halves_->compared(pair.pair());
    pair.set_compared_us(compared.equal_us);
    pair.set_halves_differ(compared.differ);
    for (auto& member : *pair.mutable_members()) {
      if (trust_) trust_->describe(member.server(), &member);
    }
  }
  return status;
}

wire::WhoAmIReply NameNode::who_am_i(const Session& session) {
  wire::WhoAmIReply reply;
  reply.set_user(session.caller.user);
  reply.set_administrator(catalogue_->is_administrator(session.caller.user));
  reply.set_left_ms(sessions_->left_ms(session.caller));
  return reply;
}

Task<Result<wire::ChangeReply>> NameNode::rotate_keys(wire::RotateKeysRequest request, std::string user) {
  CO_ASSIGN_OR_RETURN(auto outcome, co_await capabilities_->rotate(user, request.request()));
  wire::ChangeReply reply;
  reply.set_raft_index(outcome.raft_index());
  reply.set_count(outcome.count());
  co_return reply;
}

Task<Result<wire::RegisterReply>> NameNode::register_server(wire::RegisterRequest request, Session* session) {
  if (session->role != wire::HelloRequest::STORAGE_SERVER) co_return fail(Code::kDenied, "only storage servers register");
  const std::string server = request.server();
  const PeerIdentity& identity = session->peer->identity();
  if (!identity.may_be(PeerIdentity::Role::kStorageServer, server)) co_return fail(Code::kDenied, not_who_it_says(identity, server));
  if (trust_) CO_RETURN_IF_ERROR(trust_->check_key(identity));
  CO_ASSIGN_OR_RETURN(auto reply, co_await failover_->handle_register(session->peer, session->number, std::move(request)));
  session->server = server;
  reply.set_edit_idle_limit_ms(options_.edit_idle_limit / std::chrono::milliseconds(1));
  *reply.mutable_second_copy() = sync_->second_copy(server);
  co_await capabilities_->keep_house();
  capabilities_->hand_out(server, &reply);
  // No crowd of clients holds up a storage server.
  session->peer->leave_crowd();
  co_return reply;
}

Task<Result<wire::HeartbeatReply>> NameNode::heartbeat(wire::HeartbeatRequest request, Session* session) {
  CO_RETURN_IF_ERROR(session->speaks_for(request.server()));
  CO_RETURN_IF_ERROR(co_await raft_->barrier());
  auto reply = failover_->handle_heartbeat(request);
  *reply.mutable_second_copy() = sync_->second_copy(request.server());
  capabilities_->hand_out(request, &reply);
  if (trust_) reply.set_trust_generation(trust_->generation());
  co_return reply;
}

Task<Result<wire::AnnounceReply>> NameNode::announce(wire::AnnounceRequest request, Session* session) {
  CO_RETURN_IF_ERROR(session->speaks_for(request.server()));
  const Server* server = catalogue_->server(request.server());
  if (server == nullptr) co_return fail(Code::kNotFound, request.server() + " is not registered");
  wire::Command command;
  auto* announced = command.mutable_announced();
  announced->set_server(request.server());
  announced->set_store_id(server->store_id);
  announced->set_epoch(request.epoch());
  announced->set_from_lsn(request.from_lsn());
  announced->set_to_lsn(request.to_lsn());
  announced->mutable_items()->Swap(request.mutable_items());
  CO_ASSIGN_OR_RETURN(auto outcome, co_await propose(std::move(command)));
  failover_->wake_workers();
  wire::AnnounceReply reply;
  reply.set_announced_lsn(outcome.announced_lsn());
  co_return reply;
}

Task<Result<wire::ReplicateReply>> NameNode::replicate(wire::ReplicateRequest request, Session* session) {
  CO_RETURN_IF_ERROR(session->speaks_for(request.server()));
  co_return co_await sync_->replicate(std::move(request));
}

Task<Result<Reply>> NameNode::partner_fetch(wire::PartnerFetchRequest request, Session* session) {
  CO_RETURN_IF_ERROR(session->speaks_for(request.server()));
  co_return co_await halves_->partner_fetch(std::move(request));
}

Task<Result<Reply>> NameNode::report_damage(wire::ReportDamageRequest request, Session* session) {
  CO_RETURN_IF_ERROR(session->speaks_for(request.server()));
  co_return co_await halves_->report_damage(std::move(request));
}

Task<Result<wire::Done>> NameNode::leave(wire::LeaveRequest request, Session* session) {
  CO_RETURN_IF_ERROR(session->speaks_for(request.server()));
  co_await failover_->handle_leave(std::move(request));
  co_return wire::Done();
}

}  // namespace understudy
