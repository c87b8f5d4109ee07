// Each rule of tests/sim/invariants.h notices what breaks it: a history or a state that is fine is none,
// the same with one thing wrong is one.
#include <gtest/gtest.h>

#include "tests/sim/invariants.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr FileId kFile{7};
Version version(uint64_t epoch, uint64_t counter) { return {Epoch{epoch}, counter}; }

class InvariantsTest : public testing::Test {
 protected:
  // One after the other, unless `begun` says otherwise.
  Op& did(size_t session, Op::Kind kind, const std::string& path, Version at = {}) {
    now_ += 1ms;
    Token token = history_.begin(session, kind, path, now_).token;
    now_ += 1ms;
    history_.done(token, now_);
    Op& op = history_.op(token);
    op.file = kFile;
    op.version = at;
    op.epoch = at.epoch;
    op.linearizable = kind == Op::Kind::kRead;
    return op;
  }
  Op& was_refused(size_t session, Op::Kind kind, const std::string& path, Code code) {
    now_ += 1ms;
    Token token = history_.begin(session, kind, path, now_).token;
    now_ += 1ms;
    history_.failed(token, {code, "no"}, now_);
    return history_.op(token);
  }
  // Both halves hold `line`, newest first, each made by the request of its number.
  void both_hold(std::vector<Version> line) {
    for (const char* server : {"ss1", "ss1_backup"}) {
      FinalState::Half half{.server = server, .pair = "ss1", .files = {}, .versions = {}};
      half.files[kFile] = {.deleted = false, .head = line.front(), .name_version = 0, .line = line, .aside = {}, .whole_line = true};
      for (size_t i = 0; i < line.size(); ++i) {
        FinalState::Kept& kept = half.versions[{kFile, line[i]}];
        if (i + 1 < line.size()) kept.parent = line[i + 1];
        kept.kind = wire::CHANGE_PUT;
        kept.request = {1, line.size() - i};
        kept.tokens = {line.size() - i};
      }
      state_.halves.push_back(std::move(half));
    }
  }
  FinalState::Half& half(size_t i) { return state_.halves[i]; }

  // The rule that is broken first; empty: none.
  std::string broken() {
    Violations violations;
    check_answers(history_, state_, &violations);
    if (!state_.halves.empty()) check_state(history_, state_, &violations);
    if (violations.none()) return "";
    const std::string& first = violations.all()[0];
    return first.substr(1, first.find(']') - 1);
  }

  History history_;
  FinalState state_;
  Instant now_ = Instant{} + 1h;
};

TEST_F(InvariantsTest, Lost) {
  did(0, Op::Kind::kPut, "/s/f", version(5, 1));
  did(0, Op::Kind::kPut, "/s/f", version(5, 2));
  both_hold({version(5, 2), version(5, 1)});
  EXPECT_EQ(broken(), "");
  for (auto& half : state_.halves) half.files[kFile].line = {version(5, 1)}, half.files[kFile].head = version(5, 1);
  EXPECT_EQ(broken(), "lost");
  // Set aside, and told of: fine in async mode only.
  for (auto& half : state_.halves) half.files[kFile].aside = {version(5, 2)};
  EXPECT_EQ(broken(), "lost");
  wire::Event event;
  event.set_kind("divergent");
  event.set_file_id(7);
  event.mutable_version()->set_epoch(5);
  event.mutable_version()->set_counter(2);
  state_.events.push_back(event);
  EXPECT_EQ(broken(), "");
  history_.op(2).sync = true;
  EXPECT_EQ(broken(), "lost");
}

TEST_F(InvariantsTest, ADiskThatIsLostExcusesOnlyWhatItsOtherHalfLacked) {
  did(0, Op::Kind::kPut, "/s/f", version(5, 1));
  did(0, Op::Kind::kPut, "/s/f", version(5, 2));
  history_.losses.push_back({.server = "ss1", .at = now_ + 1s, .survived = {{kFile, version(5, 1)}}, .announced_gone = {}});
  both_hold({version(5, 1)});
  half(0).versions[{kFile, version(5, 1)}].tokens = half(1).versions[{kFile, version(5, 1)}].tokens = {1};
  EXPECT_EQ(broken(), "");
  history_.losses[0].survived.push_back({kFile, version(5, 2)});
  EXPECT_EQ(broken(), "lost");
  history_.losses[0].survived.pop_back();
  history_.losses[0].announced_gone.push_back(kFile);
  EXPECT_EQ(broken(), "lost");
}

