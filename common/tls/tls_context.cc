#include "common/tls/tls_context.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "common/tls/certificates.h"

namespace understudy {
namespace {

// Both ends name it: no other protocol's client or server is mistaken for ours.
constexpr unsigned char kProtocol[] = "\x0cunderstudy/1";
constexpr size_t kProtocolSize = sizeof kProtocol - 1;
constexpr long kPeerCertificatesBytesMax = 12 << 10;
constexpr int kChainMax = 4;

// AES-GCM only where the processor does it: ChaCha20 is several times faster elsewhere.
bool has_aes() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
  const char* found = OPENSSL_info(OPENSSL_INFO_CPU_SETTINGS);
  const char* bits = found ? std::strstr(found, "armcap=") : nullptr;
  return bits && (std::strtoul(bits + std::strlen("armcap="), nullptr, 16) & 1 << 2) != 0;
#else
  return false;
#endif
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                    unsigned in_size, void*) {
  unsigned char* chosen = nullptr;
  int found = SSL_select_next_proto(&chosen, out_size, kProtocol, kProtocolSize, in, in_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

Result<std::shared_ptr<TlsContext>> TlsContext::make(const TlsMaterial& material) {
  auto context = std::make_shared<TlsContext>();
  SSL_CTX* ssl = SSL_CTX_new(TLS_method());
  if (!ssl) return openssl_failed("setting up TLS");
  context->ssl_.reset(ssl);
  const char* ciphers = has_aes() ? "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
                                  : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
  if (SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) != 1 || SSL_CTX_set_ciphersuites(ssl, ciphers) != 1 ||
      SSL_CTX_set1_groups_list(ssl, "X25519:P-256") != 1 || SSL_CTX_set_alpn_protos(ssl, kProtocol, kProtocolSize) != 0) {
    return openssl_failed("setting up TLS");
  }
  SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, nullptr);
  // Every connection proves anew who is there: nothing is resumed, so a certificate that counts no
  // more opens none, and there are no ticket keys to keep and to rotate. Connections are few and long.
  SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_num_tickets(ssl, 0);
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_max_cert_list(ssl, kPeerCertificatesBytesMax);
  SSL_CTX_set_verify_depth(ssl, kChainMax);
  SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(ssl, &TlsContext::verify, context.get());

  if (!material.private_key.empty()) {
    KeyPointer key = private_key_of(material.private_key);
    bool ok = key && !material.certificates.empty();
    for (size_t i = 0; ok && i < material.certificates.size(); ++i) {
      CertificatePointer certificate = certificate_of(material.certificates[i]);
      ok = certificate && (i == 0 ? SSL_CTX_use_certificate(ssl, certificate.get())
                                  : static_cast<int>(SSL_CTX_add1_chain_cert(ssl, certificate.get()))) == 1;
    }
    if (!ok || SSL_CTX_use_PrivateKey(ssl, key.get()) != 1 || SSL_CTX_check_private_key(ssl) != 1) {
      ERR_clear_error();
      return fail(Code::kInvalid, "a key and a certificate that do not belong together, or are damaged");
    }
  }
  for (const Bytes& authority : material.authorities) {
    context->authorities_.push_back(certificate_of(authority));
    if (!context->authorities_.back()) return fail(Code::kInvalid, "a damaged certificate of an authority");
    context->fingerprints_.push_back(key_of_certificate(context->authorities_.back().get()));
  }
  context->fingerprints_.insert(context->fingerprints_.end(), material.fingerprints.begin(), material.fingerprints.end());
  context->believe_first_ = material.believe_first;
  return context;
}

// OpenSSL checks the chain, here only who may stand at its top: an authority that is known,
// or one that is shown and has a fingerprint that is believed.
int TlsContext::verify(X509_STORE_CTX* store, void* self) {
  auto* context = static_cast<TlsContext*>(self);
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* facts = static_cast<TlsPeerFacts*>(SSL_get_app_data(ssl));
  StackPointer tops(sk_X509_new_null());
  CHECK(tops);
  for (const auto& authority : context->authorities_) sk_X509_push(tops.get(), authority.get());
  STACK_OF(X509)* shown = X509_STORE_CTX_get0_untrusted(store);
  // OpenSSL ends a chain at the first self-signed certificate it meets, also where another way
  // would lead to one that is believed: it is given those only as tops.
  StackPointer between(sk_X509_new_null());
  CHECK(between);
  for (int i = 0; i < sk_X509_num(shown); ++i) {
    X509* certificate = sk_X509_value(shown, i);
    if (X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate)) != 0) {
      sk_X509_push(between.get(), certificate);
      continue;
    }
    bool believed = context->believe_first_ ||
                    std::ranges::find(context->fingerprints_, key_of_certificate(certificate)) != context->fingerprints_.end();
    if (believed) sk_X509_push(tops.get(), certificate);
  }
  X509_STORE_CTX_set0_trusted_stack(store, tops.get());
  X509_STORE_CTX_set0_untrusted(store, between.get());
  int verified = X509_verify_cert(store);
  X509_STORE_CTX_set0_untrusted(store, shown);
  if (verified == 1) {
    STACK_OF(X509)* chain = X509_STORE_CTX_get0_chain(store);
    facts->authority = key_of_certificate(sk_X509_value(chain, sk_X509_num(chain) - 1));
    return 1;
  }
  switch (X509_STORE_CTX_get_error(store)) {
    case X509_V_ERR_CERT_HAS_EXPIRED: facts->why = "its certificate has expired"; break;
    case X509_V_ERR_CERT_NOT_YET_VALID: facts->why = "its certificate holds from a later time; look at both clocks"; break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      facts->why = "its certificate is by an authority that is not this cluster's";
      break;
    default: facts->why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(store));
  }
  return 0;
}

TlsCredentials::TlsCredentials() = default;
TlsCredentials::~TlsCredentials() = default;

Status TlsCredentials::set(TlsMaterial material) {
  ASSIGN_OR_RETURN(auto context, TlsContext::make(material));
  std::vector<Bytes> believed = material.fingerprints;
  for (const Bytes& authority : material.authorities) believed.push_back(key_of_certificate(certificate_of(authority).get()));
  context_ = std::move(context);
  believed_ = std::move(believed);
  material_ = std::move(material);
  return {};
}

bool TlsCredentials::ready() const { return context_ && (!believed_.empty() || material_.believe_first); }

bool TlsCredentials::believes(BytesView fingerprint) const {
  return material_.believe_first || std::ranges::find(believed_, fingerprint) != believed_.end();
}

void TlsCredentials::believe(Bytes fingerprint) {
  if (!material_.believe_first) return;
  TlsMaterial settled = material_;
  settled.believe_first = false;
  settled.fingerprints.push_back(std::move(fingerprint));
  CHECK(set(std::move(settled)));  // It differs from what was taken before in a fingerprint only.
}

}  // namespace understudy
