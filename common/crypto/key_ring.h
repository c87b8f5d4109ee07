// Signed messages: bytes that whoever has the key can tell from all others. On the
// wire: the key's id (4 bytes, little endian), the MAC, the message.
//
// A KeyRing holds the keys of one purpose, newest first: new ones come, older ones
// still count until they are taken out, so keys change without anybody waiting.
#pragma once

#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"
#include "common/crypto/hmac.h"

namespace understudy {

class KeyRing {
 public:
  // `label`: what it signs. `mac_size`: of the MAC's 32 bytes so many are sent, at least 16.
  explicit KeyRing(std::string label, size_t mac_size = 32);

  struct Key {
    uint32_t id = 0;  // Not 0.
    Bytes secret;
  };
  // Those that stay keep what was made ready.
  void set(std::vector<Key> newest_first);
  bool empty() const { return keys_.empty(); }
  uint32_t newest() const { return keys_.empty() ? 0 : keys_.front().key.id; }
  bool has(uint32_t id) const { return find(id) != nullptr; }

  // By the key `id`, which it has.
  Bytes sign(uint32_t id, BytesView message) const;
  // The message in it; UNAUTHENTICATED if none of the keys signed it.
  Result<BytesView> open(BytesView signed_message) const;

 private:
  struct Ready {
    Key key;
    HmacKey hmac;
  };
  const Ready* find(uint32_t id) const;

  std::string label_;
  size_t mac_size_;
  std::vector<Ready> keys_;
};

}  // namespace understudy
