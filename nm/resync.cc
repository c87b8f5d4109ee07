#include "nm/resync.h"

#include <set>

#include "common/base/log.h"
#include "nm/catalogue_db.h"
#include "nm/lost_versions.h"
#include "nm/replication_worker.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

constexpr size_t kPartitionsAtOnce = 64;
constexpr uint32_t kFilesInPage = 2000;
constexpr int kJobsInCommand = 1000;
constexpr auto kLookAgain = std::chrono::milliseconds(20);

// The versions of `done` that `listed` does not name.
wire::SetAsideDone unlisted(const wire::SetAsideDone& done, const wire::SetAsideDone& listed) {
  wire::SetAsideDone rest;
  rest.set_file_id(done.file_id());
  rest.set_name(done.name());
  for (const auto& version : done.versions()) {
    bool known = std::ranges::any_of(listed.versions(), [&](auto& one) { return from_wire(one) == from_wire(version); });
    if (!known) *rest.add_versions() = version;
  }
  return rest;
}

HalfView view_of(const std::map<uint64_t, wire::FileDigest>& files, uint64_t id) {
  auto at = files.find(id);
  return at == files.end() ? HalfView{} : half_view(at->second);
}

// While it lives, no job is carried to the target: its heads are being set.
struct Paused {
  ReplicationWorker* worker;
  explicit Paused(ReplicationWorker* w) : worker(w) { worker->pause(true); }
  Paused(const Paused&) = delete;
  Paused& operator=(const Paused&) = delete;
  ~Paused() { worker->pause(false); }
};

}  // namespace

Resync::Resync(Env& env, std::string target, Catalogue* catalogue, Proposer* proposer, ServerLinks* links,
               Rescue::WorkerOf worker_of)
    : env_(env),
      target_(std::move(target)),
      catalogue_(catalogue),
      proposer_(proposer),
      links_(links),
      worker_(worker_of(target_)),
      rescue_(target_, catalogue, links, worker_of) {}

Task<Status> Resync::run() {
  const Server* server = catalogue_->server(target_);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  const Server* acting = pair == nullptr ? nullptr : catalogue_->server(pair->acting);
  if (acting == nullptr || acting->name == target_) co_return fail(Code::kUnavailable, "nobody to compare with");
  std::string source = acting->name;
  incarnation_ = server->incarnation;
  uint64_t last_sequence = 0;
  {
    Paused paused(worker_);
    co_await worker_->idle();
    CO_RETURN_IF_ERROR(co_await compare(source));
    CO_RETURN_IF_ERROR(co_await rescue_.even_out(source));
    CO_RETURN_IF_ERROR(co_await settle_lost(catalogue_, proposer_, links_, source, target_, /*gone=*/false));
    worker_->set_compared(true);
    last_sequence = catalogue_->last_job_sequence();
  }
  co_return co_await until_jobs_done(last_sequence);
}

Task<Status> Resync::compare(std::string source) {
  // Everything that the source has committed is announced, and so queued, first:
  // the comparison then finds only what the queue cannot know.
  auto flushed = co_await call_server<wire::FlushReply>(links_, source, wire::FLUSH, wire::FlushRequest());
  if (!flushed) co_return std::unexpected(flushed.error());
  auto here = co_await call_server<wire::DigestReply>(links_, source, wire::DIGEST, wire::DigestRequest());
  if (!here) co_return std::unexpected(here.error());
  auto there = co_await call_server<wire::DigestReply>(links_, target_, wire::DIGEST, wire::DigestRequest());
  if (!there) co_return std::unexpected(there.error());
  if (here->partitions_size() != kPartitions || there->partitions_size() != kPartitions) {
    co_return fail(Code::kInternal, "a digest without its partitions");
  }
  std::vector<uint32_t> differing;
  for (uint32_t i = 0; i < kPartitions; ++i) {
    int at = static_cast<int>(i);
    if (here->partitions(at) != there->partitions(at)) differing.push_back(i);
  }
  log_info("resync of " + target_ + ": " + std::to_string(differing.size()) + " partitions differ");
  for (size_t at = 0; at < differing.size(); at += kPartitionsAtOnce) {
    size_t end = std::min(differing.size(), at + kPartitionsAtOnce);
    std::vector<uint32_t> some(differing.begin() + static_cast<long>(at), differing.begin() + static_cast<long>(end));
    CO_RETURN_IF_ERROR(co_await compare_partitions(source, std::move(some)));
  }
  co_return Status{};
}

