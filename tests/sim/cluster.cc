#include "tests/sim/cluster.h"

#include "nm/name_node.h"
#include "ss/storage_server.h"
#include "tests/sim/script.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr char kNameNode[] = "nm";
constexpr char kNameNodeAddress[] = "nm:7400";
constexpr char kObserver[] = "observer";
constexpr char kAdmin[] = "admin";

// "--data DIR" and the like.
class Arguments {
 public:
  static Result<Arguments> parse(const std::vector<std::string>& words, const std::vector<std::string>& known) {
    Arguments arguments;
    for (size_t i = 0; i < words.size(); i += 2) {
      if (std::ranges::find(known, words[i]) == known.end() || i + 1 == words.size()) {
        return fail(Code::kInvalid, words[i] + ": not an option here, or without its value");
      }
      arguments.values_[words[i]] = words[i + 1];
    }
    return arguments;
  }
  std::string text(const std::string& option, std::string otherwise) const {
    auto at = values_.find(option);
    return at == values_.end() ? std::move(otherwise) : at->second;
  }

 private:
  std::map<std::string, std::string> values_;
};

std::vector<std::string> names_of(const std::string& text) {
  std::vector<std::string> names;
  for (size_t at = 0; at < text.size();) {
    size_t comma = std::min(text.find(',', at), text.size());
    names.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return names;
}

Result<NameNodeOptions> name_node_options(const std::vector<std::string>& words) {
  ASSIGN_OR_RETURN(Arguments arguments,
                   Arguments::parse(words, {"--data", "--heartbeat-interval", "--heartbeat-misses", "--edit-idle-limit",
                                            "--rebuild-from-servers", "--rebuild-without", "--compare-interval",
                                            "--retain-versions",
                                            "--retain-age", "--retain-deleted", "--durability", "--replication-path",
                                            "--hints", "--hint-interval", "--hint-ttl", "--hint-bytes", "--session-life",
                                            "--capability-life", "--key-life", "--resync-rate"}));
  NameNodeOptions options;
  options.folder = arguments.text("--data", "/data");
  options.listen = kNameNodeAddress;
  ASSIGN_OR_RETURN(options.compare_interval, parse_duration(arguments.text("--compare-interval", "10m")));
  options.rebuild_from = names_of(arguments.text("--rebuild-from-servers", ""));
  options.rebuild_without = names_of(arguments.text("--rebuild-without", ""));
  ASSIGN_OR_RETURN(options.monitor.heartbeat_interval, parse_duration(arguments.text("--heartbeat-interval", "1s")));
  ASSIGN_OR_RETURN(options.edit_idle_limit, parse_duration(arguments.text("--edit-idle-limit", "10m")));
  int misses = std::atoi(arguments.text("--heartbeat-misses", "3").c_str());
  options.monitor.failure_timeout = options.monitor.heartbeat_interval * misses;
  options.retention.versions = std::strtoull(arguments.text("--retain-versions", "100").c_str(), nullptr, 10);
  ASSIGN_OR_RETURN(Duration age, parse_duration(arguments.text("--retain-age", "1000000h")));
  ASSIGN_OR_RETURN(Duration deleted, parse_duration(arguments.text("--retain-deleted", "168h")));
  options.retention.age = std::chrono::duration_cast<std::chrono::milliseconds>(age);
  options.retention.deleted = std::chrono::duration_cast<std::chrono::milliseconds>(deleted);
  // Of bytes a second here; the program takes MiB.
  options.resync_bytes_per_s = std::strtoull(arguments.text("--resync-rate", "0").c_str(), nullptr, 10);
  auto& durability = options.durability;
  durability.sync = arguments.text("--durability", "async") == "sync";
  durability.direct = arguments.text("--replication-path", "relay") == "direct";
  durability.hints = arguments.text("--hints", "on") == "on";
  ASSIGN_OR_RETURN(durability.hint_interval, parse_duration(arguments.text("--hint-interval", "30s")));
  ASSIGN_OR_RETURN(durability.hint_ttl, parse_duration(arguments.text("--hint-ttl", "24h")));
  durability.hint_bytes_max = std::strtoull(arguments.text("--hint-bytes", "1073741824").c_str(), nullptr, 10);
  options.identity.password_cost = {.log2_n = 4, .r = 1, .p = 1};
  options.identity.first_password = Cluster::password_of(kAdmin);
  ASSIGN_OR_RETURN(options.identity.session_life, parse_duration(arguments.text("--session-life", "12h")));
  ASSIGN_OR_RETURN(options.identity.capability_life, parse_duration(arguments.text("--capability-life", "60s")));
  ASSIGN_OR_RETURN(options.identity.key_life, parse_duration(arguments.text("--key-life", "24h")));
  return options;
}

Result<StorageServerOptions> storage_server_options(const std::string& name, const std::vector<std::string>& words) {
  ASSIGN_OR_RETURN(Arguments arguments, Arguments::parse(words, {"--data", "--backup-of", "--scrub-interval"}));
  StorageServerOptions options;
  options.name = name;
  options.backup_of = arguments.text("--backup-of", "");
  options.folder = arguments.text("--data", "/data");
  options.name_nodes = {kNameNodeAddress};
  options.listen = name + ":0";
  ASSIGN_OR_RETURN(options.scrub.interval, parse_duration(arguments.text("--scrub-interval", "24h")));
  return options;
}

template <class Server>
Task<void> ask_to_stop(Server* server) {
  server->stop();
  co_return;
}

}  // namespace

template <class Server>
class Cluster::Running {
 public:
  Running(std::map<std::string, Server*>* all, std::string name, Server* server)
      : all_(all), name_(std::move(name)), server_(server) {
    (*all_)[name_] = server_;
  }
  Running(const Running&) = delete;
  ~Running() {
    if (auto at = all_->find(name_); at != all_->end() && at->second == server_) all_->erase(at);
  }

