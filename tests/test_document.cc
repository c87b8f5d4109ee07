// The text rules of docs/commands.md: sentences, words, and the editing of one
// sentence while others edit theirs.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "ss/core/document.h"
#include "ss/core/sentence_locks.h"
#include "ss/core/text_summary.h"
#include "ss/core/write_session.h"

namespace understudy {
namespace {

std::vector<std::string> sentences(std::string_view text) {
  std::vector<std::string> all;
  for (auto span : split_sentences(text)) all.emplace_back(text.substr(span.offset, span.size));
  return all;
}

using Strings = std::vector<std::string>;

// A file with its open sentences, as an acting primary keeps them.
class DocumentTest : public testing::Test {
 protected:
  struct Edit {
    uint64_t index;
    std::string content;
  };

  Result<Sentence> find(uint64_t ordinal, size_t piece_size) {
    SentenceFinder finder(ordinal);
    for (size_t at = 0; at < file_.size(); at += piece_size) {
      if (!finder.feed(BytesView(file_).substr(at, piece_size))) break;
    }
    return finder.finish();
  }

  Code open(uint64_t id, uint64_t ordinal) {
    auto sentence = find(ordinal, 3);
    if (!sentence) return sentence.error().code;
    SentenceLock lock{.id = WriteId{id}, .file = FileId{7}, .user = "u" + std::to_string(id),
                      .place = {ordinal, sentence->span, sentence->at_end, sentence->closed}};
    auto locked = locks_.lock(lock);
    if (!locked) return locked.error().code;
    sessions_.emplace(id, WriteSession(sentence->text));
    return Code{};
  }

  Code insert(uint64_t id, uint64_t index, std::string_view content) {
    auto done = sessions_.at(id).insert(index, content);
    return done ? Code{} : done.error().code;
  }

  void commit(uint64_t id) {
    SentencePlace place = locks_.find(WriteId{id})->place;
    if (place.at_end) place.span = {file_.size(), 0};
    locks_.release(WriteId{id});
    std::optional<char> before, after;
    if (place.span.offset > 0) before = file_[place.span.offset - 1];
    if (place.span.end() < file_.size()) after = file_[place.span.end()];
    std::string result = sessions_.at(id).result(before, after);
    Splice splice{place.span, result.size(),
                  sentences_begun(result) - sentences_begun(file_.substr(place.span.offset, place.span.size))};
    file_.replace(place.span.offset, place.span.size, result);
    locks_.on_commit(FileId{7}, splice);
    sessions_.erase(id);
  }

  Code write(uint64_t ordinal, std::vector<Edit> edits) {
    if (Code refused = open(99, ordinal); refused != Code{}) return refused;
    for (auto& edit : edits) {
      if (Code refused = insert(99, edit.index, edit.content); refused != Code{}) {
        locks_.release(WriteId{99});
        sessions_.erase(99);
        return refused;
      }
    }
    commit(99);
    return Code{};
  }