TEST_F(InvariantsTest, ContentOneContentAndOnce) {
  did(0, Op::Kind::kPut, "/s/f", version(5, 1));
  did(0, Op::Kind::kPut, "/s/f", version(5, 2));
  both_hold({version(5, 2), version(5, 1)});
  half(1).versions[{kFile, version(5, 2)}].tokens = {2, 1};
  EXPECT_EQ(broken(), "one-content");
  half(0).versions[{kFile, version(5, 2)}].tokens = half(1).versions[{kFile, version(5, 2)}].tokens = {2, 2};
  EXPECT_EQ(broken(), "content");
  half(0).versions[{kFile, version(5, 2)}].tokens = half(1).versions[{kFile, version(5, 2)}].tokens = {2, 9};
  EXPECT_EQ(broken(), "content");
  half(0).versions[{kFile, version(5, 2)}].tokens = half(1).versions[{kFile, version(5, 2)}].tokens = {2};
  half(0).versions[{kFile, version(5, 2)}].request = {1, 1};
  EXPECT_EQ(broken(), "once");
}

TEST_F(InvariantsTest, Past) {
  did(0, Op::Kind::kPut, "/s/f", version(5, 1));
  did(0, Op::Kind::kAppend, "/s/f", version(5, 2));
  both_hold({version(5, 2), version(5, 1)});
  for (auto& half : state_.halves) {
    half.versions[{kFile, version(5, 2)}].kind = wire::CHANGE_APPEND;
    half.versions[{kFile, version(5, 2)}].tokens = {1, 2};
  }
  EXPECT_EQ(broken(), "");
  for (auto& half : state_.halves) half.versions[{kFile, version(5, 2)}].tokens = {2};
  EXPECT_EQ(broken(), "past");
}

TEST_F(InvariantsTest, Equal) {
  did(0, Op::Kind::kPut, "/s/f", version(5, 1));
  did(0, Op::Kind::kPut, "/s/f", version(5, 2));
  both_hold({version(5, 2), version(5, 1)});
  half(1).files[kFile].line = {version(5, 2), version(4, 1)};
  EXPECT_EQ(broken(), "equal");
  half(1).files[kFile].line = half(0).files[kFile].line;
  half(1).files[kFile].name_version = 3;
  EXPECT_EQ(broken(), "equal");
  half(1).files[kFile].name_version = 0;
  half(1).files[kFile].deleted = true;
  EXPECT_EQ(broken(), "equal");
}

TEST_F(InvariantsTest, Session) {
  did(0, Op::Kind::kPut, "/c0/f", version(5, 1));
  did(0, Op::Kind::kRead, "/c0/f", version(5, 1)).tokens = {1};
  EXPECT_EQ(broken(), "");
  history_.op(2).tokens = {2};
  EXPECT_EQ(broken(), "session");
  history_.op(2).tokens = {1};
  did(0, Op::Kind::kDelete, "/c0/f").file = kNoFile;
  EXPECT_EQ(broken(), "");
  was_refused(0, Op::Kind::kUndelete, "/c0/f", Code::kNotFound);
  EXPECT_EQ(broken(), "session");
}

TEST_F(InvariantsTest, ALinkLeadsWhereItWasMadeTo) {
  did(0, Op::Kind::kPut, "/c0/f", version(5, 1));
  did(0, Op::Kind::kLink, "/c0/l").to = "/c0/f";
  did(0, Op::Kind::kRead, "/c0/l", version(5, 1)).tokens = {1};
  EXPECT_EQ(broken(), "");
  was_refused(0, Op::Kind::kRead, "/c0/l", Code::kNotFound);
  EXPECT_EQ(broken(), "session");
}

TEST_F(InvariantsTest, TimeGoesOn) {
  did(0, Op::Kind::kPut, "/s/f", version(5, 2));
  did(1, Op::Kind::kRead, "/s/f", version(5, 1));
  EXPECT_EQ(broken(), "order");
  history_.op(2).linearizable = false;
  EXPECT_EQ(broken(), "");
  did(1, Op::Kind::kRead, "/s/f", version(5, 2));
  did(1, Op::Kind::kRead, "/s/f", version(5, 1)).linearizable = false;
  EXPECT_EQ(broken(), "session");
}

TEST_F(InvariantsTest, AChangeIsNewerThanWhatWasAnsweredBefore) {
  did(0, Op::Kind::kPut, "/s/f", version(5, 2));
  did(1, Op::Kind::kAppend, "/s/f", version(5, 2));
  EXPECT_EQ(broken(), "order");
}

TEST_F(InvariantsTest, NobodyReadsWhatIsYetToBeAskedFor) {
  did(0, Op::Kind::kRead, "/s/f", version(5, 1)).linearizable = false;
  did(1, Op::Kind::kPut, "/s/f", version(5, 1));
  EXPECT_EQ(broken(), "order");
}

TEST_F(InvariantsTest, InSyncModeEventsExcuseNothing) {
  did(0, Op::Kind::kPut, "/s/f", version(5, 2));
  did(1, Op::Kind::kRead, "/s/f", version(5, 1));
  wire::Event event;
  event.set_kind("divergent");
  event.set_file_id(7);
  event.mutable_version()->set_epoch(5);
  event.mutable_version()->set_counter(2);
  state_.events.push_back(event);
  EXPECT_EQ(broken(), "");
  history_.setting.sync = true;
  EXPECT_EQ(broken(), "order");
}

