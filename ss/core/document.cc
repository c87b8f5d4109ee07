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

void TextCounter::feed(BytesView piece) {
  counts_.bytes += piece.size();
  for (char c : piece) {
    bool blank = is_blank(c);
    counts_.characters += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
    counts_.words += !blank && !in_word_;
    counts_.sentences += scanner_.step(c);
    in_word_ = !blank;
  }
}

TextCounts count_text(BytesView text) {
  TextCounter counter;
  counter.feed(text);
  return counter.counts();
}

int64_t sentence_shift(BytesView before, BytesView after) {
  // Words left open at the end of an edit run on into the next sentence, which
  // then begins with them.
  int64_t begun[2] = {0, 0};
  BytesView texts[2] = {before, after};
  for (int i : {0, 1}) {
    SentenceScanner scanner;
    for (char c : texts[i]) begun[i] += scanner.step(c);
    if (!scanner.open()) ++begun[i];
  }
  return begun[1] - begun[0];
}

bool SentenceFinder::feed(BytesView piece) {
  if (phase_ == Phase::kFound || phase_ == Phase::kTooLong) return false;
  for (char c : piece) {
    bool was_closing = scanner_.closing();
    bool starts = scanner_.step(c);
    if (phase_ == Phase::kInside && was_closing && !scanner_.closing()) {
      sentence_.after = c;
      phase_ = Phase::kFound;
      return false;
    }
    if (starts && started_++ == wanted_) {
      phase_ = Phase::kInside;
      sentence_.span.offset = position_;
      sentence_.before = last_;
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
    last_ = c;
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
      sentence_.before = last_;
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
  while (is_blank(sentence_.text.back())) {
    sentence_.after = sentence_.text.back();
    sentence_.text.pop_back();
  }
  sentence_.span.size = sentence_.text.size();
  return std::move(sentence_);
}

}  // namespace understudy
