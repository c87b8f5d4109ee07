// What lets a new storage server into a cluster, as one line of text: where to
// recognise the cluster by, and a secret. Whoever holds it can join under a name that has
// no key yet, until it expires or is revoked.
//
//   understudy-join:1:ID:SECRET:AUTHORITY:EXPIRES      hex, hex, hex (SHA-256 of the authority's key), seconds since 1970
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy {

struct JoinToken {
  std::string id;   // Names it in lists; no secret.
  Bytes secret;
  Bytes authority;  // Fingerprint.
  WallTime expires{};
};

// A new id and secret.
JoinToken make_join_token(Bytes authority, WallTime expires);
// One line, without its end.
std::string join_token_text(const JoinToken& token);
// INVALID, without a word of what stands in it.
Result<JoinToken> parse_join_token(std::string_view text);

}  // namespace understudy
