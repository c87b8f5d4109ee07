#include "tests/sim/random_run.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "nm/catalogue_db.h"
#include "ss/storage_server.h"
#include "ss/sync_writes.h"
#include "tests/sim/cluster.h"
#include "tests/sim/run_clients.h"
#include "tests/sim/run_faults.h"
#include "tests/sim/run_survey.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kSlice = 2ms;
constexpr Duration kHealLimit = 120s;
constexpr size_t kSocketsMax = 600;
constexpr size_t kSocketsPerClientMax = 60;
// By then whatever somebody gave up is dropped: open sentences, uploads, names without a version.
constexpr Duration kRest = 12min;
// What stands in one hint may be over the budget: who takes it looks at the budget before.
constexpr uint64_t kHintBytesOver = 4 << 20;

bool printing() {
  static const bool print = std::getenv("RUN_LOG") != nullptr || std::getenv("SIM_LOG") != nullptr;
  return print;
}

class Run {
 public:
  explicit Run(const RunScript& script)
      : scene_(script.scene), pairs_(pair_names(scene_)), world_(scene_.seed), cluster_(world_) {
    record_.now = [this] { return world_.now(); };
    if (printing()) {
      record_.tell = [this](const std::string& who, const std::string& what) {
        std::fprintf(stderr, "%12.6f %-12s %s\n", seconds(), who.c_str(), what.c_str());
      };
    }
    steps_.resize(scene_.clients);
    std::vector<Step> faults;
    for (const Step& step : script.steps) {
      if (step.client < 0) {
        faults.push_back(step);
      } else if (static_cast<size_t>(step.client) < steps_.size()) {
        steps_[static_cast<size_t>(step.client)].push_back(step);
      }
    }
    Setting& setting = record_.history.setting;
    setting.sync = scene_.durability == "sync";
    for (size_t i = 0; i < scene_.clients; ++i) {
      if (i < scene_.sync_clients) setting.sync_sessions.insert(i);
      if (is_guest(scene_, i)) setting.guests.insert(i);
    }
    setting.calm = std::ranges::all_of(faults, [](const Step& step) { return is_planned_move(step.words[0]); });
    if (scene_.one_machine) {
      for (const std::string& name : server_names(scene_)) world_.host(name, "machine");
    }
    faults_.emplace(cluster_, scene_, &record_, std::move(faults));
  }

  RunReport play() {
    if (set_the_scene()) {
      go_through_faults();
      heal_and_check();
    }
    RunReport report;
    report.violations = record_.violations.all();
    const History& history = record_.history;
    report.acknowledged = history.writes(Op::Outcome::kDone);
    report.refused = history.writes(Op::Outcome::kRefused);
    report.unknown = history.writes(Op::Outcome::kUnknown);
    report.reads = history.count(Op::Kind::kRead, Op::Outcome::kDone);
    report.epochs = watch_.holders().size();
    for (auto& event : final_.events) {
      report.promotions += event.kind() == "promoted";
      report.set_aside += event.kind() == "divergent" || event.kind() == "rescued";
    }
    report.faults = faults_->counts();
    report.trace_hash = world_.trace_hash();
    report.simulated = world_.now() - begun_;
    return report;
  }

 private:
  double seconds() const {
    return std::chrono::duration<double>(world_.now().time_since_epoch() - std::chrono::hours(1)).count();
  }
  void violated(const std::string& rule, const std::string& what) { record_.violations.add(rule, what); }
  SimClient& client(size_t number) { return cluster_.client("client" + std::to_string(number)); }

  bool set_the_scene() {
    begun_ = world_.now();
    faults_->start_all();
    bool ready = until_in_sync(30s);
    for (size_t i = 0; ready && i < scene_.clients; ++i) {
      const std::string name = "client" + std::to_string(i);
      if (i < scene_.sync_clients) cluster_.ask_for_sync(name);
      if (is_guest(scene_, i)) ready = cluster_.add_users({name}).has_value();
      SimClient& at = client(i);
      clients_.push_back(std::make_unique<RunClient>(at.env(), &at.session(), &record_, i));
      if (!is_guest(scene_, i)) ready = ready && at.await(clients_.back()->prepare(), 60s).value_or(false);
    }
    if (!ready) violated("ends", "the cluster did not begin");
    return ready;
  }

  void go_through_faults() {
    for (size_t i = 0; i < clients_.size(); ++i) client(i).spawn(clients_[i]->run(steps_[i]));
    Instant end = world_.now() + scene_.faulty_for;
    while (world_.now() < end && record_.violations.none()) {
      faults_->pass();
      world_.run_for(kSlice);
      look();
    }
  }

