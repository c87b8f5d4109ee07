#include "nm/hand_off.h"

#include <algorithm>

#include "common/base/chunk_list.h"
#include "common/base/log.h"
#include "nm/catalogue_db.h"
#include "nm/hint_store.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

constexpr uint64_t kBytesAtOnce = 4 << 20;
constexpr uint32_t kJobsAtOnce = 256;

bool taken(const wire::ApplyOutcome& outcome) {
  return outcome.outcome() == wire::ApplyOutcome::APPLIED || outcome.outcome() == wire::ApplyOutcome::ALREADY;
}

}  // namespace

// The hints of a job from what the target has on, without a gap.
std::vector<Hint> HandOff::chain(ServerId target, const Job& job) {
  std::vector<Hint> usable;
  Version behind = job.from;
  for (const Hint& hint : catalogue_->hints(target, job.object)) {
    if (hint.version <= behind) continue;
    if (hint.parent != behind || hint.name_node != name_node_ || hint.version > job.to) break;
    behind = hint.version;
    usable.push_back(hint);
  }
  return usable;
}

Task<Result<std::vector<HandOff::Done>>> HandOff::bring(std::string target, std::vector<Job> jobs) {
  const Server* server = catalogue_->server(target);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr) co_return fail(Code::kUnavailable, target + " is unknown");
  std::vector<Done> done(jobs.size());
  std::vector<Wanted> wanted;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (!jobs[i].to || jobs[i].kind == JobKind::kDelete) continue;
    for (const Hint& hint : chain(server->id, jobs[i])) wanted.push_back({i, hint});
  }
  const std::string pair_name = pair->name;
  const uint64_t epoch = number(pair->epoch);
  for (size_t at = 0; at < wanted.size();) {
    wire::ApplyRequest apply;
    apply.set_epoch(epoch);
    apply.set_pair(pair_name);
    std::vector<Wanted> sent;
    uint64_t bytes = 0;
    for (; at < wanted.size() && bytes < kBytesAtOnce; ++at) {
      const Wanted one = wanted[at];
      if (done[one.job].diverged) continue;
      auto hint = co_await store_->version(one.hint.sync, one.hint.lsn);
      if (hint && hint->version().inline_content().empty() && hint->version().chunks_size() > 0) {
        Status chunks = co_await bring_chunks(target, one.hint.sync, *hint);
        if (!chunks && chunks.error().code == Code::kUnavailable) co_return std::unexpected(chunks.error());
        if (!chunks) hint = std::unexpected(chunks.error());
      }
      if (!hint) {
        log_warning("a hint for " + target + " is of no use: " + hint.error().to_string());
        done[one.job].diverged = true;  // Nothing behind it fits either.
        continue;
      }
      bytes += one.hint.bytes;
      *apply.add_items()->mutable_version() = std::move(*hint->mutable_version());
      sent.push_back(one);
    }
    if (sent.empty()) continue;
    auto applied = co_await call_server<wire::ApplyReply>(links_, target, wire::APPLY, apply);
    if (!applied) co_return std::unexpected(applied.error());
    if (applied->outcomes_size() != apply.items_size()) co_return fail(Code::kInternal, "an answer with other versions");
    for (int i = 0; i < applied->outcomes_size(); ++i) {
      const Wanted& wanted_one = sent[static_cast<size_t>(i)];
      Done& one = done[wanted_one.job];
      if (one.diverged) continue;
      if (taken(applied->outcomes(i))) {
        one.upto = wanted_one.hint.version;
        ++handed_[target].hints;
        handed_[target].bytes += wanted_one.hint.bytes;
      } else {
        log_info("a hint for " + target + " is not taken: " + applied->outcomes(i).text());
        one.diverged = true;
      }
    }
  }
  co_return done;
}

Task<Status> HandOff::bring_chunks(std::string target, bool sync, wire::HintRecord hint) {
  const wire::VersionRecord& version = hint.version();
  std::vector<Bytes> hashes;
  for (const auto& chunk : version.chunks()) hashes.push_back(chunk.hash());
  std::vector<Lsn> places;
  for (uint64_t lsn : hint.chunk_lsns()) places.push_back(Lsn{lsn});
  co_return co_await bring_list(std::move(target), sync, version.file_id(), std::move(hashes), std::move(places));
}

