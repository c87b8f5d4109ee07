#include "nm/resync.h"

#include <set>

#include "common/base/chunk_list.h"
#include "common/base/log.h"
#include "common/base/recovered.h"
#include "nm/catalogue_db.h"
#include "nm/replication_worker.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

constexpr size_t kPartitionsAtOnce = 64;
constexpr uint32_t kFilesInPage = 2000;
constexpr int kJobsInCommand = 1000;
constexpr uint64_t kFetchBytes = 4 << 20;
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

// Its content does not travel with the record.
bool is_big(const wire::VersionRecord& record) {
  return record.chunks_size() > 0 && record.inline_content().empty();
}

// The primary may just be getting its lease, or be giving it away: to be tried again.
bool is_passing(Code code) {
  return code == Code::kUnavailable || code == Code::kMoved || code == Code::kStaleEpoch;
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
               ReplicationWorker* worker)
    : env_(env), target_(std::move(target)), catalogue_(catalogue), proposer_(proposer), links_(links), worker_(worker) {}

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
    CO_RETURN_IF_ERROR(co_await end_waiting(source));
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
  struct Ahead {
    FileId file;
    Version keep, newest;
    Version head;  // Of the source.
  };
  std::vector<Ahead> ahead, split;  // The file stood still here meanwhile; or it did not.
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
      const bool changed = target_view.deleted || (plan.job && (source_view.deleted || !plan.keep));
      const Version head = plan.job ? source_view.head : plan.keep;
      (changed ? split : ahead).push_back({FileId{id}, plan.keep, target_view.head, head});
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
  std::map<uint64_t, Version> rescued;
  for (const Ahead& file : ahead) {
    CO_ASSIGN_OR_RETURN(bool unchanged, co_await only_checkpoints(source, file.file, file.keep, file.head));
    if (!unchanged) {
      split.push_back(file);
      continue;
    }
    auto version = co_await rescue(source, file.file, file.keep, file.newest, file.head);
    if (version) {
      rescued[number(file.file)] = *version;
    } else if (is_passing(version.error().code)) {
      co_return fail(Code::kUnavailable, version.error().message);
    } else {
      log_info("set aside without a rescue: file " + std::to_string(number(file.file)) + ", version " + file.newest.to_string() + ": " +
               version.error().to_string());
      split.push_back(file);
    }
  }
  for (const Ahead& file : split) {
    auto kept = co_await keep_at(source, file.file, file.keep, file.newest);
    if (kept) continue;
    if (is_passing(kept.error().code)) co_return fail(Code::kUnavailable, kept.error().message);
    log_warning("kept on " + target_ + " only: " + kept.error().to_string());
  }
  co_return co_await settle(std::move(aside), std::move(diverged), std::move(jobs), std::move(rescued));
}

// A CHECKPOINT of what both have gives the old content a newer number: the file stood still all the same.
Task<Result<bool>> Resync::only_checkpoints(std::string server, FileId file, Version keep, Version newest) {
  Version fetched_to = keep;
  while (fetched_to != newest) {
    wire::FetchRequest fetch;
    fetch.set_bytes_max(kFetchBytes);
    auto* item = fetch.add_items();
    item->set_file_id(number(file));
    to_wire(fetched_to, item->mutable_from());
    to_wire(newest, item->mutable_to());
    CO_ASSIGN_OR_RETURN(auto fetched, co_await call_server<wire::FetchReply>(links_, server, wire::FETCH, fetch));
    if (fetched.files_size() != 1 || fetched.files(0).versions_size() == 0) co_return false;
    for (const auto& record : fetched.files(0).versions()) {
      if (record.kind() != wire::CHANGE_CHECKPOINT) co_return false;
      fetched_to = from_wire(record.version());
    }
  }
  co_return true;
}

