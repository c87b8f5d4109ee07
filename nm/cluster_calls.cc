#include "nm/cluster_calls.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/bounded_time.h"
#include "common/base/log.h"
#include "common/base/path.h"
#include "nm/catalogue_db.h"
#include "nm/failover_driver.h"
#include "nm/lost_versions.h"
#include "nm/namespace_calls.h"
#include "nm/replication_worker.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

constexpr uint32_t kEventsMax = 1000;
constexpr int64_t kLostShownUs = int64_t{7 * 24 * 3600} * 1'000'000;
constexpr uint64_t kDiskFullBytes = 17 << 20;  // A storage server's reserve, and a little.
constexpr auto kLookAgain = std::chrono::milliseconds(5);
constexpr auto kWaitMax = std::chrono::seconds(10);

int64_t milliseconds_of(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

}  // namespace

ClusterCalls::ClusterCalls(Env& env, const NameNodeFacts& facts, Catalogue* catalogue, Proposer* proposer,
                           ServerLinks* links, FailoverDriver* failover, NamespaceCalls* names)
    : env_(env), facts_(facts), catalogue_(catalogue), proposer_(proposer), links_(links), failover_(failover), names_(names) {}

wire::MemberStatus ClusterCalls::member_status(const Pair& pair, const Server& server) {
  wire::MemberStatus status;
  status.set_server(server.name);
  status.set_address(server.address);
  status.set_store_id(server.store_id);
  status.set_in_sync(server.in_sync);
  status.set_acting_primary(pair.acting == server.id);
  switch (failover_->monitor().state(server.name)) {
    case MemberState::kAbsent: status.set_state(wire::MemberStatus::ABSENT); break;
    case MemberState::kAlive: status.set_state(wire::MemberStatus::ALIVE); break;
    case MemberState::kFailed: status.set_state(wire::MemberStatus::FAILED); break;
    case MemberState::kReturning: status.set_state(wire::MemberStatus::RETURNING); break;
  }
  auto age = failover_->monitor().heartbeat_age(server.name, env_.clock.now());
  status.set_last_heartbeat_ms(age ? milliseconds_of(*age) : -1);
  Lag lag = catalogue_->lag(server.id);
  status.set_jobs(lag.jobs);
  status.set_job_bytes(lag.bytes);
  if (lag.oldest_us != 0) status.set_oldest_job_ms(std::max<int64_t>(0, catalogue_->time_us() - lag.oldest_us) / 1000);
  HintTotals hints = catalogue_->hint_totals(server.id);
  status.set_hints(hints.hints);
  status.set_hint_bytes(hints.bytes);
  status.set_sync_hints(hints.sync_hints);
  if (hints.hints > 0) {
    status.set_oldest_hint_ms(std::max<int64_t>(0, catalogue_->time_us() - catalogue_->oldest_hint_us(server.id)) / 1000);
  }
  status.set_announced_lsn(number(server.announced_lsn));
  if (const ResyncProgress* progress = failover_->resync_progress(server.name)) {
    status.set_resync_total(progress->files_total);
    status.set_resync_done(progress->files_total - std::min(progress->files_total, progress->files_left));
    status.set_resync_bytes_total(progress->bytes_total);
    status.set_resync_bytes_done(progress->bytes_total - std::min(progress->bytes_total, progress->bytes_left));
    auto left = progress->time_left(env_.clock.now());
    status.set_resync_left_ms(left ? milliseconds_of(*left) : -1);
  }
  if (const ServerLink* link = links_->find(server.name)) {
    status.set_files(link->last_heartbeat.files());
    status.set_bytes(link->last_heartbeat.bytes());
    status.set_divergent(link->last_heartbeat.divergent());
    *status.mutable_space() = link->last_heartbeat.space();
    status.set_disk_free_bytes(link->last_heartbeat.disk_free_bytes());
    *status.mutable_scrub() = link->last_heartbeat.scrub();
  }
  return status;
}

