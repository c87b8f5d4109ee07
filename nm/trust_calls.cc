#include "nm/trust_calls.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/log.h"
#include "common/base/path.h"
#include "common/env/env_util.h"
#include "common/tls/tls_net.h"
#include "nm/catalogue_db.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kTokenSizeMax = 4096;
constexpr Duration kLookEvery = 1s;
constexpr Duration kTokenLifetimeMin = 10s;
constexpr Duration kTokenLifetimeMax = std::chrono::hours(24 * 365);
constexpr size_t kTokensMax = 1000;

// Gives its turn back wherever the coroutine that has it ends.
struct Turn {
  explicit Turn(Semaphore* of) : semaphore(of) {}
  Turn(const Turn&) = delete;
  ~Turn() { semaphore->release(1); }
  Semaphore* semaphore;
};

int64_t microseconds(WallTime time) { return time.time_since_epoch().count(); }

}  // namespace

TrustCalls::TrustCalls(Env& env, TrustOptions options, TlsNet* tls, std::unique_ptr<ClusterAuthority> authority,
                       Catalogue* catalogue, Proposer* proposer)
    : env_(env), options_(std::move(options)), tls_(tls), catalogue_(catalogue), proposer_(proposer), authority_(std::move(authority)),
      token_file_(env.executor, 1), rotating_(env.executor, 1) {}

Task<Status> TrustCalls::open() { return refresh_token_file(); }

Task<void> TrustCalls::run() {
  while (true) {
    auto pause = sleep_for(env_, kLookEvery);
    co_await pause;
    if (auto renewed = authority_->renew_own(); !renewed) log_warning("renewing the name node's certificate: " + renewed.error().to_string());
    tls_->close_outdated();
    if (auto fresh = co_await refresh_token_file(); !fresh) log_warning("the join token: " + fresh.error().to_string());
  }
}

// The token in DATA/join-token always has half of its time left, and is known here.
Task<Status> TrustCalls::refresh_token_file() {
  co_await token_file_.acquire(1);
  Turn turn(&token_file_);
  std::string path = options_.folder + kJoinTokenFile;
  auto text = co_await read_small_file(env_, path, kTokenSizeMax);
  auto token = text ? parse_join_token(*text) : fail(Code::kNotFound, "none");
  bool good = token && token->authority == authority_->fingerprint() &&
              token->expires - env_.clock.wall() > options_.token_lifetime / 2 &&
              std::ranges::any_of(catalogue_->join_tokens(), [&](const JoinTokenRow& row) { return row.id == token->id; });
  if (good) co_return Status();
  CO_ASSIGN_OR_RETURN(JoinToken fresh, co_await make_token(options_.token_lifetime));
  co_return co_await replace_small_file(env_, path, join_token_text(fresh) + "\n", kSecretFileMode);
}

Task<Result<JoinToken>> TrustCalls::make_token(Duration lifetime) {
  WallTime expires = env_.clock.wall() + std::chrono::duration_cast<std::chrono::microseconds>(lifetime);
  JoinToken token = make_join_token(authority_->fingerprint(), expires);
  wire::Command command;
  auto* added = command.mutable_add_join_token();
  added->set_id(token.id);
  added->set_secret_hash(sha256(token.secret));
  added->set_expires_us(microseconds(token.expires));
  CO_RETURN_IF_ERROR(co_await proposer_->propose(std::move(command)));
  co_return token;
}

bool TrustCalls::token_holds(const wire::EnrollRequest& request) {
  Bytes hash = sha256(request.token_secret());
  return std::ranges::any_of(catalogue_->join_tokens(), [&](const JoinTokenRow& row) {
    return row.id == request.token_id() && row.expires_us > microseconds(env_.clock.wall()) && same_secret(row.secret_hash, hash);
  });
}

Task<Result<wire::EnrollReply>> TrustCalls::enroll(wire::EnrollRequest request, PeerIdentity identity) {
  const std::string& server = request.server();
  if (!is_server_name(server)) co_return fail(Code::kInvalid, printable(server) + ": a server's name is 1 to 100 letters, digits, '_', '-' or '.'");
  CO_ASSIGN_OR_RETURN(Bytes key, check_certificate_request(request.request()));
  ServerKeyRow known = catalogue_->server_key(server).value_or(ServerKeyRow{});
  bool shows_its_key = identity.may_be(PeerIdentity::Role::kStorageServer, server) && identity.secured &&
                       (known.key.empty() ? !catalogue_->server_key(server).has_value() : identity.key == known.key || identity.key == known.previous);
  bool has_token = token_holds(request);
  if (!known.key.empty() && key != known.key && !shows_its_key) {
    co_return fail(Code::kUnauthenticated,
                   fmt::format("{} has a key already, and this is another; start it with its own data folder, or give its place to "
                               "this one by REPLACE {}", server, server));
  }
  if (key != known.key && !shows_its_key && !has_token) {
    co_return fail(Code::kUnauthenticated, request.token_id().empty()
                                               ? printable(server) + " has no certificate and shows no join token; give --join-token FILE"
                                               : "the join token has expired, was revoked, or is another cluster's; the name node keeps a "
                                                 "fresh one in its data folder");
  }
  CO_ASSIGN_OR_RETURN(ClusterAuthority::Issued issued,
                      authority_->issue(request.request(), PeerIdentity::Role::kStorageServer, server));
  wire::Command command;
  auto* set = command.mutable_set_server_key();
  set->set_server(server);
  set->set_key(key);
  set->set_instead_of(known.key);
  set->set_authority(authority_->fingerprint());
  set->set_expires_us(microseconds(issued.expires));
  if (known.key != key) {
    auto* event = command.add_events();
    event->set_kind("certificate");
    event->set_server(server);
    event->set_text(server + (known.key.empty() ? " has its first certificate" : " has a certificate for a new key"));
  }
  CO_RETURN_IF_ERROR(co_await proposer_->propose(std::move(command)));
  wire::EnrollReply reply;
  for (Bytes& certificate : issued.certificates) reply.add_certificates(std::move(certificate));
  for (Bytes& certificate : authority_->believed()) reply.add_authorities(std::move(certificate));
  reply.set_trust_generation(authority_->generation());
  co_return reply;
}