Task<Result<std::map<uint64_t, wire::FileDigest>>> Resync::list(std::string server, std::vector<uint32_t> partitions) {
  std::map<uint64_t, wire::FileDigest> files;
  wire::ListPartitionRequest request;
  for (uint32_t partition : partitions) request.add_partitions(partition);
  request.set_limit(kFilesInPage);
  while (true) {
    auto page = co_await call_server<wire::ListPartitionReply>(links_, server, wire::LIST_PARTITION, request);
    if (!page) co_return std::unexpected(page.error());
    for (auto& file : *page->mutable_files()) {
      request.set_after_file_id(file.file_id());
      uint64_t id = file.file_id();
      files[id] = std::move(file);
    }
    if (!page->more() || page->files_size() == 0) co_return files;
  }
}

Task<Status> Resync::compare_partitions(std::string source, std::vector<uint32_t> partitions) {
  // The target first: versions go from the source to it, also while they are listed (of sync writes), so
  // what it showed is in the source's line by then, if it came from there.
  auto there = co_await list(target_, partitions);
  if (!there) co_return std::unexpected(there.error());
  auto here = co_await list(source, partitions);
  if (!here) co_return std::unexpected(here.error());

  const Server* server = catalogue_->server(target_);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr) co_return fail(Code::kInternal, target_ + " has no pair");
  wire::SetAsideRequest aside;
  aside.set_epoch(number(pair->epoch));
  const ServerId target = server->id;
  wire::Command jobs;
  jobs.mutable_add_jobs()->set_target(target_);
  std::vector<Rescue::Ahead> ahead;
  std::map<uint64_t, wire::SetAsideDone> diverged;  // As far as the views name versions.
  auto one = [&](uint64_t id, const HalfView& source_view, const HalfView& target_view, const HalvesPlan& plan) {
    if (plan.set_aside) {
      auto* item = aside.add_items();
      item->set_file_id(id);
      to_wire(plan.keep, item->mutable_keep());
      wire::SetAsideDone& known = diverged[id];
      known.set_file_id(id);
      to_wire(target_view.head, known.add_versions());
      for (const Version& version : target_view.ancestors) {
        if (version == plan.keep) break;
        to_wire(version, known.add_versions());
      }
      ahead.push_back({FileId{id}, plan.keep, target_view.head, plan.job ? source_view.head : plan.keep});
    }
    if (!plan.job && !plan.metadata) return;
    auto* job = jobs.mutable_add_jobs()->add_items();
    job->set_object_id(id);
    job->set_kind(source_view.deleted ? wire::JOB_DELETE : wire::JOB_SYNC);
    if (plan.job) {
      to_wire(plan.from, job->mutable_from());
      to_wire(plan.to, job->mutable_to());
      // What was announced is queued with its bytes.
      auto node = catalogue_->node(FileId{id});
      if (node && !source_view.deleted && !catalogue_->job(target, FileId{id})) job->set_bytes(node->size_bytes);
    }
    if (plan.metadata) job->set_meta_version(source_view.meta_version);
  };
  std::set<uint64_t> ids;
  for (const auto& [id, file] : *here) ids.insert(id);
  for (const auto& [id, file] : *there) ids.insert(id);
  uint32_t looked_at = 0;
  for (uint64_t id : ids) {
    if (++looked_at % kFilesInPage == 0) {
      auto others = yield_now(env_);
      co_await others;
    }
    HalfView source_view = view_of(*here, id), target_view = view_of(*there, id);
    // A deletion that the log has stands, although the acting primary is yet to hear of it.
    if (target_view.deleted && !catalogue_->node(FileId{id})) continue;
    one(id, source_view, target_view, compare_halves(source_view, target_view));
  }
  for (const auto& file : ahead) {
    Status back = co_await rescue_.bring_back(source, file);
    if (back) continue;
    if (back.error().code == Code::kUnavailable) co_return back;
    log_warning("kept on " + target_ + " only: " + back.error().to_string());
  }
  co_return co_await settle(std::move(aside), std::move(diverged), std::move(jobs));
}

