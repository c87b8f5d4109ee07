#include "common/crypto/key_ring.h"

#include <algorithm>

#include "common/base/coding.h"

namespace understudy {
namespace {

constexpr size_t kIdSize = 4;

}  // namespace

KeyRing::KeyRing(std::string label, size_t mac_size) : label_(std::move(label)), mac_size_(mac_size) {
  CHECK(mac_size_ >= 16 && mac_size_ <= sizeof(Mac));
}

const KeyRing::Ready* KeyRing::find(uint32_t id) const {
  auto at = std::ranges::find_if(keys_, [id](const Ready& ready) { return ready.key.id == id; });
  return at == keys_.end() ? nullptr : &*at;
}

void KeyRing::set(std::vector<Key> newest_first) {
  std::vector<Ready> keys;
  for (Key& key : newest_first) {
    auto known = std::ranges::find_if(keys_, [&](const Ready& ready) { return ready.key.id == key.id && ready.key.secret == key.secret; });
    if (known != keys_.end()) {
      keys.push_back(std::move(*known));
    } else {
      HmacKey hmac(key.secret);
      keys.push_back({std::move(key), std::move(hmac)});
    }
  }
  keys_ = std::move(keys);
}

Bytes KeyRing::sign(uint32_t id, BytesView message) const {
  const Ready* ready = find(id);
  CHECK(ready != nullptr);
  Mac mac = ready->hmac.mac(label_, message);
  Bytes result;
  result.reserve(kIdSize + mac_size_ + message.size());
  put_fixed(result, id);
  result.append(mac.data(), mac_size_);
  result.append(message);
  return result;
}

Result<BytesView> KeyRing::open(BytesView signed_message) const {
  if (signed_message.size() < kIdSize + mac_size_) return fail(Code::kUnauthenticated, "not signed");
  const Ready* ready = find(load_fixed<uint32_t>(signed_message.data()));
  if (ready == nullptr) return fail(Code::kUnauthenticated, "signed by a key that is not known here");
  BytesView message = signed_message.substr(kIdSize + mac_size_);
  Mac mac = ready->hmac.mac(label_, message);
  if (!equal_secrets(signed_message.substr(kIdSize, mac_size_), {mac.data(), mac_size_})) {
    return fail(Code::kUnauthenticated, "the signature is not ours");
  }
  return message;
}

}  // namespace understudy