  std::string file_;
  SentenceLocks locks_{std::chrono::minutes(10)};
  std::map<uint64_t, WriteSession> sessions_;
};

constexpr Code kDone{};

TEST_F(DocumentTest, worked_example_of_the_commands_page) {
  EXPECT_EQ(write(0, {{0, "Im just a mouse."}}), kDone);
  EXPECT_EQ(write(1, {{0, "I dont like PNS"}}), kDone);
  EXPECT_EQ(file_, "Im just a mouse. I dont like PNS");
  EXPECT_EQ(write(2, {{0, "x"}}), Code::kOutOfRange);
  EXPECT_EQ(write(1, {{3, "T-T"}}), kDone);
  EXPECT_EQ(sentences(file_)[1], "I dont like T-T PNS");
  EXPECT_EQ(write(0, {{3, "deeply mistaken hollow lil gei-fwen"}, {6, "pocket-sized"}}), kDone);
  EXPECT_EQ(sentences(file_)[0], "Im just a deeply mistaken hollow pocket-sized lil gei-fwen mouse.");
  EXPECT_EQ(write(1, {{5, "and AAD. aaaah"}, {0, "But,"}}), kDone);
  EXPECT_EQ(file_,
            "Im just a deeply mistaken hollow pocket-sized lil gei-fwen mouse. "
            "But, I dont like T-T PNS and AAD. aaaah");
}

// As the rules say it, with the whole text looked at.
std::string insert_plainly(const std::string& text, uint64_t index, const std::string& content) {
  auto words = split_words(text);
  const size_t at = index < words.size() ? words[index].offset : text.size();
  const bool before = at > 0 && !is_blank(text[at - 1]) && !is_blank(content.front());
  const bool after = at < text.size() && !is_blank(content.back());
  return text.substr(0, at) + (before ? " " : "") + content + (after ? " " : "") + text.substr(at);
}

TEST(Document, a_long_sentence_is_written_as_a_short_one) {
  const std::string long_word(150'000, 'w');
  std::string many;
  for (int i = 0; i < 40'000; ++i) many += "ab\t ";
  const std::string contents[] = {"x", " y", "z ", " ", "one two", "end. And", long_word, many};
  std::string expected;
  WriteSession writing("");
  uint32_t random = 1;
  for (int i = 0; i < 200; ++i) {
    random = random * 1664525 + 1013904223;
    const uint64_t index = (random >> 8) % (writing.words() + 1);
    const std::string& content = contents[i % 50 < 8 && i < 100 ? i % 50 : i % 6];
    ASSERT_TRUE(writing.insert(index, content));
    expected = insert_plainly(expected, index, content);
    ASSERT_EQ(writing.words(), split_words(expected).size());
    ASSERT_EQ(writing.size_bytes(), expected.size());
  }
  EXPECT_TRUE(writing.text() == expected);
  const std::string merged = (is_blank(expected.front()) ? "" : " ") + expected + (is_blank(expected.back()) ? "" : " ");
  EXPECT_TRUE(writing.result('.', 'x') == merged);
}

// Each insertion is made while all other users wait. Looking at the whole sentence each time takes minutes here.
TEST(Document, an_insertion_does_not_look_at_all_of_a_long_sentence) {
  std::string text;
  while (text.size() < kSentenceSizeMax - (1 << 20)) text += "a ";
  WriteSession writing(text);
  const uint64_t words = writing.words();
  for (uint64_t i = 0; i < 5000; ++i) ASSERT_TRUE(writing.insert(words / 5000 * i, "b"));
  EXPECT_EQ(writing.words(), words + 5000);
}

TEST(Document, sentences_and_words) {
  EXPECT_EQ(sentences(""), Strings{});
  EXPECT_EQ(sentences(" \n\t"), Strings{});
  EXPECT_EQ(sentences("Wait... What?!? Yes"), (Strings{"Wait...", "What?!?", "Yes"}));
  EXPECT_EQ(sentences("See e.g. this."), (Strings{"See e.", "g.", "this."}));
  EXPECT_EQ(sentences("A line\r\nand more  \n\n  Next! . \n"), (Strings{"A line\r\nand more  \n\n  Next!", "."}));
  EXPECT_EQ(sentences("...then"), (Strings{"...", "then"}));
  EXPECT_EQ(sentences("no end \t\n"), Strings{"no end"});
  std::string text = "Zwölf Boxkämpfer, e.g.\r\n\r\n\tdrei…  vier.";
  TextCounts counts = count_text(text);
  EXPECT_EQ(counts, (TextCounts{.bytes = text.size(), .characters = text.size() - 4, .words = 5, .sentences = 3}));
  for (size_t size : {1, 2, 5}) {
    TextSummary summary;
    for (size_t at = 0; at < text.size(); at += size) summary.append(TextSummary::of(BytesView(text).substr(at, size)));
    EXPECT_EQ(summary.counts(), counts);
  }
}

TEST_F(DocumentTest, finding_streams_and_agrees_with_splitting) {
  file_ = "  Wait... \n\nWhat?!?e.g. One\ttwo\r\nthree!\n tail  words \n";
  auto spans = split_sentences(file_);
  ASSERT_EQ(spans.size(), 6u);
  for (size_t piece : {1, 2, 7, 100}) {
    for (size_t i = 0; i < spans.size(); ++i) {
      auto found = find(i, piece);
      ASSERT_TRUE(found);
      EXPECT_EQ(found->span, spans[i]);
      EXPECT_EQ(found->text, file_.substr(spans[i].offset, spans[i].size));
      EXPECT_EQ(found->closed, i < 5);
    }
    EXPECT_EQ(find(6, piece).error().code, Code::kOutOfRange);
  }
  SentenceFinder short_one(5, {}, 10);
  short_one.feed(file_);
  EXPECT_EQ(short_one.finish().error().code, Code::kInvalid);
}

TEST_F(DocumentTest, bytes_outside_the_sentence_stay) {
  file_ = "\n\n One  two\tthree.\r\n\r\n  Four!\n";
  EXPECT_EQ(write(0, {{1, "and"}}), kDone);
  EXPECT_EQ(file_, "\n\n One  and two\tthree.\r\n\r\n  Four!\n");
  EXPECT_EQ(write(0, {{4, "Behind."}}), kDone);
  EXPECT_EQ(file_, "\n\n One  and two\tthree. Behind.\r\n\r\n  Four!\n");
  EXPECT_EQ(write(3, {{0, "New"}, {1, "one\n"}, {2, "more"}}), kDone);
  EXPECT_EQ(file_, "\n\n One  and two\tthree. Behind.\r\n\r\n  Four!\nNew one\nmore");
}

TEST_F(DocumentTest, blanks_are_put_only_where_none_is) {
  file_ = "e.g.x";
  EXPECT_EQ(write(1, {{0, "f"}, {2, "h."}}), kDone);
  EXPECT_EQ(file_, "e. f g. h. x");
  file_ = "a b";
  EXPECT_EQ(write(0, {{1, " x "}, {0, "\n"}, {4, "\tz"}}), Code::kOutOfRange);
  EXPECT_EQ(file_, "a b") << "a refused line leaves nothing";
  EXPECT_EQ(write(0, {{1, " x "}, {0, "\n"}, {3, "\tz"}}), kDone);
  EXPECT_EQ(file_, "\na  x b\tz");
}

TEST_F(DocumentTest, a_new_sentence_needs_a_closed_one_before) {
  file_ = "Open";
  EXPECT_EQ(write(1, {{0, "x"}}), Code::kOutOfRange);
  EXPECT_EQ(write(0, {{1, "end?!"}}), kDone);
  EXPECT_EQ(write(2, {{0, "x"}}), Code::kOutOfRange);
  EXPECT_EQ(write(1, {{0, "Über"}}), kDone);
  EXPECT_EQ(file_, "Open end?! Über");
  file_ = " \n";
  EXPECT_EQ(write(0, {{0, "x"}}), kDone);
  EXPECT_EQ(file_, " \nx");
  EXPECT_EQ(write(0, {{0, ""}}), Code::kInvalid);
}

TEST_F(DocumentTest, indexes_count_all_that_was_inserted) {
  file_ = "a b.";
  EXPECT_EQ(write(0, {{1, "X. Y"}, {2, "in"}, {5, "end"}, {6, "more"}}), kDone);
  EXPECT_EQ(file_, "a X. in Y b. end more");
}

TEST_F(DocumentTest, open_sentences_are_locked_by_identity) {
  file_ = "One. Two. Three.";
  EXPECT_EQ(open(1, 0), kDone);
  EXPECT_EQ(open(2, 2), kDone);
  EXPECT_EQ(open(3, 3), kDone);  // The new one behind the last.
  EXPECT_EQ(open(4, 0), Code::kLocked);
  EXPECT_EQ(open(4, 3), Code::kLocked);
  EXPECT_EQ(insert(1, 1, "Added. Also. and"), kDone);
  EXPECT_EQ(insert(2, 0, "Still"), kDone);
  EXPECT_EQ(insert(3, 0, "New"), kDone);
  commit(1);
  EXPECT_EQ(file_, "One. Added. Also. and Two. Three.");
  EXPECT_EQ(locks_.find(WriteId{2})->place.ordinal, 4u);
  EXPECT_EQ(open(4, 2), kDone);
  EXPECT_EQ(open(5, 4), Code::kLocked) << "the same sentence under its new number";
  commit(3);
  EXPECT_EQ(file_, "One. Added. Also. and Two. Three. New");
  commit(2);
  EXPECT_EQ(file_, "One. Added. Also. and Two. Still Three. New");
}

TEST_F(DocumentTest, words_run_on_into_a_locked_sentence) {
  file_ = "One. Two.";
  EXPECT_EQ(open(1, 0), kDone);
  EXPECT_EQ(open(2, 1), kDone);
  insert(1, 1, "before");
  insert(2, 0, "really");
  commit(1);
  EXPECT_EQ(locks_.find(WriteId{2})->place.ordinal, 1u);
  EXPECT_EQ(open(3, 1), Code::kLocked);
  commit(2);
  EXPECT_EQ(file_, "One. before really Two.");
}

TEST_F(DocumentTest, whole_file_changes_wait_for_open_sentences) {
  file_ = "One. Two";
  EXPECT_TRUE(locks_.may_replace(FileId{7}));
  open(1, 0);
  EXPECT_FALSE(locks_.may_replace(FileId{7}));
  EXPECT_TRUE(locks_.may_replace(FileId{8}));
  EXPECT_TRUE(locks_.may_append(FileId{7}, file_.size(), ' '));
  open(2, 1);
  EXPECT_FALSE(locks_.may_append(FileId{7}, file_.size(), ' '));
  EXPECT_EQ(locks_.list(FileId{7}).size(), 2u);
  locks_.touch(WriteId{2}, Instant(std::chrono::minutes(5)));
  EXPECT_EQ(locks_.expire(Instant(std::chrono::minutes(11))), std::vector{WriteId{1}});
  EXPECT_EQ(open(3, 0), kDone);
  EXPECT_TRUE(locks_.release(WriteId{2}));
  EXPECT_TRUE(locks_.may_append(FileId{7}, file_.size(), ' '));
}

}  // namespace
}  // namespace understudy
