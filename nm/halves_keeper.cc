#include "nm/halves_keeper.h"

#include <algorithm>

#include "common/base/log.h"
#include "nm/catalogue_db.h"
#include "nm/failover_driver.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr int kEventsMax = 1000;
constexpr int kAttempts = 3;
constexpr Duration kAttemptAfter = 2s;
constexpr Duration kLookEvery = 1s;

}  // namespace

HalvesKeeper::HalvesKeeper(Env& env, Duration interval, Catalogue* catalogue, Proposer* proposer, ServerLinks* links,
                           FailoverDriver* failover)
    : env_(env), interval_(interval), catalogue_(catalogue), proposer_(proposer), links_(links), failover_(failover) {}

std::string HalvesKeeper::partner_of(const std::string& name) const {
  const Server* server = catalogue_->server(name);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  const Server* other = pair == nullptr ? nullptr : catalogue_->server(pair->other_half(server->id));
  return other == nullptr ? "" : other->name;
}

Task<Result<Reply>> HalvesKeeper::partner_fetch(wire::PartnerFetchRequest request) {
  wire::PartnerFetchReply answer;
  if (request.name_of() != 0) {
    if (auto node = catalogue_->node(FileId{request.name_of()})) {
      *answer.mutable_name() = name_record(*catalogue_, *node);
    } else {
      answer.mutable_name()->set_object_id(request.name_of());
      answer.mutable_name()->set_meta_version(catalogue_->applied_index());
    }
    co_return make_reply(answer);
  }
  const std::string partner = partner_of(request.server());
  if (partner.empty()) co_return fail(Code::kUnavailable, request.server() + " has no partner");
  std::shared_ptr<Peer> peer = links_->peer(partner);
  if (!peer) co_return fail(Code::kUnavailable, partner + " is not connected");
  if (request.has_chunk()) {
    request.mutable_chunk()->set_for_repair(true);
    auto asking = peer->call(wire::FETCH_CHUNK, request.chunk().SerializeAsString(), {}, kServerCallTimeout);
    auto chunk = co_await asking;
    if (!chunk) co_return fail(chunk.error().code, partner + ": " + chunk.error().message);
    Reply reply = make_reply(answer);
    reply.body = std::move(chunk->body);
    co_return reply;
  }
  if (!request.has_versions()) co_return fail(Code::kInvalid, "nothing is asked for");
  request.mutable_versions()->set_for_repair(true);
  auto versions = co_await call<wire::FetchReply>(peer.get(), wire::FETCH, request.versions(), kServerCallTimeout);
  if (!versions) co_return fail(versions.error().code, partner + ": " + versions.error().message);
  *answer.mutable_versions() = *std::move(versions);
  co_return make_reply(answer);
}

Task<Result<Reply>> HalvesKeeper::report_damage(wire::ReportDamageRequest request) {
  if (request.events_size() > kEventsMax) co_return fail(Code::kInvalid, "too many events at once");
  wire::Command command;
  command.mutable_add_events();
  const Server* server = catalogue_->server(request.server());
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  for (auto& event : *request.mutable_events()) {
    if (event.kind() != "repaired" && event.kind() != "damaged" && event.kind() != "compacted") continue;
    event.set_server(request.server());
    if (pair != nullptr) event.set_pair(pair->name);
    auto path = event.file_id() == 0 ? std::nullopt : std::optional(catalogue_->path_of(FileId{event.file_id()}));
    std::string about = request.server();
    if (path && *path) {
      event.set_path(**path);
      about += ", " + **path;
    }
    event.set_text(about + ": " + event.text());
    *command.add_events() = std::move(event);
  }
  CO_ASSIGN_OR_RETURN(auto outcome, co_await proposer_->propose(std::move(command)));
  co_return make_reply(wire::Done());
}

HalvesKeeper::Compared HalvesKeeper::compared(const std::string& pair) const {
  auto at = compared_.find(pair);
  return at == compared_.end() ? Compared{} : at->second;
}

