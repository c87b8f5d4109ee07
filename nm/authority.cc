#include "nm/authority.h"

#include <algorithm>

#include "common/base/coding.h"
#include "common/base/log.h"
#include "common/env/env_util.h"

namespace understudy {
namespace {

constexpr char kKeyFile[] = "/authority.pem";
constexpr char kPublicFile[] = "/ca.pem";
constexpr uint32_t kPublicMode = 0644;
constexpr uint32_t kFileSizeMax = 64 << 10;
constexpr auto kAuthorityLifetime = std::chrono::hours(24 * 365 * 10);
// Others' clocks may be behind.
constexpr auto kClockDifference = std::chrono::hours(1);

}  // namespace

ClusterAuthority::ClusterAuthority(Env& env, AuthorityOptions options, TlsCredentials* credentials)
    : env_(env), options_(std::move(options)), credentials_(credentials) {}

Task<Result<std::unique_ptr<ClusterAuthority>>> ClusterAuthority::open(Env& env, AuthorityOptions options,
                                                                       TlsCredentials* credentials) {
  std::unique_ptr<ClusterAuthority> authority(new ClusterAuthority(env, std::move(options), credentials));
  CO_RETURN_IF_ERROR(co_await authority->load_or_make());
  co_return std::move(authority);
}

Result<Signer> ClusterAuthority::make_signer() const {
  Signer signer;
  ASSIGN_OR_RETURN(signer.private_key, make_private_key());
  WallTime now = env_.clock.wall();
  // Names differ, so that a chain is never built through the wrong one.
  std::string name = "cluster authority " + hex_of(random_bytes(4));
  ASSIGN_OR_RETURN(signer.certificate,
                   make_authority_certificate(signer.private_key, name, {now - kClockDifference, now + kAuthorityLifetime}));
  return signer;
}

Task<Status> ClusterAuthority::load_or_make() {
  std::string path = options_.folder + kKeyFile;
  auto text = co_await read_small_file(env_, path, kFileSizeMax);
  if (!text && text.error().code == Code::kNotFound) {
    CO_ASSIGN_OR_RETURN(Signer signer, make_signer());
    auto stored = co_await store(std::move(signer), {}, {});
    if (stored) log_info("made the cluster's authority, " + fingerprint_text(fingerprint_));
    co_return stored;
  }
  if (!text) co_return std::unexpected(text.error());
  auto damaged = [&path](const std::string& why) {
    return fail(Code::kCorrupt, path + ": " + why + "; bring back a copy of it: a new authority would be no server's and no client's");
  };
  auto blocks = parse_pem(*text);
  if (!blocks) co_return damaged(blocks.error().message);
  Signer signer;
  std::vector<Bytes> crossed, previous;
  for (PemBlock& block : *blocks) {
    if (block.label == kPemPrivateKey && signer.private_key.empty()) signer.private_key = std::move(block.content);
  }
  auto key = fingerprint_of_key(signer.private_key);
  if (!key) co_return damaged("has no private key");
  for (PemBlock& block : *blocks) {
    if (block.label != kPemCertificate) continue;
    auto facts = read_certificate(block.content);
    if (!facts || facts->role != PeerIdentity::Role::kNone) co_return damaged("has something else in it");
    if (facts->key != *key) previous.push_back(std::move(block.content));
    else if (facts->self_signed) signer.certificate = std::move(block.content);
    else crossed.push_back(std::move(block.content));
  }
  if (signer.certificate.empty()) co_return damaged("has no certificate for its key");
  CO_RETURN_IF_ERROR(use(std::move(signer), std::move(crossed), std::move(previous)));
  // Whoever changed the one file last may have died before the other.
  co_return co_await show_believed();
}

// Writes only what differs: a name node starts on a full disk too.
Task<Status> ClusterAuthority::show_believed() {
  const std::string path = options_.folder + kPublicFile;
  std::string text;
  for (const Bytes& certificate : believed()) text += to_pem(kPemCertificate, certificate);
  auto standing = co_await read_small_file(env_, path, kFileSizeMax);
  if (standing && *standing == text) co_return Status();
  co_return co_await replace_small_file(env_, path, std::move(text), kPublicMode);
}

Task<Status> ClusterAuthority::store(Signer signer, std::vector<Bytes> crossed, std::vector<Bytes> previous) {
  std::string secret = to_pem(kPemPrivateKey, signer.private_key) + to_pem(kPemCertificate, signer.certificate);
  for (const Bytes& certificate : crossed) secret += to_pem(kPemCertificate, certificate);
  for (const Bytes& certificate : previous) secret += to_pem(kPemCertificate, certificate);
  CO_RETURN_IF_ERROR(co_await replace_small_file(env_, options_.folder + kKeyFile, std::move(secret), kSecretFileMode));
  CO_RETURN_IF_ERROR(use(std::move(signer), std::move(crossed), std::move(previous)));
  co_return co_await show_believed();
}

Status ClusterAuthority::use(Signer signer, std::vector<Bytes> crossed, std::vector<Bytes> previous) {
  ASSIGN_OR_RETURN(fingerprint_, fingerprint_of_key(signer.private_key));
  fingerprints_ = {fingerprint_};
  for (const Bytes& certificate : previous) {
    ASSIGN_OR_RETURN(CertificateFacts facts, read_certificate(certificate));
    fingerprints_.push_back(std::move(facts.key));
  }
  signer_ = std::move(signer);
  crossed_ = std::move(crossed);
  previous_ = std::move(previous);
  return show_own();
}

Status ClusterAuthority::show_own() {
  TlsMaterial material;
  ASSIGN_OR_RETURN(material.private_key, make_private_key());
  ASSIGN_OR_RETURN(Bytes request, make_certificate_request(material.private_key));
  ASSIGN_OR_RETURN(Issued issued, issue(request, PeerIdentity::Role::kNameNode, options_.name_node));
  material.certificates = std::move(issued.certificates);
  material.authorities = believed();
  renew_own_at_ = env_.clock.wall() + std::chrono::duration_cast<std::chrono::microseconds>(options_.certificate_lifetime / 3 * 2);
  return credentials_->set(std::move(material));
}

Status ClusterAuthority::renew_own() { return env_.clock.wall() < renew_own_at_ ? Status() : show_own(); }

Result<ClusterAuthority::Issued> ClusterAuthority::issue(BytesView request, PeerIdentity::Role role, const std::string& name) const {
  Issued issued;
  WallTime now = env_.clock.wall();
  issued.expires = now + std::chrono::duration_cast<std::chrono::microseconds>(options_.certificate_lifetime);
  ASSIGN_OR_RETURN(Bytes certificate, issue_certificate(signer_, request, role, name, {now - kClockDifference, issued.expires}));
  issued.certificates.push_back(std::move(certificate));
  for (Bytes& further : chain()) issued.certificates.push_back(std::move(further));
  return issued;
}

std::vector<Bytes> ClusterAuthority::chain() const {
  std::vector<Bytes> all = {signer_.certificate};
  all.insert(all.end(), crossed_.begin(), crossed_.end());
  all.insert(all.end(), previous_.begin(), previous_.end());
  return all;
}

std::vector<Bytes> ClusterAuthority::believed() const {
  std::vector<Bytes> all = {signer_.certificate};
  all.insert(all.end(), previous_.begin(), previous_.end());
  return all;
}

uint64_t ClusterAuthority::generation() const {
  Bytes all;
  for (const Bytes& certificate : believed()) all += sha256(certificate);
  return load_fixed<uint64_t>(sha256(all).data()) | 1;
}

Task<Status> ClusterAuthority::replace() {
  if (replacing()) co_return fail(Code::kConflict, "an authority is being replaced already; ROTATEAUTHORITY --finish ends that");
  CO_ASSIGN_OR_RETURN(Signer signer, make_signer());
  CO_ASSIGN_OR_RETURN(Bytes crossed, cross_sign(signer_, signer.certificate));
  std::vector<Bytes> crossed_now, previous;
  crossed_now.push_back(std::move(crossed));
  previous.push_back(signer_.certificate);
  co_return co_await store(std::move(signer), std::move(crossed_now), std::move(previous));
}

Task<Status> ClusterAuthority::forget_previous() { return store(signer_, {}, {}); }

}  // namespace understudy
