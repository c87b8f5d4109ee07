#include "nm/hint_keeper.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/log.h"
#include "nm/catalogue_db.h"
#include "nm/failover_driver.h"
#include "nm/hint_store.h"
#include "nm/hinted_chunks.h"
#include "nm/replication_worker.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kJobsAtOnce = 256;
constexpr uint64_t kFetchBytes = 4 << 20;
constexpr Duration kLookEvery = 100ms;

// While it lives, no job is carried to the target: its versions are being restored.
struct Paused {
  ReplicationWorker* worker;
  explicit Paused(ReplicationWorker* w) : worker(w) { worker->pause(true); }
  Paused(const Paused&) = delete;
  Paused& operator=(const Paused&) = delete;
  ~Paused() { worker->pause(false); }
};

std::string counted(uint64_t hints) { return fmt::format("{} hint{}", hints, hints == 1 ? "" : "s"); }

bool is_big(const wire::VersionRecord& record) { return record.chunks_size() > 0 && record.inline_content().empty(); }

}  // namespace

HintKeeper::HintKeeper(Env& env, DurabilitySettings settings, uint64_t name_node, Catalogue* catalogue, Proposer* proposer,
                       ServerLinks* links, FailoverDriver* failover, HintStore* store, HandOff* hand_off)
    : env_(env),
      settings_(settings),
      name_node_(name_node),
      catalogue_(catalogue),
      proposer_(proposer),
      links_(links),
      failover_(failover),
      store_(store),
      hand_off_(hand_off) {}

Status HintKeeper::possible() const {
  if (!settings_.hints) return fail(Code::kUnavailable, "hints are off (--hints)");
  if (uint64_t bytes = catalogue_->hint_bytes(); bytes >= settings_.hint_bytes_max) {
    return fail(Code::kUnavailable, fmt::format("the hints take {} bytes, and may take {} (--hint-bytes)", bytes, settings_.hint_bytes_max));
  }
  return store_->has_room();
}

Task<void> HintKeeper::run() {
  Instant collect_at = env_.clock.now();
  Lsn trimmed[2] = {kNoLsn, kNoLsn};
  while (true) {
    auto pause = sleep_for(env_, kLookEvery);
    co_await pause;
    const bool collecting = env_.clock.now() >= collect_at;
    if (collecting) collect_at = env_.clock.now() + settings_.hint_interval;
    std::vector<PairId> pairs;
    for (const auto& [id, pair] : catalogue_->pairs()) pairs.push_back(id);
    for (PairId pair : pairs) co_await look_after_pair(pair, collecting);
    for (bool sync : {false, true}) {
      Lsn needed = catalogue_->first_hint_lsn(sync, name_node_);
      // Nobody may be between writing a hint and having it listed, so this is for quiet times.
      if (needed == trimmed[sync] || keeping_ > 0) continue;
      trimmed[sync] = needed;
      store_->trim(sync, needed);
    }
  }
}

Task<void> HintKeeper::look_after_pair(PairId id, bool collecting) {
  const Pair* pair = catalogue_->pair(id);
  if (pair == nullptr) co_return;
  const Server* acting = catalogue_->server(pair->acting);
  const Server* other = acting == nullptr ? nullptr : catalogue_->server(pair->other_half(acting->id));
  if (other == nullptr) co_return;
  const std::string target = other->name, source = acting->name, pair_name = pair->name;
  const ServerId target_id = other->id;
  const Epoch epoch = pair->epoch;
  const Incarnation incarnation = other->incarnation;
  const bool target_here = failover_->is_alive(target) && links_->peer(target);
  const bool source_here = failover_->is_alive(source);
  const bool in_sync = other->in_sync;
  if (catalogue_->hint_totals(target_id).hints == 0) co_await tell(target);
  if (collecting) {
    co_await expire(target);
    if (!target_here && source_here && settings_.hints && failover_->monitor().serving(pair_name)) {
      co_await collect(target, source, epoch);
    }
  }
  // Its lease must be over: it may be there, and only cut off from here.
  const bool alone = !source_here && env_.clock.now() >= failover_->monitor().lease_over_at(pair_name);
  if (restored_[target] != incarnation) restore_at_[target] = {};
  if (target_here && !in_sync && alone && env_.clock.now() >= restore_at_[target]) {
    restored_[target] = incarnation;
    restore_at_[target] = env_.clock.now() + std::max<Duration>(failover_->monitor().settings().heartbeat_interval, 200ms);
    co_await restore(target, incarnation);
  }
}