TEST_F(InvariantsTest, Gone) {
  did(0, Op::Kind::kPut, "/s/f", version(5, 1));
  did(0, Op::Kind::kDelete, "/s/f");
  did(1, Op::Kind::kRead, "/s/f", version(5, 1));
  EXPECT_EQ(broken(), "gone");
  history_.op(3).linearizable = false;
  EXPECT_EQ(broken(), "");
  did(0, Op::Kind::kUndelete, "/s/f");
  did(1, Op::Kind::kRead, "/s/f", version(5, 3));
  EXPECT_EQ(broken(), "");
}

TEST_F(InvariantsTest, There) {
  did(0, Op::Kind::kPut, "/s/f", version(5, 1));
  was_refused(1, Op::Kind::kRead, "/s/f", Code::kUnavailable);
  EXPECT_EQ(broken(), "");
  was_refused(1, Op::Kind::kRead, "/s/f", Code::kNotFound);
  EXPECT_EQ(broken(), "there");
  was_refused(1, Op::Kind::kDelete, "/s/f", Code::kLocked);
  EXPECT_EQ(broken(), "");
}

TEST_F(InvariantsTest, Durability) {
  did(0, Op::Kind::kDurability, "/c0").tag = "sync";
  Op& put = did(0, Op::Kind::kPut, "/c0/f", version(5, 1));
  both_hold({version(5, 1)});
  for (auto& half : state_.halves) half.versions[{kFile, version(5, 1)}].tokens = {2};
  EXPECT_EQ(broken(), "durability");
  put.sync = true;
  EXPECT_EQ(broken(), "");
  put.sync = false;
  history_.op(1).tag = "async";
  EXPECT_EQ(broken(), "");
  history_.setting.sync_sessions = {0};
  EXPECT_EQ(broken(), "durability");
}

TEST_F(InvariantsTest, Access) {
  history_.setting.guests = {1};
  did(0, Op::Kind::kPut, "/g/a0", version(5, 1));
  was_refused(1, Op::Kind::kRead, "/g/a0", Code::kDenied);
  EXPECT_EQ(broken(), "");
  did(0, Op::Kind::kGrant, "/g/a0").tag = "client1 R";
  did(1, Op::Kind::kRead, "/g/a0", version(5, 1));
  was_refused(1, Op::Kind::kAppend, "/g/a0", Code::kDenied);
  EXPECT_EQ(broken(), "");
  was_refused(1, Op::Kind::kRead, "/g/a0", Code::kDenied);
  EXPECT_EQ(broken(), "access");
  history_.op(6).code = Code::kUnavailable;
  did(0, Op::Kind::kRevoke, "/g/a0").tag = "client1 ";
  EXPECT_EQ(broken(), "");
  did(1, Op::Kind::kRead, "/g/a0", version(5, 1));
  EXPECT_EQ(broken(), "access");
}

TEST_F(InvariantsTest, Errors) {
  was_refused(0, Op::Kind::kRead, "/s/f", Code::kNotFound);
  was_refused(0, Op::Kind::kRead, "/s/f", Code::kUnavailable);
  EXPECT_EQ(broken(), "");
  history_.setting.calm = true;
  EXPECT_EQ(broken(), "error");
  history_.setting.calm = false;
  was_refused(0, Op::Kind::kRead, "/s/f", Code::kInternal);
  EXPECT_EQ(broken(), "error");
}

TEST_F(InvariantsTest, AnEpochIsOverWhenALaterOneAcknowledged) {
  did(0, Op::Kind::kPut, "/s/f", version(5, 1));
  did(0, Op::Kind::kPut, "/s/f", version(9, 1));
  did(1, Op::Kind::kPut, "/s/f", version(9, 2));
  both_hold({version(9, 2), version(9, 1), version(5, 1)});
  EXPECT_EQ(broken(), "");
  history_.op(3).epoch = Epoch{8};
  EXPECT_EQ(broken(), "epoch");
  history_.op(3).epoch = Epoch{9};
  state_.holders[Epoch{9}] = "ss2_backup";
  EXPECT_EQ(broken(), "epoch");
}

TEST(EpochWatchTest, OneHolderAndOneLease) {
  Violations violations;
  EpochWatch watch;
  watch.look({{"ss1", "ss1", Epoch{5}, true}, {"ss1_backup", "ss1", kNoEpoch, false}}, &violations);
  watch.look({{"ss1", "ss1", Epoch{5}, false}, {"ss1_backup", "ss1", Epoch{9}, true}}, &violations);
  EXPECT_TRUE(violations.none());
  watch.look({{"ss1", "ss1", Epoch{5}, true}, {"ss1_backup", "ss1", Epoch{9}, true}}, &violations);
  EXPECT_EQ(violations.all().size(), 1u);
  watch.look({{"ss1_backup", "ss1", Epoch{5}, false}}, &violations);
  EXPECT_EQ(violations.all().size(), 2u);
}

}  // namespace
}  // namespace understudy::sim
