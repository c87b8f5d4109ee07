// What a run of bytes is to whoever counts sentences and words across it, whatever
// stands before it: so a chunk is looked at once, and files, versions and positions
// that share it add its summary up with others'.
//
// Pure. Summaries concatenate as the bytes do.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/types.h"
#include "ss/core/document.h"

namespace understudy {

class TextSummary {
 public:
  // Of nothing.
  TextSummary() = default;
  static TextSummary of(BytesView text);

  // `next` stands right behind it.
  void append(const TextSummary& next);

  uint64_t bytes() const { return bytes_; }
  // How many sentences begin in it, and how the scan leaves it, for one that enters it so.
  uint64_t sentences(SentenceState entry) const { return sentences_[static_cast<size_t>(entry)]; }
  SentenceState exit(SentenceState entry) const { return exit_[static_cast<size_t>(entry)]; }
  // As of a whole text.
  TextCounts counts() const;

 private:
  uint64_t bytes_ = 0;
  uint64_t characters_ = 0;
  uint64_t words_ = 0;  // If a blank stands before it.
  std::array<uint64_t, kSentenceStates> sentences_{};
  std::array<SentenceState, kSentenceStates> exit_ = {SentenceState::kBetween, SentenceState::kOpen,
                                                      SentenceState::kClosing};
  bool begins_in_word_ = false;
  bool ends_in_word_ = false;
};

}  // namespace understudy