// What is to be set aside is listed first: once it is, a later comparison finds nothing.
Task<Status> Resync::settle(wire::SetAsideRequest aside, std::map<uint64_t, wire::SetAsideDone> diverged,
                            wire::Command jobs) {
  if (aside.items_size() > 0) {
    for (auto& item : *aside.mutable_items()) {
      const FileId file{item.file_id()};
      auto fate = rescue_.fates().lower_bound({file, Version{}});
      for (; fate != rescue_.fates().end() && fate->first.first == file; ++fate) {
        if (fate->second.as) to_wire(fate->first.second, item.add_came());
      }
    }
    wire::Command listed;
    listed.mutable_add_events();
    for (const auto& [id, file] : diverged) add_set_aside_events(*catalogue_, target_, file, rescue_.fates(), &listed);
    auto noted = co_await proposer_->propose(std::move(listed));
    if (!noted) co_return std::unexpected(noted.error());
    auto done = co_await call_server<wire::SetAsideReply>(links_, target_, wire::SET_ASIDE, aside);
    if (!done) co_return std::unexpected(done.error());
    const Server* server = catalogue_->server(target_);
    const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
    const Server* acting = pair == nullptr ? nullptr : catalogue_->server(pair->acting);
    // The acting primary never gets what was set aside, so nothing waits for it any more.
    wire::Command settled;
    if (acting != nullptr) settled.mutable_jobs_done()->set_target(acting->name);
    for (const auto& file : done->files()) {
      FileId id{file.file_id()};
      add_set_aside_events(*catalogue_, target_, unlisted(file, diverged[file.file_id()]), rescue_.fates(), &settled);
      auto job = acting == nullptr ? std::nullopt : catalogue_->job(acting->id, id);
      if (job && job->to) {
        auto* item = settled.mutable_jobs_done()->add_items();
        item->set_object_id(file.file_id());
        to_wire(job->to, item->mutable_to());
        item->set_newest_lsn(number(job->newest_lsn));
        item->set_bytes(job->bytes);
      }
    }
    if (settled.jobs_done().items_size() == 0) settled.mutable_add_events();
    auto outcome = co_await proposer_->propose(std::move(settled));
    if (!outcome) co_return std::unexpected(outcome.error());
  }
  // In pieces: a million jobs in one command would be more than the log takes, and hold everybody up.
  auto& items = *jobs.mutable_add_jobs()->mutable_items();
  for (int at = 0; at < items.size(); at += kJobsInCommand) {
    wire::Command some;
    some.mutable_add_jobs()->set_target(target_);
    for (int i = at; i < std::min(items.size(), at + kJobsInCommand); ++i) some.mutable_add_jobs()->add_items()->Swap(&items[i]);
    auto outcome = co_await proposer_->propose(std::move(some));
    if (!outcome) co_return std::unexpected(outcome.error());
  }
  co_return Status{};
}

std::optional<Duration> ResyncProgress::time_left(Instant now) const {
  const auto since = static_cast<double>((now - began).count());
  auto at_pace = [&](uint64_t total, uint64_t left) {
    const uint64_t done = total - std::min(total, left);
    return done == 0 ? 0.0 : since * static_cast<double>(left) / static_cast<double>(done);
  };
  const bool moved = files_left < files_total || bytes_left < bytes_total;
  if (files_left > 0 && !moved) return std::nullopt;
  return Duration(static_cast<int64_t>(std::max(at_pace(files_total, files_left), at_pace(bytes_total, bytes_left))));
}

Task<Status> Resync::until_jobs_done(uint64_t last_sequence) {
  progress_.began = env_.clock.now();
  while (true) {
    const Server* server = catalogue_->server(target_);
    // A new start of it is compared anew, and gets nothing before.
    bool same = server != nullptr && server->incarnation == incarnation_;
    if (!same || server->failed || !links_->peer(target_)) {
      co_return fail(Code::kUnavailable, target_ + " went away during its resync");
    }
    const Lag lag = catalogue_->lag(server->id);
    progress_.files_left = lag.jobs;
    progress_.bytes_total = std::max(progress_.bytes_total, lag.bytes);
    progress_.bytes_left = lag.bytes - std::min(lag.bytes, worker_->carried_bytes());
    progress_.files_total = std::max(progress_.files_total, progress_.files_left);
    auto oldest = catalogue_->jobs(server->id, 0, 1);
    if (oldest.empty() || oldest.front().sequence > last_sequence) co_return Status{};
    auto pause = sleep_for(env_, kLookAgain);
    co_await pause;
  }
}

}  // namespace understudy
