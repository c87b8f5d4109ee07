// Commands about servers, pairs and epochs.
#include <fmt/format.h>

#include "nm/catalogue_change.h"

namespace understudy {
namespace {

constexpr std::string_view kBackupEnding = "_backup";

// The home primary's name if this server is a backup, else empty.
std::string backup_of(const wire::RegisterRequest& request) {
  if (!request.backup_of().empty()) return request.backup_of();
  std::string_view name = request.server();
  if (!name.ends_with(kBackupEnding)) return {};
  return std::string(name.substr(0, name.size() - kBackupEnding.size()));
}

bool is_hexadecimal(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Status check_request(const wire::RegisterRequest& request) {
  RETURN_IF_ERROR(check_name(request.server()));
  if (request.server().find_first_of(" =,\"") != std::string::npos) {
    return fail(Code::kInvalid, printable(request.server()) + ": a server's name has no blanks, commas or quotes");
  }
  if (request.store_id().size() != 32 || !is_hexadecimal(request.store_id())) {
    return fail(Code::kInvalid, "a store id has 32 hexadecimal digits");
  }
  auto home = backup_of(request);
  if (home == request.server()) return fail(Code::kInvalid, request.server() + ": cannot be its own backup");
  if (!home.empty()) RETURN_IF_ERROR(check_name(home));
  return {};
}

}  // namespace

void Catalogue::init_cluster(const wire::InitCluster& command, Change& change) {
  if (!store_->cluster.cluster_id.empty()) return change.refuse(Code::kExists, "the cluster has its id already");
  if (command.cluster_id().empty()) return change.refuse(Code::kInvalid, "a cluster id cannot be empty");
  store_->cluster.cluster_id = command.cluster_id();
}

void Catalogue::register_server(const wire::RegisterServer& command, Change& change) {
  const auto& request = command.request();
  auto name = printable(request.server());
  if (auto valid = check_request(request); !valid) return change.refuse(valid.error());
  if (!request.cluster_id().empty() && request.cluster_id() != cluster_id()) {
    return change.refuse(Code::kInvalid, name + ": its data folder belongs to another cluster");
  }
  if (auto retired = store_->retired_stores.find(request.store_id()); retired != store_->retired_stores.end()) {
    return change.refuse(Code::kConflict, fmt::format("{}: its data folder was replaced as {}; start it with an empty one",
                                                      name, retired->second));
  }
  for (const auto& [id, server] : store_->servers) {
    if (server.store_id == request.store_id() && server.name != request.server()) {
      return change.refuse(Code::kConflict, fmt::format("{}: its data folder is that of {}", name, server.name));
    }
  }
  Server* known = store_->server_named(request.server());
  return known ? register_known(*known, command, change) : register_new(command, change);
}

void Catalogue::register_new(const wire::RegisterServer& command, Change& change) {
  const auto& request = command.request();
  const auto& name = request.server();
  auto home_name = backup_of(request);
  bool is_backup = !home_name.empty();
  if (!request.empty()) {
    return change.refuse(Code::kConflict, name + ": its data folder holds files, but this cluster does not know it; "
                                                 "start it with an empty one");
  }
  if (is_backup) {
    Server* home = store_->server_named(home_name);
    if (home && home->is_backup) return change.refuse(Code::kInvalid, home_name + ": is a backup itself");
  }
  Pair* pair = store_->pair_named(is_backup ? home_name : name);
  if (is_backup && pair && pair->backup != kNoServer) {
    return change.refuse(Code::kExists, fmt::format("{} has a backup already: {}", home_name,
                                                    store_->servers[pair->backup].name));
  }
  auto& cluster = store_->cluster;
  if (!pair) {
    PairId id{cluster.next_member++};
    pair = &store_->pairs[id];
    pair->id = id;
    pair->name = is_backup ? home_name : name;
  }
  ServerId id{cluster.next_member++};
  Server& server = store_->servers[id];
  server.id = id;
  server.name = name;
  server.pair = pair->id;
  server.is_backup = is_backup;
  (is_backup ? pair->backup : pair->home) = id;
  take_store(server, command, change);
  // Nothing exists that it could lack.
  server.in_sync = !is_backup && pair->epoch == kNoEpoch;
  if (server.in_sync) store_->set_unfilled(id, false);
}

void Catalogue::register_known(Server& server, const wire::RegisterServer& command, Change& change) {
  const auto& request = command.request();
  Pair& pair = store_->pairs[server.pair];
  auto home_name = backup_of(request);
  if (server.is_backup != !home_name.empty() || (server.is_backup && pair.name != home_name)) {
    return change.refuse(Code::kConflict, fmt::format("{}: is known as {} of the pair {}, and stays that", server.name,
                                                      server.is_backup ? "the backup" : "the home primary", pair.name));
  }
  // Known by name only, from before the catalogue was rebuilt: it comes with what it has, and is compared.
  if (server.store_id.empty() && !server.replaced && !request.cluster_id().empty()) {
    take_store(server, command, change);
    server.announced_lsn = Lsn{request.log_end_lsn()};
    change.outcome.set_announced_lsn(request.log_end_lsn());
    return;
  }
  if (request.store_id() != server.store_id) {
    if (!request.empty()) {
      return change.refuse(Code::kConflict, fmt::format("{}: another data folder, with files in it, than the one known; "
                                                        "start it with the old one or an empty one", server.name));
    }
    auto other = store_->servers.find(pair.other_half(server.id));
    bool other_in_sync = other != store_->servers.end() && other->second.in_sync;
    bool holds_something = pair.epoch != kNoEpoch;
    if (!server.replaced && holds_something && !other_in_sync) {
      return change.refuse(Code::kConflict,
                           fmt::format("{}: its data folder is empty, and nobody else holds all of its files; start it with "
                                       "the old one, or give it up with REPLACE {}", server.name, server.name));
    }
    if (!server.store_id.empty()) store_->retired_stores[server.store_id] = server.name;
    give_up_disk(server, change);
    bool first = !holds_something && !server.is_backup;
    take_store(server, command, change);
    server.in_sync = first;
    if (first) store_->set_unfilled(server.id, false);
    if (pair.acting == server.id) pair.acting = kNoServer;
    store_->restart_jobs(server.id);
    return;
  }
  change.outcome.set_new_incarnation(request.incarnation() != server.incarnation);
  if (request.log_end_lsn() < number(std::max(server.announced_lsn, server.confirmed_lsn))) {
    // An older copy of the folder: what it announced is not there any more.
    server.in_sync = false;
    store_->set_unfilled(server.id, true);
    server.announced_lsn = std::min(server.announced_lsn, Lsn{request.log_end_lsn()});
    server.confirmed_lsn = Lsn{request.log_end_lsn()};
    change.outcome.set_rolled_back(true);
  }
  if (request.damaged() && request.incarnation() != server.incarnation) {
    // Nobody knows what its log lost: compared and filled, if somebody else holds everything. (It says so as long as
    // it runs; by its next registration it may have been filled, and act.)
    auto other = store_->servers.find(pair.other_half(server.id));
    if (other != store_->servers.end() && other->second.in_sync) {
      server.in_sync = false;
      store_->set_unfilled(server.id, true);
    }
  }
  server.failed = false;
  server.incarnation = request.incarnation();
  server.address = request.address();
  server.machine = request.machine();
  server.pid = request.pid();
  server.pid_start_time = request.pid_start_time();
  change.outcome.set_pair(pair.name);
  change.outcome.set_announced_lsn(number(server.announced_lsn));
}

// Its earlier disk does not come back.
void Catalogue::give_up_disk(Server& server, Change& change) {
  Pair& pair = store_->pairs[server.pair];
  const bool acting = pair.acting == server.id;
  if (!server.unannounced && !acting) return;
  server.unannounced = false;
  pair.lost_disk = server.name;
  pair.lost_us = change.now_us;
  pair.lost_before = acting || pair.acting == kNoServer ? Epoch{number(pair.epoch) + 1} : pair.epoch;
  auto& event = change.events.emplace_back();
  event.set_kind("lost-disk");
  event.set_server(server.name);
  event.set_pair(pair.name);
  event.set_text("the earlier disk of " + server.name + " is given up; what it acknowledged last, before it failed as acting primary, "
                 "and had not announced yet may be lost with it, beside what is named");
}

void Catalogue::take_store(Server& server, const wire::RegisterServer& command, Change& change) {
  const auto& request = command.request();
  server.store_id = request.store_id();
  server.incarnation = request.incarnation();
  server.address = request.address();
  server.machine = request.machine();
  server.pid = request.pid();
  server.pid_start_time = request.pid_start_time();
  server.in_sync = false;
  store_->set_unfilled(server.id, true);
  server.failed = false;
  server.replaced = false;
  server.announced_lsn = kNoLsn;
  server.confirmed_lsn = kNoLsn;
  queue_all_names(server.id, change);
  change.outcome.set_pair(store_->pairs[server.pair].name);
  change.outcome.set_new_store(true);
  change.outcome.set_new_incarnation(true);
}

bool Catalogue::only_one_in_sync(const Server& server) {
  const Pair& pair = store_->pairs[server.pair];
  auto other = store_->servers.find(pair.other_half(server.id));
  return server.in_sync && (other == store_->servers.end() || !other->second.in_sync);
}

void Catalogue::member_failed(const wire::MemberFailed& command, Change& change) {
  Server* server = store_->server_named(command.server());
  if (!server) return change.refuse(Code::kNotFound, command.server() + ": no such server");
  if (command.incarnation() != 0 && command.incarnation() != server->incarnation) {
    return change.refuse(Code::kConflict, command.server() + ": was started again meanwhile");
  }
  if (!command.connected()) server->failed = true;
  // The acting primary holds everything until another one begins an epoch, and the last
  // one in sync stays the one that does.
  bool acts = store_->pairs[server->pair].acting == server->id;
  if (!acts && !only_one_in_sync(*server)) server->in_sync = false;
}

void Catalogue::member_in_sync(const wire::MemberInSync& command, Change& change) {
  Server* server = store_->server_named(command.server());
  if (!server) return change.refuse(Code::kNotFound, command.server() + ": no such server");
  if (command.incarnation() != 0 && command.incarnation() != server->incarnation) {
    return change.refuse(Code::kConflict, command.server() + ": was started again meanwhile");
  }
  if (store_->hint_totals[server->id].sync_hints > 0) {
    return change.refuse(Code::kUnavailable, command.server() + ": what was acknowledged with hints is still to be handed off");
  }
  // What was compared has gone since, and with it what came to be announced meanwhile.
  if (server->failed) return change.refuse(Code::kUnavailable, command.server() + ": failed meanwhile");
  server->in_sync = true;
  server->unannounced = false;
  store_->set_unfilled(server->id, false);
}

void Catalogue::begin_epoch(const wire::BeginEpoch& command, Change& change) {
  Pair* pair = store_->pair_named(command.pair());
  Server* server = store_->server_named(command.server());
  if (!pair) return change.refuse(Code::kNotFound, command.pair() + ": no such pair");
  if (!server || server->pair != pair->id) {
    return change.refuse(Code::kNotFound, fmt::format("{}: no server of the pair {}", command.server(), command.pair()));
  }
  if (command.has_expected_epoch() && command.expected_epoch() != number(pair->epoch)) {
    return change.refuse(Code::kConflict, fmt::format("the epoch of {} is {} by now", pair->name, number(pair->epoch)));
  }
  if (!server->in_sync && !command.forced()) {
    return change.refuse(Code::kUnavailable, server->name + ": is not in sync");
  }
  const ServerId before = pair->acting;
  pair->epoch = Epoch{change.index};
  pair->objects_before = store_->cluster.next_object;
  pair->acting = server->id;
  server->unannounced = false;
  server->in_sync = true;
  store_->set_unfilled(server->id, false);
  server->failed = false;
  auto other = store_->servers.find(pair->other_half(server->id));
  // One that is away misses what is announced from here on, also if it was drained before
  // it went. Whether it is away is for MemberFailed to say: it may be here, and only lack something.
  if (other != store_->servers.end() && (command.other_failed() || other->second.failed)) {
    other->second.in_sync = false;
    if (other->first == before) other->second.unannounced = true;
  }
  // Versions that wait for it exist only on the other half: their jobs stay and tell
  // of them until that half is back and they are settled.
  change.outcome.set_epoch(change.index);
  change.outcome.set_pair(pair->name);
}

void Catalogue::prefer_primary(const wire::PreferPrimary& command, Change& change) {
  Pair* pair = store_->pair_named(command.pair());
  Server* server = store_->server_named(command.server());
  if (!pair) return change.refuse(Code::kNotFound, command.pair() + ": no such pair");
  if (!server || server->pair != pair->id) {
    return change.refuse(Code::kNotFound, fmt::format("{}: no server of the pair {}", command.server(), command.pair()));
  }
  pair->preferred = server->id == pair->home ? kNoServer : server->id;
  change.outcome.set_pair(pair->name);
}

void Catalogue::note_lease(const wire::NoteLease& command) {
  store_->cluster.failure_timeout_ms = command.failure_timeout_ms();
}

void Catalogue::replace_server(const wire::ReplaceServer& command, Change& change) {
  Server* server = store_->server_named(command.server());
  if (!server) return change.refuse(Code::kNotFound, command.server() + ": no such server");
  if (!server->store_id.empty()) store_->retired_stores[server->store_id] = server->name;
  forget_server_key(server->name);
  server->store_id.clear();
  server->replaced = true;
  server->in_sync = false;
  server->failed = true;
  Pair& pair = store_->pairs[server->pair];
  give_up_disk(*server, change);
  if (pair.acting == server->id) pair.acting = kNoServer;
  change.outcome.set_pair(pair.name);
}

}  // namespace understudy