wire::PairStatus ClusterCalls::pair_status(const Pair& pair) {
  wire::PairStatus status;
  status.set_pair(pair.name);
  status.set_epoch(number(pair.epoch));
  if (const Server* acting = catalogue_->server(pair.acting)) status.set_acting_primary(acting->name);
  status.set_serving(failover_->monitor().serving(pair.name));
  status.set_stale(!status.serving());
  if (const Server* preferred = catalogue_->server(pair.preferred)) status.set_preferred(preferred->name);
  for (ServerId id : {pair.home, pair.backup}) {
    const Server* server = catalogue_->server(id);
    if (server == nullptr) continue;
    auto* member = status.add_members();
    *member = member_status(pair, *server);
    Lag lag = catalogue_->lag(id);
    status.set_files_at_risk(status.files_at_risk() + lag.files);
    status.set_bytes_at_risk(status.bytes_at_risk() + lag.bytes);
    if (const auto& why = failover_->worker(server->name)->relayed_why(); !why.empty()) status.set_relayed(why);
    status.set_oldest_at_risk_ms(std::max(status.oldest_at_risk_ms(), member->oldest_job_ms()));
  }
  for (const auto& [file, lost] : catalogue_->lost()) status.set_lost_files(status.lost_files() + (lost.pair == pair.id ? 1 : 0));
  // Old news is for INFO and EVENTS.
  if (!pair.lost_disk.empty() && catalogue_->time_us() - pair.lost_us < kLostShownUs) {
    status.mutable_lost_disk()->set_server(pair.lost_disk);
    status.mutable_lost_disk()->set_time_us(pair.lost_us);
  }
  if (status.members_size() < 2) {
    // Without an understudy every file is on one machine only.
    status.set_files_at_risk(pair.files);
    status.set_bytes_at_risk(pair.bytes);
  }
  return status;
}

wire::StatusReply ClusterCalls::status() {
  wire::StatusReply reply;
  auto* name_node = reply.add_name_nodes();
  name_node->set_id(facts_.id);
  name_node->set_address(facts_.address);
  name_node->set_leader(true);
  name_node->set_raft_index(catalogue_->applied_index());
  for (const auto& [id, pair] : catalogue_->pairs()) *reply.add_pairs() = pair_status(pair);
  reply.set_files(catalogue_->files());
  reply.set_folders(catalogue_->folders());
  reply.set_cluster_id(catalogue_->cluster_id());
  const MonitorSettings& settings = failover_->monitor().settings();
  reply.set_heartbeat_interval_ms(milliseconds_of(settings.heartbeat_interval));
  reply.set_failure_timeout_ms(milliseconds_of(settings.failure_timeout));
  const DurabilitySettings& durability = facts_.durability;
  reply.set_durability(durability.sync ? "sync" : "async");
  reply.set_replication_path(durability.direct ? "direct" : "relay");
  reply.set_hints(durability.hints);
  reply.set_hint_bytes(catalogue_->hint_bytes());
  reply.set_hint_bytes_max(durability.hint_bytes_max);
  reply.set_hint_interval_ms(milliseconds_of(durability.hint_interval));
  reply.set_hint_ttl_ms(milliseconds_of(durability.hint_ttl));
  return reply;
}

Task<wire::EventsReply> ClusterCalls::events(wire::EventsRequest request) {
  Duration patience = std::min<Duration>(bounded_ms(request.wait_ms()), kWaitMax);
  Instant end = env_.clock.now() + patience;
  while (request.wait() && catalogue_->last_event() <= request.after() && env_.clock.now() < end) {
    auto pause = sleep_for(env_, kLookAgain * 4);
    co_await pause;
  }
  wire::EventsReply reply;
  uint32_t limit = request.limit() == 0 ? kEventsMax : std::min(request.limit(), kEventsMax);
  auto rows = catalogue_->events(request.after(), limit);
  for (const EventRow& row : rows) {
    auto* event = reply.add_events();
    if (!event->ParseFromString(row.content)) event->Clear();
    event->set_id(row.id);
  }
  reply.set_more(rows.size() == limit);
  co_return reply;
}

Task<Result<wire::WaitReply>> ClusterCalls::wait(wire::WaitRequest request) {
  Duration patience = std::min<Duration>(bounded_ms(request.wait_ms()), kWaitMax);
  Instant end = env_.clock.now() + patience;
  FileId scope = kRootFolder;
  std::vector<PairId> pairs;
  bool file = false;
  if (!request.path().empty() && request.path() != "/") {
    auto node = catalogue_->find(request.path());
    if (!node) co_return std::unexpected(node.error());
    scope = node->id;
    file = node->kind == NodeKind::kFile;
    if (file) pairs.push_back(node->pair);
  }
  if (!file) {
    for (const auto& [id, pair] : catalogue_->pairs()) pairs.push_back(id);
  }
  wire::WaitReply all;
  all.set_done(true);
  for (PairId id : pairs) {
    auto one = co_await wait_for_pair(id, scope, end);
    if (!one) co_return std::unexpected(one.error());
    all.set_done(all.done() && one->done());
    all.set_files_left(all.files_left() + one->files_left());
    all.set_bytes_left(all.bytes_left() + one->bytes_left());
    if (all.why().empty()) all.set_why(one->why());
  }
  co_return all;
}

