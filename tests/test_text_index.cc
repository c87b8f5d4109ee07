// Sentences of big files: found, counted and written without reading or writing what an edit
// does not touch.
#include "ss/text_index.h"

#include "ss/merge_sentence.h"
#include "tests/store_fixture.h"

namespace understudy {
namespace {

constexpr uint64_t kFile = 5;

class TextIndexTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(store_.open());
    index_ = std::make_unique<TextIndex>(*env(), store_.operator->());
  }
  void TearDown() override { index_.reset(); }
  Env* env() { return &world_.find_process("store")->env(); }

  Version head() { return store_->info(FileId{kFile}, {})->version; }
  Result<Sentence> find(uint64_t ordinal) { return store_.await(index_->find(FileId{kFile}, head(), ordinal)); }
  // As a WRITE does it.
  std::string write(uint64_t ordinal, uint64_t word, Bytes content) {
    auto sentence = find(ordinal);
    if (!sentence) return std::string(code_name(sentence.error().code));
    WriteSession writing(sentence->text);
    if (auto done = writing.insert(word, content); !done) return std::string(code_name(done.error().code));
    auto base = store_->info(FileId{kFile}, {});
    const SentencePlace place{ordinal, sentence->span, sentence->at_end, sentence->closed};
    Change change = store_.change(kFile);
    change.kind = wire::CHANGE_EDIT;
    auto merged = store_.await(merge_sentence(store_.operator->(), change, *base, place,
                                              sentences_begun(sentence->text), writing));
    return merged ? "done" : std::string(code_name(merged.error().code));
  }
  void expect_as(const Bytes& text) {
    ASSERT_EQ(store_.get(kFile), text);
    auto counts = store_.await(index_->counts(FileId{kFile}, head()));
    ASSERT_TRUE(counts);
    EXPECT_EQ(*counts, count_text(text));
  }

  sim::SimWorld world_{1};
  StoreOnHost store_{world_, "ss1"};
  std::unique_ptr<TextIndex> index_;
};

// Sentences of all lengths, with every kind of end and blank.
Bytes long_text(size_t size) {
  Bytes text;
  for (uint64_t i = 0; text.size() < size; ++i) {
    text += "Sentence " + std::to_string(i);
    for (uint64_t words = i * 7 % 23; words > 0; --words) text += i % 5 == 0 ? "\tw\xC3\xB6rd" : "  e.g";
    text += i % 4 == 0 ? "...\r\n\r\n" : i % 4 == 1 ? "?!" : ". ";
  }
  return text;
}

TEST_F(TextIndexTest, ABigDocumentIsReadOnceAndThenOnlyWhereItIsWritten) {
  Bytes text = long_text(6 << 20);
  ASSERT_EQ(store_.upload(kFile, text), "3.1");
  const auto spans = split_sentences(text);
  for (uint64_t ordinal : {uint64_t{0}, spans.size() / 3, spans.size() - 1}) {
    auto found = find(ordinal);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->span, spans[ordinal]);
    EXPECT_EQ(found->text, text.substr(spans[ordinal].offset, spans[ordinal].size));
  }
  EXPECT_EQ(index_->bytes_scanned(), text.size()) << "once for all three";
  EXPECT_EQ(find(spans.size() + 1).error().code, Code::kOutOfRange);
  expect_as(text);

  for (int i = 0; i < 5; ++i) {
    const uint64_t scanned = index_->bytes_scanned();
    const Lsn log = store_->durable_lsn();
    const uint64_t ordinal = spans.size() / 2 + i;
    const auto span = split_sentences(text)[ordinal];
    ASSERT_EQ(write(ordinal, 0, "In front,"), "done");
    // A sentence that stands right behind another one gets its blank.
    text.insert(span.offset, is_blank(text[span.offset - 1]) ? "In front, " : " In front, ");
    expect_as(text);
    const uint64_t rewritten = i == 0 ? 2 << 20 : 256 << 10;
    EXPECT_LT(number(store_->durable_lsn()) - number(log), rewritten) << "edit " << i;
    EXPECT_LT(index_->bytes_scanned() - scanned, rewritten) << "edit " << i;
  }
}

TEST_F(TextIndexTest, AnyEditOfAnySizeIsWhatAStringWouldBe) {
  sim::SimRandom random(3);
  Bytes text = "Begin.";
  ASSERT_EQ(store_.put(kFile, text), "3.1");
  // Through every way a content is stored: inline, one chunk, many, pieces that grow and are cut again.
  for (int i = 0; i < 60; ++i) {
    const auto spans = split_sentences(text);
    const uint64_t ordinal = random.next() % (spans.size() + 1);
    Bytes content = long_text(i % 6 == 0 ? 40'000 + random.next() % 200'000 : random.next() % 300);
    while (!content.empty() && is_blank(content.back())) content.pop_back();
    content += ".";
    ASSERT_EQ(write(ordinal, 0, content), "done") << i;
    if (ordinal == spans.size()) {
      text += (text.empty() || is_blank(text.back()) ? "" : " ") + content;
    } else {
      // A sentence that stands right behind another one gets its blank.
      const uint64_t at = spans[ordinal].offset;
      text.insert(at, (at > 0 && !is_blank(text[at - 1]) ? " " : "") + content + " ");
    }
    expect_as(text);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(text.size(), 1u << 20);
}

TEST_F(TextIndexTest, ItsMemoryIsBounded) {
  TextIndex small(*env(), store_.operator->(), 4096);
  for (uint64_t file = 1; file <= 200; ++file) {
    store_.put(file, "One. Two.");
    auto counts = store_.await(small.counts(FileId{file}, store_->info(FileId{file}, {})->version));
    ASSERT_TRUE(counts && counts->sentences == 2);
  }
  EXPECT_LE(small.bytes_held(), 4096u + 2048u);
}

}  // namespace
}  // namespace understudy
