// The campaign: random runs of a whole cluster under faults, held against the invariants of
// tests/sim/invariants.h. SEEDS=n for so many (from FIRST=m), SEED=n for one, SCRIPT=FILE
// for one that is written down; TWICE=1 runs each twice and compares.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/sim/invariants.h"
#include "tests/sim/random_run.h"
#include "tests/sim/run_shrink.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

bool is_set(const char* name) { return std::getenv(name) != nullptr && *std::getenv(name) != '\0'; }

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Of all runs of this process.
struct Totals {
  uint64_t runs = 0, faults = 0, acknowledged = 0, reads = 0, promotions = 0, broken = 0;
  Duration simulated{};
  std::map<std::string, uint64_t> kinds;

  void add(const RunReport& report) {
    ++runs;
    faults += report.fault_count();
    acknowledged += report.acknowledged;
    reads += report.reads;
    promotions += report.promotions;
    broken += !report.violations.empty();
    simulated += report.simulated;
    for (const auto& [kind, count] : report.faults) kinds[kind] += count;
  }
  void print() const {
    std::printf("%llu runs, %.2f simulated hours, %llu acknowledged writes, %llu reads, %llu promotions, %llu broken; %llu faults:",
                static_cast<unsigned long long>(runs), std::chrono::duration<double>(simulated).count() / 3600,
                static_cast<unsigned long long>(acknowledged), static_cast<unsigned long long>(reads),
                static_cast<unsigned long long>(promotions), static_cast<unsigned long long>(broken),
                static_cast<unsigned long long>(faults));
    for (const auto& [kind, count] : kinds) std::printf(" %s %llu", kind.c_str(), static_cast<unsigned long long>(count));
    std::printf("\n");
  }
};

// Seed, commit and the shortest script that breaks the same.
void tell_failure(const std::string& name, const RunScript& script, const RunReport& report) {
  const char* commit = std::getenv("SIM_COMMIT");
  RunScript shorter = shortest(script, report, std::chrono::seconds(from_environment("SHRINK_SECONDS", 20)));
  RunReport again = play_apart(shorter);
  std::string text = "# " + name + ", commit " + (commit == nullptr ? "unknown" : commit) + "\n";
  for (const std::string& violation : again.violations) text += "# " + violation + "\n";
  text += render(shorter);
  const char* folder = std::getenv("SIM_FAILURES");
  if (folder != nullptr) {
    std::filesystem::create_directories(folder);
    std::ofstream(std::string(folder) + "/" + name + ".run") << text;
  }
  ADD_FAILURE() << name << ": " << report.to_string() << "\nThe shortest script found, " << shorter.steps.size() << " of "
                << script.steps.size() << " steps (make sim SCRIPT=FILE plays it):\n"
                << (shorter.steps.size() < 100 ? text : "(too long to show; it stands in the folder SIM_FAILURES)\n");
}

void expect_unbroken(const std::string& name, const RunScript& script, Totals* totals) {
  RunReport report = play_apart(script);
  totals->add(report);
  std::printf("%s: %s\n", name.c_str(), report.to_string().c_str());
  std::fflush(stdout);
  if (!report.violations.empty()) return tell_failure(name, script, report);
  if (!is_set("TWICE")) return;
  EXPECT_EQ(play_apart(script).trace_hash, report.trace_hash) << name << ": the same run again went otherwise";
}

TEST(Campaign, NothingPromisedIsBroken) {
  Totals totals;
  if (is_set("SCRIPT")) {
    auto script = parse_run_script(read_file(std::getenv("SCRIPT")));
    ASSERT_TRUE(script) << script.error().to_string();
    RunReport report = play(*script);  // In this process, for a debugger.
    EXPECT_TRUE(report.violations.empty()) << report.to_string();
    return;
  }
  uint64_t first = from_environment("SEED", from_environment("FIRST", 1));
  uint64_t count = is_set("SEED") ? 1 : from_environment("SEEDS", 8);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    expect_unbroken("seed-" + std::to_string(seed), plan_run(seed), &totals);
  }
  totals.print();
}

// Each broke something once; docs/hacking.md says how one comes here.
TEST(Campaign, WhatItFoundStaysFound) {
  if (is_set("SEED") || is_set("SCRIPT")) GTEST_SKIP();
  Totals totals;
  std::set<std::filesystem::path> kept;
  for (const auto& entry : std::filesystem::directory_iterator("tests/sim/kept")) {
    if (entry.path().extension() == ".run") kept.insert(entry.path());
  }
  for (const auto& path : kept) {
    auto script = parse_run_script(read_file(path));
    ASSERT_TRUE(script) << path << ": " << script.error().to_string();
    expect_unbroken(path.stem(), *script, &totals);
  }
}

TEST(Campaign, ASeedRunTwiceGivesOneTrace) {
  RunScript script = plan_run(7, {.faulty_for = 5s});
  EXPECT_EQ(play_apart(script).trace_hash, play_apart(script).trace_hash);
}

TEST(RunScriptTest, ReadsWhatItWrites) {
  RunScript script = plan_run(3);
  auto again = parse_run_script(render(script));
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(render(*again), render(script));
  EXPECT_FALSE(parse_run_script("client0 +1ms put /a 1\n"));
  EXPECT_FALSE(parse_run_script("scene seed=1\nclientx +1ms put /a 1\n"));
}

}  // namespace
}  // namespace understudy::sim
