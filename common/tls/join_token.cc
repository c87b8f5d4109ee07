#include "common/tls/join_token.h"

#include <charconv>
#include <vector>

#include "common/tls/certificates.h"

namespace understudy {
namespace {

constexpr size_t kIdBytes = 6;
constexpr size_t kSecretBytes = 32;
constexpr size_t kFingerprintBytes = 32;

}  // namespace

JoinToken make_join_token(Bytes authority, WallTime expires) {
  return {hex_of(random_bytes(kIdBytes)), random_bytes(kSecretBytes), std::move(authority), expires};
}

std::string join_token_text(const JoinToken& token) {
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(token.expires.time_since_epoch()).count();
  return "understudy-join:1:" + token.id + ":" + hex_of(token.secret) + ":" + hex_of(token.authority) + ":" + std::to_string(seconds);
}

Result<JoinToken> parse_join_token(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.remove_suffix(1);
  auto bad = [] { return fail(Code::kInvalid, "not a join token; the name node writes one into its data folder, as join-token"); };
  std::vector<std::string_view> parts;
  while (parts.size() < 7) {
    size_t colon = text.find(':');
    parts.push_back(text.substr(0, colon));
    if (colon == text.npos) break;
    text.remove_prefix(colon + 1);
  }
  if (parts.size() != 6 || parts[0] != "understudy-join" || parts[1] != "1") return bad();
  auto id = parse_hex(parts[2]), secret = parse_hex(parts[3]), authority = parse_hex(parts[4]);
  int64_t seconds = 0;
  auto [end, error] = std::from_chars(parts[5].data(), parts[5].data() + parts[5].size(), seconds);
  if (!id || !secret || !authority || id->size() != kIdBytes || secret->size() != kSecretBytes ||
      authority->size() != kFingerprintBytes || error != std::errc() || end != parts[5].data() + parts[5].size() ||
      seconds < 0 || seconds > (int64_t{1} << 40)) {
    return bad();
  }
  return JoinToken{std::string(parts[2]), *secret, *authority, WallTime(std::chrono::seconds(seconds))};
}

}  // namespace understudy
