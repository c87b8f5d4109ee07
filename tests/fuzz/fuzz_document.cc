// The document editor against a reference that is too simple to be wrong: a string, with the
// sentences cut out of it anew whenever somebody asks. Both must have the same text and the same
// locks after any row of openings, insertions, commits, appends, aborts and losses.
//
// An input is a text, a zero byte, then one operation after the other.
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "ss/core/document.h"
#include "ss/core/edit_trail.h"
#include "ss/core/sentence_locks.h"
#include "ss/core/text_summary.h"
#include "ss/core/write_session.h"
#include "tests/fuzz/input.h"

namespace understudy {
namespace {

constexpr FileId kFile{7};
constexpr size_t kTextMax = 4096;
constexpr size_t kStepsMax = 200;

// The text as a row of pieces; the piece of an open sentence has its writer's number. What the reference
// knows of locks is this and nothing else.
struct Piece {
  std::string text;
  uint64_t writer = 0;
};

struct Reference {
  std::vector<Piece> pieces;

  std::string text() const {
    std::string all;
    for (const auto& piece : pieces) all += piece.text;
    return all;
  }
  // The piece that [offset, offset + size) is cut out as; it lies in one.
  size_t cut(size_t offset, size_t size) {
    for (size_t i = 0, at = 0; i < pieces.size(); at += pieces[i++].text.size()) {
      if (offset < at || offset + size > at + pieces[i].text.size()) continue;
      Piece whole = pieces[i];
      CHECK(whole.writer == 0);
      pieces[i] = {whole.text.substr(offset - at, size)};
      pieces.insert(pieces.begin() + static_cast<ptrdiff_t>(i) + 1, {whole.text.substr(offset - at + size)});
      pieces.insert(pieces.begin() + static_cast<ptrdiff_t>(i), {whole.text.substr(0, offset - at)});
      return i + 1;
    }
    CHECK(false);
  }
  size_t of(uint64_t writer) const {
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].writer == writer) return i;
    }
    CHECK(false);
  }
  // Pieces that nobody writes in are one again.
  void join() {
    for (size_t i = 0; i + 1 < pieces.size();) {
      if (pieces[i].writer != 0 || pieces[i + 1].writer != 0) {
        ++i;
        continue;
      }
      pieces[i].text += pieces[i + 1].text;
      pieces.erase(pieces.begin() + static_cast<ptrdiff_t>(i) + 1);
    }
  }
  bool locked(size_t offset, size_t size) const {
    size_t at = 0;
    for (const auto& piece : pieces) {
      if (piece.writer != 0 && offset < at + piece.text.size() && at < offset + size) return true;
      at += piece.text.size();
    }
    return false;
  }
};

// Blanks that are put between what is inserted and what stands, said once more in other words.
std::string insert_words(const std::string& text, uint64_t index, const std::string& content) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!is_blank(text[i]) && (i == 0 || is_blank(text[i - 1]))) starts.push_back(i);
  }
  CHECK(index <= starts.size());
  const std::string head = text.substr(0, index < starts.size() ? starts[index] : text.size());
  const std::string tail = text.substr(head.size());
  const bool before = !head.empty() && !is_blank(head.back()) && !is_blank(content.front());
  const bool after = !tail.empty() && !is_blank(tail.front()) && !is_blank(content.back());
  return head + (before ? " " : "") + content + (after ? " " : "") + tail;
}

struct Writer {
  WriteSession session;
  std::string text;  // As the reference has it.
  bool at_end = false;
  bool head = false, tail = false;  // Something was inserted there.
  // For taking it again: as it was opened, and what happened since.
  SentencePlace opened;
  std::vector<Splice> since;
};

class Story {
 public:
  explicit Story(std::string text) : text_(std::move(text)) { reference_.pieces.push_back({text_}); }

