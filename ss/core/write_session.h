// The editing of one sentence, between WRITE and ETIRW: its text and the insertions
// made so far. Pure: who may open it and where the result goes is decided elsewhere.
//
// Indexes count the words of the text as it stands now: the sentence that was
// opened with all that was inserted, also where that closes it and begins others.
#pragma once

#include <optional>

#include "common/base/result.h"
#include "common/base/types.h"
#include "ss/core/document.h"

namespace understudy {

class WriteSession {
 public:
  // `sentence`: its text as SentenceFinder gives it; empty for a new one.
  explicit WriteSession(Bytes sentence) : text_(std::move(sentence)) {}

  // Puts `content` before the word at `word_index`, or at the end for the number of
  // words. One blank is put between inserted and standing words where none is.
  // OUT_OF_RANGE: another index; INVALID: no content, or the text grows too long.
  // Refused, nothing has changed.
  Status insert(uint64_t word_index, BytesView content);

  const Bytes& text() const { return text_; }
  bool changed() const { return changed_; }

  // What replaces the sentence's bytes, given the bytes that stand on either side
  // of them in the version that the commit is merged into.
  Bytes result(std::optional<char> before, std::optional<char> after) const;

 private:
  Bytes text_;
  bool changed_ = false;
  bool head_inserted_ = false;  // The first byte is an inserted one,
  bool tail_inserted_ = false;  // the last one is.
};

}  // namespace understudy
