// What becomes of the versions that only a returning half has.
#include <gtest/gtest.h>

#include "nm/core/rescue_plan.h"

namespace understudy {
namespace {

using Records = std::vector<wire::VersionRecord>;

// "1.2 w7": version 1.2, written by request 7. c: a checkpoint, d: a deletion.
wire::VersionRecord record(uint64_t epoch, uint64_t counter, char what, uint64_t request) {
  wire::VersionRecord made;
  made.mutable_version()->set_epoch(epoch);
  made.mutable_version()->set_counter(counter);
  made.set_kind(what == 'c' ? wire::CHANGE_CHECKPOINT : what == 'd' ? wire::CHANGE_DELETE : wire::CHANGE_PUT);
  made.mutable_request()->set_client(request == 0 ? 0 : 1);
  made.mutable_request()->set_sequence(request);
  return made;
}

const Records kTarget = {record(1, 2, 'w', 7), record(1, 3, 'c', 8), record(1, 4, 'w', 9)};

std::string text(const RescuePlan& plan) {
  std::string text = plan.bring ? "bring" : "beside";
  for (Version version : plan.came) text += " " + (version ? version.to_string() : "-");
  return text;
}

TEST(RescuePlan, WhatStoodStillTakesThemAll) {
  EXPECT_EQ(text(plan_rescue({}, kTarget)), "bring - - -");
  EXPECT_EQ(text(plan_rescue({record(2, 1, 'c', 20)}, kTarget)), "bring - - -");
}

TEST(RescuePlan, WhatChangedKeepsThemBeside) {
  EXPECT_EQ(text(plan_rescue({record(2, 1, 'w', 20)}, kTarget)), "beside - - -");
  EXPECT_EQ(text(plan_rescue({record(2, 1, 'd', 20)}, kTarget)), "beside - - -");
  EXPECT_EQ(text(plan_rescue({}, {record(1, 2, 'w', 7), record(1, 3, 'd', 8)})), "beside - -");
}

TEST(RescuePlan, OneThatWasCutShortGoesOn) {
  EXPECT_EQ(text(plan_rescue({record(2, 1, 'w', 7)}, kTarget)), "bring 2.1 - -");
  EXPECT_EQ(text(plan_rescue({record(2, 1, 'w', 7), record(2, 2, 'c', 8), record(2, 3, 'w', 9)}, kTarget)), "bring 2.1 2.2 2.3");
  EXPECT_EQ(text(plan_rescue({record(2, 1, 'w', 7), record(2, 2, 'c', 20)}, kTarget)), "bring 2.1 - -");
}

TEST(RescuePlan, WhatCameBeforeAChangeIsNotKeptTwice) {
  EXPECT_EQ(text(plan_rescue({record(2, 1, 'w', 7), record(2, 2, 'w', 20)}, kTarget)), "beside 2.1 - -");
  EXPECT_EQ(text(plan_rescue({record(2, 1, 'w', 20), record(2, 2, 'w', 7)}, kTarget)), "beside 2.2 - -");
}

// Requests without a number are no proof of anything.
TEST(RescuePlan, NobodysRequestsAreDifferentOnes) {
  EXPECT_EQ(text(plan_rescue({record(2, 1, 'w', 0)}, {record(1, 2, 'w', 0)})), "beside -");
}

}  // namespace
}  // namespace understudy