// What only the target has, again as versions of the acting primary, compare-and-set on
// what both have, each under the request that made it: so a client that repeats one of
// them still gets one answer, and each checkpoint names what it named. Of those behind
// the newest only the small ones come. Nobody reads them before the newest is there:
// an older content would have a newer number than what a session saw.
Task<Result<Version>> Resync::rescue(std::string source, FileId file, Version keep, Version newest, Version head) {
  auto node = catalogue_->node(file);
  if (!node || node->kind != NodeKind::kFile || node->state == NodeState::kDeleting) {
    co_return fail(Code::kNotFound, "no such file any more");
  }
  Version fetched_to = keep;
  std::map<Version, Version> came;  // As which version; none: it was left out.
  bool left_out = false;  // The content before: a checkpoint of it would name another one.
  while (fetched_to != newest) {
    wire::FetchRequest fetch;
    fetch.set_bytes_max(kFetchBytes);
    auto* item = fetch.add_items();
    item->set_file_id(number(file));
    to_wire(fetched_to, item->mutable_from());
    to_wire(newest, item->mutable_to());
    auto fetched = co_await call_server<wire::FetchReply>(links_, target_, wire::FETCH, fetch);
    if (!fetched) co_return std::unexpected(fetched.error());
    if (fetched->files_size() != 1 || fetched->files(0).versions_size() == 0) {
      co_return fail(Code::kConflict, "what only " + target_ + " has cannot be fetched");
    }
    for (auto& record : *fetched->mutable_files(0)->mutable_versions()) {
      fetched_to = from_wire(record.version());
      const bool checkpoint = record.kind() == wire::CHANGE_CHECKPOINT;
      const bool tag_only = checkpoint && !left_out;
      if (fetched_to != newest && !tag_only && (checkpoint || is_big(record))) {
        left_out = true;
        came[fetched_to] = {};
        continue;
      }
      // It stays what it was, where the content that it goes back to is known by a number here.
      if (auto target = came.find(from_wire(record.undo_target())); target != came.end() && !tag_only) {
        if (target->second) {
          to_wire(target->second, record.mutable_undo_target());
        } else {
          record.set_kind(wire::CHANGE_PUT);
        }
      }
      if (left_out && record.kind() == wire::CHANGE_APPEND) record.set_kind(wire::CHANGE_PUT);
      auto bringing = tag_only ? bring_checkpoint(source, *node, head, std::move(record))
                               : bring(source, *node, head, std::move(record), fetched_to != newest);
      auto brought = co_await bringing;
      if (!brought && tag_only && brought.error().code == Code::kExists) continue;
      if (!brought) co_return brought;
      left_out = false;
      head = *brought;
      if (!tag_only) came[fetched_to] = head;
    }
  }
  co_return head;
}

Task<Result<Version>> Resync::bring_checkpoint(std::string source, Node node, Version expected,
                                               wire::VersionRecord record) {
  const Pair* pair = catalogue_->pair(node.pair);
  std::shared_ptr<Peer> primary = links_->peer(source);
  if (pair == nullptr || !primary) co_return fail(Code::kUnavailable, source + " is not connected");
  wire::CheckpointRequest request;
  request.set_file_id(number(node.id));
  request.set_epoch(number(pair->epoch));
  *request.mutable_request() = record.request();
  *request.mutable_name() = short_name_record(*catalogue_, node);
  request.set_user(record.user());
  request.set_tag(record.tag());
  to_wire(expected, request.mutable_expected());
  auto done = co_await call<wire::VersionReply>(primary.get(), wire::CHECKPOINT, request, kServerCallTimeout);
  if (!done) co_return std::unexpected(done.error());
  co_return from_wire(done->version());
}

Task<Result<Version>> Resync::bring(std::string source, Node node, Version expected, wire::VersionRecord record,
                                    bool more_follow) {
  const Pair* pair = catalogue_->pair(node.pair);
  std::shared_ptr<Peer> primary = links_->peer(source);
  if (pair == nullptr || !primary) co_return fail(Code::kUnavailable, source + " is not connected");
  uint64_t epoch = number(pair->epoch);
  auto describe = [&](auto& change) {
    change.set_file_id(number(node.id));
    change.set_epoch(epoch);
    *change.mutable_request() = record.request();
    *change.mutable_name() = short_name_record(*catalogue_, node);
    change.set_mode(record.mode());
    change.set_modified_us(record.modified_us());
    change.set_user(record.user());
    change.set_exclusive(!expected);
    if (expected) to_wire(expected, change.mutable_expected());
  };
  if (!is_big(record)) {
    wire::PutRequest put;
    describe(put);
    put.set_more_follow(more_follow);
    put.mutable_brought()->set_kind(record.kind());
    *put.mutable_brought()->mutable_undo_target() = record.undo_target();
    put.mutable_brought()->set_tag(record.tag());
    auto done = co_await call<wire::VersionReply>(primary.get(), wire::PUT, put, kServerCallTimeout,
                                                  record.inline_content());
    if (!done) co_return std::unexpected(done.error());
    co_return from_wire(done->version());
  }
  uint64_t upload_id = env_.random.next();
  CO_ASSIGN_OR_RETURN(uint64_t staged, co_await stage_all(source, node.id, epoch, upload_id, record));
  wire::CommitRequest commit;
  describe(commit);
  commit.set_upload_id(upload_id);
  commit.set_chunk_count(staged);
  commit.set_size_bytes(record.size_bytes());
  auto done = co_await call<wire::VersionReply>(primary.get(), wire::COMMIT, commit, kServerCallTimeout);
  if (!done) co_return std::unexpected(done.error());
  co_return from_wire(done->version());
}

