#include "common/tls/certificates.h"

#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <ctime>

#include "common/tls/openssl_handles.h"

namespace understudy {
namespace {

constexpr char kUriPrefix[] = "understudy:";
constexpr size_t kPemBlocksMax = 64;
constexpr size_t kRequestSizeMax = 4096;
constexpr long kVersion3 = 2;  // As X.509 counts.

// How OpenSSL hands out DER: i2d(object, nullptr) says the size.
template <auto kEncode, class T>
Bytes encoded(T* object) {
  int size = kEncode(object, nullptr);
  if (size <= 0) return {};
  Bytes bytes(static_cast<size_t>(size), '\0');
  auto* at = reinterpret_cast<unsigned char*>(bytes.data());
  kEncode(object, &at);
  return bytes;
}

Bytes key_fingerprint(EVP_PKEY* key) { return sha256(encoded<i2d_PUBKEY>(key)); }

RequestPointer request_of(BytesView der) {
  if (der.size() > kRequestSizeMax) return nullptr;
  const unsigned char* at = unsigned_data(der);
  RequestPointer request(d2i_X509_REQ(nullptr, &at, static_cast<long>(der.size())));
  if (!request || at != unsigned_data(der) + der.size()) ERR_clear_error(), request.reset();
  return request;
}

std::time_t seconds_of(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

WallTime wall_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return WallTime(std::chrono::seconds(timegm(&parts)));
}

bool add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  bool added = extension && X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

bool set_name(X509_NAME* name, const std::string& common_name) {
  auto entry = [name](const char* field, const std::string& value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, unsigned_data(value), static_cast<int>(value.size()), -1, 0) == 1;
  };
  return entry("O", "Understudy") && entry("CN", common_name);
}

// Everything but names and extensions.
CertificatePointer blank_certificate(EVP_PKEY* key, Validity validity) {
  CertificatePointer certificate(X509_new());
  Bytes serial = random_bytes(16);
  // Positive, and never beginning with a zero byte, which DER forbids: one certificate in 250 could not be read again.
  serial[0] = static_cast<char>((serial[0] & 0x7f) | 0x40);
  bool ok = certificate && X509_set_version(certificate.get(), kVersion3) == 1 && X509_set_pubkey(certificate.get(), key) == 1 &&
            ASN1_STRING_set(X509_get_serialNumber(certificate.get()), serial.data(), static_cast<int>(serial.size())) == 1 &&
            ASN1_TIME_set(X509_getm_notBefore(certificate.get()), seconds_of(validity.from)) != nullptr &&
            ASN1_TIME_set(X509_getm_notAfter(certificate.get()), seconds_of(validity.to)) != nullptr;
  return ok ? std::move(certificate) : nullptr;
}

bool make_authority(X509* certificate, X509* issuer) {
  return add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:TRUE") &&
         add_extension(certificate, issuer, NID_key_usage, "critical,keyCertSign") &&
         add_extension(certificate, issuer, NID_subject_key_identifier, "hash") &&
         add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always");
}

const char* role_word(PeerIdentity::Role role) { return role == PeerIdentity::Role::kNameNode ? "nm" : "ss"; }

// "understudy:ss:ss1"; false if the certificate has no such name.
bool read_name(const X509* certificate, CertificateFacts& facts) {
  NamesPointer names(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (!names || sk_GENERAL_NAME_num(names.get()) != 1) return false;
  const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), 0);
  if (name->type != GEN_URI) return false;
  const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
  std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)), static_cast<size_t>(ASN1_STRING_length(uri)));
  if (!text.starts_with(kUriPrefix)) return false;
  text.remove_prefix(sizeof kUriPrefix - 1);
  if (text.starts_with("nm:")) facts.role = PeerIdentity::Role::kNameNode;
  if (text.starts_with("ss:")) facts.role = PeerIdentity::Role::kStorageServer;
  if (facts.role == PeerIdentity::Role::kNone || !is_server_name(text.substr(3))) return false;
  facts.name = text.substr(3);
  return true;
}

struct LoadedSigner {
  KeyPointer key;
  CertificatePointer certificate;
};

Result<LoadedSigner> load(const Signer& signer) {
  LoadedSigner loaded{private_key_of(signer.private_key), certificate_of(signer.certificate)};
  if (!loaded.key || !loaded.certificate || X509_check_private_key(loaded.certificate.get(), loaded.key.get()) != 1) {
    ERR_clear_error();
    return fail(Code::kCorrupt, "the authority's key and certificate do not belong together");
  }
  return loaded;
}

}  // namespace

std::string openssl_words() {
  unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* words = code ? ERR_reason_error_string(code) : nullptr;
  return words ? words : "no reason given";
}

CertificatePointer certificate_of(BytesView der) {
  const unsigned char* at = unsigned_data(der);
  CertificatePointer certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (!certificate || at != unsigned_data(der) + der.size()) ERR_clear_error(), certificate.reset();
  return certificate;
}

KeyPointer private_key_of(BytesView der) {
  const unsigned char* at = unsigned_data(der);
  KeyPointer key(d2i_AutoPrivateKey(nullptr, &at, static_cast<long>(der.size())));
  if (!key) ERR_clear_error();
  return key;
}

