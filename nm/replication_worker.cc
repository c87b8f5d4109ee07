#include "nm/replication_worker.h"

#include <algorithm>

#include "common/base/log.h"
#include "nm/catalogue_db.h"
#include "nm/hand_off.h"
#include "nm/server_calls.h"
#include "common/wire/durability.pb.h"

namespace understudy {
namespace {

constexpr uint32_t kJobsInBatch = 256;
constexpr uint64_t kBatchBytes = 4 << 20;
constexpr size_t kBatchesAtOnce = 2;
constexpr size_t kChunksAtOnce = 16;
constexpr size_t kListsAtOnce = 2;
constexpr auto kDirectAgainAfter = std::chrono::seconds(5);
constexpr size_t kHashesAtOnce = 4096;
constexpr auto kRetryAfter = std::chrono::milliseconds(200);

}  // namespace

ReplicationWorker::ReplicationWorker(Env& env, std::string target, Catalogue* catalogue, Proposer* proposer,
                                     ServerLinks* links, HandOff* hand_off, bool direct)
    : env_(env),
      target_(std::move(target)),
      catalogue_(catalogue),
      proposer_(proposer),
      links_(links),
      hand_off_(hand_off),
      direct_(direct),
      changed_(env.executor),
      finished_(env.executor),
      tasks_(env.executor) {}

void ReplicationWorker::wake() {
  woken_ = true;
  changed_.notify_all();
}

void ReplicationWorker::pause(bool paused) {
  paused_ += paused ? 1 : -1;
  if (paused_ == 0) wake();
}

Task<void> ReplicationWorker::idle() {
  while (batches_ > 0) {
    auto finished = finished_.wait();
    co_await finished;
  }
}

Task<void> ReplicationWorker::run() {
  while (true) {
    while (!woken_ || paused_ > 0 || batches_ >= kBatchesAtOnce || !links_->peer(target_)) {
      auto changed = changed_.wait();
      co_await changed;
    }
    woken_ = false;
    std::vector<Job> batch = take_batch();
    if (batch.empty()) continue;
    for (const Job& job : batch) under_way_.insert(job.object);
    ++batches_;
    woken_ = true;  // There may be more behind this batch.
    tasks_.spawn(carry(std::move(batch)));
  }
}

// The next jobs in order that no batch has, marked as under way by the caller.
std::vector<Job> ReplicationWorker::take_batch() {
  std::vector<Job> batch;
  const Server* server = catalogue_->server(target_);
  if (server == nullptr) return batch;
  bool target_acts = acting_half() == target_;
  bool names_only = !server->in_sync && !compared_;
  uint64_t bytes = 0;
  uint64_t after = 0;
  while (true) {
    // Only the other half has the versions, and its return settles them; or the target is
    // yet to be compared. There may be a million such jobs, and they are not looked at.
    std::vector<Job> page = names_only || target_acts ? catalogue_->jobs_of_names(server->id, after, kJobsInBatch)
                                                      : catalogue_->jobs(server->id, after, kJobsInBatch);
    if (page.empty()) return batch;
    after = page.back().sequence;
    for (Job& job : page) {
      if (under_way_.contains(job.object)) continue;
      if (job.to && (names_only || (target_acts && job.kind != JobKind::kDelete))) {
        // The row stays; the name that goes with it can be brought.
        if (job.meta_version == 0) continue;
        job.to = Version{};
      }
      if (!batch.empty() && bytes + job.bytes > kBatchBytes) return batch;
      bytes += job.bytes;
      batch.push_back(std::move(job));
      if (batch.size() == kJobsInBatch) return batch;
    }
  }
}

std::string ReplicationWorker::acting_half() const {
  const Server* server = catalogue_->server(target_);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  const Server* acting = pair == nullptr ? nullptr : catalogue_->server(pair->acting);
  return acting == nullptr ? "" : acting->name;
}

Task<void> ReplicationWorker::carry(std::vector<Job> jobs) {
  std::string source = acting_half();
  std::vector<Job> names, versions;
  for (const Job& job : jobs) {
    if (job.meta_version != 0) names.push_back(job);
    if (job.to) versions.push_back(job);
  }
  bool ok = true;
  if (!names.empty()) ok = (co_await carry_names(std::move(names))).has_value();
  if (ok && source == target_) {
    // What the log says is gone is gone here too, also if only the other half knew.
    for (const Job& job : versions) {
      Status removed = co_await remove_at_primary(job);
      if (removed) done(job);
      ok = ok && removed;
    }
  } else if (ok && !versions.empty()) {
    auto rest = co_await carry_hinted(versions);
    ok = rest.has_value() && (rest->empty() || co_await carry_versions(source, *rest));
  }
  if (ok) {
    for (const Job& job : jobs) {
      if (!job.to) done(job);
    }
  }
  co_await commit_done();
  for (const Job& job : jobs) under_way_.erase(job.object);
  if (!ok) {
    // A half went away, or refused: its return wakes us too.
    auto pause = sleep_for(env_, kRetryAfter);
    co_await pause;
  }
  if (--batches_ == 0) carried_bytes_ = 0;
  finished_.notify_all();
  wake();
}

wire::JobDone ReplicationWorker::as_done(const Job& job) {
  wire::JobDone item;
  item.set_object_id(number(job.object));
  to_wire(job.to, item.mutable_to());
  item.set_meta_version(job.meta_version);
  item.set_newest_lsn(number(job.newest_lsn));
  item.set_bytes(job.bytes);
  return item;
}

void ReplicationWorker::done(const Job& job, bool partial) {
  done_.push_back(as_done(job));
  done_.back().set_partial(partial);
  carried_bytes_ -= std::min(carried_bytes_, job.bytes);
}

Task<void> ReplicationWorker::commit_done() {
  if (done_.empty()) co_return;
  wire::Command command;
  auto* jobs_done = command.mutable_jobs_done();
  jobs_done->set_target(target_);
  jobs_done->set_confirmed_lsn(std::exchange(confirmed_lsn_, 0));
  for (auto& item : done_) *jobs_done->add_items() = std::move(item);
  done_.clear();
  auto outcome = co_await proposer_->propose(std::move(command));
  if (!outcome) log_warning("jobs of " + target_ + " not ended: " + outcome.error().to_string());
  finished_.notify_all();
}

Task<void> ReplicationWorker::pace(uint64_t bytes) {
  const Server* server = catalogue_->server(target_);
  if (resync_rate_ == 0 || server == nullptr || server->in_sync) co_return;
  const Instant now = env_.clock.now();
  const Instant at = std::max(next_bytes_at_, now);
  const double seconds = static_cast<double>(bytes) / static_cast<double>(resync_rate_);
  next_bytes_at_ = at + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  if (at == now) co_return;
  auto turn = sleep_for(env_, at - now);
  co_await turn;
}

Task<Status> ReplicationWorker::carry_names(std::vector<Job> jobs) {
  const Server* server = catalogue_->server(target_);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr) co_return fail(Code::kUnavailable, target_ + " is unknown");
  wire::ApplyRequest request;
  request.set_epoch(number(pair->epoch));
  for (const Job& job : jobs) {
    wire::NameRecord record;
    if (auto node = catalogue_->node(job.object)) {
      record = name_record(*catalogue_, *node);
      record.set_durability(static_cast<wire::Durability>(catalogue_->durability_set_for(node->id)));
    } else {
      // The name is gone: a record without a kind says so.
      record.set_object_id(number(job.object));
      record.set_meta_version(job.meta_version);
    }
    *request.add_items()->mutable_name() = std::move(record);
  }
  auto reply = co_await call_server<wire::ApplyReply>(links_, target_, wire::APPLY, request);
  if (!reply) co_return std::unexpected(reply.error());
  co_return Status{};
}