// A chunk of the target's, or all that a list chunk names, staged at the acting primary from stage.index() on.
// The index behind the last.
Task<Result<uint64_t>> Resync::stage_chunks(std::string source, wire::StageRequest stage, wire::VersionNumber version,
                                            Bytes hash, uint32_t level) {
  wire::FetchChunkRequest ask;
  ask.set_file_id(stage.file_id());
  ask.set_hash(hash);
  *ask.mutable_version() = version;
  std::shared_ptr<Peer> target = links_->peer(target_);
  if (!target) co_return fail(Code::kUnavailable, target_ + " is not connected");
  auto chunk = co_await target->call(wire::FETCH_CHUNK, ask.SerializeAsString(), {}, kServerCallTimeout);
  if (!chunk) co_return std::unexpected(chunk.error());
  target.reset();
  if (level > 0) {
    CO_ASSIGN_OR_RETURN(ChunkRefs below, parse_list(chunk->body, level - 1));
    for (const auto& ref : below) {
      CO_ASSIGN_OR_RETURN(uint64_t staged, co_await stage_chunks(source, stage, version, Bytes(ref.hash.view()), level - 1));
      stage.set_index(staged);
    }
    co_return stage.index();
  }
  std::shared_ptr<Peer> primary = links_->peer(source);
  if (!primary) co_return fail(Code::kUnavailable, source + " is not connected");
  auto staged = co_await primary->call(wire::STAGE, stage.SerializeAsString(), std::move(chunk->body), kServerCallTimeout);
  if (!staged) co_return std::unexpected(staged.error());
  co_return stage.index() + 1;
}

Task<Result<uint64_t>> Resync::stage_all(std::string source, FileId file, uint64_t epoch, uint64_t upload_id, wire::VersionRecord record) {
  wire::StageRequest stage;
  stage.set_file_id(number(file));
  stage.set_epoch(epoch);
  stage.set_upload_id(upload_id);
  for (const auto& chunk : record.chunks()) {
    CO_ASSIGN_OR_RETURN(uint64_t staged, co_await stage_chunks(source, stage, record.version(), chunk.hash(), record.list_level()));
    stage.set_index(staged);
  }
  co_return stage.index();
}

// Not in the line of the head: nobody sees them who does not ask for one by its number or name.
Task<Status> Resync::keep_at(std::string source, FileId file, Version keep, Version newest) {
  const Server* server = catalogue_->server(target_);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr) co_return fail(Code::kInternal, target_ + " has no pair");
  const uint64_t epoch = number(pair->epoch);
  Version fetched_to = keep;
  while (fetched_to != newest) {
    wire::FetchRequest fetch;
    fetch.set_bytes_max(kFetchBytes);
    auto* item = fetch.add_items();
    item->set_file_id(number(file));
    to_wire(fetched_to, item->mutable_from());
    to_wire(newest, item->mutable_to());
    auto fetched = co_await call_server<wire::FetchReply>(links_, target_, wire::FETCH, fetch);
    if (!fetched) co_return std::unexpected(fetched.error());
    if (fetched->files_size() != 1 || fetched->files(0).versions_size() == 0) {
      co_return fail(Code::kConflict, "what only " + target_ + " has cannot be fetched");
    }
    wire::KeepAsideRequest request;
    request.set_epoch(epoch);
    KeptAs named;
    for (auto& record : *fetched->mutable_files(0)->mutable_versions()) {
      fetched_to = from_wire(record.version());
      if (record.kind() == wire::CHANGE_DELETE) continue;
      // One with lists of chunks (gigabytes) stays where it is: set aside there, readable by its number.
      if (record.list_level() > 0) continue;
      if (is_big(record)) {
        auto staged = co_await stage_all(source, file, epoch, env_.random.next() | 1, record);
        if (!staged) co_return std::unexpected(staged.error());
      }
      if (record.kind() != wire::CHANGE_CHECKPOINT) named[{file, fetched_to}] = recovered_tag(record.time_us(), fetched_to);
      *request.add_versions() = std::move(record);
    }
    auto kept = co_await call_server<wire::KeepAsideReply>(links_, source, wire::KEEP_ASIDE, request);
    if (!kept) co_return std::unexpected(kept.error());
    kept_as_.merge(named);
  }
  co_return Status{};
}

