#include "ss/enrollment.h"

#include <algorithm>

#include "common/base/coding.h"
#include "common/base/log.h"
#include "common/env/env_util.h"
#include "common/tls/certificates.h"
#include "common/tls/tls_net.h"
#include "common/wire/call.h"
#include "common/wire/trust.pb.h"
#include "ss/server_state.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr char kFile[] = "/server.pem";
constexpr uint32_t kSecretMode = 0600;
constexpr uint32_t kFileSizeMax = 64 << 10;
constexpr uint32_t kTokenSizeMax = 4096;
constexpr Duration kTimeout = 5s;
constexpr Duration kBackoffMin = 50ms;
constexpr Duration kBackoffMax = 1s;
constexpr Duration kAgainAfter = 10s;

Task<void> run_peer(std::shared_ptr<Peer> peer) { co_await peer->run(); }

}  // namespace

Enrollment::Enrollment(Env& env, EnrollmentOptions options, TlsNet* tls) : env_(env), options_(std::move(options)), tls_(tls) {}

Task<Status> Enrollment::begin() {
  Status loaded = co_await load();
  if (!loaded && loaded.error().code != Code::kNotFound) co_return loaded;
  CO_ASSIGN_OR_RETURN(auto token, co_await read_token());
  // A token of another authority than the one known: the cluster has a new one, and the operator says so.
  bool other_cluster = loaded && token && !tls_->credentials()->believes(token->authority);
  if (loaded && !other_cluster && env_.clock.wall() < expires_) co_return Status();
  if (!loaded && !token) {
    co_return fail(Code::kUnauthenticated, options_.name + " has no certificate yet; give --join-token FILE (the name node keeps one in "
                                               "its data folder, as join-token), or run every part of the cluster with --insecure");
  }
  if (loaded && !other_cluster) log_warning("the certificate has expired while this server was away; asking for another with its key");
  Duration backoff = kBackoffMin;
  for (size_t turn = 0;; ++turn) {
    const Address address = options_.name_nodes[turn % options_.name_nodes.size()];
    Status joined = co_await join(address, !loaded || other_cluster ? token : std::nullopt);
    bool passing = !joined && (joined.error().code == Code::kUnavailable || joined.error().code == Code::kNoSpace);
    if (joined || !passing) co_return joined;
    if (turn == options_.name_nodes.size()) log_warning("no name node gives this server a certificate, trying on: " + joined.error().to_string());
    auto pause = sleep_for(env_, backoff);
    co_await pause;
    backoff = std::min(backoff * 2, kBackoffMax);
  }
}

Task<Status> Enrollment::load() {
  std::string path = options_.folder + kFile;
  CO_ASSIGN_OR_RETURN(Bytes text, co_await read_small_file(env_, path, kFileSizeMax));
  auto blocks = parse_pem(text);
  Bytes key;
  std::vector<Bytes> certificates;
  if (blocks) {
    for (PemBlock& block : *blocks) {
      if (block.label == kPemPrivateKey) key = std::move(block.content);
      else certificates.push_back(std::move(block.content));
    }
  }
  if (blocks && certificates.empty() && !key.empty()) {
    // Nobody answered yet when it was asked for.
    private_key_ = std::move(key);
    co_return fail(Code::kNotFound, path + ": has a key only");
  }
  Status used = blocks ? use(std::move(key), std::move(certificates)) : std::unexpected(blocks.error());
  if (used) co_return used;
  co_return fail(Code::kCorrupt, path + ": " + used.error().message + "; remove it, REPLACE " + options_.name + ", and give --join-token FILE");
}

// The first certificate is the server's; those that are self-signed are the authorities.
Status Enrollment::use(Bytes private_key, std::vector<Bytes> certificates) {
  if (certificates.empty()) return fail(Code::kInvalid, "has no certificate in it");
  ASSIGN_OR_RETURN(CertificateFacts own, read_certificate(certificates[0]));
  if (own.role != PeerIdentity::Role::kStorageServer || own.name != options_.name) {
    return fail(Code::kInvalid, "is the certificate of " + own.name + ", not of " + options_.name);
  }
  TlsMaterial material;
  Bytes all;
  for (const Bytes& certificate : certificates) {
    ASSIGN_OR_RETURN(CertificateFacts facts, read_certificate(certificate));
    if (facts.role != PeerIdentity::Role::kNone || !facts.self_signed) continue;
    material.authorities.push_back(certificate);
    all += sha256(certificate);
  }
  if (material.authorities.empty()) return fail(Code::kInvalid, "names no authority");
  material.private_key = private_key;
  material.certificates = std::move(certificates);
  RETURN_IF_ERROR(tls_->credentials()->set(std::move(material)));
  private_key_ = std::move(private_key);
  expires_ = own.validity.to;
  WallTime now = env_.clock.wall();
  renew_at_ = now + (expires_ - now) / 3 * 2;
  generation_ = load_fixed<uint64_t>(sha256(all).data()) | 1;
  return {};
}