  void open(uint64_t id, uint64_t ordinal, size_t piece_size) {
    if (writers_.contains(id)) return;
    // Found from any cut in front of it, by summaries as an index does.
    ScanPoint point;
    TextSummary whole;
    for (size_t at = 0; at < text_.size(); at += piece_size) {
      const auto part = TextSummary::of(BytesView(text_).substr(at, piece_size));
      if (point.sentences + part.sentences(point.state) <= ordinal) {
        point = {point.offset + part.bytes(), point.sentences + part.sentences(point.state), part.exit(point.state)};
      }
      whole.append(part);
      if (point.offset < at + part.bytes()) break;
    }
    SentenceFinder finder(ordinal, point);
    for (size_t at = point.offset; at < text_.size() && finder.feed(BytesView(text_).substr(at, piece_size));) at += piece_size;
    auto found = finder.finish();
    const auto spans = split_sentences(text_);
    const bool last_closed = spans.empty() || closes_sentence(text_[spans.back().end() - 1]);
    CHECK(found.has_value() == (ordinal < spans.size() || (ordinal == spans.size() && last_closed)));
    if (!found) return;
    CHECK(found->at_end == (ordinal == spans.size()));
    CHECK(found->at_end || (found->span == spans[ordinal] &&
                            found->text == text_.substr(spans[ordinal].offset, spans[ordinal].size)));
    const SentencePlace place{ordinal, found->span, found->at_end, found->closed};
    auto locked = locks_.lock({.id = WriteId{id}, .file = kFile, .user = "u", .place = place});
    const bool taken = end_writer_ != 0 && (found->at_end || !found->closed)
                           ? true
                           : !found->at_end && reference_.locked(found->span.offset, found->span.size);
    CHECK(locked.has_value() == !taken);
    if (!locked) return;
    if (found->at_end) {
      end_writer_ = id;
    } else {
      // Two that lie in one piece are cut out of it one after the other.
      reference_.pieces[reference_.cut(found->span.offset, found->span.size)].writer = id;
    }
    writers_.emplace(id, Writer{WriteSession(found->text), found->text, found->at_end, false, false, place, {}});
  }

  void insert(uint64_t id, uint64_t index, const std::string& content) {
    auto at = writers_.find(id);
    if (at == writers_.end()) return;
    Writer& writer = at->second;
    const uint64_t words = split_words(writer.text).size();
    auto done = writer.session.insert(index, content);
    CHECK(done.has_value() == (!content.empty() && index <= words));
    if (!done) return;
    writer.head |= index == 0 && split_words(writer.text).empty() ? true : index == 0 && !is_blank(writer.text.front());
    writer.tail |= index == words;
    writer.text = insert_words(writer.text, index, content);
    CHECK(writer.session.text() == writer.text);
  }

  void commit(uint64_t id) {
    auto at = writers_.find(id);
    if (at == writers_.end()) return;
    Writer writer = std::move(at->second);
    SentencePlace place = locks_.find(WriteId{id})->place;
    if (place.at_end) place.span = {text_.size(), 0};
    CHECK(locks_.release(WriteId{id}));
    std::optional<char> before, after;
    if (place.span.offset > 0) before = text_[place.span.offset - 1];
    if (place.span.end() < text_.size()) after = text_[place.span.end()];
    const Bytes result = writer.session.result(before, after);
    const std::string replaced = text_.substr(place.span.offset, place.span.size);
    const Splice splice{place.span, result.size(), sentences_begun(result) - sentences_begun(replaced)};
    CHECK(*decode_edit_record(encode_edit_record(place.ordinal, splice)) == splice);
    text_.replace(place.span.offset, place.span.size, result);
    locks_.on_commit(kFile, splice);
    writers_.erase(at);

    size_t piece = reference_.pieces.size();
    if (writer.at_end) {
      end_writer_ = 0;
      reference_.pieces.push_back({});
    } else {
      piece = reference_.of(id);
      CHECK(reference_.pieces[piece].text == replaced);
    }
    std::string with_blanks = writer.text;
    const std::string text = reference_.text();
    size_t offset = 0;
    for (size_t i = 0; i < piece; ++i) offset += reference_.pieces[i].text.size();
    const size_t end = offset + reference_.pieces[piece].text.size();
    if (writer.head && offset > 0 && !is_blank(text[offset - 1]) && !is_blank(with_blanks.front())) with_blanks.insert(0, " ");
    if (writer.tail && end < text.size() && !is_blank(text[end]) && !is_blank(with_blanks.back())) with_blanks += " ";
    reference_.pieces[piece] = {with_blanks};
    changed(splice);
  }

