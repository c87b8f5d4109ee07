// A text file seen as a document: sentences and words as runs of bytes.
//
// A word is a run of non-blanks (blanks: space, \t, \n, \v, \f, \r). Every '.', '!'
// or '?' closes a sentence, also inside "e.g."; a run of them closes once and
// stays whole. A sentence begins at its first non-blank and ends behind its closing
// run; a last one that is not closed ends behind its last non-blank. Whatever
// stands between sentences belongs to none and no edit touches it.
//
// Pure. Everything streams: a file is fed in pieces of any size.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy {

constexpr bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
constexpr bool closes_sentence(char c) { return c == '.' || c == '!' || c == '?'; }

// Follows sentences byte by byte.
class SentenceScanner {
 public:
  // True if `c` is the first byte of a sentence.
  bool step(char c) {
    bool starts = false;
    if (closes_sentence(c)) {
      starts = state_ == State::kBetween;
      state_ = State::kClosing;
    } else if (state_ != State::kOpen) {
      starts = !is_blank(c);
      state_ = starts ? State::kOpen : State::kBetween;
    }
    return starts;
  }
  // Inside a sentence that nothing has closed so far.
  bool open() const { return state_ == State::kOpen; }
  // Behind a closer, which another closer would prolong.
  bool closing() const { return state_ == State::kClosing; }

 private:
  enum class State : uint8_t { kBetween, kOpen, kClosing };
  State state_ = State::kBetween;
};

struct ByteSpan {
  uint64_t offset = 0;
  uint64_t size = 0;
  uint64_t end() const { return offset + size; }
  bool operator==(const ByteSpan&) const = default;
};

std::vector<ByteSpan> split_words(BytesView text);
std::vector<ByteSpan> split_sentences(BytesView text);

struct TextCounts {
  uint64_t bytes = 0;
  uint64_t characters = 0;  // As UTF-8: bytes that do not continue a character.
  uint64_t words = 0;
  uint64_t sentences = 0;
  bool operator==(const TextCounts&) const = default;
};

class TextCounter {
 public:
  void feed(BytesView piece);
  const TextCounts& counts() const { return counts_; }

 private:
  SentenceScanner scanner_;
  bool in_word_ = false;
  TextCounts counts_;
};

TextCounts count_text(BytesView text);

// By how much a commit that replaces `before` with `after` shifts the ordinals of
// all sentences behind it.
int64_t sentence_shift(BytesView before, BytesView after);

// A longer sentence cannot be opened for writing.
inline constexpr uint64_t kSentenceSizeMax = 16 << 20;

// A sentence in its place, as WRITE opens it.
struct Sentence {
  ByteSpan span;
  Bytes text;
  bool closed = false;
  bool at_end = false;         // It does not exist yet: the one behind the last.
  std::optional<char> before;  // The bytes on either side, blanks included.
  std::optional<char> after;
};

// Finds one sentence; keeps that sentence and nothing else in memory.
class SentenceFinder {
 public:
  explicit SentenceFinder(uint64_t wanted, uint64_t size_max = kSentenceSizeMax)
      : wanted_(wanted), size_max_(size_max) {}
  // False once enough is known: the rest need not be fed.
  bool feed(BytesView piece);
  // After the last piece. OUT_OF_RANGE: no such sentence, nor can it be begun;
  // INVALID: it is longer than `size_max`.
  Result<Sentence> finish();

 private:
  enum class Phase : uint8_t { kSearching, kInside, kFound, kTooLong };
  uint64_t wanted_;
  uint64_t size_max_;
  SentenceScanner scanner_;
  Phase phase_ = Phase::kSearching;
  uint64_t position_ = 0;
  uint64_t started_ = 0;  // Sentences begun so far.
  std::optional<char> last_;
  Sentence sentence_;
};

}  // namespace understudy