Task<Result<std::optional<JoinToken>>> Enrollment::read_token() {
  if (options_.token_file.empty()) co_return std::nullopt;
  auto text = co_await read_small_file(env_, options_.token_file, kTokenSizeMax);
  // Once there is a certificate the file may be gone.
  if (!text && text.error().code == Code::kNotFound && !private_key_.empty()) co_return std::nullopt;
  if (!text) co_return std::unexpected(text.error());
  auto token = parse_join_token(*text);
  if (!token) co_return fail(Code::kInvalid, options_.token_file + ": " + token.error().message);
  co_return std::move(*token);
}

Task<Status> Enrollment::join(Address address, std::optional<JoinToken> token) {
  Bytes key = private_key_;
  if (token) {
    // Nothing is shown yet, and nobody believed but the authority that the token names. The key of an earlier
    // try is kept, and kept on disk: the name belongs to it if that one's answer was lost.
    if (key.empty()) {
      CO_ASSIGN_OR_RETURN(key, make_private_key());
      CO_RETURN_IF_ERROR(co_await replace_small_file(env_, options_.folder + kFile, to_pem(kPemPrivateKey, key), kSecretMode));
      private_key_ = key;
    }
    TlsMaterial nobody;
    nobody.fingerprints.push_back(token->authority);
    CO_RETURN_IF_ERROR(tls_->credentials()->set(std::move(nobody)));
  } else {
    // It has expired: only the key speaks for this server.
    TlsMaterial material = tls_->credentials()->material();
    material.private_key.clear();
    material.certificates.clear();
    CO_RETURN_IF_ERROR(tls_->credentials()->set(std::move(material)));
  }
  auto connection = co_await tls_->connect(address, kTimeout);
  if (!connection) co_return std::unexpected(connection.error());
  if (!(*connection)->identity().may_be(PeerIdentity::Role::kNameNode)) {
    co_return fail(Code::kUnavailable, address + ": is no name node, by its certificate; check --nm");
  }
  auto peer = std::make_shared<Peer>(env_, *std::move(connection), nullptr);
  TaskGroup running(env_.executor);
  running.spawn(run_peer(peer));
  wire::HelloRequest hello;
  hello.set_protocol_version(kProtocolVersion);
  hello.set_role(wire::HelloRequest::STORAGE_SERVER);
  hello.set_name(options_.name);
  auto greeted = co_await call<wire::HelloReply>(peer.get(), wire::HELLO, hello, kTimeout);
  if (!greeted) co_return std::unexpected(greeted.error());
  co_return co_await ask(peer.get(), std::move(key), std::move(token));
}

Task<void> Enrollment::rejoin_if_told() {
  auto token = co_await read_token();
  if (!token || !*token || tls_->credentials()->believes((*token)->authority)) co_return;
  const TlsMaterial before = tls_->credentials()->material();
  for (const Address& address : options_.name_nodes) {
    joining_ = true;
    ++shown_;
    Status joined = co_await join(address, *token);
    joining_ = false;
    if (joined) co_return log_info("joined the cluster's new authority, as " + options_.token_file + " says");
    // Nobody else is locked out meanwhile.
    (void)tls_->credentials()->set(before);
    if (joined.error().message != rejoin_refused_) log_warning("joining with " + options_.token_file + ": " + joined.error().to_string());
    rejoin_refused_ = joined.error().message;
  }
}

Task<Status> Enrollment::ask(Peer* name_node, Bytes private_key, std::optional<JoinToken> token) {
  wire::EnrollRequest request;
  request.set_server(options_.name);
  CO_ASSIGN_OR_RETURN(*request.mutable_request(), make_certificate_request(private_key));
  if (token) {
    request.set_token_id(token->id);
    request.set_token_secret(token->secret);
  }
  auto reply = co_await call<wire::EnrollReply>(name_node, wire::ENROLL, request, kTimeout);
  if (!reply) co_return std::unexpected(reply.error());
  std::vector<Bytes> certificates(reply->certificates().begin(), reply->certificates().end());
  std::string text = to_pem(kPemPrivateKey, private_key);
  for (const Bytes& certificate : certificates) text += to_pem(kPemCertificate, certificate);
  if (certificates.empty()) co_return fail(Code::kInternal, "the name node gave no certificate");
  CO_RETURN_IF_ERROR(co_await replace_small_file(env_, options_.folder + kFile, std::move(text), kSecretMode));
  CO_RETURN_IF_ERROR(use(std::move(private_key), std::move(certificates)));
  log_info("has a certificate as " + options_.name);
  co_return Status();
}

bool Enrollment::due() const {
  bool changed = generation_heard_ != 0 && generation_heard_ != generation_;
  return (changed || env_.clock.wall() >= renew_at_) && env_.clock.now() >= try_again_at_;
}

void Enrollment::close_outdated() { tls_->close_outdated(); }

Task<void> Enrollment::renew_if_due(Peer* name_node) {
  if (!due()) co_return;
  try_again_at_ = env_.clock.now() + std::min<Duration>(kAgainAfter, std::max<Duration>((expires_ - env_.clock.wall()) / 10, 200ms));
  auto key = make_private_key();
  Status renewed = key ? co_await ask(name_node, *std::move(key), std::nullopt) : std::unexpected(key.error());
  if (!renewed) log_warning("renewing the certificate: " + renewed.error().to_string());
}

}  // namespace understudy