Status TrustCalls::check_key(const PeerIdentity& identity) {
  auto known = catalogue_->server_key(identity.name);
  // A catalogue that was made anew knows no keys; the authority's word counts then.
  if (!known || (!known->key.empty() && (identity.key == known->key || identity.key == known->previous))) return {};
  return fail(Code::kDenied, identity.name + ": its place was taken, its certificate counts no more; start it with an empty folder and --join-token");
}

wire::AuthorityReply TrustCalls::authority() const {
  wire::AuthorityReply reply;
  for (Bytes& certificate : authority_->believed()) reply.add_authorities(std::move(certificate));
  reply.set_trust_generation(authority_->generation());
  return reply;
}

Task<Result<wire::IssueTokenReply>> TrustCalls::issue_token(wire::IssueTokenRequest request) {
  Duration lifetime = request.lifetime_ms() == 0 ? options_.token_lifetime : Duration(std::chrono::milliseconds(std::clamp<int64_t>(request.lifetime_ms(), 0, 1ll << 40)));
  if (lifetime < kTokenLifetimeMin || lifetime > kTokenLifetimeMax) co_return fail(Code::kInvalid, "a join token lasts 10 s to a year");
  if (catalogue_->join_tokens().size() >= kTokensMax) co_return fail(Code::kConflict, "1000 join tokens are out; revoke some");
  CO_ASSIGN_OR_RETURN(JoinToken token, co_await make_token(lifetime));
  wire::IssueTokenReply reply;
  reply.set_token(join_token_text(token));
  reply.set_expires_us(microseconds(token.expires));
  co_return reply;
}

wire::ListTokensReply TrustCalls::list_tokens() {
  wire::ListTokensReply reply;
  for (const JoinTokenRow& row : catalogue_->join_tokens()) {
    if (row.expires_us <= microseconds(env_.clock.wall())) continue;
    auto* entry = reply.add_tokens();
    entry->set_id(row.id);
    entry->set_expires_us(row.expires_us);
  }
  return reply;
}

Task<Result<wire::Done>> TrustCalls::revoke_token(wire::RevokeTokenRequest request) {
  wire::Command command;
  *command.mutable_request() = request.request();
  command.mutable_drop_join_token()->set_id(request.id());
  CO_RETURN_IF_ERROR(co_await proposer_->propose(std::move(command)));
  // The file's may have been it.
  CO_RETURN_IF_ERROR(co_await refresh_token_file());
  co_return wire::Done();
}

std::vector<std::string> TrustCalls::without_new_certificate() {
  std::vector<std::string> names;
  for (const auto& [id, server] : catalogue_->servers()) {
    auto key = catalogue_->server_key(server.name);
    if (!server.store_id.empty() && (!key || key->authority != authority_->fingerprint())) names.push_back(server.name);
  }
  return names;
}

Task<Result<wire::RotateAuthorityReply>> TrustCalls::rotate(wire::RotateAuthorityRequest request) {
  co_await rotating_.acquire(1);
  Turn turn(&rotating_);
  wire::RotateAuthorityReply reply;
  if (!request.finish()) {
    CO_RETURN_IF_ERROR(co_await authority_->replace());
    reply.set_text("the new authority is " + fingerprint_text(authority_->fingerprint()) +
                   "; servers take certificates by it within seconds, both count until ROTATEAUTHORITY --finish");
  } else {
    if (!authority_->replacing()) co_return fail(Code::kConflict, "no authority is being replaced");
    auto left = without_new_certificate();
    if (!left.empty() && !request.force()) {
      co_return fail(Code::kConflict, left.front() + (left.size() > 1 ? fmt::format(" and {} more have", left.size() - 1) : " has") +
                                          " no certificate by the new authority yet; start it, or give --force and let it join anew");
    }
    CO_RETURN_IF_ERROR(co_await authority_->forget_previous());
    tls_->close_outdated();
    reply.set_text("only " + fingerprint_text(authority_->fingerprint()) + " counts now; clients with the old one's file need DATA/ca.pem anew");
  }
  log_info("ROTATEAUTHORITY: " + reply.text());
  CO_RETURN_IF_ERROR(co_await refresh_token_file());
  co_return reply;
}

void TrustCalls::describe(const std::string& server, wire::MemberStatus* status) {
  auto key = catalogue_->server_key(server);
  if (!key || key->key.empty()) return;
  status->set_certificate_expires_us(key->expires_us);
  status->set_old_authority(key->authority != authority_->fingerprint());
}

}  // namespace understudy
