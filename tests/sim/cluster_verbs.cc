#include "tests/sim/cluster_verbs.h"

#include <algorithm>
#include <charconv>

#include "ss/storage_server.h"
#include "tests/sim/cluster.h"
#include "tests/sim/direct_calls.h"
#include "tests/sim/filled_files.h"
#include "tests/sim/sim_verbs.h"
#include "tests/sim/stable_text.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;
using Output = Result<std::string>;

constexpr Duration kCommandLimit = 5min;
constexpr Duration kLookAgain = 20ms;

Result<uint64_t> parse_count(const std::string& text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return fail(Code::kInvalid, text + ": not a number");
  return value;
}

std::string unescaped(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i).starts_with("\\n")) {
      result += '\n';
      ++i;
    } else {
      result += text[i];
    }
  }
  return result;
}

const wire::MemberStatus* member(const wire::StatusReply& status, const std::string& name) {
  for (auto& pair : status.pairs()) {
    for (auto& one : pair.members()) {
      if (one.server() == name) return &one;
    }
  }
  return nullptr;
}

std::string_view state_name(wire::MemberStatus::State state) {
  switch (state) {
    case wire::MemberStatus::ALIVE: return "alive";
    case wire::MemberStatus::FAILED: return "failed";
    case wire::MemberStatus::RETURNING: return "returning";
    case wire::MemberStatus::FILLING: return "filling";
    default: return "absent";
  }
}

class ClusterStage final : public Stage {
 public:
  explicit ClusterStage(uint64_t seed) : world_(seed), cluster_(world_) {
    add_sim_verbs(runner_, &world_, [this](const std::string& name, const std::vector<std::string>& arguments) {
      return cluster_.program(name, arguments);
    });
    add_server_verbs();
    add_command_verbs();
    add_looking_verbs();
    add_many_files_verbs();
    add_direct_verbs();
  }

  const ScriptRunner& runner() const override { return runner_; }
  uint64_t trace_hash() const override { return world_.trace_hash(); }

 private:
  void verb(const std::string& name, const std::string& usage, size_t words_min, Output (ClusterStage::*handler)(const ScriptCommand&)) {
    runner_.add_verb(name, usage, words_min, [this, handler](const ScriptCommand& command) -> Output {
      auto output = (this->*handler)(command);
      if (!output) return fail(output.error().code, stable_.from_cluster(output.error().message));
      return stable_.from_cluster(*output);
    });
  }

  void add_server_verbs() {
    verb("stop", "stop NAME", 1, &ClusterStage::stop);
    verb("ended", "ended NAME", 1, &ClusterStage::ended);
    verb("certificate", "certificate HOST NAME|none", 2, &ClusterStage::certificate);
  }
  void add_command_verbs() {
    verb("users", "users NAME...", 1, &ClusterStage::users);
    verb("as", "as USER: COMMAND [< TEXT]", 2, &ClusterStage::run_as);
    verb("begin", "begin USER: COMMAND [< TEXT]", 2, &ClusterStage::begin);
    verb("type", "type USER: LINE", 2, &ClusterStage::type);
    verb("end", "end USER", 1, &ClusterStage::end);
    verb("local", "local USER FILE BYTES", 3, &ClusterStage::local);
    verb("same", "same USER FILE FILE", 3, &ClusterStage::same);
  }
  void add_looking_verbs() {
    verb("until", "until CONDITION... LIMIT", 2, &ClusterStage::until);
    verb("pair", "pair", 0, &ClusterStage::show_pairs);
    verb("events", "events KIND...", 1, &ClusterStage::show_events);
    verb("halves", "halves NAME NAME", 2, &ClusterStage::halves);
    verb("copies", "copies PATH", 1, &ClusterStage::copies);
    verb("names", "names SERVER", 1, &ClusterStage::names);
    verb("member", "member SERVER FIELD...", 2, &ClusterStage::show_member);
  }
  void add_many_files_verbs() {
    verb("fill", "fill USER FOLDER COUNT BYTES", 4, &ClusterStage::fill);
    verb("check", "check USER", 1, &ClusterStage::check);
    verb("appends", "appends USER PATH COUNT", 3, &ClusterStage::appends);
    verb("direct-appends", "direct-appends USER SERVER PATH COUNT", 4, &ClusterStage::direct_appends);
    verb("lines", "lines USER PATH", 2, &ClusterStage::lines);
  }
  void add_direct_verbs() {
    verb("locate", "locate USER PATH", 2, &ClusterStage::locate);
    verb("direct", "direct USER SERVER PUT|APPEND|READ|READ-ANY PATH [TEXT]", 4, &ClusterStage::direct);
    verb("again", "again USER SERVER [newer-epoch]", 2, &ClusterStage::again);
  }

