#include "common/base/chunk_hash.h"

#include <openssl/sha.h>

#include <cstring>

namespace understudy {

ChunkHash chunk_hash(BytesView bytes) {
  ChunkHash hash;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), hash.bytes.data());
  return hash;
}

bool parse_chunk_hash(BytesView bytes, ChunkHash& hash) {
  if (bytes.size() != hash.bytes.size()) return false;
  std::memcpy(hash.bytes.data(), bytes.data(), bytes.size());
  return true;
}

std::string ChunkHash::to_hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace understudy
