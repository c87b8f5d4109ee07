#include "ss/core/write_session.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace understudy {
namespace {

constexpr size_t kBlockSize = 64 << 10;
constexpr size_t kBlockSizeMax = 2 * kBlockSize;

// `in_word`: a word stands right before the text.
uint64_t words_begun(BytesView text, bool in_word) {
  uint64_t words = 0;
  for (char c : text) {
    const bool blank = is_blank(c);
    words += !blank && !in_word;
    in_word = !blank;
  }
  return words;
}

}  // namespace

WriteSession::WriteSession(BytesView sentence) : blocks_(cut(sentence, false)), size_bytes_(sentence.size()) {
  for (const Block& block : blocks_) words_ += block.words;
}

std::vector<WriteSession::Block> WriteSession::cut(BytesView text, bool in_word) {
  std::vector<Block> blocks;
  for (size_t at = 0; at < text.size(); at += kBlockSize) {
    const BytesView piece = text.substr(at, kBlockSize);
    blocks.push_back({Bytes(piece), words_begun(piece, in_word)});
    in_word = !is_blank(piece.back());
  }
  return blocks;
}

bool WriteSession::in_word_before(size_t block) const { return block > 0 && !is_blank(blocks_[block - 1].bytes.back()); }

WriteSession::Place WriteSession::place_of(uint64_t word_index) const {
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    if (word_index >= block.words) {
      word_index -= block.words;
      continue;
    }
    bool in_word = in_word_before(i);
    for (size_t at = 0;; ++at) {
      const bool blank = is_blank(block.bytes[at]);
      if (!blank && !in_word && word_index-- == 0) return {i, at};
      in_word = !blank;
    }
  }
  if (blocks_.empty()) return {};
  return {blocks_.size() - 1, blocks_.back().bytes.size()};
}

Status WriteSession::insert(uint64_t word_index, BytesView content) {
  if (content.empty()) return fail(Code::kInvalid, "nothing to insert; give <word index> <content>");
  if (word_index > words_) {
    return fail(Code::kOutOfRange, "word " + std::to_string(word_index) + ": the sentence has " + std::to_string(words_) +
                                       (words_ == 1 ? " word" : " words") + "; use 0 to " + std::to_string(words_));
  }
  if (size_bytes_ + content.size() + 2 > kSentenceSizeMax) {
    return fail(Code::kInvalid, "the sentence would be longer than " + std::to_string(kSentenceSizeMax) +
                                    " bytes; use PUT or APPEND");
  }
  const Place place = place_of(word_index);
  const bool at_head = place.block == 0 && place.offset == 0;
  const bool at_tail = word_index == words_;
  // Where a word begins, only the first one has no blank before it.
  const bool blank_before = at_tail && size_bytes_ > 0 && !is_blank(blocks_.back().bytes.back()) && !is_blank(content.front());
  const bool blank_after = !at_tail && !is_blank(content.back());
  if (at_head) head_inserted_ = true;
  if (at_tail) tail_inserted_ = true;
  Bytes inserted;
  if (blank_before) inserted.push_back(' ');
  inserted.append(content);
  if (blank_after) inserted.push_back(' ');
  if (blocks_.empty()) blocks_.emplace_back();
  Block& block = blocks_[place.block];
  const bool in_word = in_word_before(place.block);
  block.bytes.insert(place.offset, inserted);
  size_bytes_ += inserted.size();
  words_ -= block.words;
  block.words = words_begun(block.bytes, in_word);
  words_ += block.words;
  if (block.bytes.size() > kBlockSizeMax) {
    auto blocks = cut(block.bytes, in_word);
    const auto at = blocks_.erase(blocks_.begin() + static_cast<ptrdiff_t>(place.block));
    blocks_.insert(at, std::make_move_iterator(blocks.begin()), std::make_move_iterator(blocks.end()));
  }
  changed_ = true;
  return {};
}

Bytes WriteSession::text() const {
  Bytes text;
  text.reserve(size_bytes_);
  for (const Block& block : blocks_) text += block.bytes;
  return text;
}

Bytes WriteSession::result(std::optional<char> before, std::optional<char> after) const {
  Bytes bytes;
  bytes.reserve(size_bytes_ + 2);
  if (head_inserted_ && before && !is_blank(*before) && !is_blank(blocks_.front().bytes.front())) bytes.push_back(' ');
  for (const Block& block : blocks_) bytes += block.bytes;
  if (tail_inserted_ && after && !is_blank(*after) && !is_blank(blocks_.back().bytes.back())) bytes.push_back(' ');
  return bytes;
}

}  // namespace understudy
