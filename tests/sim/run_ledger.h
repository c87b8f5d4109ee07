// What the clients of a random run asked for and what they were answered, and what
// must therefore be true of any content, now and in the end.
//
// Every write has a token of its own, and its bytes say so: a PUT's content begins
// anew with its token, an APPEND adds a line with its token. So a content tells which
// writes it is made of, and by its last token which write made the version.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy::sim {

using Token = uint64_t;

Bytes put_content(Token token, uint64_t size);
Bytes append_content(Token token);
// The tokens in order; nothing if it is not the whole of what some writes made.
std::optional<std::vector<Token>> tokens_of(BytesView content);

class RunLedger {
 public:
  enum class Outcome : uint8_t { kUnderWay, kAcknowledged, kRefused, kUnknown };
  struct Write {
    std::string path;
    Outcome outcome = Outcome::kUnderWay;
    Version version;  // Where acknowledged.
  };

  Token begin_write(const std::string& path) {
    writes_.push_back({path});
    return writes_.size();
  }
  void end_write(Token token, Outcome outcome, Version version);
  const std::vector<Write>& writes() const { return writes_; }
  const Write& write(Token token) const { return writes_[token - 1]; }
  uint64_t count(Outcome outcome) const;

  void violated(std::string what);
  const std::vector<std::string>& violations() const { return violations_; }
  // Tokens of a content that was read or found; violations if it cannot be.
  std::optional<std::vector<Token>> inspect(const std::string& where, BytesView content);

 private:
  std::vector<Write> writes_;  // By token - 1.
  std::vector<std::string> violations_;
};

}  // namespace understudy::sim