// What is to be set aside is listed first: once it is, a later comparison finds nothing.
Task<Status> Resync::settle(wire::SetAsideRequest aside, std::map<uint64_t, wire::SetAsideDone> diverged,
                            wire::Command jobs, std::map<uint64_t, Version> rescued) {
  if (aside.items_size() > 0) {
    for (auto& item : *aside.mutable_items()) item.set_rescued(rescued.contains(item.file_id()));
    wire::Command listed;
    listed.mutable_add_events();
    for (const auto& [id, file] : diverged) {
      add_set_aside_events(*catalogue_, target_, file, rescued.contains(id) ? rescued[id] : Version{}, kept_as_, &listed);
    }
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
      add_set_aside_events(*catalogue_, target_, unlisted(file, diverged[file.file_id()]), rescued[file.file_id()], kept_as_, &settled);
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

// Jobs of the acting primary tell of versions that only the target had when it went. By now they
// came back or are set aside, or were lost with a disk: nothing waits for them any more.
Task<Status> Resync::end_waiting(std::string source) {
  constexpr uint32_t kJobsAtOnce = 256;
  const Server* acting = catalogue_->server(source);
  if (acting == nullptr) co_return fail(Code::kInternal, source + " is unknown");
  ServerId id = acting->id;
  uint64_t after = 0;
  while (true) {
    std::vector<Job> page = catalogue_->jobs(id, after, kJobsAtOnce);
    if (page.empty()) co_return Status{};
    after = page.back().sequence;
    wire::Command ended;
    ended.mutable_jobs_done()->set_target(source);
    for (const Job& job : page) {
      if (!job.to || job.kind == JobKind::kDelete) continue;
      auto* item = ended.mutable_jobs_done()->add_items();
      item->set_object_id(number(job.object));
      to_wire(job.to, item->mutable_to());
      item->set_newest_lsn(number(job.newest_lsn));
      item->set_bytes(job.bytes);
      CO_ASSIGN_OR_RETURN(bool here, co_await holds(source, job.object, job.to));
      CO_ASSIGN_OR_RETURN(bool there, co_await holds(target_, job.object, job.to));
      if (here || there) continue;
      auto path = catalogue_->path_of(job.object);
      auto* event = ended.add_events();
      event->set_kind("lost");
      event->set_server(target_);
      event->set_file_id(number(job.object));
      event->set_path(path ? *path : "");
      to_wire(job.to, event->mutable_version());
      event->set_text(event->path() + ": version " + job.to.to_string() + " was only on the earlier disk of " + target_ +
                      ", and is lost with it");
    }
    if (ended.jobs_done().items_size() == 0) continue;
    auto outcome = co_await proposer_->propose(std::move(ended));
    if (!outcome) co_return std::unexpected(outcome.error());
  }
}

Task<Result<bool>> Resync::holds(std::string server, FileId file, Version version) {
  constexpr int kRecentMax = 64;  // Beyond, who holds the newest is taken to hold it.
  wire::MemberStatRequest ask;
  ask.set_file_id(number(file));
  auto stat = co_await call_server<wire::MemberStatReply>(links_, server, wire::MEMBER_STAT, ask);
  if (!stat) co_return std::unexpected(stat.error());
  auto is_it = [&](const auto& one) { return from_wire(one) == version; };
  co_return is_it(stat->head()) || stat->recent_size() >= kRecentMax || std::ranges::any_of(stat->recent(), is_it) ||
      std::ranges::any_of(stat->divergent(), is_it);
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