Task<Result<wire::WaitReply>> ClusterCalls::wait_for_pair(PairId id, FileId scope, Instant end) {
  wire::WaitReply reply;
  Lsn mark = kNoLsn;
  Epoch marked_under = kNoEpoch;
  bool marked = false;
  while (true) {
    const Instant looking = env_.clock.now();
    const Pair* pair = catalogue_->pair(id);
    if (pair == nullptr) co_return fail(Code::kInternal, "no such pair");
    const Server* acting = catalogue_->server(pair->acting);
    const Server* other = catalogue_->server(pair->other_half(pair->acting));
    std::string other_name = other == nullptr ? "" : other->name;
    if (acting == nullptr || !failover_->monitor().serving(pair->name)) {
      reply.set_why(pair->name + " has no acting primary");
    } else if (!marked || marked_under != pair->epoch) {
      // All that is committed by now is announced, and so in the queue, up to the mark.
      ServerId acting_id = acting->id;
      Epoch epoch = pair->epoch;
      std::string name = acting->name;
      Duration patience = std::clamp<Duration>(end - env_.clock.now(), std::chrono::milliseconds(100), kServerCallTimeout);
      auto flushed = co_await call_server<wire::FlushReply>(links_, name, wire::FLUSH, wire::FlushRequest(), patience);
      const Pair* now = catalogue_->pair(id);
      if (flushed && now != nullptr && now->epoch == epoch && now->acting == acting_id) {
        mark = Lsn{flushed->announced_lsn()};
        marked = true;
        marked_under = epoch;
        continue;
      }
      reply.set_why(name + " has not announced all of its versions");
    } else {
      Lag at_primary = catalogue_->jobs_left(acting->id, Lsn{UINT64_MAX}, scope);
      if (other == nullptr) {
        reply.set_why(pair->name + " has no backup yet");
      } else if (at_primary.files > 0 || at_primary.cut_short) {
        reply.set_files_left(at_primary.files);
        reply.set_bytes_left(at_primary.bytes);
        reply.set_why("the newest versions are only on " + other_name);
      } else {
        Lag left = catalogue_->jobs_left(other->id, mark, scope);
        reply.set_files_left(left.jobs);
        reply.set_bytes_left(left.bytes);
        const ServerLink* link = links_->find(other_name);
        bool full = link != nullptr && link->last_heartbeat.disk_free_bytes() < kDiskFullBytes;
        reply.set_why(other_name + (link == nullptr ? " is away" : full ? " has no disk space left" : " is catching up"));
        // Nothing queued proves nothing while the half has not been compared.
        if (left.jobs == 0 && !left.cut_short && other->in_sync && links_->peer(other_name)) {
          reply.set_done(true);
          reply.clear_why();
          co_return reply;
        }
      }
    }
    const Instant now = env_.clock.now();
    if (now >= end) co_return reply;
    // Looking through a long queue takes a tenth of the time at most.
    auto pause = sleep_for(env_, std::max<Duration>(kLookAgain, 10 * (now - looking)));
    co_await pause;
  }
}

Task<Result<wire::ExplainReply>> ClusterCalls::explain(wire::ExplainRequest request, std::string user) {
  auto node = catalogue_->find(request.path());
  if (!node) co_return std::unexpected(node.error());
  CO_RETURN_IF_ERROR(catalogue_->check_right(*node, request.path(), user, Right::kRead));
  wire::ExplainReply reply;
  *reply.mutable_location() = names_->location(*node, user);
  const Pair* pair = catalogue_->pair(node->pair);
  if (node->kind != NodeKind::kFile || pair == nullptr) {
    reply.add_lines("a name: it stands in the name node's log, and in every storage server's");
    co_return reply;
  }
  if (auto lost = catalogue_->lost().find(node->id); lost != catalogue_->lost().end()) {
    to_wire(lost->second.version, reply.mutable_lost()->mutable_version());
    reply.mutable_lost()->mutable_disk()->set_server(lost->second.server);
    reply.mutable_lost()->mutable_disk()->set_time_us(lost->second.time_us);
  }
  if (!pair->lost_disk.empty() && node->announced.epoch < pair->lost_before) {
    reply.mutable_lost_disk()->set_server(pair->lost_disk);
    reply.mutable_lost_disk()->set_time_us(pair->lost_us);
  }
  std::string acting_name;
  if (const Server* acting = catalogue_->server(pair->acting)) acting_name = acting->name;
  std::vector<std::string> members;
  for (ServerId id : {pair->home, pair->backup}) {
    if (const Server* server = catalogue_->server(id)) members.push_back(server->name);
  }
  for (const std::string& name : members) {
    wire::CopyStatus copy;
    copy.set_server(name);
    copy.set_acting_primary(name == acting_name);
    if (const Server* server = catalogue_->server(name)) {
      copy.set_address(server->address);
      copy.set_in_sync(server->in_sync);
      if (auto job = catalogue_->job(server->id, node->id)) {
        copy.set_jobs(1);
        copy.set_behind_bytes(job->bytes);
        copy.set_behind_ms(std::max<int64_t>(0, catalogue_->time_us() - job->created_us) / 1000);
      }
    }
    wire::MemberStatRequest ask;
    ask.set_file_id(number(node->id));
    auto stat = co_await call_server<wire::MemberStatReply>(links_, name, wire::MEMBER_STAT, ask);
    if (stat) {
      copy.set_reachable(true);
      copy.set_has_file(stat->has_file());
      *copy.mutable_head() = stat->head();
      copy.set_size_bytes(stat->size_bytes());
      *copy.mutable_divergent() = stat->divergent();
    }
    *reply.add_copies() = std::move(copy);
  }
  co_return reply;
}

