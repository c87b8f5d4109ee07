// Random runs of a whole cluster under faults: SEEDS=n for so many (from FIRST=m), SEED=n
// for one.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/sim/random_run.h"
#include "tests/sim/run_ledger.h"

namespace understudy::sim {
namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

void expect_unbroken(uint64_t seed) {
  // Some run long enough for one return to meet the next failure again and again.
  RandomRunOptions options{.faulty_for = std::chrono::seconds(seed % 8 == 0 ? 60 : 15)};
  RandomRunReport report = random_run(seed, options);
  std::printf("SEED=%llu: %s\n", static_cast<unsigned long long>(seed), report.to_string().c_str());
  std::fflush(stdout);  // A crash of the next one must not take it along.
  EXPECT_TRUE(report.violations.empty()) << "SEED=" << seed;
  EXPECT_GT(report.acknowledged, 0u) << "SEED=" << seed;
}

TEST(RandomRunTest, NothingPromisedIsBroken) {
  uint64_t first = from_environment("SEED", from_environment("FIRST", 1));
  uint64_t count = std::getenv("SEED") != nullptr ? 1 : from_environment("SEEDS", 6);
  for (uint64_t seed = first; seed < first + count; ++seed) expect_unbroken(seed);
}

// Each found something once.
TEST(RandomRunTest, KeptSeeds) {
  if (std::getenv("SEED") != nullptr) GTEST_SKIP();
  for (uint64_t seed : {37, 64, 136, 204, 247, 416}) expect_unbroken(seed);
}

TEST(RandomRunTest, ASeedRunTwiceGivesOneTrace) {
  RandomRunOptions options{.faulty_for = std::chrono::seconds(5)};
  EXPECT_EQ(random_run(7, options).trace_hash, random_run(7, options).trace_hash);
}

TEST(RunLedgerTest, KnowsWhatAContentIsMadeOf) {
  Bytes content = put_content(1, 100) + append_content(2) + append_content(3);
  EXPECT_EQ(tokens_of(content), (std::vector<Token>{1, 2, 3}));
  EXPECT_EQ(tokens_of(""), std::vector<Token>());
  EXPECT_FALSE(tokens_of(content.substr(0, 50)));
  EXPECT_FALSE(tokens_of(content.substr(0, content.size() - 1)));
  EXPECT_FALSE(tokens_of(put_content(1, 100).substr(0, 60) + put_content(2, 100).substr(60)));
}

TEST(RunLedgerTest, FindsWhatMayNotBe) {
  RunLedger ledger;
  Token done = ledger.begin_write("/a"), refused = ledger.begin_write("/a");
  ledger.end_write(done, RunLedger::Outcome::kAcknowledged, {Epoch{1}, 1});
  ledger.end_write(refused, RunLedger::Outcome::kRefused, {});
  ledger.inspect("fine", put_content(done, 10));
  EXPECT_TRUE(ledger.violations().empty());
  ledger.inspect("twice", put_content(done, 10) + append_content(done));
  EXPECT_EQ(ledger.violations().size(), 1u);
  ledger.inspect("refused", put_content(done, 10) + append_content(refused));
  EXPECT_EQ(ledger.violations().size(), 2u);
  ledger.inspect("never asked for", put_content(9, 10));
  EXPECT_EQ(ledger.violations().size(), 3u);
}

}  // namespace
}  // namespace understudy::sim