  // ---- Servers
  Output stop(const ScriptCommand& command) {
    RETURN_IF_ERROR(cluster_.stop(command.words[0]));
    return "";
  }
  Output ended(const ScriptCommand& command) {
    auto result = cluster_.result(command.words[0]);
    if (!result) return "no";
    return *result ? "well" : "with " + result->error().to_string();
  }

  Output certificate(const ScriptCommand& command) {
    bool none = command.words[1] == "none";
    auto& host = world_.host(command.words[0]);
    host.act_as(none ? PeerIdentity::Role::kNone : PeerIdentity::Role::kStorageServer, none ? "" : command.words[1]);
    return "";
  }

  // ---- Commands of users
  Output users(const ScriptCommand& command) {
    RETURN_IF_ERROR(cluster_.add_users(command.words));
    return "";
  }
  struct Typed {
    std::string user;
    std::string line;
    std::string input;
    bool has_input = false;
  };
  Result<Typed> parse_typed(const ScriptCommand& command) const {
    size_t colon = command.rest.find(": ");
    if (colon == std::string::npos) return fail(Code::kInvalid, "USER: COMMAND");
    Typed typed{.user = command.rest.substr(0, colon), .line = command.rest.substr(colon + 2)};
    if (size_t input = typed.line.find(" < "); input != std::string::npos) {
      typed.input = unescaped(typed.line.substr(input + 3));
      typed.has_input = true;
      typed.line.resize(input);
    }
    typed.line = stable_.to_cluster(typed.line);
    return typed;
  }
  CommandRun& begin_command(const Typed& typed) {
    CommandRun& run = cluster_.client(typed.user).begin(typed.line);
    if (typed.has_input) {
      run.type(typed.input);
      run.end_input();
    }
    return run;
  }
  std::string answer_of(CommandRun& run) {
    run.end_input();
    if (!world_.run_until([&] { return run.ended(); }, kCommandLimit)) return run.output() + "(no answer)";
    return run.output();
  }
  Output run_as(const ScriptCommand& command) {
    ASSIGN_OR_RETURN(Typed typed, parse_typed(command));
    return answer_of(begin_command(typed));
  }
  Output begin(const ScriptCommand& command) {
    ASSIGN_OR_RETURN(Typed typed, parse_typed(command));
    if (under_way_.contains(typed.user)) return fail(Code::kExists, typed.user + " is at something: end it first");
    under_way_[typed.user] = &begin_command(typed);
    return "";
  }
  Output type(const ScriptCommand& command) {
    ASSIGN_OR_RETURN(Typed typed, parse_typed(command));
    auto run = under_way_.find(typed.user);
    if (run == under_way_.end()) return fail(Code::kNotFound, typed.user + " is at nothing");
    run->second->type(typed.line + "\n");
    // Long enough for it to have been taken in and answered.
    world_.run_for(50ms);
    return "";
  }
  Output end(const ScriptCommand& command) {
    auto run = under_way_.find(command.words[0]);
    if (run == under_way_.end()) return fail(Code::kNotFound, command.words[0] + " is at nothing");
    CommandRun* ending = run->second;
    under_way_.erase(run);
    return answer_of(*ending);
  }
  Output local(const ScriptCommand& command) {
    ASSIGN_OR_RETURN(uint64_t bytes, parse_count(command.words[2]));
    world_.host(command.words[0]).disk.put(command.words[1], labelled_content(command.words[1], bytes));
    return "";
  }
  Output same(const ScriptCommand& command) {
    auto one = world_.host(command.words[0]).disk.peek(command.words[1]);
    auto other = world_.host(command.words[0]).disk.peek(command.words[2]);
    if (!one || !other) return fail(Code::kNotFound, "one is not there");
    return *one == *other ? "the same" : "not the same";
  }