  void append(const std::string& content) {
    if (content.empty() || text_.size() + content.size() > kTextMax) return;
    const bool refused = !locks_.may_append(kFile, text_.size(), content.front());
    // Would the last sentence be another one, and is that being written?
    const auto spans = split_sentences(text_);
    const bool goes_on = !spans.empty() && (!closes_sentence(text_[spans.back().end() - 1]) ||
                                            split_sentences(text_ + content)[spans.size() - 1] != spans.back());
    CHECK(refused == (goes_on && reference_.locked(spans.back().offset, spans.back().size)));
    if (refused) return;
    const Splice splice{{text_.size(), 0}, content.size(), 0};
    text_ += content;
    reference_.pieces.push_back({content});
    locks_.end_moved(kFile, split_sentences(text_).size());
    changed(splice);
  }

  void abort(uint64_t id) {
    if (!writers_.contains(id)) return;
    CHECK(locks_.release(WriteId{id}));
    if (writers_.at(id).at_end) end_writer_ = 0;
    else reference_.pieces[reference_.of(id)].writer = 0;
    writers_.erase(id);
    reference_.join();
  }

  // Its server is lost: by the place at opening and the changes since it must come to where its lock is.
  void take_again(uint64_t id) {
    auto at = writers_.find(id);
    if (at == writers_.end() || at->second.at_end) return;
    SentencePlace place = at->second.opened;
    for (const Splice& splice : at->second.since) CHECK(follow(place, splice));
    const SentencePlace& now = locks_.find(WriteId{id})->place;
    CHECK(place.span == now.span && place.ordinal == now.ordinal);
  }

  void check() const {
    CHECK(text_ == reference_.text());
    const auto spans = split_sentences(text_);
    const TextCounts counts = count_text(text_);
    CHECK(TextSummary::of(text_).counts() == counts && counts.sentences == spans.size());
    CHECK(locks_.size() == writers_.size());
    CHECK(locks_.may_replace(kFile).has_value() == writers_.empty());
    size_t offset = 0;
    for (const auto& piece : reference_.pieces) {
      if (piece.writer != 0) {
        const SentenceLock* lock = locks_.find(WriteId{piece.writer});
        CHECK(lock != nullptr && lock->place.span == (ByteSpan{offset, piece.text.size()}));
        // Its number is that of the sentence it lies in: others' words may run on into it.
        const ByteSpan& sentence = spans[lock->place.ordinal];
        CHECK(sentence.offset <= offset && offset < sentence.end());
      }
      offset += piece.text.size();
    }
  }
  size_t size() const { return text_.size(); }

 private:
  void changed(const Splice& splice) {
    reference_.join();
    for (auto& [id, writer] : writers_) writer.since.push_back(splice);
  }

  std::string text_;
  SentenceLocks locks_{std::chrono::minutes(10)};
  std::map<uint64_t, Writer> writers_;
  Reference reference_;
  uint64_t end_writer_ = 0;
};

}  // namespace
}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace understudy;
  fuzz::Input input(data, size);
  Story story(input.text(kTextMax));
  story.check();
  for (size_t step = 0; step < kStepsMax && !input.ended(); ++step) {
    const uint8_t operation = input.byte();
    const uint64_t id = 1 + operation / 16 % 8;
    switch (operation % 8) {
      case 0:
      case 1: story.open(id, input.byte(), 1 + input.byte()); break;
      case 2:
      case 3: {
        const uint64_t index = input.byte() % 16;
        if (story.size() < kTextMax) story.insert(id, index, input.text(64));
        break;
      }
      case 4:
      case 5: story.commit(id); break;
      case 6: story.append(input.text(64)); break;
      case 7: operation & 8 ? story.take_again(id) : story.abort(id); break;
    }
    story.check();
  }
  return 0;
}