Task<Status> ReplicationWorker::remove_at_primary(Job job) {
  const Server* server = catalogue_->server(target_);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr) co_return fail(Code::kUnavailable, target_ + " is unknown");
  wire::DeleteFileRequest request;
  request.set_file_id(number(job.object));
  request.set_epoch(number(pair->epoch));
  const Server* other = catalogue_->server(pair->other_half(server->id));
  std::string other_name = other == nullptr ? "" : other->name;
  auto reply = co_await call_server<wire::VersionReply>(links_, target_, wire::DELETE_FILE, request);
  if (!reply) co_return reply.error().code == Code::kNotFound ? Status{} : std::unexpected(reply.error());
  if (other_name.empty()) co_return Status{};
  // The other half deleted it once, but may have been set back behind that.
  wire::Command command;
  command.mutable_add_jobs()->set_target(other_name);
  auto* item = command.mutable_add_jobs()->add_items();
  item->set_object_id(number(job.object));
  item->set_kind(wire::JOB_DELETE);
  *item->mutable_to() = reply->version();
  auto queued = co_await proposer_->propose(std::move(command));
  if (!queued) co_return std::unexpected(queued.error());
  co_return Status{};
}

// From the hint store, what it has; the others are to be fetched.
Task<Result<std::vector<Job>>> ReplicationWorker::carry_hinted(std::vector<Job> jobs) {
  const Server* server = catalogue_->server(target_);
  if (server == nullptr || catalogue_->hint_totals(server->id).hints == 0) co_return jobs;
  auto brought = co_await hand_off_->bring(target_, jobs);
  if (!brought) co_return std::unexpected(brought.error());
  std::vector<Job> rest;
  for (size_t i = 0; i < jobs.size(); ++i) {
    Version upto = (*brought)[i].upto;
    if (upto == jobs[i].to) {
      done(jobs[i]);
    } else {
      if (upto) jobs[i].from = upto;
      rest.push_back(std::move(jobs[i]));
    }
  }
  co_return rest;
}

