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
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy {

constexpr bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
// As UTF-8: no byte that continues a character.
constexpr bool begins_character(char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }
constexpr bool closes_sentence(char c) { return c == '.' || c == '!' || c == '?'; }

// Where a scan of sentences stands: between two of them, inside one that nothing has
// closed so far, or behind a closer, which another closer would prolong.
enum class SentenceState : uint8_t { kBetween, kOpen, kClosing };
inline constexpr size_t kSentenceStates = 3;

// Follows sentences byte by byte.
class SentenceScanner {
 public:
  explicit SentenceScanner(SentenceState state = SentenceState::kBetween) : state_(state) {}
  // True if `c` is the first byte of a sentence.
  bool step(char c) {
    bool starts = false;
    if (closes_sentence(c)) {
      starts = state_ == SentenceState::kBetween;
      state_ = SentenceState::kClosing;
    } else if (state_ != SentenceState::kOpen) {
      starts = !is_blank(c);
      state_ = starts ? SentenceState::kOpen : SentenceState::kBetween;
    }
    return starts;
  }
  SentenceState state() const { return state_; }
  bool open() const { return state_ == SentenceState::kOpen; }
  bool closing() const { return state_ == SentenceState::kClosing; }

 private:
  SentenceState state_;
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
  uint64_t characters = 0;  // As UTF-8.
  uint64_t words = 0;
  uint64_t sentences = 0;
  bool operator==(const TextCounts&) const = default;
};

TextCounts count_text(BytesView text);

// How many sentences a run of bytes accounts for, by which commits shift the ordinals
// behind them: words left open at its end run on into the next sentence, which then
// begins with them.
int64_t sentences_begun(BytesView text);

// A longer sentence cannot be opened for writing, nor any of a longer file.
inline constexpr uint64_t kSentenceSizeMax = 16 << 20;
inline constexpr uint64_t kDocumentSizeMax = uint64_t{4} << 30;

// A sentence in its place, as WRITE opens it.
struct Sentence {
  ByteSpan span;
  Bytes text;
  bool closed = false;
  bool at_end = false;  // It does not exist yet: the one behind the last.
};

// A point of a scan, from which it can go on.
struct ScanPoint {
  uint64_t offset = 0;
  uint64_t sentences = 0;  // Begun before it.
  SentenceState state = SentenceState::kBetween;
};

// Finds one sentence; keeps that sentence and nothing else in memory.
class SentenceFinder {
 public:
  // `from`: where the feeding begins; not behind the sentence's first byte.
  explicit SentenceFinder(uint64_t wanted, ScanPoint from = {}, uint64_t size_max = kSentenceSizeMax)
      : wanted_(wanted), size_max_(size_max), scanner_(from.state), position_(from.offset), started_(from.sentences) {}
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
  uint64_t position_;
  uint64_t started_;  // Sentences begun so far.
  Sentence sentence_;
};

}  // namespace understudy