  void heal_and_check() {
    record_.stopping = true;
    faults_->heal();
    if (!until_clients_ended()) return violated("ends", "a client does not end in the healed cluster");
    if (!until_in_sync(kHealLimit)) return violated("ends", "the halves are not in sync " + status_text());
    if (!wait_for_all()) return violated("ends", "WAIT does not end " + status_text());
    if (!read_everything()) return violated("ends", "a READ in the healed cluster does not end");
    world_.run_for(kRest);
    look();
    check_left_behind();
    final_ = survey(cluster_, pairs_, scene_.retain, &record_.violations);
    final_.holders = watch_.holders();
    for (const auto& half : final_.halves) {
      for (const auto& [id, file] : half.files) {
        if (!is_known(id)) final_.removed_names.insert(id);
      }
    }
    check_answers(record_.history, final_, &record_.violations);
    check_state(record_.history, final_, &record_.violations);
  }

  bool until_clients_ended() {
    auto ended = [&] { return std::ranges::all_of(clients_, [](auto& client) { return client->ended(); }); };
    return world_.run_until(ended, kHealLimit);
  }

  // Every path that somebody asked about, by whoever did.
  bool read_everything() {
    std::vector<std::set<std::string>> paths(clients_.size());
    for (const Op& op : record_.history.ops()) {
      if (op.kind == Op::Kind::kMakeFolder || op.kind == Op::Kind::kRemoveFolder || op.kind == Op::Kind::kDurability) continue;
      paths[op.session].insert(op.path);
      if (!op.to.empty()) paths[op.session].insert(op.to);
    }
    for (size_t i = 0; i < clients_.size(); ++i) {
      client(i).spawn(clients_[i]->read_all({paths[i].begin(), paths[i].end()}));
    }
    world_.run_for(1ms);
    return until_clients_ended();
  }

  void look() {
    std::vector<EpochWatch::Half> halves;
    for (const std::string& pair : pairs_) {
      for (const std::string& name : {pair, pair + "_backup"}) {
        StorageServer* server = cluster_.server(name);
        if (server == nullptr || server->state() == nullptr) continue;
        Instant local = world_.find_process(name)->env().clock.now();
        const EpochFence& fence = server->state()->fence;
        halves.push_back({name, pair, fence.serving(), fence.lease_live(local)});
      }
    }
    for (const std::string& name : watch_.look(halves, &record_.violations)) check_begin(name);
    if (++looks_ % 16 == 0) look_at_queues();
  }

  void look_at_queues() {
    if (world_.net().open_sockets() > kSocketsMax + kSocketsPerClientMax * scene_.clients) {
      violated("bounded", "more connections than anybody needs");
    }
    const uint64_t files = record_.history.ops().size() + 100;  // Nobody made more names than that.
    for (const std::string& name : server_names(scene_)) {
      StorageServer* server = name == "nm" ? nullptr : cluster_.server(name);
      if (server == nullptr || server->state() == nullptr) continue;
      const ServerState& state = *server->state();
      if (state.sync_writes != nullptr && state.sync_writes->waiting() > files) violated("bounded", name + ": sync writes that wait");
      if (state.uploads.size() > files) violated("bounded", name + ": uploads");
    }
    const Catalogue* catalogue = cluster_.catalogue();
    if (catalogue == nullptr) return;
    if (catalogue->hint_bytes() > scene_.hint_bytes + kHintBytesOver) violated("bounded", "hints of more bytes than may be");
    for (const std::string& name : server_names(scene_)) {
      const Server* server = catalogue->server(name);
      if (server == nullptr) continue;
      if (const_cast<Catalogue*>(catalogue)->lag(server->id).jobs > files) violated("bounded", name + ": more jobs than files");
    }
  }

  // Its new epoch begins with all that was acknowledged as durable on two machines.
  void check_begin(const std::string& name) {
    FileStore* store = cluster_.server(name)->state()->store;
    const std::string pair = name.substr(0, name.find('_'));
    std::map<FileId, Version> newest;
    for (const Op& op : record_.history.ops()) newest[op.file] = std::max(newest[op.file], op.version);
    for (const Op& op : record_.history.ops()) {
      // Of what is older, a new disk gets only what retention keeps.
      if (scene_.retain < Scene().retain && op.version != newest[op.file]) continue;
      if (!op.sync || op.outcome != Op::Outcome::kDone || !makes_version(op.kind) || pair_of(op.file) != pair) continue;
      if (!store->info(op.file, op.version)) violated("begins", to_string(op) + ": " + name + " begins an epoch without it");
      auto aside = store->divergent(op.file);
      if (std::ranges::find(aside, op.version) != aside.end()) {
        violated("begins", to_string(op) + ": " + name + " begins an epoch with it set aside");
      }
    }
  }

  bool is_known(FileId id) const {
    const Catalogue* catalogue = cluster_.catalogue();
    return catalogue != nullptr && const_cast<Catalogue*>(catalogue)->node(id).has_value();
  }