Task<void> HintKeeper::tell(std::string target) {
  HandOff::Handed handed = hand_off_->take_handed(target);
  if (handed.hints == 0) co_return;
  wire::Command command;
  command.mutable_add_events();
  auto* event = command.add_events();
  event->set_kind("handed-off");
  event->set_server(target);
  event->set_text(fmt::format("{}, {} bytes, handed off to {}", counted(handed.hints), handed.bytes, target));
  (void)co_await proposer_->propose(std::move(command));
}

int64_t HintKeeper::oldest_kept_us() const {
  // NM time stands still without commands; the wall's is what the next one will have.
  const int64_t now_us = std::max<int64_t>(catalogue_->time_us(), env_.clock.wall().time_since_epoch().count());
  return now_us - std::chrono::duration_cast<std::chrono::microseconds>(settings_.hint_ttl).count();
}

Task<void> HintKeeper::expire(std::string target) {
  const Server* server = catalogue_->server(target);
  if (server == nullptr) co_return;
  const int64_t before_us = oldest_kept_us();
  const ServerId id = server->id;
  uint64_t expired = 0;
  while (catalogue_->has_hints_before(id, before_us)) {
    wire::Command command;
    command.mutable_drop_hints()->set_target(target);
    command.mutable_drop_hints()->set_created_before_us(before_us);
    auto outcome = co_await proposer_->propose(std::move(command));
    if (!outcome || outcome->count() == 0) break;
    expired += outcome->count();
  }
  if (expired == 0) co_return;
  wire::Command told;
  told.mutable_add_events();
  auto* event = told.add_events();
  event->set_kind("expired");
  event->set_server(target);
  event->set_text(fmt::format("{} for {} expired; what was in them comes from its partner, when both are there", counted(expired), target));
  (void)co_await proposer_->propose(std::move(told));
}

// Contents of the jobs that no hint has yet, in their order, until the budget is used up.
Task<void> HintKeeper::collect(std::string target, std::string source, Epoch epoch) {
  const Server* server = catalogue_->server(target);
  if (server == nullptr) co_return;
  const ServerId id = server->id;
  uint64_t after = 0;
  while (true) {
    std::vector<Job> page = catalogue_->jobs(id, after, kJobsAtOnce);
    if (page.empty()) co_return;
    auto turn = yield_now(env_);
    co_await turn;
    wire::FetchRequest fetch;
    fetch.set_bytes_max(kFetchBytes);
    std::vector<Lsn> lsn_of_item;
    uint64_t bytes = 0;
    for (const Job& job : page) {
      after = job.sequence;
      // What waits for longer than a hint lives comes by resync.
      if (!job.to || job.kind == JobKind::kDelete || job.created_us < oldest_kept_us()) continue;
      Version have = catalogue_->held_with_hints(id, job.object, /*promised=*/false);
      if (have >= job.to) continue;
      auto* item = fetch.add_items();
      item->set_file_id(number(job.object));
      to_wire(have, item->mutable_from());
      to_wire(job.to, item->mutable_to());
      lsn_of_item.push_back(job.newest_lsn);
      bytes += job.bytes;
      if (bytes >= kFetchBytes) break;
    }
    if (fetch.items_size() == 0) continue;
    if (catalogue_->hint_bytes() + bytes > settings_.hint_bytes_max) {
      if (!std::exchange(budget_told_, true)) {
        log_warning(fmt::format("the hints for {} reach --hint-bytes; what is beyond comes by resync", target));
      }
      co_return;
    }
    budget_told_ = false;
    auto fetched = co_await call_server<wire::FetchReply>(links_, source, wire::FETCH, fetch);
    if (!fetched || fetched->files_size() != fetch.items_size()) co_return;
    std::vector<wire::VersionRecord> versions;
    std::vector<Lsn> lsns;
    for (int i = 0; i < fetched->files_size(); ++i) {
      auto& file = *fetched->mutable_files(i);
      if (file.outcome() == wire::FetchedFile::GONE || file.outcome() == wire::FetchedFile::NOT_A_DESCENDANT) continue;
      for (auto& version : *file.mutable_versions()) {
        versions.push_back(std::move(version));
        lsns.push_back(lsn_of_item[static_cast<size_t>(i)]);
      }
    }
    if (versions.empty()) continue;
    auto kept = co_await keep(target, source, epoch, /*sync=*/false, std::move(versions), std::move(lsns));
    if (!kept) {
      log_info("hints for " + target + " are not kept now: " + kept.error().to_string());
      co_return;
    }
  }
}

