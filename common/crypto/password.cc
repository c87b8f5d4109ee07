#include "common/crypto/password.h"

#include <openssl/evp.h>

#include "common/crypto/hmac.h"

namespace understudy {
namespace {

constexpr size_t kHashSize = 32;
constexpr uint64_t kMemoryMax = uint64_t{256} << 20;

Bytes scrypt(BytesView password, BytesView salt, PasswordCost cost) {
  Bytes hash(kHashSize, '\0');
  int done = EVP_PBE_scrypt(password.data(), password.size(), reinterpret_cast<const unsigned char*>(salt.data()),
                            salt.size(), uint64_t{1} << cost.log2_n, cost.r, cost.p, kMemoryMax,
                            reinterpret_cast<unsigned char*>(hash.data()), hash.size());
  return done == 1 ? hash : Bytes();
}

}  // namespace

Status check_new_password(BytesView password) {
  if (password.size() >= kPasswordSizeMin && password.size() <= kPasswordSizeMax) return {};
  return fail(Code::kInvalid, "a password has " + std::to_string(kPasswordSizeMin) + " to " +
                                  std::to_string(kPasswordSizeMax) + " bytes");
}

wire::PasswordHash hash_password(BytesView password, BytesView salt, PasswordCost cost) {
  wire::PasswordHash made;
  made.set_log2_n(cost.log2_n);
  made.set_r(cost.r);
  made.set_p(cost.p);
  made.set_salt(std::string(salt));
  made.set_hash(scrypt(password, salt, cost));
  CHECK(!made.hash().empty());
  return made;
}

bool password_matches(const wire::PasswordHash& hash, BytesView password) {
  if (hash.log2_n() < 1 || hash.log2_n() > 20 || password.size() > kPasswordSizeMax) return false;
  Bytes made = scrypt(password, hash.salt(), {.log2_n = hash.log2_n(), .r = hash.r(), .p = hash.p()});
  return !made.empty() && equal_secrets(made, hash.hash());
}

}  // namespace understudy
