// The past of a file: what UNDO goes back to, and what it costs.
#include <map>

#include "ss/core/undo.h"
#include "ss/core/version.h"
#include "tests/store_fixture.h"

namespace understudy {
namespace {

// A line of versions in memory, with letters for contents.
class Line {
 public:
  void change(char content) { add(wire::CHANGE_PUT, {}, content); }
  void checkpoint() { add(wire::CHANGE_CHECKPOINT, stands_at(records_.at(head_)), content()); }
  // False when nothing is left.
  bool undo() {
    const auto& standing = records_.at(stands_at(records_.at(head_)));
    const Version parent = version_from_wire(standing.parent());
    if (!parent) return false;
    add(wire::CHANGE_UNDO, stands_at(records_.at(parent)), contents_.at(parent));
    return true;
  }
  char content() const { return contents_.at(head_); }
  Epoch epoch{1};

 private:
  void add(wire::ChangeKind kind, Version target, char content) {
    wire::VersionRecord record;
    const Version version = next_version(epoch, head_);
    *record.mutable_version() = version_to_wire(version);
    *record.mutable_parent() = version_to_wire(head_);
    record.set_kind(kind);
    *record.mutable_undo_target() = version_to_wire(target);
    records_[version] = record;
    contents_[version] = content;
    head_ = version;
  }
  Version head_;
  std::map<Version, wire::VersionRecord> records_;
  std::map<Version, char> contents_;
};

// Letters are changes, '<' is an UNDO, '+' a checkpoint, '|' begins an epoch: the contents one after the
// other, '!' where nothing was left.
std::string play(std::string_view story) {
  Line line;
  std::string seen;
  for (char step : story) {
    if (step == '|') {
      line.epoch = Epoch{number(line.epoch) + 1};
      continue;
    }
    bool done = true;
    if (step == '<')
      done = line.undo();
    else if (step == '+')
      line.checkpoint();
    else
      line.change(step);
    seen += done ? line.content() : '!';
  }
  return seen;
}

TEST(Undo, GoesBackStepByStepAndNeverForward) {
  EXPECT_EQ(play("abcd<<<<<"), "abcdcba!!");
  EXPECT_EQ(play("a<"), "a!");
  // A change behind an UNDO is undone first, then the rest of what stood before it.
  EXPECT_EQ(play("abc<d<<<"), "abcbdba!");
  EXPECT_EQ(play("abc<<d<<"), "abcbada!");
  EXPECT_EQ(play("abc<d<e<<f<<<"), "abcbdbebafa!!");
  EXPECT_EQ(play("ab|c<|<d|<<"), "abcbada!");
  // A checkpoint is no change.
  EXPECT_EQ(play("ab+c<<<"), "abbcba!");
  EXPECT_EQ(play("abc++<+<<"), "abcccbba!");
  EXPECT_EQ(play("abc<+d<<"), "abcbbdba");
}

class FilePastTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(ss_.open()); }
  sim::SimWorld world_{12};
  StoreOnHost ss_{world_, "ss1"};
};

TEST_F(FilePastTest, UndoIsANewVersionAndHistoryTells) {
  EXPECT_EQ(ss_.undo(1), "NOT_FOUND");
  ss_.put(1, "one");
  ss_.append(1, " two");
  EXPECT_EQ(ss_.undo(1), "3.3");
  EXPECT_EQ(ss_.get(1), "one");
  EXPECT_EQ(ss_.get(1, {Epoch{3}, 2}), "one two");
  EXPECT_EQ(ss_.undo(1), "CONFLICT");
  ss_.epoch = 8;
  EXPECT_EQ(ss_.put(1, "three", 1), "8.1");
  EXPECT_EQ(ss_.undo(1, 2), "8.2");
  EXPECT_EQ(ss_.undo(1, 2), "8.2") << "a repeat gets the first answer and undoes nothing more";
  const std::string all = "undo 8.2 as 3.1, put 8.1, undo 3.3 as 3.1, append 3.2, create 3.1";
  EXPECT_EQ(ss_.history(1), all);
  EXPECT_EQ(ss_.history(1, {}, 2), "undo 8.2 as 3.1, put 8.1, ...");
  EXPECT_EQ(ss_.history(1, {Epoch{8}, 1}, 3), "undo 3.3 as 3.1, append 3.2, create 3.1");
  ASSERT_TRUE(ss_.rebuild());
  EXPECT_EQ(ss_.undo(1, 2), "8.2");
  EXPECT_EQ(ss_.undo(1), "CONFLICT");
  EXPECT_EQ(ss_.history(1), all);
  ss_.remove(1);
  EXPECT_EQ(ss_.undo(1), "NOT_FOUND");
  EXPECT_EQ(ss_.history(1), "NOT_FOUND");
}