Bytes certificate_bytes(const X509* certificate) { return encoded<i2d_X509>(certificate); }

Bytes key_of_certificate(const X509* certificate) {
  EVP_PKEY* key = X509_get0_pubkey(certificate);
  return key ? key_fingerprint(key) : Bytes();
}

Result<Bytes> make_private_key() {
  KeyPointer key(EVP_EC_gen("P-256"));
  if (!key) return openssl_failed("making a key");
  std::unique_ptr<PKCS8_PRIV_KEY_INFO, OpensslFree<PKCS8_PRIV_KEY_INFO_free>> info(EVP_PKEY2PKCS8(key.get()));
  if (!info) return openssl_failed("making a key");
  return encoded<i2d_PKCS8_PRIV_KEY_INFO>(info.get());
}

Result<Bytes> fingerprint_of_key(BytesView private_key) {
  KeyPointer key = private_key_of(private_key);
  if (!key) return fail(Code::kInvalid, "not a private key");
  return key_fingerprint(key.get());
}

std::string fingerprint_text(BytesView fingerprint) { return "sha256:" + hex_of(fingerprint); }

Result<Bytes> parse_fingerprint(std::string_view text) {
  if (text.starts_with("sha256:") && text.size() == 7 + 64) {
    if (auto bytes = parse_hex(text.substr(7))) return bytes;
  }
  return fail(Code::kInvalid, "a fingerprint is sha256: and 64 hex digits");
}

Result<Bytes> make_certificate_request(BytesView private_key) {
  KeyPointer key = private_key_of(private_key);
  if (!key) return fail(Code::kInvalid, "not a private key");
  RequestPointer request(X509_REQ_new());
  if (!request || X509_REQ_set_pubkey(request.get(), key.get()) != 1 || X509_REQ_sign(request.get(), key.get(), EVP_sha256()) <= 0) {
    return openssl_failed("asking for a certificate");
  }
  return encoded<i2d_X509_REQ>(request.get());
}

Result<Bytes> check_certificate_request(BytesView der) {
  RequestPointer request = request_of(der);
  EVP_PKEY* key = request ? X509_REQ_get0_pubkey(request.get()) : nullptr;
  // Other kinds of key could cost whoever meets them much more work.
  char group[32] = "";
  bool ours = key && EVP_PKEY_get_base_id(key) == EVP_PKEY_EC && EVP_PKEY_get_group_name(key, group, sizeof group, nullptr) == 1 &&
              std::string_view(group) == "prime256v1";
  if (!ours || X509_REQ_verify(request.get(), key) != 1) {
    ERR_clear_error();
    return fail(Code::kInvalid, "not a request for a certificate, signed by its own P-256 key");
  }
  return key_fingerprint(key);
}

Result<CertificateFacts> read_certificate(BytesView der) {
  CertificatePointer certificate = certificate_of(der);
  CertificateFacts facts;
  bool authority = certificate && X509_check_ca(certificate.get()) == 1;
  if (!certificate || (!authority && !read_name(certificate.get(), facts))) {
    ERR_clear_error();
    return fail(Code::kInvalid, "not a certificate of a server or an authority of ours");
  }
  facts.key = key_of_certificate(certificate.get());
  facts.self_signed = X509_NAME_cmp(X509_get_subject_name(certificate.get()), X509_get_issuer_name(certificate.get())) == 0;
  facts.validity = {wall_of(X509_get0_notBefore(certificate.get())), wall_of(X509_get0_notAfter(certificate.get()))};
  return facts;
}

Result<Bytes> make_authority_certificate(BytesView private_key, const std::string& name, Validity validity) {
  KeyPointer key = private_key_of(private_key);
  if (!key) return fail(Code::kInvalid, "not a private key");
  CertificatePointer certificate = blank_certificate(key.get(), validity);
  if (!certificate || !set_name(X509_get_subject_name(certificate.get()), name) ||
      X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get())) != 1 ||
      !make_authority(certificate.get(), certificate.get()) || X509_sign(certificate.get(), key.get(), EVP_sha256()) <= 0) {
    return openssl_failed("making an authority");
  }
  return certificate_bytes(certificate.get());
}

Result<Bytes> cross_sign(const Signer& signer, BytesView authority) {
  ASSIGN_OR_RETURN(LoadedSigner by, load(signer));
  CertificatePointer standing = certificate_of(authority);
  if (!standing || X509_check_ca(standing.get()) != 1) return fail(Code::kInvalid, "not an authority's certificate");
  // No longer than who signs it holds.
  ASSIGN_OR_RETURN(CertificateFacts signer_facts, read_certificate(signer.certificate));
  ASSIGN_OR_RETURN(CertificateFacts facts, read_certificate(authority));
  Validity validity{facts.validity.from, std::min(facts.validity.to, signer_facts.validity.to)};
  CertificatePointer crossed = blank_certificate(X509_get0_pubkey(standing.get()), validity);
  if (!crossed || X509_set_subject_name(crossed.get(), X509_get_subject_name(standing.get())) != 1 ||
      X509_set_issuer_name(crossed.get(), X509_get_subject_name(by.certificate.get())) != 1 ||
      !make_authority(crossed.get(), by.certificate.get()) || X509_sign(crossed.get(), by.key.get(), EVP_sha256()) <= 0) {
    return openssl_failed("signing an authority");
  }
  return certificate_bytes(crossed.get());
}

