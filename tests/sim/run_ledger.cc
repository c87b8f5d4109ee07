#include "tests/sim/run_ledger.h"

#include <algorithm>
#include <charconv>

#include "tests/sim/filled_files.h"

namespace understudy::sim {
namespace {

constexpr size_t kViolationsMax = 20;

std::optional<uint64_t> take_number(BytesView& text, char end) {
  uint64_t value = 0;
  auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || at == text.data() + text.size() || *at != end) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(at - text.data()) + 1);
  return value;
}

Bytes padding(Token token, uint64_t size) { return labelled_content("write " + std::to_string(token), size); }

}  // namespace

Bytes put_content(Token token, uint64_t size) {
  return "P" + std::to_string(token) + ":" + std::to_string(size) + "\n" + padding(token, size);
}

Bytes append_content(Token token) { return "A" + std::to_string(token) + "\n"; }

std::optional<std::vector<Token>> tokens_of(BytesView content) {
  std::vector<Token> tokens;
  while (!content.empty()) {
    char kind = content.front();
    content.remove_prefix(1);
    if (kind == 'P' && tokens.empty()) {
      auto token = take_number(content, ':');
      auto size = token ? take_number(content, '\n') : std::nullopt;
      if (!size || content.size() < *size || content.substr(0, *size) != padding(*token, *size)) return std::nullopt;
      content.remove_prefix(*size);
      tokens.push_back(*token);
    } else if (kind == 'A' && !tokens.empty()) {
      auto token = take_number(content, '\n');
      if (!token) return std::nullopt;
      tokens.push_back(*token);
    } else {
      return std::nullopt;
    }
  }
  return tokens;
}

void RunLedger::end_write(Token token, Outcome outcome, Version version) {
  writes_[token - 1].outcome = outcome;
  writes_[token - 1].version = version;
}

uint64_t RunLedger::count(Outcome outcome) const {
  return static_cast<uint64_t>(std::ranges::count(writes_, outcome, &Write::outcome));
}

void RunLedger::violated(std::string what) {
  if (violations_.size() < kViolationsMax) violations_.push_back(std::move(what));
}

std::optional<std::vector<Token>> RunLedger::inspect(const std::string& where, BytesView content) {
  auto tokens = tokens_of(content);
  if (!tokens) {
    violated(where + ": bytes that no writes made, " + std::to_string(content.size()) + " of them, \"" +
             std::string(content.substr(0, 20)) + "\"");
    return tokens;
  }
  std::set<Token> seen;
  for (Token token : *tokens) {
    if (token == 0 || token > writes_.size()) {
      violated(where + ": write " + std::to_string(token) + " was never asked for");
      return std::nullopt;
    }
    if (!seen.insert(token).second) violated(where + ": write " + std::to_string(token) + " took effect twice");
    if (write(token).outcome == Outcome::kRefused) {
      violated(where + ": write " + std::to_string(token) + " was refused with nothing changed, and is here");
    }
  }
  return tokens;
}

}  // namespace understudy::sim
