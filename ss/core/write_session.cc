#include "ss/core/write_session.h"

#include <string>

namespace understudy {

Status WriteSession::insert(uint64_t word_index, BytesView content) {
  if (content.empty()) return fail(Code::kInvalid, "nothing to insert; give <word index> <content>");
  auto words = split_words(text_);
  if (word_index > words.size()) {
    return fail(Code::kOutOfRange, "word " + std::to_string(word_index) + ": the sentence has " +
                                       std::to_string(words.size()) + (words.size() == 1 ? " word" : " words") +
                                       "; use 0 to " + std::to_string(words.size()));
  }
  if (text_.size() + content.size() + 2 > kSentenceSizeMax) {
    return fail(Code::kInvalid, "the sentence would be longer than " + std::to_string(kSentenceSizeMax) +
                                    " bytes; use PUT or APPEND");
  }
  size_t at = word_index < words.size() ? words[word_index].offset : text_.size();
  bool blank_before = at > 0 && !is_blank(text_[at - 1]) && !is_blank(content.front());
  bool blank_after = at < text_.size() && !is_blank(text_[at]) && !is_blank(content.back());
  if (at == 0) head_inserted_ = true;
  if (at == text_.size()) tail_inserted_ = true;
  Bytes inserted;
  if (blank_before) inserted.push_back(' ');
  inserted.append(content);
  if (blank_after) inserted.push_back(' ');
  text_.insert(at, inserted);
  changed_ = true;
  return {};
}

Bytes WriteSession::result(std::optional<char> before, std::optional<char> after) const {
  Bytes bytes;
  if (head_inserted_ && before && !is_blank(*before) && !is_blank(text_.front())) bytes.push_back(' ');
  bytes.append(text_);
  if (tail_inserted_ && after && !is_blank(*after) && !is_blank(text_.back())) bytes.push_back(' ');
  return bytes;
}

}  // namespace understudy