// The direct path. `unreachable`: the target cannot fetch these from the source, nothing was done.
Task<bool> ReplicationWorker::pull_versions(std::string source, std::vector<Job> jobs, bool* unreachable) {
  const Server* server = catalogue_->server(target_);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  const Server* from = catalogue_->server(source);
  if (pair == nullptr || from == nullptr) co_return false;
  wire::PullRequest pull;
  pull.mutable_source()->set_server(from->name);
  pull.mutable_source()->set_address(from->address);
  pull.mutable_source()->set_store_id(from->store_id);
  pull.set_epoch(number(pair->epoch));
  pull.set_pair(pair->name);
  pull.set_bytes_max(kBatchBytes);
  for (const Job& job : jobs) {
    auto* item = pull.add_items();
    item->set_file_id(number(job.object));
    to_wire(job.from, item->mutable_from());
    to_wire(job.to, item->mutable_to());
  }
  auto pulled = co_await call_server<wire::PullReply>(links_, target_, wire::PULL, pull);
  if (!pulled) {
    if (!links_->peer(target_) || !links_->peer(source)) co_return false;
    // A server of an earlier version does not know the call either.
    *unreachable = true;
    if (relayed_why_.empty()) log_warning("relaying to " + target_ + " for a while: " + pulled.error().message);
    relayed_why_ = pulled.error().message;
    relay_until_ = env_.clock.now() + kDirectAgainAfter;
    co_return false;
  }
  relayed_why_.clear();
  if (pulled->files_size() != static_cast<int>(jobs.size())) co_return false;
  confirmed_lsn_ = pulled->lsn();
  bool progress = false;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const wire::PulledFile& file = pulled->files(static_cast<int>(i));
    Version upto = from_wire(file.upto());
    const bool gone = file.fetched() == wire::FetchedFile::GONE || file.fetched() == wire::FetchedFile::NOT_A_DESCENDANT;
    if (file.applied().outcome() == wire::ApplyOutcome::REFUSED) {
      log_warning(target_ + " refused a version: " + file.applied().text());
      co_return false;
    }
    if (gone || file.applied().outcome() == wire::ApplyOutcome::NOT_ON_HEAD) {
      co_await repair(source, jobs[i]);
      progress = true;
      continue;
    }
    if (!upto) continue;
    Job brought = jobs[i];
    const bool partial = upto != brought.to;
    if (partial) {
      brought.to = upto;
      brought.newest_lsn = kNoLsn;
      brought.bytes = 0;
    }
    done(brought, partial);
    progress = true;
  }
  co_return progress;
}

