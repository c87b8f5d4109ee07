// Keys, certificates and requests for them, as plain bytes: ECDSA on P-256, X.509 and
// PKCS#10 as DER. What the names inside mean is decided here and nowhere else:
//
//   a server's certificate   subject alternative name URI:understudy:nm:NAME or URI:understudy:ss:NAME
//   an authority             CA:TRUE, and known by the SHA-256 of its public key: its fingerprint
//
// An authority outlives its certificate: that which is signed by the one before it (cross_sign)
// has the same fingerprint. Pure but for the randomness of keys and serial numbers, which is
// OpenSSL's own; nothing here is called in the simulator.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"
#include "common/env/env.h"

namespace understudy {

// A new private key (PKCS#8).
Result<Bytes> make_private_key();
// SHA-256 of its public half: 32 bytes.
Result<Bytes> fingerprint_of_key(BytesView private_key);

// "sha256:" and 64 hex digits, and back. INVALID.
std::string fingerprint_text(BytesView fingerprint);
Result<Bytes> parse_fingerprint(std::string_view text);

// Asks for a certificate for that key, which signs it.
Result<Bytes> make_certificate_request(BytesView private_key);
// The fingerprint of the key that signed it; INVALID if it is no such request.
Result<Bytes> check_certificate_request(BytesView request);

struct Validity {
  WallTime from;
  WallTime to;
};

struct CertificateFacts {
  PeerIdentity::Role role = PeerIdentity::Role::kNone;  // kNone: an authority's.
  std::string name;
  Bytes key;  // Its fingerprint.
  Validity validity;
  bool self_signed = false;
};
// Without looking at who signed it. INVALID.
Result<CertificateFacts> read_certificate(BytesView certificate);

// What signs: a private key, and the certificate of an authority for it.
struct Signer {
  Bytes private_key;
  Bytes certificate;
};

// Self-signed.
Result<Bytes> make_authority_certificate(BytesView private_key, const std::string& name, Validity validity);
// `authority` (self-signed) once more, signed by another.
Result<Bytes> cross_sign(const Signer& signer, BytesView authority);
// For the key that signed `request`. INVALID for a name that cannot stand in a certificate.
Result<Bytes> issue_certificate(const Signer& signer, BytesView request, PeerIdentity::Role role,
                                const std::string& name, Validity validity);

// Letters, digits, '_', '-' and '.', 1 to 100 of them.
bool is_server_name(std::string_view name);

// PEM blocks, as every tool reads them. Labels: kPemCertificate, kPemPrivateKey.
inline constexpr char kPemCertificate[] = "CERTIFICATE";
inline constexpr char kPemPrivateKey[] = "PRIVATE KEY";
struct PemBlock {
  std::string label;
  Bytes content;
};
std::string to_pem(const std::string& label, BytesView content);
// INVALID if there is none, or one is damaged. At most 64.
Result<std::vector<PemBlock>> parse_pem(std::string_view text);
// Only the certificates in it; INVALID if there is none.
Result<std::vector<Bytes>> parse_pem_certificates(std::string_view text);

// Secrets: `size` unpredictable bytes, SHA-256, and a comparison that takes as long for every difference.
Bytes random_bytes(size_t size);
Bytes sha256(BytesView bytes);
bool same_secret(BytesView a, BytesView b);
std::string hex_of(BytesView bytes);
Result<Bytes> parse_hex(std::string_view text);

}  // namespace understudy
