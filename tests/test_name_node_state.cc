// The name node's whole durable state, log and catalogue, under power cuts: every
// acknowledged change is there afterwards, wherever the power failed.
#include <gtest/gtest.h>

#include "common/wire/commands.pb.h"
#include "nm/catalogue_db.h"
#include "nm/raft_bridge.h"
#include "tests/sim/sim_world.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

struct State {
  std::unique_ptr<Catalogue> catalogue;
  std::unique_ptr<RaftBridge> raft;
  std::optional<Error> failed;
};

// Lives as long as its process.
Task<void> run_state(Env& env, State* state) {
  struct Clear {
    State* state;
    ~Clear() {
      state->raft.reset();
      state->catalogue.reset();
    }
  } clear{state};
  auto fatal = [state](Error error) { state->failed = std::move(error); };
  (void)env.disk.make_folder("/data/nm");
  auto catalogue = Catalogue::open(env, "/data/nm/catalogue.db", fatal);
  if (!catalogue) {
    fatal(catalogue.error());
    co_return;
  }
  state->catalogue = *std::move(catalogue);
  RaftBridgeOptions options{.folder = "/data/nm/raft",
                            .database_id = state->catalogue->database_id(),
                            .applied_index = state->catalogue->applied_index(),
                            .snapshot_entries = 25,
                            .segment_size = 4096,
                            .reserve_bytes = 0};
  RaftBridgeHooks hooks{
      .apply = [state](uint64_t index, BytesView command) { return state->catalogue->apply(index, command); },
      .make_durable = [state] { return state->catalogue->make_durable(); },
      .accepts = [state] { return state->catalogue->accepts_changes(); },
      .fatal = fatal};
  auto raft = co_await RaftBridge::start(env, std::move(options), std::move(hooks));
  if (!raft) {
    fatal(raft.error());
    co_return;
  }
  state->raft = *std::move(raft);
  while (true) co_await sleep_for(env, 1h);
}

Task<void> make_folders(Env& env, RaftBridge* raft, int from, int to, std::vector<std::string>* made) {
  for (int i = from; i < to; ++i) {
    auto path = "/folder " + std::to_string(i);
    wire::Command command;
    command.mutable_create_folder()->set_path(path);
    auto applied = co_await raft->propose(command.SerializeAsString());
    if (!applied) continue;
    wire::CommandOutcome outcome;
    EXPECT_TRUE(outcome.ParseFromString(applied->result));
    EXPECT_EQ(outcome.raft_index(), applied->index);
    if (outcome.code() == 0) made->push_back(path);
    co_await sleep_for(env, 3ms);
  }
}

TEST(NameNodeState, APowerCutAnywhereLosesNothingAcknowledged) {
  uint64_t snapshots = 0;
  for (uint64_t point = 1; point < 900; point += 4) {
    SCOPED_TRACE("power cut at disk call " + std::to_string(point));
    State state;
    std::vector<std::string> made;
    sim::SimWorld world(point);
    auto& host = world.host("nm");
    host.disk.cut_power_at(point);
    for (int life = 0; life < 3; ++life) {
      if (life > 0) world.power_on(host);
      state.failed.reset();
      auto& process = world.start(host, "nm", [&](Env& env) { return run_state(env, &state); });
      world.run_until([&] { return state.raft || state.failed || !process.alive(); }, 10s);
      if (process.alive()) {
        ASSERT_FALSE(state.failed) << state.failed->to_string();
        for (const auto& path : made) ASSERT_TRUE(state.catalogue->find(path)) << path;
        for (int k = 0; k < 3; ++k) {
          process.spawn(make_folders(process.env(), state.raft.get(), life * 300 + k * 100, life * 300 + k * 100 + 30, &made));
        }
        world.run_for(1s);
      }
      if (process.alive()) snapshots += state.raft->snapshot_index() > 0;
      if (process.alive()) life % 2 == 0 ? world.power_cut(host) : world.kill(process);
    }
    ASSERT_GE(made.size(), 90u);
  }
  EXPECT_GT(snapshots, 100u);
}

}  // namespace
}  // namespace understudy
