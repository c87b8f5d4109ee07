// The rules of failover as stories. The fixture plays the name node: it commits
// what the monitor proposes, at once and in order, and notes every effect.
#include "nm/core/pair_monitor.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace understudy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class PairMonitorTest : public testing::Test {
 protected:
  PairMonitorTest() : monitor_({.heartbeat_interval = seconds(1), .failure_timeout = seconds(3)}, now_) {
    facts_.pair = "ss1";
  }

  // A server's registration as the catalogue would take it: failed is cleared.
  void Register(const std::string& server, Incarnation incarnation, Epoch holds = kNoEpoch) {
    auto at = std::ranges::find(facts_.members, server, &PairFacts::Member::server);
    if (at == facts_.members.end()) {
      facts_.members.push_back({server, server == "ss1" && facts_.epoch == kNoEpoch, false});
    } else {
      at->failed = false;
    }
    monitor_.set_facts(facts_);
    Do(monitor_.registered(server, incarnation, holds, now_));
  }

  void Died(const std::string& server, Incarnation incarnation) { Do(monitor_.died(server, incarnation, now_)); }

  // Time passes in ticks of 100 ms; `alive` send a heartbeat every second.
  void Pass(Duration time, std::vector<std::pair<std::string, Incarnation>> alive = {}) {
    for (Instant end = now_ + time; now_ < end;) {
      now_ += milliseconds(100);
      if (now_.time_since_epoch() % seconds(1) == Duration::zero()) {
        for (auto& [server, incarnation] : alive) Heartbeat(server, incarnation);
      }
      Do(monitor_.tick(now_));
    }
  }

  Epoch Heartbeat(const std::string& server, Incarnation incarnation) {
    auto answer = monitor_.heartbeat(server, incarnation, serving_[server], now_);
    if (answer.register_again) story_ += "register-again " + server + "\n";
    if (answer.lease_epoch != kNoEpoch) lease_end_[server] = now_ + monitor_.settings().lease();
    // Never two leases at once, whatever the story.
    int holders = 0;
    for (auto& [name, end] : lease_end_) holders += end > now_;
    EXPECT_LE(holders, 1) << story_;
    return answer.lease_epoch;
  }

  void CaughtUp(const std::string& server) {
    Member(server).in_sync = true;
    monitor_.set_facts(facts_);
    Do(monitor_.caught_up(server, true, now_));
  }

  PairFacts::Member& Member(const std::string& server) {
    return *std::ranges::find(facts_.members, server, &PairFacts::Member::server);
  }

  void Do(const Effects& effects) {
    for (const auto& effect : effects) {
      story_ += to_string(effect) + "\n";
      switch (effect.kind) {
        case EffectKind::kBeginEpoch: {
          facts_.acting_primary = effect.server;
          facts_.epoch = Epoch{++index_};
          for (auto& m : facts_.members) {
            if (m.server == effect.server) m.in_sync = true;
            else if (effect.other_failed) m.in_sync = false;
          }
          monitor_.set_facts(facts_);
          Do(monitor_.epoch_begun("ss1", true, now_));
          break;
        }
        case EffectKind::kMemberFailed: {
          auto& m = Member(effect.server);
          m.failed = true;
          if (effect.server != facts_.acting_primary) m.in_sync = false;
          monitor_.set_facts(facts_);
          break;
        }
        case EffectKind::kServe:
          if (hold_serve_) break;
          serving_[effect.server] = effect.epoch;
          Do(monitor_.served(effect.server, effect.epoch, true, now_));
          break;
        case EffectKind::kResync: break;
        case EffectKind::kHandOver: break;
      }
    }
  }

  std::string Story() { return std::exchange(story_, ""); }

  // Both halves registered, in sync, ss1 serving epoch 11.
  void Pair() {
    Register("ss1", 1);
    Register("ss1_backup", 2);
    CaughtUp("ss1_backup");
    Heartbeat("ss1", 1);
    Heartbeat("ss1_backup", 2);
    Story();
  }

  Instant now_{seconds(1000)};
  uint64_t index_ = 10;
  PairFacts facts_;
  PairMonitor monitor_;
  std::map<std::string, Epoch> serving_;
  std::map<std::string, Instant> lease_end_;
  std::string story_;
  bool hold_serve_ = false;
};

TEST_F(PairMonitorTest, HomePrimaryBeginsAndTheBackupIsFilled) {
  Register("ss1", 1);
  Register("ss1_backup", 2);
  EXPECT_EQ(Story(), "begin-epoch ss1\nserve ss1 epoch 11\nresync ss1_backup\n");
  EXPECT_EQ(Heartbeat("ss1", 1), Epoch{11});
  EXPECT_EQ(Heartbeat("ss1_backup", 2), kNoEpoch);
}

