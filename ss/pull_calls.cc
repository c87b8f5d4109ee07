#include "ss/pull_calls.h"

#include "common/base/chunk_hash.h"
#include "common/env/sync.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kFetchTimeout = 30s;
constexpr size_t kChunksAtOnce = 16;

}  // namespace

Task<Result<wire::PullReply>> PullCalls::pull(wire::PullRequest request) {
  wire::FetchRequest fetch;
  *fetch.mutable_items() = std::move(*request.mutable_items());
  fetch.set_bytes_max(request.bytes_max());
  CO_ASSIGN_OR_RETURN(auto fetched, co_await partner_->call<wire::FetchReply>(request.source(), wire::FETCH, fetch, kFetchTimeout));
  wire::PullReply reply;
  wire::ApplyRequest apply;
  apply.set_epoch(request.epoch());
  apply.set_pair(request.pair());
  std::vector<int> file_of_item;
  for (auto& file : *fetched.mutable_files()) {
    auto* pulled = reply.add_files();
    pulled->set_file_id(file.file_id());
    pulled->set_fetched(file.outcome());
    for (auto& version : *file.mutable_versions()) {
      if (version.list_level() > 0) co_return fail(Code::kInvalid, "a list of chunks in chunks");
      if (version.chunks_size() > 0 && version.inline_content().empty()) {
        CO_RETURN_IF_ERROR(co_await pull_chunks(request.source(), version));
      }
      *apply.add_items()->mutable_version() = std::move(version);
      file_of_item.push_back(reply.files_size() - 1);
    }
  }
  if (apply.items_size() == 0) co_return reply;
  std::vector<wire::VersionNumber> versions;
  for (const auto& item : apply.items()) versions.push_back(item.version().version());
  CO_ASSIGN_OR_RETURN(auto applied, co_await state_->store->apply(std::move(apply)));
  for (int i = 0; i < applied.outcomes_size(); ++i) {
    auto* pulled = reply.mutable_files(file_of_item[static_cast<size_t>(i)]);
    const auto& outcome = applied.outcomes(i);
    const bool refused_before = pulled->has_applied() && pulled->applied().outcome() != wire::ApplyOutcome::APPLIED &&
                                pulled->applied().outcome() != wire::ApplyOutcome::ALREADY;
    if (refused_before) continue;
    *pulled->mutable_applied() = outcome;
    if (outcome.outcome() == wire::ApplyOutcome::APPLIED || outcome.outcome() == wire::ApplyOutcome::ALREADY) {
      *pulled->mutable_upto() = versions[static_cast<size_t>(i)];
    }
  }
  reply.set_lsn(applied.lsn());
  co_return reply;
}

Task<Status> PullCalls::pull_chunks(wire::Endpoint source, wire::VersionRecord version) {
  wire::MissingChunksRequest ask;
  ask.set_file_id(version.file_id());
  *ask.mutable_have() = version.parent();
  *ask.mutable_source() = version.undo_target();
  for (const auto& chunk : version.chunks()) ask.add_hashes(chunk.hash());
  CO_ASSIGN_OR_RETURN(auto missing, co_await state_->store->missing_chunks(std::move(ask)));
  // A window of chunks, each fetched and stored by a task of its own.
  struct Window {
    explicit Window(Executor& executor) : slots(executor, kChunksAtOnce), tasks(executor) {}
    Semaphore slots;
    Status status;
    TaskGroup tasks;
    static Task<void> one(Window* window, Task<Status> pull) {
      Status status = co_await pull;
      if (!status && window->status) window->status = std::move(status);
      window->slots.release(1);
    }
  };
  Window window(state_->env.executor);
  for (uint32_t index : missing.missing()) {
    co_await window.slots.acquire(1);
    if (!window.status) break;
    window.tasks.spawn(Window::one(&window, pull_chunk(source, version.file_id(), version.chunks(static_cast<int>(index)).hash(),
                                                       version.version())));
  }
  co_await window.tasks.join();
  co_return window.status;
}

Task<Status> PullCalls::pull_chunk(wire::Endpoint source, uint64_t file_id, Bytes hash, wire::VersionNumber version) {
  wire::FetchChunkRequest fetch;
  fetch.set_file_id(file_id);
  fetch.set_hash(hash);
  *fetch.mutable_version() = version;
  CO_ASSIGN_OR_RETURN(auto peer, co_await partner_->connected(std::move(source)));
  CO_ASSIGN_OR_RETURN(auto chunk, co_await peer->call(wire::FETCH_CHUNK, fetch.SerializeAsString(), {}, kFetchTimeout));
  ChunkHash parsed;
  if (!parse_chunk_hash(hash, parsed)) co_return fail(Code::kInvalid, "a chunk's hash is 32 bytes");
  co_return co_await state_->store->store_chunk(FileId{file_id}, parsed, std::move(chunk.body));
}

}  // namespace understudy
