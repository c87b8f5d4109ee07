#include "ss/core/document.h"

#include <string>

namespace understudy {

std::vector<ByteSpan> split_words(BytesView text) {
  std::vector<ByteSpan> words;
  for (size_t at = 0; at < text.size();) {
    if (is_blank(text[at])) {
      ++at;
      continue;
    }
    size_t end = at;
    while (end < text.size() && !is_blank(text[end])) ++end;
    words.push_back({at, end - at});
    at = end;
  }
  return words;
}

std::vector<ByteSpan> split_sentences(BytesView text) {
  std::vector<ByteSpan> sentences;
  SentenceScanner scanner;
  for (size_t at = 0; at < text.size(); ++at) {
    bool starts = scanner.step(text[at]);
    if (starts) sentences.push_back({at, 0});
    // Blanks inside an open sentence count only once a non-blank follows them.
    if (!sentences.empty() && !is_blank(text[at])) sentences.back().size = at + 1 - sentences.back().offset;
  }
  return sentences;
}

TextCounts count_text(BytesView text) {
  TextCounts counts{.bytes = text.size()};
  SentenceScanner scanner;
  bool in_word = false;
  for (char c : text) {
    bool blank = is_blank(c);
    counts.characters += begins_character(c);
    counts.words += !blank && !in_word;
    counts.sentences += scanner.step(c);
    in_word = !blank;
  }
  return counts;
}

int64_t sentences_begun(BytesView text) {
  int64_t begun = 0;
  SentenceScanner scanner;
  for (char c : text) begun += scanner.step(c);
  return begun + (scanner.open() ? 0 : 1);
}

bool SentenceFinder::feed(BytesView piece) {
  if (phase_ == Phase::kFound || phase_ == Phase::kTooLong) return false;
  for (char c : piece) {
    bool was_closing = scanner_.closing();
    bool starts = scanner_.step(c);
    if (phase_ == Phase::kInside && was_closing && !scanner_.closing()) {
      phase_ = Phase::kFound;
      return false;
    }
    if (starts && started_++ == wanted_) {
      phase_ = Phase::kInside;
      sentence_.span.offset = position_;
    }
    if (phase_ == Phase::kInside) {
      if (sentence_.text.size() == size_max_) {
        phase_ = Phase::kTooLong;
        sentence_.text.clear();
        return false;
      }
      sentence_.text.push_back(c);
    }
    ++position_;
  }
  return true;
}

Result<Sentence> SentenceFinder::finish() {
  if (phase_ == Phase::kTooLong) {
    return fail(Code::kInvalid, "sentence " + std::to_string(wanted_) + " is longer than " +
                                    std::to_string(size_max_) + " bytes; use GET and PUT");
  }
  if (phase_ == Phase::kSearching) {
    bool may_begin = !scanner_.open();
    if (wanted_ == started_ && may_begin) {
      sentence_.at_end = true;
      sentence_.span.offset = position_;
      return std::move(sentence_);
    }
    std::string count = std::to_string(started_) + (started_ == 1 ? " sentence" : " sentences");
    uint64_t last = may_begin ? started_ : started_ - 1;
    return fail(Code::kOutOfRange, "sentence " + std::to_string(wanted_) + ": there " +
                                       (started_ == 1 ? "is " : "are ") + count +
                                       (may_begin ? "" : ", the last not closed") + "; use 0 to " +
                                       std::to_string(last));
  }
  sentence_.closed = !scanner_.open() || phase_ == Phase::kFound;
  while (is_blank(sentence_.text.back())) sentence_.text.pop_back();
  sentence_.span.size = sentence_.text.size();
  return std::move(sentence_);
}

}  // namespace understudy
