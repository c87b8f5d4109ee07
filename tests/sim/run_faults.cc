#include "tests/sim/run_faults.h"

#include <algorithm>

#include "nm/catalogue_db.h"
#include "ss/storage_server.h"
#include "tests/sim/run_survey.h"
#include "tests/sim/script.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

// A message that is wrong kept from a parser that wants it right: the scripts are ours.
Duration time_of(const std::string& text) {
  auto time = parse_duration(text);
  CHECK(time.has_value());
  return *time;
}

uint64_t number_of(const std::string& text) { return std::strtoull(text.c_str(), nullptr, 10); }

const DiskLatency kWrite{5us, 30us}, kSync{50us, 400us}, kRead{5us, 100us};

}  // namespace

RunFaults::RunFaults(Cluster& cluster, const Scene& scene, RunRecord* record, std::vector<Step> steps)
    : cluster_(cluster), scene_(scene), record_(record), servers_(server_names(scene)), steps_(std::move(steps)) {
  set_name_node_arguments(render_duration(scene_.heartbeat));
  cluster_.world().net().record_streams();
}

void RunFaults::set_name_node_arguments(const std::string& heartbeat) {
  name_node_arguments_ = {"--heartbeat-interval", heartbeat,   "--durability",    scene_.durability,
                          "--replication-path",   scene_.path, "--hint-interval", "1s",
                          "--hints", scene_.hints, "--hint-ttl", render_duration(scene_.hint_ttl),
                          "--hint-bytes", std::to_string(scene_.hint_bytes),
                          "--retain-versions", std::to_string(scene_.retain), "--edit-idle-limit", "20s"};
}

void RunFaults::start_all() {
  for (const std::string& name : servers_) start(name);
}

void RunFaults::tell(const std::string& what) { record_->tell("FAULT", what); }

void RunFaults::later(Duration after, std::function<void()> action) {
  repairs_.emplace(cluster_.world().now() + after, std::move(action));
}

SimProcess* RunFaults::running(const std::string& name) {
  SimProcess* process = cluster_.world().find_process(name);
  return process != nullptr && process->alive() ? process : nullptr;
}

void RunFaults::start(const std::string& name) {
  if (running(name) != nullptr) return;
  if (auto lost = lost_disks_.find(name); lost != lost_disks_.end() && !lost->second) return;
  tell("start " + name);
  cluster_.start(name, name == "nm" ? name_node_arguments_ : std::vector<std::string>());
}

void RunFaults::start_later(const std::string& name, Duration after) {
  later(after, [this, name] { start(name); });
}

void RunFaults::pass() {
  Instant now = cluster_.world().now();
  if (!begun_) begun_ = now;
  while (!repairs_.empty() && repairs_.begin()->first <= now) {
    auto repair = repairs_.extract(repairs_.begin());
    repair.mapped()();
  }
  for (; next_ < steps_.size() && *begun_ + steps_[next_].time <= now; ++next_) {
    const Words& words = steps_[next_].words;
    std::string line;
    for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
    bool struck = strike(words);
    if (struck) note_silence(words);
    tell(line + (struck ? "" : " (not possible now)"));
    if (struck) ++counts_[words[0]];
  }
}

bool RunFaults::strike(const Words& words) {
  auto at = std::ranges::find(words, "for");
  Duration time = at == words.end() ? 1s : time_of(*(at + 1));
  return strike_process(words, time) || strike_net(words, time) || strike_disk(words, time) || strike_planned(words);
}

// Who is not heard may be taken for failed while the other half's machine is lost: then nobody holds everything,
// and an operator has to choose.
void RunFaults::note_silence(const Words& words) {
  static const std::set<std::string> kSilent = {"partition", "partition-one-way", "isolate", "pause", "clock-jump", "delay", "lossy"};
  if (!kSilent.contains(words[0])) return;
  auto at = std::ranges::find(words, "for");
  Duration time = at == words.end() ? 0s : time_of(*(at + 1));
  silent_until_ = std::max(silent_until_, cluster_.world().now() + time + 4 * scene_.heartbeat);
}

bool RunFaults::strike_process(const Words& words, Duration time) {
  const std::string& verb = words[0];
  const std::string& name = words[1];
  SimWorld& world = cluster_.world();
  SimProcess* process = running(name);
  if (verb == "kill" && process != nullptr) {
    world.kill(*process);
    start_later(name, time);
  } else if (verb == "pause" && process != nullptr && process->running()) {
    world.pause(*process);
    later(time, [this, name, process] {
      tell("resume " + name);
      cluster_.world().resume(*process);
    });
  } else if (verb == "stop" && cluster_.stop(name)) {
    start_later(name, time);
  } else if (verb == "restart-nm") {
    set_name_node_arguments(name);
    if (SimProcess* name_node = running("nm")) world.kill(*name_node);
    start_later("nm", time);
  } else if (verb == "clock-rate") {
    world.set_clock_rate(host(name), static_cast<int64_t>(number_of(words[2])));
  } else if (verb == "clock-jump") {
    world.jump_clock(host(name), time_of(words[2]));
  } else if (verb == "wall-jump") {
    Duration by = time_of(words[3]);
    host(name).clock.jump_wall(words[2] == "forth" ? by : -by);
  } else {
    return false;
  }
  return true;
}