// False: nothing more can be done now.
Task<bool> ReplicationWorker::carry_versions(std::string source, std::vector<Job> jobs) {
  const Server* server = catalogue_->server(target_);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr) co_return false;
  uint64_t epoch = number(pair->epoch);
  // What is to come slowly comes by way of here, where it is counted.
  const bool limited = resync_rate_ != 0 && !server->in_sync;
  if (direct_ && !limited && env_.clock.now() >= relay_until_) {
    bool unreachable = false;
    bool pulled = co_await pull_versions(source, jobs, &unreachable);
    if (!unreachable) co_return pulled;
    server = catalogue_->server(target_);
    pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
    if (pair == nullptr) co_return false;
    epoch = number(pair->epoch);
  }
  wire::FetchRequest fetch;
  fetch.set_bytes_max(kBatchBytes);
  for (const Job& job : jobs) {
    auto* item = fetch.add_items();
    item->set_file_id(number(job.object));
    to_wire(job.from, item->mutable_from());
    to_wire(job.to, item->mutable_to());
  }
  auto fetched = co_await call_server<wire::FetchReply>(links_, source, wire::FETCH, fetch);
  if (!fetched) co_return false;
  if (fetched->files_size() != static_cast<int>(jobs.size())) co_return false;
  server = catalogue_->server(target_);
  pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr) co_return false;

  wire::ApplyRequest apply;
  apply.set_epoch(epoch);
  std::vector<size_t> job_of_item;
  std::vector<bool> fits(jobs.size(), false);
  std::vector<bool> broken(jobs.size(), false);
  std::vector<bool> partial(jobs.size(), false);
  for (size_t i = 0; i < jobs.size(); ++i) {
    wire::FetchedFile& file = *fetched->mutable_files(static_cast<int>(i));
    if (file.outcome() == wire::FetchedFile::NOT_YET) {
      if (file.versions_size() == 0) continue;
      // The first of many versions: the job goes on behind them, with as much to wait for as before.
      jobs[i].to = from_wire(file.versions(file.versions_size() - 1).version());
      jobs[i].newest_lsn = kNoLsn;
      jobs[i].bytes = 0;
      partial[i] = true;
    } else if (file.outcome() != wire::FetchedFile::OK) {
      broken[i] = true;
      continue;
    }
    fits[i] = true;
    for (auto& version : *file.mutable_versions()) {
      if (version.inline_content().empty() && version.chunks_size() > 0) {
        // Its chunks go first; the record itself then travels with the others.
        Status status = co_await carry_big(source, version);
        if (!status) {
          if (status.error().code == Code::kUnavailable) co_return false;
          broken[i] = true;
          fits[i] = false;
          break;
        }
      }
      *apply.add_items()->mutable_version() = std::move(version);
      job_of_item.push_back(i);
    }
  }
  if (apply.items_size() > 0) {
    co_await pace(apply.ByteSizeLong());
    auto applied = co_await call_server<wire::ApplyReply>(links_, target_, wire::APPLY, apply);
    if (!applied || applied->outcomes_size() != apply.items_size()) co_return false;
    confirmed_lsn_ = applied->lsn();
    for (int k = 0; k < applied->outcomes_size(); ++k) {
      const auto& outcome = applied->outcomes(k);
      size_t i = job_of_item[static_cast<size_t>(k)];
      if (outcome.outcome() == wire::ApplyOutcome::APPLIED || outcome.outcome() == wire::ApplyOutcome::ALREADY) continue;
      fits[i] = false;
      if (outcome.outcome() == wire::ApplyOutcome::NOT_ON_HEAD) broken[i] = true;
      if (outcome.outcome() == wire::ApplyOutcome::REFUSED) {
        log_warning(target_ + " refused a version: " + outcome.text());
        co_return false;
      }
    }
  }
  bool all = true;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (fits[i]) {
      done(jobs[i], partial[i]);
    } else if (broken[i]) {
      co_await repair(source, jobs[i]);
    } else {
      all = false;
    }
  }
  // What did not fit into this fetch is taken again with the next batch.
  co_return all || std::ranges::any_of(fits, [](bool fit) { return fit; });
}