Result<Bytes> issue_certificate(const Signer& signer, BytesView request_bytes, PeerIdentity::Role role,
                                const std::string& name, Validity validity) {
  CHECK(role != PeerIdentity::Role::kNone);
  if (!is_server_name(name)) return fail(Code::kInvalid, "a server's name is 1 to 100 letters, digits, '_', '-' or '.'");
  ASSIGN_OR_RETURN(Bytes key, check_certificate_request(request_bytes));
  ASSIGN_OR_RETURN(LoadedSigner by, load(signer));
  RequestPointer request = request_of(request_bytes);
  CertificatePointer certificate = blank_certificate(X509_REQ_get0_pubkey(request.get()), validity);
  X509* made = certificate.get();
  bool ok = made && set_name(X509_get_subject_name(made), name.substr(0, 64)) &&
            X509_set_issuer_name(made, X509_get_subject_name(by.certificate.get())) == 1 &&
            add_extension(made, by.certificate.get(), NID_basic_constraints, "critical,CA:FALSE") &&
            add_extension(made, by.certificate.get(), NID_key_usage, "critical,digitalSignature") &&
            add_extension(made, by.certificate.get(), NID_ext_key_usage, "serverAuth,clientAuth") &&
            add_extension(made, by.certificate.get(), NID_subject_key_identifier, "hash") &&
            add_extension(made, by.certificate.get(), NID_authority_key_identifier, "keyid:always") &&
            add_extension(made, by.certificate.get(), NID_subject_alt_name,
                          std::string("URI:") + kUriPrefix + role_word(role) + ":" + name) &&
            X509_sign(made, by.key.get(), EVP_sha256()) > 0;
  if (!ok) return openssl_failed("issuing a certificate");
  return certificate_bytes(made);
}

bool is_server_name(std::string_view name) {
  return !name.empty() && name.size() <= 100 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  });
}

std::string to_pem(const std::string& label, BytesView content) {
  BioPointer out(BIO_new(BIO_s_mem()));
  CHECK(out && PEM_write_bio(out.get(), label.c_str(), "", unsigned_data(content), static_cast<long>(content.size())) > 0);
  char* text = nullptr;
  long size = BIO_get_mem_data(out.get(), &text);
  return std::string(text, static_cast<size_t>(size));
}

Result<std::vector<PemBlock>> parse_pem(std::string_view text) {
  if (text.size() > (1 << 20)) return fail(Code::kInvalid, "too long for a file of certificates");
  BioPointer in(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  CHECK(in);
  std::vector<PemBlock> blocks;
  char *label = nullptr, *header = nullptr;
  unsigned char* content = nullptr;
  long size = 0;
  while (blocks.size() < kPemBlocksMax && PEM_read_bio(in.get(), &label, &header, &content, &size) == 1) {
    blocks.push_back({label, Bytes(reinterpret_cast<char*>(content), static_cast<size_t>(size))});
    OPENSSL_free(label);
    OPENSSL_free(header);
    OPENSSL_clear_free(content, static_cast<size_t>(size));
  }
  bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (blocks.empty() || (!ended && blocks.size() < kPemBlocksMax)) return fail(Code::kInvalid, "not PEM, or damaged");
  return blocks;
}

Result<std::vector<Bytes>> parse_pem_certificates(std::string_view text) {
  ASSIGN_OR_RETURN(auto blocks, parse_pem(text));
  std::vector<Bytes> certificates;
  for (PemBlock& block : blocks) {
    if (block.label == kPemCertificate) certificates.push_back(std::move(block.content));
  }
  if (certificates.empty()) return fail(Code::kInvalid, "has no certificate in it");
  return certificates;
}

Bytes random_bytes(size_t size) {
  Bytes bytes(size, '\0');
  // Without randomness there is no secret: better no server.
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(size)) == 1);
  return bytes;
}

Bytes sha256(BytesView bytes) {
  Bytes digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(unsigned_data(bytes), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

bool same_secret(BytesView a, BytesView b) { return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

std::string hex_of(BytesView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (char byte : bytes) {
    text += kDigits[static_cast<uint8_t>(byte) >> 4];
    text += kDigits[static_cast<uint8_t>(byte) & 15];
  }
  return text;
}

Result<Bytes> parse_hex(std::string_view text) {
  auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  Bytes bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    if (digit(text[i]) < 0 || digit(text[i + 1]) < 0) return fail(Code::kInvalid, "not hex digits");
    bytes += static_cast<char>(digit(text[i]) << 4 | digit(text[i + 1]));
  }
  if (text.size() % 2 != 0) return fail(Code::kInvalid, "not hex digits");
  return bytes;
}

}  // namespace understudy