Task<std::optional<bool>> HalvesKeeper::equal(std::string name) {
  struct Standing {
    Epoch epoch = kNoEpoch;
    uint64_t announced = 0;
    uint64_t jobs_made = 0;
    bool operator==(const Standing&) const = default;
  };
  wire::DigestReply digests[2];
  std::optional<Standing> before;
  for (int turn = 0; turn < 2; ++turn) {
    const Pair* pair = catalogue_->pair(name);
    const Server* acting = pair == nullptr ? nullptr : catalogue_->server(pair->acting);
    const Server* other = acting == nullptr ? nullptr : catalogue_->server(pair->other_half(acting->id));
    if (other == nullptr || !acting->in_sync || !other->in_sync || !failover_->monitor().serving(name)) co_return std::nullopt;
    std::string acting_name = acting->name, other_name = other->name;
    ServerId other_id = other->id, acting_id = acting->id;
    Standing standing{pair->epoch, 0, 0};
    auto flushed = co_await call_server<wire::FlushReply>(links_, acting_name, wire::FLUSH, wire::FlushRequest());
    if (!flushed) co_return std::nullopt;
    standing.announced = flushed->announced_lsn();
    standing.jobs_made = catalogue_->last_job_sequence();
    if (catalogue_->lag(other_id).jobs > 0 || catalogue_->lag(acting_id).jobs > 0) co_return std::nullopt;
    if (turn == 1) {
      if (*before != standing) co_return std::nullopt;
      break;
    }
    before = standing;
    auto here = co_await call_server<wire::DigestReply>(links_, acting_name, wire::DIGEST, wire::DigestRequest());
    auto there = co_await call_server<wire::DigestReply>(links_, other_name, wire::DIGEST, wire::DigestRequest());
    if (!here || !there) co_return std::nullopt;
    digests[0] = *std::move(here);
    digests[1] = *std::move(there);
  }
  co_return std::ranges::equal(digests[0].partitions(), digests[1].partitions());
}

Task<void> HalvesKeeper::compare(std::string name) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    auto same = co_await equal(name);
    if (same && *same) {
      compared_[name] = {env_.clock.wall().time_since_epoch().count(), false};
      co_return;
    }
    if (same && attempt + 1 == kAttempts) {
      const Pair* pair = catalogue_->pair(name);
      const Server* other = pair == nullptr ? nullptr : catalogue_->server(pair->other_half(pair->acting));
      if (other == nullptr) co_return;
      std::string half = other->name;
      compared_[name].differ = true;
      // What it lacks nobody knows: until it was compared and filled it must not be promoted.
      wire::Command command;
      command.mutable_member_failed()->set_server(half);
      command.mutable_member_failed()->set_incarnation(other->incarnation);
      command.mutable_member_failed()->set_connected(true);
      auto* event = command.add_events();
      event->set_kind("halves-differ");
      event->set_pair(name);
      event->set_server(half);
      event->set_text("the halves of " + name + " differ although nothing waits; " + half + " is compared file by file and filled");
      failover_->worker(half)->set_compared(false);
      (void)co_await proposer_->propose(std::move(command));
      failover_->facts_changed();
      co_return;
    }
    auto pause = sleep_for(env_, kAttemptAfter);
    co_await pause;
  }
}

Task<void> HalvesKeeper::run() {
  if (interval_ == Duration::zero()) co_return;
  Instant next = env_.clock.now() + interval_;
  while (true) {
    auto pause = sleep_for(env_, std::min<Duration>(interval_, kLookEvery));
    co_await pause;
    const bool due = env_.clock.now() >= next;
    std::vector<std::string> pairs;
    for (const auto& [id, pair] : catalogue_->pairs()) {
      if (due || compared_[pair.name].differ) pairs.push_back(pair.name);
    }
    if (due) next = env_.clock.now() + interval_;
    for (std::string& pair : pairs) co_await compare(std::move(pair));
  }
}

}  // namespace understudy
