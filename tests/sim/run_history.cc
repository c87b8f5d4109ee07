#include "tests/sim/run_history.h"

#include <algorithm>
#include <charconv>

#include "tests/sim/sim_random.h"

namespace understudy::sim {
namespace {

std::optional<uint64_t> take_number(BytesView& text, char end) {
  uint64_t value = 0;
  auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || at == text.data() + text.size() || *at != end) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(at - text.data()) + 1);
  return value;
}

// Of this write, and of no other.
Bytes padding(Token token, uint64_t size) {
  SimRandom random(token);
  Bytes bytes;
  while (bytes.size() < size) {
    uint64_t word = random.next();
    bytes.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  bytes.resize(size);
  return bytes;
}

constexpr const char* kSentences[] = {"the first of four.", "a second one.", "then a third.", "last comes this."};

// What a document is without the words of edits, and these.
std::optional<std::vector<Token>> tokens_of_document(BytesView content) {
  std::vector<Token> tokens;
  BytesView head = content.substr(1);
  auto token = take_number(head, ' ');
  if (!token) return std::nullopt;
  tokens.push_back(*token);
  std::vector<Token> edits;
  Bytes rest;
  while (!head.empty()) {
    size_t end = head.find(' ');
    BytesView word = head.substr(0, end);
    head.remove_prefix(end == head.npos ? head.size() : end + 1);
    if (!word.empty() && word.front() == 'e') {
      uint64_t edit = 0;
      auto [at, error] = std::from_chars(word.data() + 1, word.data() + word.size(), edit);
      if (error != std::errc() || at != word.data() + word.size()) return std::nullopt;
      edits.push_back(edit);
      continue;
    }
    if (!rest.empty()) rest += ' ';
    rest += word;
  }
  Bytes whole = document_content(*token);
  if (whole.substr(whole.find(' ') + 1) != rest) return std::nullopt;
  std::ranges::sort(edits);
  tokens.insert(tokens.end(), edits.begin(), edits.end());
  return tokens;
}

}  // namespace

Bytes put_content(Token token, uint64_t size) {
  return "P" + std::to_string(token) + ":" + std::to_string(size) + "\n" + padding(token, size);
}

Bytes append_content(Token token) { return "A" + std::to_string(token) + "\n"; }

Bytes document_content(Token token) {
  Bytes content = "D" + std::to_string(token);
  for (const char* sentence : kSentences) content += std::string(" ") + sentence;
  return content;
}

Bytes edit_word(Token token) { return "e" + std::to_string(token); }

std::optional<std::vector<Token>> tokens_of(BytesView content) {
  std::vector<Token> tokens;
  if (!content.empty() && content.front() == 'D') return tokens_of_document(content);
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

const char* name_of(Op::Kind kind) {
  static constexpr const char* kNames[] = {"PUT",    "PUT (document)", "APPEND", "WRITE", "UNDO",   "CHECKPOINT",
                                           "REVERT", "READ",           "DELETE", "MOVE",  "CREATE FOLDER", "DELETE FOLDER",
                                           "LINK",   "UNDELETE",       "ADDACCESS", "REMACCESS", "SETDURABILITY"};
  return kNames[static_cast<size_t>(kind)];
}

bool makes_version(Op::Kind kind) { return kind <= Op::Kind::kEdit || kind == Op::Kind::kUndo || kind == Op::Kind::kRevert; }

std::string to_string(const Op& op) {
  std::string text = "client" + std::to_string(op.session) + " " + name_of(op.kind) + " " + op.path;
  if (!op.to.empty()) text += " to " + op.to;
  if (!op.tag.empty()) text += " " + op.tag;
  text += " (#" + std::to_string(op.token) + ")";
  if (op.outcome == Op::Outcome::kUnderWay) return text + ": under way";
  if (op.outcome != Op::Outcome::kDone) return text + ": " + op.error;
  if (op.version) text += ": file " + std::to_string(number(op.file)) + " version " + op.version.to_string();
  if (op.kind == Op::Kind::kRead) text += " from " + op.server;
  return text;
}

Op& History::begin(size_t session, Op::Kind kind, std::string path, Instant now) {
  Op& op = ops_.emplace_back();
  op.session = session;
  op.kind = kind;
  op.path = std::move(path);
  op.token = ops_.size();
  op.begun = now;
  return op;
}

void History::done(Token token, Instant now) {
  op(token).outcome = Op::Outcome::kDone;
  op(token).ended = now;
}

void History::failed(Token token, const Error& error, Instant now) {
  Op& failed = op(token);
  bool unknown = error.message.find("outcome unknown") != std::string::npos;
  failed.outcome = unknown ? Op::Outcome::kUnknown : Op::Outcome::kRefused;
  failed.ended = now;
  failed.code = error.code;
  failed.error = error.to_string();
}

void History::refusals_are_open(size_t session) {
  for (Op& op : ops_) {
    if (op.session == session && op.outcome == Op::Outcome::kRefused) op.may_come_again = true;
  }
}

size_t History::count(Op::Kind kind, Op::Outcome outcome) const {
  return static_cast<size_t>(std::ranges::count_if(ops_, [&](auto& op) { return op.kind == kind && op.outcome == outcome; }));
}

size_t History::writes(Op::Outcome outcome) const {
  return static_cast<size_t>(
      std::ranges::count_if(ops_, [&](auto& op) { return makes_version(op.kind) && op.outcome == outcome; }));
}

}  // namespace understudy::sim
