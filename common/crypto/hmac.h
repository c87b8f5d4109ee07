// HMAC-SHA256, made ready once for a key and then cheap for each message; and the
// comparison of secrets. This folder owns OpenSSL's primitives (TLS apart).
#pragma once

#include <array>
#include <memory>

#include "common/base/types.h"
#include "common/env/env.h"

namespace understudy {

using Mac = std::array<char, 32>;

class HmacKey {
 public:
  explicit HmacKey(BytesView secret);
  HmacKey(HmacKey&&) noexcept;
  HmacKey& operator=(HmacKey&&) noexcept;
  ~HmacKey();

  // Of `label` and then `message`: one key may sign several kinds of things.
  Mac mac(BytesView label, BytesView message) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// In a time that tells nothing but the sizes.
bool equal_secrets(BytesView one, BytesView other);

// For keys, salts and passwords: Env's source is the kernel's in production.
Bytes random_bytes(Random& random, size_t size);

}  // namespace understudy