Task<Status> ReplicationWorker::carry_big(std::string source, wire::VersionRecord version) {
  wire::FetchChunkRequest about;
  about.set_file_id(version.file_id());
  *about.mutable_version() = version.version();
  ChunkRefs top(static_cast<size_t>(version.chunks_size()));
  for (size_t i = 0; i < top.size(); ++i) {
    const auto& chunk = version.chunks(static_cast<int>(i));
    top[i] = {{}, chunk.size(), chunk.span()};
    if (!parse_chunk_hash(chunk.hash(), top[i].hash)) co_return fail(Code::kCorrupt, "a chunk without a hash");
  }
  co_return co_await carry_list(std::move(source), std::move(about), std::move(top), version.list_level());
}

// What the target lacks of the chunks in a list; a list chunk goes behind all that it
// names, so what hangs under one that the target has is there.
Task<Status> ReplicationWorker::carry_list(std::string source, wire::FetchChunkRequest about, ChunkRefs list,
                                           uint32_t level) {
  // A window of chunks: each is fetched and stored by a task of its own. Of lists few at once: each has a window
  // of its own, and all that is on its way is in memory here.
  struct Window {
    Window(Executor& executor, size_t at_once) : slots(executor, at_once), tasks(executor) {}
    Semaphore slots;
    Status status;
    TaskGroup tasks;
    static Task<void> one(Window* window, Task<Status> carry) {
      Status status = co_await carry;
      if (!status && window->status) window->status = std::move(status);
      window->slots.release(1);
    }
  };
  // A list that is older than list chunks may be long.
  for (size_t begin = 0; begin < list.size(); begin += kHashesAtOnce) {
    const size_t end = std::min(list.size(), begin + kHashesAtOnce);
    wire::MissingChunksRequest ask;
    ask.set_file_id(about.file_id());
    for (size_t i = begin; i < end; ++i) ask.add_hashes(list[i].hash.bytes.data(), list[i].hash.bytes.size());
    auto missing = co_await call_server<wire::MissingChunksReply>(links_, target_, wire::MISSING_CHUNKS, ask);
    if (!missing) co_return std::unexpected(missing.error());
    Window window(env_.executor, level == 0 ? kChunksAtOnce : level == 1 ? kListsAtOnce : 1);
    for (uint32_t index : missing->missing()) {
      if (index >= end - begin) co_return fail(Code::kInternal, "chunk index");
      co_await window.slots.acquire(1);
      if (!window.status) break;
      window.tasks.spawn(Window::one(&window, carry_chunk(source, about, list[begin + index], level)));
    }
    co_await window.tasks.join();
    if (!window.status) co_return window.status;
  }
  co_return Status{};
}