bool RunFaults::strike_net(const Words& words, Duration time) {
  const std::string& verb = words[0];
  SimNet& net = cluster_.world().net();
  const std::string a = words[1], b = words.size() > 2 ? words[2] : "";
  if (verb == "partition" || verb == "partition-one-way") {
    verb == "partition" ? net.partition(a, b) : net.partition_one_way(a, b);
    later(time, [this, a, b] {
      tell("heal " + a + " " + b);
      cluster_.world().net().heal(a, b);
    });
  } else if (verb == "cut-clients") {
    // Everybody but them still hears it: "to", "from" or "both".
    for (uint32_t i = 0; i < scene_.clients; ++i) {
      const std::string client = "client" + std::to_string(i);
      if (b != "from") net.partition_one_way(client, a);
      if (b != "to") net.partition_one_way(a, client);
    }
    later(time, [this, a] {
      tell("heal clients " + a);
      for (uint32_t i = 0; i < scene_.clients; ++i) cluster_.world().net().heal("client" + std::to_string(i), a);
    });
  } else if (verb == "isolate") {
    net.isolate(a);
    later(time, [this, a] {
      tell("rejoin " + a);
      cluster_.world().net().rejoin(a);
    });
  } else if (verb == "reset") {
    net.cut(a, b);
  } else if (verb == "lossy" || verb == "delay") {
    LinkOptions link;
    if (verb == "lossy") {
      link.loss_percent = static_cast<uint32_t>(number_of(words[3]));
    } else {
      link.latency_min = time_of(words[3]) / 2;
      link.latency_max = time_of(words[3]);
    }
    net.set_link(a, b, link);
    later(time, [this, a, b] {
      tell("good link " + a + " " + b);
      cluster_.world().net().clear_link(a, b);
    });
  } else if (verb == "replay") {
    return replay(a, b);
  } else {
    return false;
  }
  return true;
}

bool RunFaults::strike_disk(const Words& words, Duration time) {
  const std::string& verb = words[0];
  const std::string name = words[1];
  SimDisk& disk = host(name).disk;
  if (verb == "power-cut") {
    cluster_.world().power_cut(host(name));
    for (const std::string& server : servers_) start_later(server, time);
  } else if (verb == "power-cut-at") {
    disk.cut_power_at(number_of(words[2]));
    for (const std::string& server : servers_) start_later(server, time);
  } else if (verb == "slow-disk") {
    disk.set_latency({20us, 2ms}, {1ms, 80ms}, {20us, 5ms});
    later(time, [this, name] { host(name).disk.set_latency(kWrite, kSync, kRead); });
  } else if (verb == "failing-sync" || verb == "failing-write") {
    disk.fail_call(verb == "failing-sync" ? DiskCall::kSync : DiskCall::kWrite, number_of(words[2]));
    start_later(name, time);
  } else if (verb == "full-disk") {
    disk.set_quota(0);
    later(time, [this, name] {
      tell("disk has room " + name);
      host(name).disk.set_quota(std::nullopt);
      // Who could not even begin is begun again.
      start_later(name, 200ms);
    });
  } else if (verb == "bit-rot") {
    return rot(name, number_of(words[2]));
  } else if (verb == "lose-disk") {
    return lose_disk(name, time);
  } else {
    return false;
  }
  return true;
}

bool RunFaults::strike_planned(const Words& words) {
  if (!is_planned_move(words[0])) return false;
  SimClient& client = cluster_.client("operator");
  client.spawn(move_primary(&client.session(), words));
  return true;
}

// What is on the other half too; nothing if that one does not run, or is not in sync.
std::optional<std::vector<std::pair<FileId, Version>>> RunFaults::held_by_other_half(const std::string& name) {
  const Catalogue* catalogue = cluster_.catalogue();
  const Server* server = catalogue == nullptr ? nullptr : catalogue->server(name);
  const Pair* pair = server == nullptr ? nullptr : catalogue->pair(server->pair);
  const Server* rest = pair == nullptr ? nullptr : catalogue->server(pair->home == server->id ? pair->backup : pair->home);
  if (rest == nullptr || !rest->in_sync || rest->failed || server->replaced) return std::nullopt;
  const std::string other = rest->name;
  StorageServer* storage = cluster_.server(other);
  SimProcess* process = running(other);
  if (storage == nullptr || storage->state() == nullptr || process == nullptr || !process->running()) return std::nullopt;
  return versions_on(cluster_, other);
}