// What the target lacks of a list; what hangs under a list chunk that it has is there.
Task<Status> HandOff::bring_list(std::string target, bool sync, uint64_t file_id, std::vector<Bytes> hashes,
                                 std::vector<Lsn> places) {
  wire::MissingChunksRequest ask;
  ask.set_file_id(file_id);
  for (const Bytes& hash : hashes) ask.add_hashes(hash);
  auto missing = co_await call_server<wire::MissingChunksReply>(links_, target, wire::MISSING_CHUNKS, ask);
  if (!missing) co_return std::unexpected(missing.error());
  for (uint32_t index : missing->missing()) {
    if (index >= hashes.size() || index >= places.size() || places[index] == kNoLsn) {
      co_return fail(Code::kNotFound, "a chunk that the target was taken to have");
    }
    CO_ASSIGN_OR_RETURN(auto chunk, co_await store_->chunk(sync, places[index], hashes[index]));
    if (chunk.head.level() > 0) {
      CO_ASSIGN_OR_RETURN(ChunkRefs refs, parse_list(chunk.bytes, chunk.head.level() - 1));
      std::vector<Bytes> below;
      for (const auto& ref : refs) below.push_back(Bytes(ref.hash.view()));
      std::vector<Lsn> below_places;
      for (uint64_t lsn : chunk.head.below()) below_places.push_back(Lsn{lsn});
      CO_RETURN_IF_ERROR(co_await bring_list(target, sync, file_id, std::move(below), std::move(below_places)));
    }
    wire::StoreChunkRequest store;
    store.set_file_id(file_id);
    store.set_hash(hashes[index]);
    std::shared_ptr<Peer> peer = links_->peer(target);
    if (!peer) co_return fail(Code::kUnavailable, target + " is not connected");
    auto stored = co_await peer->call(wire::STORE_CHUNK, store.SerializeAsString(), std::move(chunk.bytes), kServerCallTimeout);
    if (!stored) co_return std::unexpected(stored.error());
  }
  co_return Status{};
}

Task<Status> HandOff::restore(std::string target) {
  const Server* server = catalogue_->server(target);
  if (server == nullptr) co_return fail(Code::kUnavailable, target + " is unknown");
  const ServerId id = server->id;
  bool all = true;
  uint64_t after = 0;
  while (true) {
    std::vector<Job> page = catalogue_->jobs(id, after, kJobsAtOnce);
    if (page.empty()) break;
    after = page.back().sequence;
    std::erase_if(page, [](const Job& job) { return !job.to || job.kind == JobKind::kDelete; });
    if (page.empty()) continue;
    auto done = co_await bring(target, page);
    if (!done) co_return std::unexpected(done.error());
    std::vector<Job> diverged;
    for (size_t i = 0; i < page.size(); ++i) {
      if ((*done)[i].diverged && !(*done)[i].upto && !catalogue_->hints(id, page[i].object).empty()) diverged.push_back(page[i]);
    }
    if (!diverged.empty()) {
      CO_RETURN_IF_ERROR(co_await set_aside(target, diverged));
      auto again = co_await bring(target, page);
      if (!again) co_return std::unexpected(again.error());
      done = std::move(again);
    }
    for (size_t i = 0; i < page.size(); ++i) all = all && (*done)[i].upto == page[i].to;
    CO_RETURN_IF_ERROR(co_await end_jobs(target, std::move(page), *std::move(done)));
  }
  // More may have been queued behind a page meanwhile.
  after = 0;
  while (all) {
    std::vector<Job> page = catalogue_->jobs(id, after, kJobsAtOnce);
    if (page.empty()) break;
    after = page.back().sequence;
    all = std::ranges::none_of(page, [](const Job& job) { return job.to && job.kind != JobKind::kDelete; });
  }
  if (!catalogue_->contents_known(id)) co_return fail(Code::kConflict, target + " is not filled");
  if (!all) co_return fail(Code::kConflict, "no hint has all that " + target + " lacks");
  co_return Status{};
}

// What the target made itself and nobody else has stays there, beside what was
// acknowledged since.
Task<Status> HandOff::set_aside(std::string target, std::vector<Job> jobs) {
  const Server* server = catalogue_->server(target);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr) co_return fail(Code::kUnavailable, target + " is unknown");
  wire::SetAsideRequest aside;
  aside.set_epoch(number(pair->epoch));
  for (const Job& job : jobs) {
    auto* item = aside.add_items();
    item->set_file_id(number(job.object));
    to_wire(job.from, item->mutable_keep());
  }
  auto reply = co_await call_server<wire::SetAsideReply>(links_, target, wire::SET_ASIDE, aside);
  if (!reply) co_return std::unexpected(reply.error());
  wire::Command told;
  told.mutable_add_events();
  for (const auto& file : reply->files()) add_set_aside_events(*catalogue_, target, file, {}, &told);
  if (told.events_size() == 0) co_return Status{};
  auto noted = co_await proposer_->propose(std::move(told));
  if (!noted) co_return std::unexpected(noted.error());
  co_return Status{};
}

Task<Status> HandOff::end_jobs(std::string target, std::vector<Job> jobs, std::vector<Done> done) {
  wire::Command command;
  auto* jobs_done = command.mutable_jobs_done();
  jobs_done->set_target(target);
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (!done[i].upto) continue;
    auto* item = jobs_done->add_items();
    item->set_object_id(number(jobs[i].object));
    to_wire(done[i].upto, item->mutable_to());
    const bool whole = done[i].upto == jobs[i].to;
    item->set_newest_lsn(whole ? number(jobs[i].newest_lsn) : 0);
    item->set_bytes(whole ? jobs[i].bytes : 0);
    item->set_partial(!whole);
  }
  if (jobs_done->items_size() == 0) co_return Status{};
  auto outcome = co_await proposer_->propose(std::move(command));
  if (!outcome) co_return std::unexpected(outcome.error());
  co_return Status{};
}

}  // namespace understudy