 private:
  std::map<std::string, Server*>* all_;
  std::string name_;
  Server* server_;
};

Cluster::~Cluster() {
  for (auto& process : world_.processes()) world_.kill(*process);
}

Result<SimMain> Cluster::program(const std::string& name, const std::vector<std::string>& arguments) {
  results_.erase(name);
  if (auto& host = world_.host(name); host.identity.role == PeerIdentity::Role::kNone && !started_.contains(name)) {
    bool name_node = name == kNameNode;
    host.act_as(name_node ? PeerIdentity::Role::kNameNode : PeerIdentity::Role::kStorageServer, name_node ? "nm1" : name);
  }
  started_.insert(name);
  if (name == kNameNode) {
    RETURN_IF_ERROR(name_node_options(arguments));
    // Users do not come back with a catalogue that is rebuilt.
    if (std::ranges::find(arguments, "--rebuild-from-servers") != arguments.end()) users_.clear();
    return SimMain([this, arguments](Env& env) { return run_name_node(env, this, arguments); });
  }
  RETURN_IF_ERROR(storage_server_options(name, arguments));
  return SimMain([this, name, arguments](Env& env) { return run_storage_server(env, this, name, arguments); });
}

SimProcess& Cluster::start(const std::string& name, const std::vector<std::string>& arguments) {
  auto main = program(name, arguments);
  CHECK(main.has_value());
  return world_.start(world_.host(name), name, *std::move(main));
}

Task<void> Cluster::run_name_node(Env& env, Cluster* cluster, std::vector<std::string> arguments) {
  NameNode node(env, *name_node_options(arguments));
  Running running(&cluster->name_nodes_, kNameNode, &node);
  Status ended = co_await node.run();
  cluster->results_[kNameNode] = ended;
}

Task<void> Cluster::run_storage_server(Env& env, Cluster* cluster, std::string name,
                                       std::vector<std::string> arguments) {
  StorageServer server(env, *storage_server_options(name, arguments));
  Running running(&cluster->servers_, name, &server);
  co_await server.run();
  cluster->results_[name] = server.result();
}

Status Cluster::stop(const std::string& name) {
  SimProcess* process = world_.find_process(name);
  if (process == nullptr || !process->alive()) return fail(Code::kNotFound, name + " does not run");
  if (auto node = name_nodes_.find(name); node != name_nodes_.end()) {
    process->spawn(ask_to_stop(node->second));
  } else if (auto server = servers_.find(name); server != servers_.end()) {
    process->spawn(ask_to_stop(server->second));
  }
  return {};
}

std::optional<Status> Cluster::result(const std::string& name) const {
  auto at = results_.find(name);
  return at == results_.end() ? std::nullopt : std::optional<Status>(at->second);
}

StorageServer* Cluster::server(const std::string& name) const {
  auto at = servers_.find(name);
  return at == servers_.end() ? nullptr : at->second;
}

const Catalogue* Cluster::catalogue() const {
  auto at = name_nodes_.find(kNameNode);
  return at == name_nodes_.end() ? nullptr : at->second->catalogue();
}

Status Cluster::add_users(const std::vector<std::string>& names, bool administrators) {
  SimClient& asking = observer();
  for (const std::string& name : names) {
    wire::AddUserRequest request;
    request.set_name(name);
    request.set_password(password_of(name));
    request.set_administrator(administrators);
    auto added = asking.await(asking.session().change(wire::ADD_USER, request), 10s);
    if (!added) return fail(Code::kUnavailable, "no answer");
    RETURN_IF_ERROR(*added);
    users_.insert(name);
  }
  return {};
}

SimClient& Cluster::client(const std::string& name) {
  bool plain = name == kObserver || name == kAdmin || users_.contains(name) || unregistered_.contains(name);
  if (!plain && !add_users({name}, true)) unregistered_.insert(name);
  if (!clients_.contains(name)) {
    std::string user = users_.contains(name) ? name : kAdmin;
    client::SessionOptions options{.name_nodes = {kNameNodeAddress}, .user = user, .password = password_of(user)};
    if (name == kObserver) options.timeout = 1s;
    options.sync = name.starts_with("sync-") || sync_clients_.contains(name);
    clients_[name] = std::make_unique<SimClient>(world_, name, std::move(options));
  }
  return *clients_[name];
}

SimClient& Cluster::observer() { return client(kObserver); }

std::optional<wire::StatusReply> Cluster::status() {
  SimClient& asking = observer();
  auto answer = asking.await(asking.session().ask<wire::StatusReply>(wire::STATUS, {}), 5s);
  if (!answer || !*answer) return std::nullopt;
  return **std::move(answer);
}

std::vector<wire::Event> Cluster::events() {
  SimClient& asking = observer();
  std::vector<wire::Event> events;
  wire::EventsRequest request;
  while (true) {
    auto page = asking.await(asking.session().ask<wire::EventsReply>(wire::EVENTS, request.SerializeAsString()), 5s);
    if (!page || !*page) return events;
    for (auto& event : *(*page)->mutable_events()) {
      request.set_after(event.id());
      events.push_back(std::move(event));
    }
    if (!(*page)->more()) return events;
  }
}

std::optional<wire::DigestReply> Cluster::digest(const std::string& name) {
  StorageServer* running = server(name);
  SimProcess* process = world_.find_process(name);
  if (running == nullptr || running->state() == nullptr || process == nullptr) return std::nullopt;
  auto digest = world_.try_await(*process, running->state()->store->digest(), 10s);
  if (!digest || !*digest) return std::nullopt;
  return **std::move(digest);
}

}  // namespace understudy::sim