Task<Result<uint64_t>> HintKeeper::keep(std::string target, std::string source, Epoch epoch, bool sync,
                                        std::vector<wire::VersionRecord> versions, std::vector<Lsn> lsns) {
  struct Keeping {
    uint32_t* count;
    explicit Keeping(uint32_t* c) : count(c) { ++*count; }
    Keeping(const Keeping&) = delete;
    Keeping& operator=(const Keeping&) = delete;
    ~Keeping() { --*count; }
  };
  Keeping keeping(&keeping_);
  wire::Command command;
  auto* hints = command.mutable_add_hints();
  hints->set_target(target);
  hints->set_server(source);
  hints->set_epoch(number(epoch));
  hints->set_name_node(name_node_);
  hints->set_sync(sync);
  uint64_t budget = settings_.hint_bytes_max - std::min(settings_.hint_bytes_max, catalogue_->hint_bytes());
  HintedChunks chunks(store_, links_, source, sync, budget);
  for (size_t i = 0; i < versions.size(); ++i) {
    wire::VersionRecord& version = versions[i];
    wire::HintRecord record;
    record.set_target(target);
    auto* item = hints->add_items();
    item->set_object_id(version.file_id());
    *item->mutable_version() = version.version();
    *item->mutable_parent() = version.parent();
    item->set_lsn(i < lsns.size() ? number(lsns[i]) : 0);
    item->set_size_bytes(version.size_bytes());
    item->set_kind(version.kind());
    item->set_time_us(version.time_us());
    uint64_t bytes = version.inline_content().size() + 256;
    if (is_big(version)) {
      const uint64_t before = chunks.bytes();
      CO_ASSIGN_OR_RETURN(auto places, co_await chunks.keep(version));
      for (Lsn place : places) record.add_chunk_lsns(number(place));
      bytes += chunks.bytes() - before;
    }
    if (bytes > budget) co_return fail(Code::kNoSpace, "the hints would take more than --hint-bytes");
    budget -= bytes;
    Bytes content = std::move(*version.mutable_inline_content());
    *record.mutable_version() = std::move(version);
    Lsn lsn = store_->append_version(sync, std::move(record), std::move(content));
    item->set_hint_lsn(number(lsn));
    // Of all that came in this call: a chunk may be an earlier version's.
    item->set_first_lsn(std::min(number(chunks.first()), number(lsn)));
    item->set_bytes(bytes);
  }
  CO_RETURN_IF_ERROR(co_await store_->durable(sync));
  auto outcome = co_await proposer_->propose(std::move(command));
  if (!outcome) co_return std::unexpected(outcome.error());
  co_return outcome->count();
}

Task<void> HintKeeper::restore(std::string target, Incarnation incarnation) {
  Status restored;
  {
    ReplicationWorker* worker = failover_->worker(target);
    Paused paused(worker);
    co_await worker->idle();
    restored = co_await hand_off_->restore(target);
  }
  const Server* server = catalogue_->server(target);
  if (server == nullptr || server->incarnation != incarnation) co_return;
  if (!restored) {
    // What no hint has does not come by asking again soon.
    if (restored.error().code == Code::kConflict) restore_at_[target] = env_.clock.now() + settings_.hint_interval;
    log_info(target + " is not restored from hints: " + restored.error().to_string());
    co_return;
  }
  co_await tell(target);
  wire::Command command;
  command.mutable_member_in_sync()->set_server(target);
  command.mutable_member_in_sync()->set_incarnation(incarnation);
  auto* event = command.add_events();
  event->set_kind("in-sync");
  event->set_server(target);
  event->set_text(target + " has everything that was announced, from hints");
  auto outcome = co_await proposer_->propose(std::move(command));
  if (!outcome) log_info(target + " is not in sync: " + outcome.error().to_string());
  failover_->facts_changed();
}

}  // namespace understudy