  std::string pair_of(FileId file) const {
    const Catalogue* catalogue = cluster_.catalogue();
    auto node = catalogue == nullptr ? std::nullopt : const_cast<Catalogue*>(catalogue)->node(file);
    const Pair* pair = node ? catalogue->pair(node->pair) : nullptr;
    return pair == nullptr ? "" : pair->name;
  }

  void check_left_behind() {
    for (const std::string& name : server_names(scene_)) {
      StorageServer* server = name == "nm" ? nullptr : cluster_.server(name);
      if (server == nullptr || server->state() == nullptr) continue;
      const ServerState& state = *server->state();
      if (!state.edits.none()) violated("left-behind", name + ": an editing session");
      if (state.gates.open() != 0) violated("left-behind", name + ": " + std::to_string(state.gates.open()) + " file gates");
      if (state.applies != 0) violated("left-behind", name + ": an APPLY under way");
      if (state.uploads.size() != 0) violated("left-behind", name + ": " + std::to_string(state.uploads.size()) + " uploads");
      if (state.sync_writes != nullptr && state.sync_writes->waiting() != 0) violated("left-behind", name + ": sync writes that wait");
    }
    Catalogue* catalogue = const_cast<Catalogue*>(cluster_.catalogue());
    if (catalogue == nullptr) return violated("ends", "the name node does not run");
    for (const std::string& name : server_names(scene_)) {
      const Server* server = catalogue->server(name);
      if (server == nullptr) continue;
      if (catalogue->hint_totals(server->id).hints != 0) violated("left-behind", name + ": hints are kept for it");
      if (catalogue->lag(server->id).jobs != 0) violated("left-behind", name + ": jobs wait for it");
    }
    if (!catalogue->deleting_files(1).empty()) violated("left-behind", "a file that is half deleted");
    if (!catalogue->returning_files(1).empty()) violated("left-behind", "a file that is half brought back");
    if (!catalogue->trash(1).empty()) violated("left-behind", "a folder that is half removed");
  }

  bool until_in_sync(Duration limit) {
    Instant end = world_.now() + limit;
    while (world_.now() < end) {
      if (all_in_sync(cluster_.status())) return true;
      world_.run_for(50ms);
      faults_->keep_lost_ones_running();
    }
    return false;
  }

  bool all_in_sync(const std::optional<wire::StatusReply>& status) const {
    if (!status || static_cast<size_t>(status->pairs_size()) != pairs_.size()) return false;
    return std::ranges::all_of(status->pairs(), [](const wire::PairStatus& pair) {
      // An operator may have wished for the other one.
      const std::string& wanted = pair.preferred().empty() ? pair.pair() : pair.preferred();
      return pair.members_size() == 2 && pair.serving() && pair.acting_primary() == wanted &&
             std::ranges::all_of(pair.members(), [](auto& half) { return half.in_sync() && half.jobs() == 0; });
    });
  }

  // What was brought back may not even be announced yet.
  bool wait_for_all() {
    SimClient& at = client(0);
    wire::WaitRequest request;
    request.set_wait_ms(10'000);
    auto reply = at.await(at.session().ask<wire::WaitReply>(wire::WAIT, request.SerializeAsString(), 10s), 60s);
    return reply && *reply && (*reply)->done();
  }

  std::string status_text() {
    auto status = cluster_.status();
    std::string text = status ? status->ShortDebugString() : "(the name node does not answer)";
    for (const std::string& name : server_names(scene_)) {
      auto result = cluster_.result(name);
      if (result && !*result) text += "; " + name + " ended with " + result->error().to_string();
    }
    return text;
  }

  const Scene scene_;
  const std::vector<std::string> pairs_;
  RunRecord record_;
  SimWorld world_;
  Cluster cluster_;
  std::vector<std::vector<Step>> steps_;
  std::vector<std::unique_ptr<RunClient>> clients_;
  std::optional<RunFaults> faults_;
  EpochWatch watch_;
  FinalState final_;
  uint64_t looks_ = 0;
  Instant begun_{};
};

}  // namespace

uint64_t RunReport::fault_count() const {
  uint64_t count = 0;
  for (const auto& [kind, times] : faults) count += times;
  return count;
}

std::string RunReport::to_string() const {
  std::string text = std::to_string(acknowledged) + " acknowledged, " + std::to_string(refused) + " refused, " +
                     std::to_string(unknown) + " unknown, " + std::to_string(reads) + " reads, " +
                     std::to_string(fault_count()) + " faults, " + std::to_string(epochs) + " epochs, " +
                     std::to_string(promotions) + " promotions, " + std::to_string(set_aside) + " set aside";
  for (auto& violation : violations) text += "\n  " + violation;
  return text;
}

RunReport play(const RunScript& script) { return Run(script).play(); }

}  // namespace understudy::sim