Task<Result<wire::ChangeReply>> ClusterCalls::replace(wire::ReplaceRequest request, std::string user) {
  if (links_->peer(request.server())) {
    co_return fail(Code::kConflict, request.server() + " is connected and well; stop it first if its place is to be taken");
  }
  const Server* server = catalogue_->server(request.server());
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  const Server* other = pair == nullptr ? nullptr : catalogue_->server(pair->other_half(server->id));
  const std::string other_name = other == nullptr ? "" : other->name;
  // Versions that wait for the other half, and that only this one has.
  const std::vector<Job> alone = other == nullptr ? std::vector<Job>{} : only_elsewhere(other->id);
  const size_t known = alone.size();
  const bool unannounced = pair != nullptr && (server->unannounced || pair->acting == server->id);
  if (known > 0 && !request.force()) {
    co_return fail(Code::kConflict, fmt::format("{}: its disk alone has the newest version of {}{}; start it with that disk, or give "
                                                "them up with REPLACE {} --force",
                                                request.server(), named(alone),
                                                unannounced ? ", and perhaps more that it never announced" : "", request.server()));
  }
  wire::Command command;
  *command.mutable_request() = request.request();
  command.set_user(user);
  command.mutable_replace_server()->set_server(request.server());
  auto* event = command.add_events();
  event->set_kind("replaced");
  event->set_server(request.server());
  event->set_text(request.server() + " is to be replaced: start it with an empty folder");
  auto outcome = co_await proposer_->propose(std::move(command));
  if (!outcome) co_return std::unexpected(outcome.error());
  // With the acting primary here it is known at once what is lost; else with its return.
  const Pair* now = catalogue_->pair(outcome->pair());
  const Server* acting = now == nullptr ? nullptr : catalogue_->server(now->acting);
  if (acting != nullptr && acting->name == other_name && failover_->monitor().serving(now->name)) {
    Status settled = co_await settle_lost(catalogue_, proposer_, links_, other_name, request.server(), /*gone=*/true);
    if (!settled) log_info("what is lost with the disk of " + request.server() + " is told later: " + settled.error().to_string());
  }
  wire::ChangeReply reply;
  reply.set_raft_index(outcome->raft_index());
  std::string text;
  if (known > 0) text = fmt::format("the newest version of {} file{} is lost with its earlier disk: EVENTS and INFO name them", known, known == 1 ? "" : "s");
  if (unannounced) {
    text += text.empty() ? "" : "; ";
    text += "what it acknowledged last, before it failed as acting primary, and had not announced yet may be lost with its earlier disk";
  }
  reply.set_text(text);
  co_return reply;
}

// The version jobs of a half that no hint would bring.
std::vector<Job> ClusterCalls::only_elsewhere(ServerId half) {
  std::vector<Job> found;
  uint64_t after = 0;
  while (true) {
    auto page = catalogue_->jobs(half, after, 256);
    if (page.empty()) return found;
    after = page.back().sequence;
    for (Job& job : page) {
      if (!job.to || job.kind == JobKind::kDelete || catalogue_->held_with_hints(half, job.object, false) >= job.to) continue;
      found.push_back(std::move(job));
    }
  }
}

std::string ClusterCalls::named(const std::vector<Job>& jobs) {
  constexpr size_t kNamed = 3;
  std::string names;
  for (size_t i = 0; i < std::min(jobs.size(), kNamed); ++i) {
    auto path = catalogue_->path_of(jobs[i].object);
    names += (names.empty() ? "" : ", ") + (path ? printable(*path) : "one that is deleted");
  }
  return fmt::format("{} file{} ({}{})", jobs.size(), jobs.size() == 1 ? "" : "s", names, jobs.size() > kNamed ? ", ..." : "");
}

}  // namespace understudy