TEST_F(PairMonitorTest, ABackupThatComesFirstWaits) {
  Register("ss1_backup", 2);
  Pass(seconds(2));
  EXPECT_EQ(Story(), "");
}

TEST_F(PairMonitorTest, SilenceFailsAfterTheTimeoutAndNotBefore) {
  Pair();
  Pass(milliseconds(2900), {{"ss1_backup", 2}});
  EXPECT_EQ(Story(), "");
  Pass(milliseconds(200), {{"ss1_backup", 2}});
  EXPECT_EQ(Story(), "member-failed ss1\nbegin-epoch ss1_backup other-failed\nserve ss1_backup epoch 12\n");
  EXPECT_EQ(Heartbeat("ss1_backup", 2), Epoch{12});
}

TEST_F(PairMonitorTest, ProofOfDeathNeedsNoSilence) {
  Pair();
  lease_end_.clear();  // Its process is gone, and its lease with it.
  Died("ss1", 1);
  EXPECT_EQ(Story(), "member-failed ss1\nbegin-epoch ss1_backup other-failed\nserve ss1_backup epoch 12\n");
}

TEST_F(PairMonitorTest, AMemberThatIsNotInSyncIsNeverPromoted) {
  Register("ss1", 1);
  Register("ss1_backup", 2);
  Story();
  Died("ss1", 1);
  Pass(seconds(20), {{"ss1_backup", 2}});
  EXPECT_EQ(Story(), "member-failed ss1\n");
  Register("ss1", 3);
  EXPECT_EQ(Story(), "begin-epoch ss1\nserve ss1 epoch 12\n");
}

TEST_F(PairMonitorTest, KilledInTurnOnlyTheLastPrimaryServesAgain) {
  Pair();
  Died("ss1_backup", 2);
  Died("ss1", 1);
  Register("ss1_backup", 4);
  Pass(seconds(20), {{"ss1_backup", 4}});
  EXPECT_EQ(Story(), "member-failed ss1_backup\nmember-failed ss1\n");
  Register("ss1", 5);
  EXPECT_EQ(Story(), "begin-epoch ss1\nserve ss1 epoch 12\nresync ss1_backup\n");
}

TEST_F(PairMonitorTest, ForceServesWhatIsThere) {
  Pair();
  Died("ss1_backup", 2);
  Died("ss1", 1);
  Register("ss1_backup", 4);
  Story();
  Do(monitor_.force("ss1", "ss1_backup", now_));
  EXPECT_EQ(Story(), "begin-epoch ss1_backup other-failed\nserve ss1_backup epoch 12\n");
}

TEST_F(PairMonitorTest, ForceWaitsForALease) {
  Pair();
  EXPECT_TRUE(monitor_.force("ss1", "ss1_backup", now_).empty());
}

TEST_F(PairMonitorTest, WhoIsReplacedMayHoldItsLease) {
  Pair();
  facts_.acting_primary.clear();
  Member("ss1").in_sync = false;
  Member("ss1").failed = true;
  monitor_.set_facts(facts_);
  Pass(milliseconds(2900), {{"ss1_backup", 2}});
  EXPECT_EQ(Story(), "");
  EXPECT_TRUE(monitor_.force("ss1", "ss1_backup", now_).empty());
  Pass(milliseconds(200), {{"ss1_backup", 2}});
  EXPECT_EQ(Story(), "begin-epoch ss1_backup\nserve ss1_backup epoch 12\n");
}

TEST_F(PairMonitorTest, ReturnResyncsThenHandsOver) {
  Pair();
  lease_end_.clear();
  Died("ss1", 1);
  Story();
  Register("ss1", 3);
  EXPECT_EQ(Story(), "resync ss1\n");
  CaughtUp("ss1");
  EXPECT_EQ(Story(), "hand-over to ss1\n");
  EXPECT_EQ(Heartbeat("ss1_backup", 2), Epoch{12}) << "it serves on while the other half catches up";
  monitor_.draining("ss1");
  EXPECT_EQ(Heartbeat("ss1_backup", 2), kNoEpoch) << "no lease while it is being drained";
  lease_end_.clear();  // Drained, it gave it back.
  Do(monitor_.handed_over("ss1", true, now_));
  EXPECT_EQ(Story(), "begin-epoch ss1\nserve ss1 epoch 13\n");
  EXPECT_TRUE(Member("ss1_backup").in_sync);
}

TEST_F(PairMonitorTest, AHandOverThatFailsGivesTheOldOneANewEpoch) {
  Pair();
  lease_end_.clear();
  Died("ss1", 1);
  Register("ss1", 3);
  CaughtUp("ss1");
  Story();
  monitor_.draining("ss1");
  Do(monitor_.handed_over("ss1", false, now_));
  EXPECT_EQ(Story(), "begin-epoch ss1_backup\nserve ss1_backup epoch 13\n");
  Pass(seconds(4), {{"ss1", 3}, {"ss1_backup", 2}});
  EXPECT_EQ(Story(), "hand-over to ss1\n");
}