Task<Status> ReplicationWorker::carry_chunk(std::string source, wire::FetchChunkRequest about, ChunkRefInfo ref,
                                            uint32_t level) {
  const Bytes hash(ref.hash.view());
  about.set_hash(hash);
  std::shared_ptr<Peer> from = links_->peer(source);
  if (!from) co_return fail(Code::kUnavailable, source + " is not connected");
  auto chunk = co_await from->call(wire::FETCH_CHUNK, about.SerializeAsString(), {}, kServerCallTimeout);
  if (!chunk) co_return std::unexpected(chunk.error());
  from.reset();
  if (level > 0) {
    CO_ASSIGN_OR_RETURN(ChunkRefs below, parse_list(chunk->body, level - 1));
    CO_RETURN_IF_ERROR(co_await carry_list(source, about, std::move(below), level - 1));
  }
  const uint64_t size = chunk->body.size();
  co_await pace(size);
  std::shared_ptr<Peer> to = links_->peer(target_);
  if (!to) co_return fail(Code::kUnavailable, target_ + " is not connected");
  wire::StoreChunkRequest store;
  store.set_file_id(about.file_id());
  store.set_hash(hash);
  auto stored = co_await to->call(wire::STORE_CHUNK, store.SerializeAsString(), std::move(chunk->body),
                                  kServerCallTimeout);
  if (!stored) co_return std::unexpected(stored.error());
  carried_bytes_ += size;
  co_return Status{};
}

// A job that does not fit what its halves hold: look at both, and queue what is
// really missing. The head of a half that is not acting goes back if it diverged.
Task<void> ReplicationWorker::repair(std::string source, Job job) {
  wire::MemberStatRequest ask;
  ask.set_file_id(number(job.object));
  auto here = co_await call_server<wire::MemberStatReply>(links_, source, wire::MEMBER_STAT, ask);
  if (!here) co_return;
  auto there = co_await call_server<wire::MemberStatReply>(links_, target_, wire::MEMBER_STAT, ask);
  if (!there) co_return;
  HalvesPlan plan = compare_halves(half_view(*here), half_view(*there));
  if (plan.set_aside) {
    const Server* server = catalogue_->server(target_);
    const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
    if (pair == nullptr) co_return;
    wire::SetAsideRequest aside;
    aside.set_epoch(number(pair->epoch));
    auto* item = aside.add_items();
    item->set_file_id(number(job.object));
    to_wire(plan.keep, item->mutable_keep());
    auto reply = co_await call_server<wire::SetAsideReply>(links_, target_, wire::SET_ASIDE, aside);
    if (!reply) co_return;
    wire::Command told;
    told.mutable_add_events();
    for (const auto& file : reply->files()) add_set_aside_events(*catalogue_, target_, file, {}, {}, &told);
    (void)co_await proposer_->propose(std::move(told));
  }
  if (!plan.job && !plan.metadata) {
    done(job);
    co_return;
  }
  if (!plan.set_aside && !plan.metadata && plan.from == job.from && plan.to == job.to) {
    // The job was right; what it needs cannot be had now (a damaged chunk, say). It
    // stays, and is tried again, but not in a circle.
    log_warning("the versions of " + std::to_string(number(job.object)) + " cannot be brought to " + target_ + " now");
    auto pause = sleep_for(env_, kRetryAfter);
    co_await pause;
    co_return;
  }
  // In one step: without a job, the target would count as having everything.
  wire::Command command;
  auto* add = command.mutable_add_jobs();
  add->set_target(target_);
  *add->add_done() = as_done(job);
  auto* fresh = add->add_items();
  fresh->set_object_id(number(job.object));
  fresh->set_kind(here->deleted() ? wire::JOB_DELETE : wire::JOB_SYNC);
  if (plan.job) {
    to_wire(plan.from, fresh->mutable_from());
    to_wire(plan.to, fresh->mutable_to());
  }
  if (plan.metadata) fresh->set_meta_version(half_view(*here).meta_version);
  (void)co_await proposer_->propose(std::move(command));
}

}  // namespace understudy
