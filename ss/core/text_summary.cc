#include "ss/core/text_summary.h"

namespace understudy {

TextSummary TextSummary::of(BytesView text) {
  TextSummary summary;
  if (text.empty()) return summary;
  summary.bytes_ = text.size();
  summary.begins_in_word_ = !is_blank(text.front());
  summary.ends_in_word_ = !is_blank(text.back());
  // Scans that enter differently agree behind the first non-blank.
  std::array<SentenceScanner, kSentenceStates> scanners = {SentenceScanner(SentenceState::kBetween),
                                                           SentenceScanner(SentenceState::kOpen),
                                                           SentenceScanner(SentenceState::kClosing)};
  bool in_word = false;
  auto count = [&](char c) {
    const bool blank = is_blank(c);
    summary.characters_ += begins_character(c);
    summary.words_ += !blank && !in_word;
    in_word = !blank;
  };
  size_t at = 0;
  while (at < text.size() && !in_word) {
    for (size_t i = 0; i < kSentenceStates; ++i) summary.sentences_[i] += scanners[i].step(text[at]);
    count(text[at++]);
  }
  SentenceScanner rest = scanners[0];
  uint64_t begun = 0;
  for (char c : text.substr(at)) {
    begun += rest.step(c);
    count(c);
  }
  for (size_t i = 0; i < kSentenceStates; ++i) {
    summary.sentences_[i] += begun;
    summary.exit_[i] = in_word || at < text.size() ? rest.state() : scanners[i].state();
  }
  return summary;
}

void TextSummary::append(const TextSummary& next) {
  if (next.bytes_ == 0) return;
  if (bytes_ == 0) begins_in_word_ = next.begins_in_word_;
  characters_ += next.characters_;
  words_ += next.words_ - (ends_in_word_ && next.begins_in_word_);
  for (size_t i = 0; i < kSentenceStates; ++i) {
    sentences_[i] += next.sentences(exit_[i]);
    exit_[i] = next.exit(exit_[i]);
  }
  bytes_ += next.bytes_;
  ends_in_word_ = next.ends_in_word_;
}

TextCounts TextSummary::counts() const {
  return {.bytes = bytes_, .characters = characters_, .words = words_,
          .sentences = sentences(SentenceState::kBetween)};
}

}  // namespace understudy
