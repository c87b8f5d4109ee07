// Private to common/tls: OpenSSL's objects as owned pointers, and its errors as ours.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy {

template <auto kFree>
struct OpensslFree {
  template <class T>
  void operator()(T* object) const { kFree(object); }
};
inline void free_certificates(STACK_OF(X509)* certificates) { sk_X509_pop_free(certificates, X509_free); }
inline void free_stack_only(STACK_OF(X509)* certificates) { sk_X509_free(certificates); }

using BioPointer = std::unique_ptr<BIO, OpensslFree<BIO_free_all>>;
using KeyPointer = std::unique_ptr<EVP_PKEY, OpensslFree<EVP_PKEY_free>>;
using CertificatePointer = std::unique_ptr<X509, OpensslFree<X509_free>>;
using RequestPointer = std::unique_ptr<X509_REQ, OpensslFree<X509_REQ_free>>;
using NamesPointer = std::unique_ptr<GENERAL_NAMES, OpensslFree<GENERAL_NAMES_free>>;
using SslPointer = std::unique_ptr<SSL, OpensslFree<SSL_free>>;
using SslContextPointer = std::unique_ptr<SSL_CTX, OpensslFree<SSL_CTX_free>>;
// Borrows what is in it.
using StackPointer = std::unique_ptr<STACK_OF(X509), OpensslFree<free_stack_only>>;

inline const unsigned char* unsigned_data(BytesView bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

// The newest of OpenSSL's own words, and its queue emptied.
std::string openssl_words();
// INTERNAL: it failed where nothing from outside can make it fail, but for memory.
inline std::unexpected<Error> openssl_failed(const char* what) {
  return fail(Code::kInternal, std::string(what) + ": " + openssl_words());
}

// nullptr if it is no certificate, or something stands behind it.
CertificatePointer certificate_of(BytesView der);
KeyPointer private_key_of(BytesView der);
Bytes certificate_bytes(const X509* certificate);
// SHA-256 of a certificate's public key.
Bytes key_of_certificate(const X509* certificate);

}  // namespace understudy
