// Private to common/tls: TlsMaterial as OpenSSL wants it, immutable, shared by the
// connections that began with it. docs/decisions/0015-tls.md has the choices made here.
#pragma once

#include <memory>
#include <vector>

#include "common/tls/openssl_handles.h"
#include "common/tls/tls_credentials.h"

namespace understudy {

class TlsContext {
 public:
  static Result<std::shared_ptr<TlsContext>> make(const TlsMaterial& material);

  SSL_CTX* ssl() { return ssl_.get(); }
  bool believe_first() const { return believe_first_; }

 private:
  static int verify(X509_STORE_CTX* store, void* context);

  SslContextPointer ssl_;
  std::vector<CertificatePointer> authorities_;
  std::vector<Bytes> fingerprints_;
  bool believe_first_ = false;
};

// What verify() learns of a connection's other end; the SSL object's app data.
struct TlsPeerFacts {
  Bytes authority;  // Fingerprint of the one that its chain ends at.
  std::string why;  // It was not believed.
};

}  // namespace understudy
