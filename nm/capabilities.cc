#include "nm/capabilities.h"

#include <algorithm>

#include "common/base/log.h"
#include "nm/catalogue_db.h"

namespace understudy {
namespace {

constexpr size_t kKeySize = 32;

int64_t microseconds(Duration duration) { return std::chrono::duration_cast<std::chrono::microseconds>(duration).count(); }

}  // namespace

Capabilities::Capabilities(Env& env, const IdentityOptions& options, Catalogue* catalogue, Proposer* proposer, ServerLinks* links)
    : env_(env),
      life_us_(microseconds(options.capability_life)),
      key_life_us_(microseconds(options.key_life)),
      catalogue_(catalogue),
      proposer_(proposer),
      links_(links) {}

Capabilities::PairKeys& Capabilities::keys_of(const std::string& pair) {
  PairKeys& known = pairs_[pair];
  if (known.looked_at == catalogue_->people_changes()) return known;
  known.looked_at = catalogue_->people_changes();
  known.keys.clear();
  for (auto& row : catalogue_->keys(pair)) known.keys.push_back({row.id, std::move(row.secret)});
  known.ring.set(known.keys);
  return known;
}

const Pair* Capabilities::pair_of(const std::string& server) const {
  const Server* known = catalogue_->server(server);
  return known == nullptr ? nullptr : catalogue_->pair(known->pair);
}

// The newest that both halves have, as far as they are here.
uint32_t Capabilities::signing_key(const Pair& pair, const PairKeys& keys) {
  uint32_t id = keys.ring.newest();
  for (ServerId member : {pair.home, pair.backup}) {
    const Server* server = catalogue_->server(member);
    const ServerLink* link = server == nullptr ? nullptr : links_->find(server->name);
    // Without a heartbeat yet: it has what it was given when it registered.
    if (link == nullptr || link->last_heartbeat.capability_key() == 0) continue;
    id = std::min(id, link->last_heartbeat.capability_key());
  }
  return keys.ring.has(id) ? id : keys.ring.newest();
}

Bytes Capabilities::issue(const Node& node, const Pair& pair, const std::string& user, Right right,
                          const wire::NameRecord& name) {
  PairKeys& keys = keys_of(pair.name);
  if (right == Right::kNone || keys.ring.empty()) return {};
  int64_t now = name_node_time_us(env_, *catalogue_);
  wire::Capability capability;
  capability.set_file_id(number(node.id));
  capability.set_right(static_cast<wire::Right>(right));
  capability.set_user(user);
  capability.set_access_generation(node.access_generation);
  capability.set_epoch(number(pair.epoch));
  capability.set_issued_us(now);
  capability.set_expires_us(now + life_us_);
  if (right >= Right::kWrite) *capability.mutable_name() = name;
  return keys.ring.sign(signing_key(pair, keys), capability.SerializeAsString());
}

void Capabilities::hand_out(const std::string& server, wire::RegisterReply* reply) {
  reply->set_server_time_us(name_node_time_us(env_, *catalogue_));
  const Pair* pair = pair_of(server);
  if (pair == nullptr) return;
  for (const auto& key : keys_of(pair->name).keys) {
    auto* given = reply->add_capability_keys();
    given->set_id(key.id);
    given->set_secret(key.secret);
  }
}

void Capabilities::hand_out(const wire::HeartbeatRequest& request, wire::HeartbeatReply* reply) {
  reply->set_name_node_time_us(name_node_time_us(env_, *catalogue_));
  const Pair* pair = pair_of(request.server());
  if (pair == nullptr) return;
  PairKeys& keys = keys_of(pair->name);
  if (keys.ring.newest() == request.capability_key()) return;
  for (const auto& key : keys.keys) {
    auto* given = reply->add_capability_keys();
    given->set_id(key.id);
    given->set_secret(key.secret);
  }
}

Task<Result<wire::CommandOutcome>> Capabilities::rotate(std::string user, wire::RequestNumber request) {
  wire::Command command;
  *command.mutable_request() = request;
  command.set_user(user);
  auto add = [&](const std::string& pair) {
    auto* key = command.mutable_add_keys()->add_keys();
    key->set_pair(pair);
    key->set_secret(random_bytes(env_.random, kKeySize));
  };
  add("");
  for (const auto& [id, pair] : catalogue_->pairs()) add(pair.name);
  auto* event = command.add_events();
  event->set_kind("keys");
  event->set_text("the keys of sessions and capabilities were changed");
  co_return co_await proposer_->propose(std::move(command));
}

Task<void> Capabilities::keep_house() {
  int64_t old = name_node_time_us(env_, *catalogue_) - key_life_us_;
  wire::Command command;
  auto look_at = [&](const std::string& pair) {
    auto keys = catalogue_->keys(pair);
    if (!keys.empty() && keys.front().created_us > old) return;
    auto* key = command.mutable_add_keys()->add_keys();
    key->set_pair(pair);
    key->set_secret(random_bytes(env_.random, kKeySize));
  };
  look_at("");
  for (const auto& [id, pair] : catalogue_->pairs()) look_at(pair.name);
  if (command.add_keys().keys_size() == 0) co_return;
  auto outcome = co_await proposer_->propose(std::move(command));
  if (!outcome) log_warning("no new keys for sessions and capabilities: " + outcome.error().to_string());
}

}  // namespace understudy