TEST_F(PairMonitorTest, AHandOverThatIsPutOffBeforeItDrainsChangesNothing) {
  Pair();
  lease_end_.clear();
  Died("ss1", 1);
  Register("ss1", 3);
  CaughtUp("ss1");
  Story();
  Do(monitor_.handed_over("ss1", false, now_));
  EXPECT_EQ(Story(), "");
  EXPECT_EQ(Heartbeat("ss1_backup", 2), Epoch{12}) << "writers never notice";
  Pass(seconds(4), {{"ss1", 3}, {"ss1_backup", 2}});
  EXPECT_EQ(Story(), "hand-over to ss1\n");
}

TEST_F(PairMonitorTest, TheActingHalfDiesDuringTheHandOver) {
  Pair();
  lease_end_.clear();
  Died("ss1", 1);
  Register("ss1", 3);
  CaughtUp("ss1");
  Story();
  Died("ss1_backup", 2);
  Do(monitor_.handed_over("ss1", false, now_));
  EXPECT_EQ(Story(), "member-failed ss1_backup\nbegin-epoch ss1 other-failed\nserve ss1 epoch 13\n");
}

TEST_F(PairMonitorTest, APausedPrimaryThatWakesGetsNoLease) {
  Pair();
  Pass(seconds(5), {{"ss1_backup", 2}});
  Story();
  EXPECT_EQ(Heartbeat("ss1", 1), kNoEpoch);
  EXPECT_EQ(Story(), "register-again ss1\n");
  Register("ss1", 1, Epoch{11});
  EXPECT_EQ(Story(), "resync ss1\n");
  EXPECT_EQ(Heartbeat("ss1", 1), kNoEpoch);
}

TEST_F(PairMonitorTest, AQuickRestartOfThePrimaryGetsANewEpoch) {
  Pair();
  lease_end_.clear();
  Register("ss1", 9);
  EXPECT_EQ(Story(), "begin-epoch ss1\nserve ss1 epoch 12\n");
}

TEST_F(PairMonitorTest, AReconnectKeepsTheEpoch) {
  Pair();
  Register("ss1", 1, Epoch{11});
  EXPECT_EQ(Story(), "");
  EXPECT_EQ(Heartbeat("ss1", 1), Epoch{11});
}

TEST_F(PairMonitorTest, AFreshNameNodeWaitsOneFailureTimeout) {
  Pair();
  monitor_ = PairMonitor(monitor_.settings(), now_);
  monitor_.set_facts(facts_);
  Register("ss1_backup", 2);
  Pass(milliseconds(2900), {{"ss1_backup", 2}});
  EXPECT_EQ(Story(), "");
  Pass(milliseconds(200), {{"ss1_backup", 2}});
  EXPECT_EQ(Story(), "member-failed ss1\nbegin-epoch ss1_backup other-failed\nserve ss1_backup epoch 12\n");
}

TEST_F(PairMonitorTest, AFreshNameNodeLetsTheServingPrimaryGoOn) {
  Pair();
  monitor_ = PairMonitor(monitor_.settings(), now_);
  monitor_.set_facts(facts_);
  Register("ss1", 1, Epoch{11});
  EXPECT_EQ(Story(), "");
  EXPECT_EQ(Heartbeat("ss1", 1), Epoch{11});
}

TEST_F(PairMonitorTest, ANameNodeThatSleptBlamesNobody) {
  Pair();
  lease_end_.clear();
  now_ += seconds(60);
  Do(monitor_.tick(now_));
  EXPECT_EQ(Story(), "");
  Pass(seconds(10), {{"ss1", 1}, {"ss1_backup", 2}});
  EXPECT_EQ(Story(), "");
}

TEST_F(PairMonitorTest, AClockThatLeapsPromotesNobody) {
  Pair();
  now_ += seconds(8);  // And what is heard first is no tick.
  Heartbeat("ss1_backup", 2);
  EXPECT_EQ(Story(), "");
  EXPECT_TRUE(monitor_.force("ss1", "ss1_backup", now_).empty());
  Pass(milliseconds(2600), {{"ss1_backup", 2}});
  EXPECT_EQ(Story(), "");
  Pass(milliseconds(400), {{"ss1_backup", 2}});
  EXPECT_EQ(Story(), "member-failed ss1\nbegin-epoch ss1_backup other-failed\nserve ss1_backup epoch 12\n");
}

