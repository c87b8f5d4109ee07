// The editing of one sentence, between WRITE and ETIRW: its text and the insertions
// made so far. Pure: who may open it and where the result goes is decided elsewhere.
//
// Indexes count the words of the text as it stands now: the sentence that was
// opened with all that was inserted, also where that closes it and begins others.
//
// The text stands in blocks that know how many words begin in them, so that an insertion
// looks at one of them however long the sentence is: whoever serves others waits for it.
#pragma once

#include <optional>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"
#include "ss/core/document.h"

namespace understudy {

class WriteSession {
 public:
  // `sentence`: its text as SentenceFinder gives it; empty for a new one.
  explicit WriteSession(BytesView sentence);

  // Puts `content` before the word at `word_index`, or at the end for the number of
  // words. One blank is put between inserted and standing words where none is.
  // OUT_OF_RANGE: another index; INVALID: no content, or the text grows too long.
  // Refused, nothing has changed.
  Status insert(uint64_t word_index, BytesView content);

  Bytes text() const;
  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t words() const { return words_; }
  bool changed() const { return changed_; }

  // What replaces the sentence's bytes, given the bytes that stand on either side
  // of them in the version that the commit is merged into.
  Bytes result(std::optional<char> before, std::optional<char> after) const;

 private:
  struct Block {
    Bytes bytes;         // Not empty.
    uint64_t words = 0;  // That begin in it.
  };
  struct Place {
    size_t block = 0;
    size_t offset = 0;
  };
  static std::vector<Block> cut(BytesView text, bool in_word);
  // The first byte of that word; behind all for the number of words.
  Place place_of(uint64_t word_index) const;
  bool in_word_before(size_t block) const;

  std::vector<Block> blocks_;
  uint64_t size_bytes_ = 0;
  uint64_t words_ = 0;
  bool changed_ = false;
  bool head_inserted_ = false;  // The first byte is an inserted one,
  bool tail_inserted_ = false;  // the last one is.
};

}  // namespace understudy