  // ---- Looking
  bool holds(const std::vector<std::string>& words) {
    const std::string& what = words[0];
    std::string name = words.size() > 1 ? words[1] : "";
    if (what == "ended") return cluster_.result(name).has_value();
    if (what == "event") {
      return std::ranges::any_of(cluster_.events(), [&](auto& event) { return event.text().find(name) != std::string::npos; });
    }
    auto status = cluster_.status();
    if (!status || status->pairs().empty()) return false;
    const wire::MemberStatus* one = member(*status, name);
    if (what == "failed") return one != nullptr && one->state() == wire::MemberStatus::FAILED;
    if (what == "returning") return one != nullptr && one->state() == wire::MemberStatus::RETURNING;
    return std::ranges::all_of(status->pairs(), [&](auto& pair) {
      if (what == "serving") {
        StorageServer* server = cluster_.server(name);
        return pair.serving() && pair.acting_primary() == name && server != nullptr && server->state() != nullptr &&
               server->state()->fence.lease_live(world_.find_process(name)->env().clock.now());
      }
      return pair.members_size() == 2 && std::ranges::all_of(pair.members(), [&](auto& half) {
               return (what == "idle" || (half.in_sync() && half.state() == wire::MemberStatus::ALIVE)) &&
                      half.jobs() == 0;
             });
    });
  }
  Output until(const ScriptCommand& command) {
    static const std::vector<std::string> kConditions = {"in-sync", "serving", "failed", "returning", "idle", "event", "ended"};
    if (std::ranges::find(kConditions, command.words[0]) == kConditions.end()) {
      return fail(Code::kInvalid, command.words[0] + ": not a condition");
    }
    ASSIGN_OR_RETURN(Duration limit, parse_duration(command.words.back()));
    std::vector<std::string> condition(command.words.begin(), command.words.end() - 1);
    Instant end = world_.now() + limit;
    while (!holds(condition)) {
      if (world_.now() >= end) return "not within " + command.words.back() + ":\n" + pairs_text();
      world_.run_for(kLookAgain);
    }
    return "";
  }
  std::string pairs_text() {
    auto status = cluster_.status();
    if (!status) return "the name node does not answer";
    std::string text;
    for (auto& pair : status->pairs()) {
      text += pair.pair() + ": ";
      text += pair.acting_primary().empty() ? "nobody acts" : pair.acting_primary() + " acts, epoch " + std::to_string(pair.epoch());
      if (!pair.serving()) text += ", writes wait";
      if (pair.lost_files() > 0) text += ", " + std::to_string(pair.lost_files()) + " lost with a disk";
      for (auto& one : pair.members()) {
        text += "; " + one.server() + " " + std::string(state_name(one.state())) + (one.in_sync() ? ", in sync" : "");
        if (one.divergent() > 0) text += ", set aside " + std::to_string(one.divergent());
        if (one.jobs() > 0) text += ", jobs " + std::to_string(one.jobs());
      }
      text += "\n";
    }
    return text;
  }
  Output show_pairs(const ScriptCommand&) { return pairs_text(); }
  Output show_events(const ScriptCommand& command) {
    std::string text;
    for (auto& event : cluster_.events()) {
      if (std::ranges::find(command.words, event.kind()) == command.words.end()) continue;
      text += event.kind() + ": " + event.text() + "\n";
    }
    return text.empty() ? "none" : text;
  }
  // How many files, folders and links a storage server knows of, by its index.
  Output names(const ScriptCommand& command) {
    StorageServer* server = cluster_.server(command.words[0]);
    SimProcess* process = world_.find_process(command.words[0]);
    if (server == nullptr || process == nullptr) return fail(Code::kUnavailable, command.words[0] + " does not run");
    wire::ListObjectsRequest request;
    request.set_limit(1000);
    auto listed = world_.try_await(*process, server->state()->store->list_objects(request), 10s);
    if (!listed || !*listed) return fail(Code::kUnavailable, "no answer");
    return std::to_string((*listed)->objects_size());
  }
  // As STATUS has it; of times and bytes whether there are any.
  Output show_member(const ScriptCommand& command) {
    auto status = cluster_.status();
    const wire::MemberStatus* one = status ? member(*status, command.words[0]) : nullptr;
    if (one == nullptr) return fail(Code::kNotFound, command.words[0] + ": no such server");
    const std::map<std::string, std::string> fields = {{"hints", std::to_string(one->hints())},
                                                       {"sync_hints", std::to_string(one->sync_hints())},
                                                       {"hint_bytes", one->hint_bytes() > 0 ? "some" : "0"},
                                                       {"oldest_hint_ms", one->oldest_hint_ms() > 0 ? "some" : "0"}};
    std::string text;
    for (size_t i = 1; i < command.words.size(); ++i) {
      auto field = fields.find(command.words[i]);
      if (field == fields.end()) return fail(Code::kInvalid, command.words[i] + ": no such field");
      text += (text.empty() ? "" : ", ") + field->first + " " + field->second;
    }
    return text;
  }
  Output halves(const ScriptCommand& command) {
    auto one = cluster_.digest(command.words[0]);
    auto other = cluster_.digest(command.words[1]);
    if (!one || !other) return fail(Code::kUnavailable, "a half does not run");
    bool equal = one->files() == other->files() && std::ranges::equal(one->partitions(), other->partitions());
    return equal ? "both hold the same, " + std::to_string(one->files()) + " files" : "they differ";
  }
  Output copies(const ScriptCommand& command) {
    wire::ExplainRequest request;
    request.set_path(command.words[0]);
    SimClient& asking = cluster_.client("observer");
    auto reply = asking.await(asking.session().ask<wire::ExplainReply>(wire::EXPLAIN, request.SerializeAsString()), 60s);
    if (!reply) return fail(Code::kUnavailable, "no answer");
    RETURN_IF_ERROR(*reply);
    std::string text;
    for (auto& copy : (*reply)->copies()) {
      text += (text.empty() ? "" : "; ") + copy.server() + " ";
      if (!copy.reachable()) {
        text += "away";
      } else if (copy.head().counter() == 0) {
        text += "nothing";
      } else {
        text += std::to_string(copy.head().epoch()) + "." + std::to_string(copy.head().counter());
      }
      for (auto& version : copy.divergent()) {
        text += ", set aside " + std::to_string(version.epoch()) + "." + std::to_string(version.counter());
      }
    }
    return text;
  }