TEST_F(PairMonitorTest, AShorterTimeoutLetsLongerLeasesOfTheNameNodeBeforeRunOut) {
  Pair();
  monitor_ = PairMonitor({.heartbeat_interval = milliseconds(500),
                          .failure_timeout = milliseconds(1500),
                          .earlier_timeout = seconds(3)}, now_);
  monitor_.set_facts(facts_);
  Register("ss1_backup", 2);
  Pass(milliseconds(2900), {{"ss1_backup", 2}});
  EXPECT_EQ(Story(), "member-failed ss1\n");
  EXPECT_TRUE(monitor_.force("ss1", "ss1_backup", now_).empty());
  Pass(milliseconds(200), {{"ss1_backup", 2}});
  EXPECT_EQ(Story(), "begin-epoch ss1_backup other-failed\nserve ss1_backup epoch 12\n");
}

// It never heard of its next epoch, and holds the lease of the one before.
TEST_F(PairMonitorTest, AnEpochThatWasNotServedEndsNoLease) {
  Pair();
  Heartbeat("ss1", 1);
  hold_serve_ = true;
  Register("ss1", 1, Epoch{7});
  EXPECT_EQ(Story(), "begin-epoch ss1\nserve ss1 epoch 12\n");
  Do(monitor_.served("ss1", Epoch{12}, false, now_));
  EXPECT_TRUE(monitor_.force("ss1", "ss1_backup", now_).empty());
}

TEST_F(PairMonitorTest, AFailureThatWasNotCommittedIsProposedAgain) {
  Pair();
  Effects effects = monitor_.died("ss1_backup", 2, now_);
  ASSERT_EQ(effects.size(), 1u);
  EXPECT_TRUE(monitor_.tick(now_).empty());
  monitor_.not_failed("ss1_backup");
  EXPECT_TRUE(monitor_.tick(now_).empty());
  Pass(milliseconds(3100), {{"ss1", 1}});
  EXPECT_EQ(Story(), "member-failed ss1_backup\n");
}

TEST_F(PairMonitorTest, AnUnansweredServeIsTriedAgainAfterRegistration) {
  hold_serve_ = true;
  Register("ss1", 1);
  EXPECT_EQ(Story(), "begin-epoch ss1\nserve ss1 epoch 11\n");
  Do(monitor_.served("ss1", Epoch{11}, false, now_));
  hold_serve_ = false;
  Pass(milliseconds(100));
  EXPECT_EQ(Story(), "begin-epoch ss1\nserve ss1 epoch 12\n");
}

TEST_F(PairMonitorTest, APlannedMoveWaitsForNothingAndLasts) {
  Pair();
  facts_.preferred = "ss1_backup";
  monitor_.set_facts(facts_);
  Do(monitor_.move_wanted("ss1", now_));
  EXPECT_EQ(Story(), "hand-over to ss1_backup\n");
  monitor_.draining("ss1");
  EXPECT_EQ(Heartbeat("ss1", 1), kNoEpoch);
  Do(monitor_.handed_over("ss1", true, now_));
  EXPECT_EQ(Story(), "begin-epoch ss1_backup\nserve ss1_backup epoch 12\n");
  lease_end_.erase("ss1");  // Drained: given back.
  Pass(seconds(10), {{"ss1", 1}, {"ss1_backup", 2}});
  EXPECT_EQ(Story(), "");  // Not handed back by itself.

  // Who is preferred fails, and takes its place again once it has caught up.
  Died("ss1_backup", 2);
  EXPECT_EQ(Story(), "member-failed ss1_backup\nbegin-epoch ss1 other-failed\nserve ss1 epoch 13\n");
  lease_end_.erase("ss1_backup");
  Register("ss1_backup", 3);
  EXPECT_EQ(Story(), "resync ss1_backup\n");
  CaughtUp("ss1_backup");
  EXPECT_EQ(Story(), "hand-over to ss1_backup\n");
}

TEST_F(PairMonitorTest, OneThatStopsHandsOverFirstAndTakesNothingBack) {
  Pair();
  Do(monitor_.stopping("ss1", 7, now_));  // Of an earlier start.
  EXPECT_EQ(Story(), "");
  Do(monitor_.stopping("ss1", 1, now_));
  EXPECT_EQ(Story(), "hand-over to ss1_backup\n");
  monitor_.draining("ss1");
  Do(monitor_.handed_over("ss1", true, now_));
  EXPECT_EQ(Story(), "begin-epoch ss1_backup\nserve ss1_backup epoch 12\n");
  lease_end_.erase("ss1");
  Pass(seconds(10), {{"ss1", 1}, {"ss1_backup", 2}});
  EXPECT_EQ(Story(), "");
  // A half that stops is no place to hand over to.
  Do(monitor_.stopping("ss1_backup", 2, now_));
  EXPECT_EQ(Story(), "");
}

}  // namespace
}  // namespace understudy
