#include "tests/sim/random_run.h"

#include <algorithm>
#include <memory>

#include "ss/storage_server.h"
#include "tests/sim/cluster.h"
#include "tests/sim/run_clients.h"
#include "tests/sim/run_faults.h"
#include "tests/sim/run_ledger.h"
#include "tests/sim/run_survey.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr const char* kHalves[] = {"ss1", "ss1_backup"};
constexpr Duration kSlice = 2ms;
constexpr Duration kHealLimit = 120s;

class RandomRun {
 public:
  RandomRun(uint64_t seed, const RandomRunOptions& options)
      : options_(options), world_(seed), cluster_(world_), random_(world_.random("random run")) {}

  RandomRunReport run() {
    if (set_the_scene()) {
      go_through_faults();
      heal_and_check();
    }
    RandomRunReport report;
    report.violations = ledger_.violations();
    report.acknowledged = ledger_.count(RunLedger::Outcome::kAcknowledged);
    report.refused = ledger_.count(RunLedger::Outcome::kRefused);
    report.unknown = ledger_.count(RunLedger::Outcome::kUnknown);
    for (auto& client : clients_) report.reads += client->reads();
    report.faults = faults_ ? faults_->count() : 0;
    for (auto& event : cluster_.events()) {
      report.promotions += event.kind() == "promoted";
      report.set_aside += event.kind() == "divergent" || event.kind() == "rescued";
    }
    report.trace_hash = world_.trace_hash();
    return report;
  }

 private:
  bool set_the_scene() {
    // On one machine deaths are proven; between machines silence tells.
    if (random_.one_in(2)) {
      for (const char* name : {"nm", "ss1", "ss1_backup"}) world_.host(name, "machine");
    }
    std::vector<std::string> arguments;
    if (random_.one_in(2)) arguments = {"--heartbeat-interval", "200ms"};
    cluster_.start("nm", arguments);
    for (const char* name : kHalves) cluster_.start(name);
    bool ready = until_in_sync(30s);
    std::vector<std::string> names;
    for (int i = 0; i < options_.clients; ++i) {
      clients_.push_back(std::make_unique<RunClient>(cluster_, &ledger_, i, random_.split("client " + std::to_string(i))));
      names.push_back("client" + std::to_string(i));
      ready = ready && clients_.back()->prepare();
    }
    faults_.emplace(cluster_, random_.split("faults"), arguments, names);
    if (!ready) ledger_.violated("the cluster did not begin");
    return ready;
  }

  void go_through_faults() {
    for (auto& client : clients_) client->begin();
    Instant end = world_.now() + options_.faulty_for;
    while (world_.now() < end) {
      faults_->pass();
      world_.run_for(kSlice);
      check_leases();
    }
  }

  void heal_and_check() {
    for (auto& client : clients_) client->stop();
    faults_->heal();
    auto all_stopped = [&] { return std::ranges::all_of(clients_, [](auto& client) { return client->stopped(); }); };
    if (!world_.run_until(all_stopped, kHealLimit)) return ledger_.violated("a client does not end in the healed cluster");
    if (!until_in_sync(kHealLimit)) return ledger_.violated("the halves are not in sync " + status_text());
    if (!wait_for_all()) return ledger_.violated("WAIT does not end " + status_text());
    for (auto& client : clients_) client->check_own_files();
    survey_halves(cluster_, &ledger_);
  }

  // Two live leases at one instant: two may acknowledge.
  void check_leases() {
    int live = 0;
    for (const char* name : kHalves) {
      StorageServer* server = cluster_.server(name);
      if (server == nullptr || server->state() == nullptr) continue;
      Instant local = world_.find_process(name)->env().clock.now();
      live += server->state()->fence.lease_live(local);
    }
    if (live > 1) ledger_.violated("both halves hold a live lease");
  }

  bool until_in_sync(Duration limit) {
    Instant end = world_.now() + limit;
    while (world_.now() < end) {
      auto status = cluster_.status();
      if (status && status->pairs_size() == 1 && status->pairs(0).members_size() == 2 && status->pairs(0).serving() &&
          status->pairs(0).acting_primary() == kHalves[0] &&
          std::ranges::all_of(status->pairs(0).members(), [](auto& half) { return half.in_sync() && half.jobs() == 0; })) {
        return true;
      }
      world_.run_for(50ms);
    }
    return false;
  }

  // What was brought back may not even be announced yet.
  bool wait_for_all() {
    SimClient& client = cluster_.client("client0");
    wire::WaitRequest request;
    request.set_wait_ms(10'000);
    auto reply = client.await(client.session().ask<wire::WaitReply>(wire::WAIT, request.SerializeAsString(), 10s), 60s);
    return reply && *reply && (*reply)->done();
  }

  std::string status_text() {
    auto status = cluster_.status();
    std::string text = status ? status->ShortDebugString() : "(the name node does not answer)";
    for (const char* name : {"nm", "ss1", "ss1_backup"}) {
      auto result = cluster_.result(name);
      if (result && !*result) text += "; " + std::string(name) + " ended with " + result->error().to_string();
    }
    return text;
  }

  const RandomRunOptions options_;
  SimWorld world_;
  Cluster cluster_;
  SimRandom random_;
  RunLedger ledger_;
  std::vector<std::unique_ptr<RunClient>> clients_;
  std::optional<RunFaults> faults_;
};

}  // namespace

std::string RandomRunReport::to_string() const {
  std::string text = std::to_string(acknowledged) + " acknowledged, " + std::to_string(refused) + " refused, " +
                     std::to_string(unknown) + " unknown, " + std::to_string(reads) + " reads, " +
                     std::to_string(faults) + " faults, " + std::to_string(promotions) + " promotions, " +
                     std::to_string(set_aside) + " set aside";
  for (auto& violation : violations) text += "\n  " + violation;
  return text;
}

RandomRunReport random_run(uint64_t seed, const RandomRunOptions& options) { return RandomRun(seed, options).run(); }

}  // namespace understudy::sim
