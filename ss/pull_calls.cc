#include "ss/pull_calls.h"

#include <algorithm>

#include "common/base/chunk_hash.h"
#include "common/env/sync.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kFetchTimeout = 30s;
constexpr size_t kChunksAtOnce = 16;
constexpr size_t kListsAtOnce = 2;
constexpr size_t kHashesAtOnce = 4096;

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
  wire::FetchChunkRequest about;
  about.set_file_id(version.file_id());
  *about.mutable_version() = version.version();
  ChunkRefs top(static_cast<size_t>(version.chunks_size()));
  for (size_t i = 0; i < top.size(); ++i) {
    const auto& chunk = version.chunks(static_cast<int>(i));
    top[i] = {{}, chunk.size(), chunk.span()};
    if (!parse_chunk_hash(chunk.hash(), top[i].hash)) co_return fail(Code::kInvalid, "a chunk's hash is 32 bytes");
  }
  co_return co_await pull_list(std::move(source), std::move(about), std::move(top), version.list_level());
}

// What is missing here of the chunks in a list. A list chunk goes behind all that it names, so what
// hangs under one that is here is here.
Task<Status> PullCalls::pull_list(wire::Endpoint source, wire::FetchChunkRequest about, ChunkRefs list, uint32_t level) {
  // A window of chunks, each fetched and stored by a task of its own; of lists few at once, for each has a window.
  struct Window {
    Window(Executor& executor, size_t at_once) : slots(executor, at_once), tasks(executor) {}
    Semaphore slots;
    Status status;
    TaskGroup tasks;
    static Task<void> one(Window* window, Task<Status> pull) {
      Status status = co_await pull;
      if (!status && window->status) window->status = std::move(status);
      window->slots.release(1);
    }
  };
  for (size_t begin = 0; begin < list.size(); begin += kHashesAtOnce) {
    const size_t end = std::min(list.size(), begin + kHashesAtOnce);
    wire::MissingChunksRequest ask;
    ask.set_file_id(about.file_id());
    for (size_t i = begin; i < end; ++i) ask.add_hashes(list[i].hash.bytes.data(), list[i].hash.bytes.size());
    CO_ASSIGN_OR_RETURN(auto missing, co_await state_->store->missing_chunks(std::move(ask)));
    Window window(state_->env.executor, level == 0 ? kChunksAtOnce : level == 1 ? kListsAtOnce : 1);
    for (uint32_t index : missing.missing()) {
      co_await window.slots.acquire(1);
      if (!window.status) break;
      window.tasks.spawn(Window::one(&window, pull_chunk(source, about, list[begin + index], level)));
    }
    co_await window.tasks.join();
    if (!window.status) co_return window.status;
  }
  co_return Status{};
}

Task<Status> PullCalls::pull_chunk(wire::Endpoint source, wire::FetchChunkRequest about, ChunkRefInfo ref, uint32_t level) {
  about.set_hash(ref.hash.bytes.data(), ref.hash.bytes.size());
  CO_ASSIGN_OR_RETURN(auto peer, co_await partner_->connected(source));
  CO_ASSIGN_OR_RETURN(auto chunk, co_await peer->call(wire::FETCH_CHUNK, about.SerializeAsString(), {}, kFetchTimeout));
  if (level > 0) {
    CO_ASSIGN_OR_RETURN(ChunkRefs below, parse_list(chunk.body, level - 1));
    CO_RETURN_IF_ERROR(co_await pull_list(std::move(source), about, std::move(below), level - 1));
  }
  co_return co_await state_->store->store_chunk(FileId{about.file_id()}, ref.hash, std::move(chunk.body));
}

}  // namespace understudy