Task<void> count_undone(Task<Result<VersionInfo>> undoing, int* undone) {
  auto done = co_await undoing;
  if (done) ++*undone;
}

TEST_F(FilePastTest, UndosAtOnceUndoOneChangeEach) {
  for (const char* content : {"a", "b", "c", "d", "e"}) ss_.put(1, content);
  int undone = 0;
  for (uint64_t request = 1; request <= 3; ++request) {
    ss_.spawn(count_undone(ss_->undo(ss_.change(1, request)), &undone));
  }
  world_.run_until([&] { return undone == 3; }, std::chrono::seconds(5));
  EXPECT_EQ(undone, 3);
  EXPECT_EQ(ss_.get(1), "b");
}

TEST_F(FilePastTest, OldContentReturnsWithoutItsBytes) {
  const Bytes big = some_bytes(3, 5 << 20);
  ss_.upload(1, big);
  ss_.put(1, "small");
  const uint64_t before = number(ss_->durable_lsn());
  EXPECT_EQ(ss_.undo(1), "3.3");
  EXPECT_LT(number(ss_->durable_lsn()) - before, 4096u);
  EXPECT_TRUE(ss_.get(1) == big);
  EXPECT_LT(ss_->announceable(kNoLsn, 100).items.back().bytes(), 4096u);
}

TEST_F(FilePastTest, CheckpointsNameVersionsAndChangeNothing) {
  EXPECT_EQ(ss_.checkpoint(1, "none"), "NOT_FOUND");
  ss_.put(1, "one");
  EXPECT_EQ(ss_.checkpoint(1, "first", 1), "3.1");
  EXPECT_EQ(ss_.checkpoint(1, "first", 1), "3.1") << "a repeat gets the first answer";
  EXPECT_EQ(ss_.checkpoint(1, "first", 2), "EXISTS");
  EXPECT_EQ(ss_.checkpoint(1, "again"), "3.1");
  auto info = ss_->info(FileId{1}, {}).value();
  EXPECT_EQ(info.version, (Version{Epoch{3}, 1}));
  EXPECT_EQ(info.head, (Version{Epoch{3}, 3}));
  EXPECT_EQ(info.versions, 1u);
  EXPECT_EQ(ss_.get(1), "one");
  // Who saw the version that is named goes on from it.
  Change expecting = ss_.change(1);
  expecting.expected = {Epoch{3}, 1};
  EXPECT_EQ(ss_.told(ss_.await(ss_->put(expecting, "two"))), "3.4");
  EXPECT_EQ(ss_.told(ss_.await(ss_->put(expecting, "two"))), "CONFLICT");
  EXPECT_EQ(ss_.checkpoint(1, "second"), "3.4");
  EXPECT_EQ(ss_.revert(1, "first", 7), "3.6");
  EXPECT_EQ(ss_.revert(1, "first", 7), "3.6");
  EXPECT_EQ(ss_.get(1), "one");
  EXPECT_EQ(ss_.revert(1, "never"), "NOT_FOUND");
  EXPECT_EQ(ss_.undo(1), "3.7") << "a REVERT is undone as any change";
  EXPECT_EQ(ss_.get(1), "two");
  const std::string tags = "first 3.1, again 3.1, second 3.4";
  const std::string all = "undo 3.7 as 3.4, revert 3.6 as 3.1, put 3.4 [second], create 3.1 [first] [again]";
  EXPECT_EQ(ss_.tags(1), tags);
  EXPECT_EQ(ss_.history(1), all);
  const std::string before = ss_.dump();
  ASSERT_TRUE(ss_.rebuild());
  EXPECT_EQ(ss_.dump(), before);
  EXPECT_EQ(ss_.tags(1), tags);
  EXPECT_EQ(ss_.history(1), all);
  EXPECT_EQ(ss_.checkpoint(1, "second"), "EXISTS");
}

Task<void> collect(Task<Result<VersionInfo>> naming, std::vector<std::string>* answers) {
  auto named = co_await naming;
  answers->push_back(StoreOnHost::told(named));
}

TEST_F(FilePastTest, OneOfTwoAtOnceTakesTheTag) {
  ss_.put(1, "one");
  std::vector<std::string> answers;
  for (uint64_t request = 1; request <= 2; ++request) {
    ss_.spawn(collect(ss_->checkpoint(ss_.tagged(1, "tag", request)), &answers));
  }
  world_.run_until([&] { return answers.size() == 2; }, std::chrono::seconds(5));
  EXPECT_EQ(answers, (std::vector<std::string>{"3.1", "EXISTS"}));
}

}  // namespace
}  // namespace understudy