// One bit of what a storage server has on its disk: at a place in all of its segments.
bool RunFaults::rot(const std::string& name, uint64_t place) {
  SimDisk& disk = host(name).disk;
  auto folder = disk.find("/data/segments");
  uint64_t size = 0;
  for (const auto& [file, inode] : folder ? folder->entries : SimInode::Entries{}) size += inode->durable.size();
  auto survived = size == 0 ? std::nullopt : held_by_other_half(name);
  if (!survived) return false;
  uint64_t at = place % size;
  for (const auto& [file, inode] : folder->entries) {
    if (at < inode->durable.size()) {
      record_->history.losses.push_back({.server = name, .at = cluster_.world().now(), .survived = *std::move(survived), .announced_gone = {}});
      return disk.flip_bit("/data/segments/" + file, at, static_cast<unsigned>(place % 8));
    }
    at -= inode->durable.size();
  }
  return false;
}

// A machine is lost for good while the other half has all that was announced: what it had not
// got yet is lost, and nothing else may be.
bool RunFaults::lose_disk(const std::string& name, Duration time) {
  if (!lost_disks_.empty() || cluster_.world().now() < silent_until_) return false;
  auto survived = held_by_other_half(name);
  if (!survived) return false;
  if (SimProcess* victim = running(name)) cluster_.world().kill(*victim);
  Loss loss{.server = name, .at = cluster_.world().now(), .survived = *std::move(survived), .announced_gone = {}};
  host(name).disk.replace();
  lost_disks_[name] = false;
  record_->history.losses.push_back(std::move(loss));
  later(time, [this, name] {
    SimClient& client = cluster_.client("operator");
    client.spawn(replace(&client.session(), name));
  });
  return true;
}

Task<Status> RunFaults::say_replace(client::Session* session, std::string server) {
  wire::ReplaceRequest request;
  request.set_server(server);
  auto saying = session->change(wire::REPLACE, request);
  auto said = co_await saying;
  if (!said) co_return std::unexpected(said.error());
  lost_disks_[server] = true;
  start(server);
  co_return Status{};
}

Task<void> RunFaults::replace(client::Session* session, std::string server) {
  auto saying = say_replace(session, server);
  static_cast<void>(co_await saying);  // heal() sees to what failed.
}

// The bytes of an earlier connection once more, as a network may keep and repeat them.
bool RunFaults::replay(const std::string& client, const std::string& server) {
  auto recorded = cluster_.world().net().recorded(client, server);
  if (!recorded) return false;
  record_->history.refusals_are_open(number_of(client.substr(6)));
  SimClient& sender = cluster_.client(client);
  sender.spawn(send_again(sender.env(), recorded->first, recorded->second));
  return true;
}

Task<void> RunFaults::send_again(Env& env, Address address, Bytes bytes) {
  auto connecting = env.net.connect(address, 1s);
  auto connection = co_await connecting;
  if (!connection) co_return;
  std::vector<Bytes> pieces;
  pieces.push_back(std::move(bytes));
  auto writing = (*connection)->write(std::move(pieces));
  static_cast<void>(co_await writing);
  // Answers go nowhere.
  auto pause = sleep_for(env, 2s);
  co_await pause;
}

void RunFaults::keep_lost_ones_running() {
  for (const auto& [name, said] : lost_disks_) start(name);
}

void RunFaults::heal() {
  tell("everything heals");
  repairs_.clear();
  SimWorld& world = cluster_.world();
  world.net().heal_all();
  for (const std::string& a : servers_) {
    for (uint32_t i = 0; i < scene_.clients; ++i) world.net().clear_link("client" + std::to_string(i), a);
    for (const std::string& b : servers_) world.net().clear_link(a, b);
    host(a).disk.cut_power_at(0);
    host(a).disk.set_quota(std::nullopt);
    host(a).disk.fail_no_call();
    host(a).disk.set_latency(kWrite, kSync, kRead);
    world.set_clock_rate(host(a), 1'000'000);
    if (SimProcess* process = world.find_process(a)) world.resume(*process);
  }
  // Who was asked to stop does so first.
  world.run_for(15s);
  start("nm");
  for (const auto& [name, said] : std::map(lost_disks_)) {
    if (said) continue;
    SimClient& client = cluster_.client("operator");
    static_cast<void>(client.await(say_replace(&client.session(), name), 60s));
  }
  for (const std::string& name : servers_) start(name);
}

}  // namespace understudy::sim
