// Chaos with real processes: a cluster on this machine under load, its servers killed,
// stopped with SIGSTOP, restarted and cut off from each other, then healed; what clients were
// answered and what the data folders hold is held against the invariants of tests/sim/invariants.h.
//
// MINUTES=n for so long (make chaos), else a few seconds. SEED=n for one round. BIN: the programs.
// CHAOS_LOG=1 prints every step.
#include <gtest/gtest.h>

#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "common/tls/certificates.h"
#include "common/tls/tls_net.h"
#include "common/uv/uv_runtime.h"
#include "tests/sim/real_processes.h"
#include "tests/sim/run_clients.h"
#include "tests/sim/run_plan.h"
#include "tests/sim/run_survey.h"
#include "tests/sim/script.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLookAgain = 10ms;
constexpr Duration kLimit = 120s;

const char* environment(const char* name, const char* otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : text;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

class Round {
 public:
  Round(UvRuntime* runtime, RealProcesses* processes, RunScript script)
      : tls_(runtime->env(), &credentials_), env_(tls_.env()), processes_(processes), script_(std::move(script)), tasks_(env_.executor) {
    record_.now = [this] { return env_.clock.now(); };
    if (std::getenv("CHAOS_LOG") != nullptr) {
      begun_ = env_.clock.now();
      record_.tell = [this](const std::string& who, const std::string& what) {
        std::fprintf(stderr, "%9.3f %-10s %s\n", std::chrono::duration<double>(env_.clock.now() - begun_).count(), who.c_str(), what.c_str());
      };
    }
  }

  Task<void> run() {
    auto playing = play();
    Status played = co_await playing;
    if (!played) record_.violations.add("ends", played.error().to_string());
    if (!record_.violations.none()) tell_servers();
  }

  const std::vector<std::string>& violations() const { return record_.violations.all(); }
  std::string summary() const {
    const History& history = record_.history;
    std::string text = std::to_string(history.writes(Op::Outcome::kDone)) + " acknowledged, " +
                       std::to_string(history.writes(Op::Outcome::kRefused)) + " refused, " +
                       std::to_string(history.writes(Op::Outcome::kUnknown)) + " unknown, " +
                       std::to_string(history.count(Op::Kind::kRead, Op::Outcome::kDone)) + " reads;";
    for (const auto& [kind, count] : struck_) text += " " + kind + " " + std::to_string(count);
    for (const std::string& violation : violations()) text += "\n  " + violation;
    return text;
  }
  const std::map<std::string, uint64_t>& struck() const { return struck_; }
  uint64_t acknowledged() const { return record_.history.writes(Op::Outcome::kDone); }

 private:
  struct Client {
    Client(Env& env, RunRecord* record, size_t number, client::SessionOptions options)
        : session(env, std::move(options)),
          client(env, &session, record, number) {}
    client::Session session;
    RunClient client;
  };

  Task<Status> play() {
    CO_RETURN_IF_ERROR(co_await start_all());
    operator_ = std::make_unique<client::Session>(env_, options(2s));
    CO_RETURN_IF_ERROR(co_await until_in_sync("before the first fault"));
    std::vector<std::vector<Step>> steps(script_.scene.clients);
    for (const Step& step : script_.steps) {
      if (step.client >= 0) steps[static_cast<size_t>(step.client)].push_back(step);
    }
    for (size_t i = 0; i < steps.size(); ++i) {
      clients_.push_back(std::make_unique<Client>(env_, &record_, i, options(30s)));
      if (!co_await clients_.back()->client.prepare()) co_return fail(Code::kUnavailable, "no folders can be made");
      tasks_.spawn(clients_.back()->client.run(std::move(steps[i])));
    }
    co_await go_through_faults();
    record_.stopping = true;
    heal();
    CO_RETURN_IF_ERROR(co_await until_clients_ended());
    CO_RETURN_IF_ERROR(co_await until_in_sync("after all is healed"));
    wire::WaitRequest wait;
    wait.set_wait_ms(30'000);
    CO_ASSIGN_OR_RETURN(auto waited, co_await operator_->ask<wire::WaitReply>(wire::WAIT, wait.SerializeAsString(), 30s));
    if (!waited.done()) co_return fail(Code::kUnavailable, "WAIT does not end: " + waited.why());
    CO_RETURN_IF_ERROR(co_await read_everything());
    record_.history.setting.sync = script_.scene.durability == "sync";
    FinalState state;
    CO_RETURN_IF_ERROR(co_await all_events(&state));
    CO_RETURN_IF_ERROR(co_await stop_all());
    CO_RETURN_IF_ERROR(co_await look_into_folders(&state));
    check_answers(record_.history, state, &record_.violations);
    check_state(record_.history, state, &record_.violations);
    co_return Status{};
  }

  // Everybody is the administrator that the cluster began with.
  client::SessionOptions options(Duration timeout) const {
    client::SessionOptions options{.name_nodes = {name_node_}};
    std::ifstream(processes_->folder("nm") + "/admin-credentials") >> options.user >> options.password;
    options.timeout = timeout;
    return options;
  }

  std::vector<std::string> arguments(const std::string& name) const {
    if (name == "nm") {
      Address listen = name_node_.empty() ? processes_->host(name) + ":0" : name_node_;
      const Scene& scene = script_.scene;
      return {"--listen", listen, "--heartbeat-interval", render_duration(scene.heartbeat), "--durability", scene.durability,
              "--replication-path", scene.path, "--hint-interval", "1s", "--retain-versions", std::to_string(scene.retain),
              "--edit-idle-limit", "20s"};
    }
    return {"--name", name, "--nm", name_node_, "--listen", processes_->host(name) + ":0", "--join-token", processes_->folder("nm") + "/join-token"};
  }
  void start(const std::string& name) {
    Status started = processes_->start(name, arguments(name));
    if (!started) record_.violations.add("ends", started.error().to_string());
  }

  Task<Status> start_all() {
    start("nm");
    Instant end = env_.clock.now() + kLimit;
    while ((name_node_ = first_line(processes_->folder("nm") + "/address")).empty()) {
      if (env_.clock.now() > end || !processes_->runs("nm")) co_return fail(Code::kUnavailable, "the name node does not start");
      co_await sleep_for(env_, kLookAgain);
    }
    std::ifstream file(processes_->folder("nm") + "/ca.pem");
    CO_ASSIGN_OR_RETURN(auto authorities, parse_pem_certificates(std::string(std::istreambuf_iterator<char>(file), {})));
    TlsMaterial believed;
    believed.authorities = std::move(authorities);
    CO_RETURN_IF_ERROR(credentials_.set(std::move(believed)));
    for (const std::string& name : server_names(script_.scene)) start(name);
    co_return Status{};
  }

  Task<void> go_through_faults() {
    std::vector<Step> faults;
    for (const Step& step : script_.steps) {
      if (step.client < 0) faults.push_back(step);
    }
    Instant begin = env_.clock.now(), end = begin + script_.scene.faulty_for;
    size_t next = 0;
    while (env_.clock.now() < end) {
      Instant now = env_.clock.now();
      while (!repairs_.empty() && repairs_.begin()->first <= now) {
        auto repair = repairs_.extract(repairs_.begin());
        repair.mapped()();
      }
      for (; next < faults.size() && begin + faults[next].time <= now; ++next) strike(faults[next].words);
      co_await sleep_for(env_, kLookAgain);
    }
  }

  void later(const std::string& time, std::function<void()> action) {
    repairs_.emplace(env_.clock.now() + *parse_duration(time), std::move(action));
  }

  void strike(const std::vector<std::string>& words) {
    const std::string verb = words[0], name = words[1], time = words.back();
    bool struck = true;
    if (verb == "kill" || verb == "stop") {
      struck = processes_->signal(name, verb == "kill" ? SIGKILL : SIGTERM);
      later(time, [this, name] { start_once_gone(name); });
    } else if (verb == "pause") {
      struck = processes_->signal(name, SIGSTOP);
      later(time, [this, name] { processes_->signal(name, SIGCONT); });
    } else if (is_planned_move(verb)) {
      tasks_.spawn(move_primary(operator_.get(), words));
    } else if (!processes_->has_namespaces()) {
      struck = false;
    } else if (verb == "isolate") {
      processes_->isolate(name, true);
      later(time, [this, name] { processes_->isolate(name, false); });
    } else {
      const std::string other = words[2];
      processes_->block(name, other, true);
      if (verb == "partition") processes_->block(other, name, true);
      later(time, [this, name, other] {
        processes_->block(name, other, false);
        processes_->block(other, name, false);
      });
    }
    if (!struck) return;
    ++struck_[verb];
    std::string line;
    for (const std::string& word : words) line += " " + word;
    record_.tell("FAULT", line);
  }

  // A server that is stopping keeps its folder until it has ended.
  void start_once_gone(const std::string& name) {
    if (processes_->runs(name)) return later("100ms", [this, name] { start_once_gone(name); });
    start(name);
  }

  void heal() {
    record_.tell("FAULT", "everything heals");
    auto names = server_names(script_.scene);
    for (const std::string& name : names) {
      processes_->signal(name, SIGCONT);
      processes_->isolate(name, false);
      for (const std::string& other : names) {
        if (other != name) processes_->block(name, other, false);
      }
      processes_->block("client", name, false);
      processes_->block(name, "client", false);
    }
  }

  // Whoever is not there is begun, as whatever looks after servers does.
  Task<Status> until_in_sync(std::string when) {
    Instant end = env_.clock.now() + kLimit;
    std::string last = "the name node does not answer";
    while (env_.clock.now() < end) {
      for (const std::string& name : server_names(script_.scene)) start(name);
      auto status = co_await operator_->ask<wire::StatusReply>(wire::STATUS, {});
      if (status && all_in_sync(*status)) co_return Status{};
      if (status) last = status->ShortDebugString();
      co_await sleep_for(env_, 50ms);
    }
    co_return fail(Code::kUnavailable, "the halves are not in sync " + when + ": " + last);
  }

  bool all_in_sync(const wire::StatusReply& status) const {
    if (static_cast<uint32_t>(status.pairs_size()) != script_.scene.pairs) return false;
    return std::ranges::all_of(status.pairs(), [](const wire::PairStatus& pair) {
      const std::string& wanted = pair.preferred().empty() ? pair.pair() : pair.preferred();
      return pair.members_size() == 2 && pair.serving() && pair.acting_primary() == wanted &&
             std::ranges::all_of(pair.members(), [](auto& half) { return half.in_sync() && half.jobs() == 0; });
    });
  }

  Task<Status> until_clients_ended() {
    Instant end = env_.clock.now() + kLimit;
    auto ended = [](auto& client) { return client->client.ended(); };
    while (!std::ranges::all_of(clients_, ended)) {
      if (env_.clock.now() > end) co_return fail(Code::kUnavailable, "a client does not end");
      for (const std::string& name : server_names(script_.scene)) start(name);
      co_await sleep_for(env_, kLookAgain);
    }
    co_return Status{};
  }

  Task<Status> read_everything() {
    std::vector<std::set<std::string>> paths(clients_.size());
    for (const Op& op : record_.history.ops()) {
      if (op.kind == Op::Kind::kMakeFolder || op.kind == Op::Kind::kRemoveFolder || op.kind == Op::Kind::kDurability) continue;
      paths[op.session].insert(op.path);
      if (!op.to.empty()) paths[op.session].insert(op.to);
    }
    for (size_t i = 0; i < clients_.size(); ++i) {
      co_await clients_[i]->client.read_all({paths[i].begin(), paths[i].end()});
    }
    co_return Status{};
  }

  Task<Status> all_events(FinalState* state) {
    wire::EventsRequest request;
    while (true) {
      CO_ASSIGN_OR_RETURN(auto page, co_await operator_->ask<wire::EventsReply>(wire::EVENTS, request.SerializeAsString()));
      for (auto& event : *page.mutable_events()) {
        request.set_after(event.id());
        state->events.push_back(std::move(event));
      }
      if (!page.more()) co_return Status{};
    }
  }

  Task<Status> stop_all() {
    clients_.clear();
    operator_.reset();
    auto names = server_names(script_.scene);
    std::ranges::reverse(names);  // The name node last: it is told of those that go.
    for (const std::string& name : names) {
      processes_->signal(name, SIGTERM);
      Instant end = env_.clock.now() + kLimit;
      while (processes_->runs(name)) {
        if (env_.clock.now() > end) co_return fail(Code::kUnavailable, name + " does not stop");
        co_await sleep_for(env_, kLookAgain);
      }
    }
    co_return Status{};
  }

  Task<Status> look_into_folders(FinalState* state) {
    for (const std::string& pair : pair_names(script_.scene)) {
      for (const std::string& server : {pair, pair + "_backup"}) {
        FileStoreOptions options;
        options.folder = processes_->folder(server);
        CO_ASSIGN_OR_RETURN(auto store, co_await FileStore::open(env_, std::move(options)));
        auto looking = survey_half(store.get(), server, pair, true, script_.scene.retain, &record_.violations);
        CO_ASSIGN_OR_RETURN(auto half, co_await looking);
        state->halves.push_back(std::move(half));
        CO_RETURN_IF_ERROR(co_await store->close());
      }
    }
    co_return Status{};
  }

  void tell_servers() {
    for (const std::string& name : server_names(script_.scene)) {
      std::string output = processes_->output(name);
      if (!output.empty()) std::printf("%s said: %s\n", name.c_str(), output.c_str());
    }
  }

  TlsCredentials credentials_;
  TlsNet tls_;
  Env env_;
  RealProcesses* processes_;
  const RunScript script_;
  RunRecord record_;
  Address name_node_;
  std::unique_ptr<client::Session> operator_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::multimap<Instant, std::function<void()>> repairs_;
  std::map<std::string, uint64_t> struck_;
  Instant begun_{};
  TaskGroup tasks_;  // Last: they use the rest.
};

// One round, in a process of its own: it changes its network namespace.
void play_round(uint64_t seed, Duration faulty_for, bool* has_namespaces, std::map<std::string, uint64_t>* totals) {
  RunScript script = plan_run(seed, {.faulty_for = faulty_for, .real = true});
  script.scene.heartbeat = 200ms;
  std::string folder = std::string(environment("TEST_TMPDIR", "/tmp")) + "/chaos-" + std::to_string(getpid()) + "-" + std::to_string(seed);
  std::filesystem::create_directories(folder);
  {
    RealProcesses processes(environment("BIN", "bin"), folder);
    if (*has_namespaces) {
      Status made = processes.make_namespaces(server_names(script.scene));
      if (!made) std::printf("without partitions: %s\n", made.error().message.c_str());
      *has_namespaces = made.has_value();
    }
    UvRuntime runtime;
    Round round(&runtime, &processes, script);
    runtime.run(round.run());
    std::printf("SEED=%llu, %u pairs, %s, %s, %u clients: %s\n", static_cast<unsigned long long>(seed), script.scene.pairs,
                script.scene.durability.c_str(), script.scene.path.c_str(), script.scene.clients, round.summary().c_str());
    for (const auto& [kind, count] : round.struck()) (*totals)[kind] += count;
    (*totals)["acknowledged"] += round.acknowledged();
    ++(*totals)["rounds"];
    std::fflush(stdout);
    EXPECT_TRUE(round.violations().empty()) << "SEED=" << seed << ", its files: " << folder;
    EXPECT_GT(round.acknowledged(), 0u);
  }
  if (!testing::Test::HasFailure()) std::filesystem::remove_all(folder);
}

TEST(Chaos, NothingPromisedIsBroken) {
  double minutes = std::strtod(environment("MINUTES", "0"), nullptr);
  auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(minutes * 60);
  uint64_t seed = std::strtoull(environment("SEED", "1"), nullptr, 10);
  bool namespaces = true;
  std::map<std::string, uint64_t> totals;
  do {
    play_round(seed, minutes > 0 ? Duration(20s) : Duration(4s), &namespaces, &totals);
    ++seed;
  } while (minutes > 0 && std::chrono::steady_clock::now() < end && !HasFailure());
  std::printf("in all:");
  for (const auto& [what, count] : totals) std::printf(" %s %llu", what.c_str(), static_cast<unsigned long long>(count));
  std::printf("\n");
}

}  // namespace
}  // namespace understudy::sim
