#include "common/crypto/hmac.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "common/base/result.h"

namespace understudy {

struct HmacKey::Parts {
  EVP_MAC_CTX* keyed = nullptr;  // Copied for each message: the key is hashed once.
  ~Parts() { EVP_MAC_CTX_free(keyed); }
};

HmacKey::HmacKey(BytesView secret) : parts_(std::make_unique<Parts>()) {
  static EVP_MAC* const hmac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  CHECK(hmac != nullptr);
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                   OSSL_PARAM_construct_end()};
  parts_->keyed = EVP_MAC_CTX_new(hmac);
  CHECK(parts_->keyed != nullptr);
  CHECK(EVP_MAC_init(parts_->keyed, reinterpret_cast<const unsigned char*>(secret.data()), secret.size(), parameters) == 1);
}

HmacKey::HmacKey(HmacKey&&) noexcept = default;
HmacKey& HmacKey::operator=(HmacKey&&) noexcept = default;
HmacKey::~HmacKey() = default;

Mac HmacKey::mac(BytesView label, BytesView message) const {
  EVP_MAC_CTX* context = EVP_MAC_CTX_dup(parts_->keyed);
  CHECK(context != nullptr);
  auto feed = [context](BytesView bytes) {
    CHECK(EVP_MAC_update(context, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()) == 1);
  };
  const char label_size = static_cast<char>(label.size());
  feed({&label_size, 1});
  feed(label);
  feed(message);
  Mac mac;
  size_t size = 0;
  CHECK(EVP_MAC_final(context, reinterpret_cast<unsigned char*>(mac.data()), &size, mac.size()) == 1);
  CHECK(size == mac.size());
  EVP_MAC_CTX_free(context);
  return mac;
}

bool equal_secrets(BytesView one, BytesView other) {
  return one.size() == other.size() && CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0;
}

Bytes random_bytes(Random& random, size_t size) {
  Bytes bytes;
  while (bytes.size() < size) {
    uint64_t bits = random.next();
    for (int i = 0; i < 8 && bytes.size() < size; ++i, bits >>= 8) bytes += static_cast<char>(bits & 0xff);
  }
  return bytes;
}

}  // namespace understudy