  // ---- Many files
  Output fill(const ScriptCommand& command) {
    ASSIGN_OR_RETURN(uint64_t count, parse_count(command.words[2]));
    ASSIGN_OR_RETURN(uint64_t bytes, parse_count(command.words[3]));
    return filled_.fill(cluster_.client(command.words[0]), command.words[1], count, bytes);
  }
  Output check(const ScriptCommand& command) { return filled_.check(cluster_.client(command.words[0])); }

  Output appends(const ScriptCommand& command) {
    ASSIGN_OR_RETURN(uint64_t count, parse_count(command.words[2]));
    SimClient& client = cluster_.client(command.words[0]);
    for (uint64_t i = 0; i < count; ++i) {
      auto done = client.await(client.session().append(command.words[1], "line\n"), kCommandLimit);
      if (!done) return fail(Code::kUnavailable, "no answer");
      RETURN_IF_ERROR(*done);
    }
    return "";
  }
  Output direct_appends(const ScriptCommand& command) {
    ASSIGN_OR_RETURN(uint64_t count, parse_count(command.words[3]));
    Address address = address_of(command.words[1]);
    for (uint64_t i = 0; i < count; ++i) {
      RETURN_IF_ERROR(direct_.send(cluster_.client(command.words[0]), address, "APPEND", command.words[2], "line\n"));
    }
    return "";
  }
  Output lines(const ScriptCommand& command) {
    SimClient& client = cluster_.client(command.words[0]);
    auto answer = client.await(client.session().read(command.words[1], {.length = 1 << 20}), kCommandLimit);
    if (!answer) return fail(Code::kUnavailable, "no answer");
    RETURN_IF_ERROR(*answer);
    return std::to_string(std::ranges::count((*answer)->bytes, '\n')) + " lines";
  }

  // ---- Straight to a server
  Output locate(const ScriptCommand& command) {
    ASSIGN_OR_RETURN(auto location, direct_.locate(cluster_.client(command.words[0]), command.words[1]));
    if (location.epoch() == 0) return std::string("nobody takes writes") + (location.newest_absent() ? ", the newest version is absent" : "");
    return location.primary().server() + " under epoch " + std::to_string(location.epoch());
  }
  Address address_of(const std::string& server) {
    // The last known one: a server that is gone has none.
    if (StorageServer* running = cluster_.server(server); running != nullptr && !running->address().empty()) {
      addresses_[server] = running->address();
    }
    return addresses_[server];
  }
  Output direct(const ScriptCommand& command) {
    auto& words = command.words;
    return direct_.send(cluster_.client(words[0]), address_of(words[1]), words[2], words[3], words.size() > 4 ? words[4] : "");
  }
  Output again(const ScriptCommand& command) {
    bool newer_epoch = command.words.size() > 2 && command.words[2] == "newer-epoch";
    return direct_.again(cluster_.client(command.words[0]), address_of(command.words[1]), newer_epoch);
  }

  SimWorld world_;
  Cluster cluster_;
  StableText stable_;
  FilledFiles filled_;
  DirectCalls direct_;
  ScriptRunner runner_;
  std::map<std::string, CommandRun*> under_way_;
  std::map<std::string, Address> addresses_;
};

}  // namespace

std::unique_ptr<Stage> make_cluster_stage(uint64_t seed) { return std::make_unique<ClusterStage>(seed); }

}  // namespace understudy::sim
