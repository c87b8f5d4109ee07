#include "nm/hinted_chunks.h"

#include <set>

#include "nm/server_calls.h"

namespace understudy {
namespace {

Result<ChunkRefs> top_of(const wire::VersionRecord& version) {
  ChunkRefs refs;
  for (const auto& chunk : version.chunks()) {
    ChunkRefInfo ref{{}, chunk.size(), chunk.span()};
    if (!parse_chunk_hash(chunk.hash(), ref.hash)) return fail(Code::kCorrupt, "a chunk without a hash");
    refs.push_back(ref);
  }
  return refs;
}

std::set<ChunkHash> hashes_of(const ChunkRefs& refs) {
  std::set<ChunkHash> hashes;
  for (const auto& ref : refs) hashes.insert(ref.hash);
  return hashes;
}

}  // namespace

Task<Result<Bytes>> HintedChunks::fetch(About about, ChunkRefInfo ref, bool of_before) {
  wire::FetchChunkRequest request;
  request.set_file_id(about.file_id);
  request.set_hash(Bytes(ref.hash.view()));
  *request.mutable_version() = of_before ? about.before : about.version;
  std::shared_ptr<Peer> peer = links_->peer(source_);
  if (!peer) co_return fail(Code::kUnavailable, source_ + " is not connected");
  auto chunk = co_await peer->call(wire::FETCH_CHUNK, request.SerializeAsString(), {}, kServerCallTimeout);
  if (!chunk) co_return std::unexpected(chunk.error());
  co_return std::move(chunk->body);
}

Task<Result<wire::VersionRecord>> HintedChunks::record_before(wire::VersionRecord version) {
  wire::FetchRequest request;
  request.set_headers_only(true);
  auto* item = request.add_items();
  item->set_file_id(version.file_id());
  *item->mutable_to() = version.parent();
  item->set_alone(true);
  CO_ASSIGN_OR_RETURN(auto fetched, co_await call_server<wire::FetchReply>(links_, source_, wire::FETCH, request));
  // One that is there no more shares nothing that anybody knows of.
  if (fetched.files_size() != 1 || fetched.files(0).versions_size() != 1) co_return wire::VersionRecord();
  co_return std::move(*fetched.mutable_files(0)->mutable_versions(0));
}

Task<Result<std::vector<Lsn>>> HintedChunks::keep(wire::VersionRecord version) {
  Lists lists;
  if (from_wire(version.parent())) {
    CO_ASSIGN_OR_RETURN(auto before, co_await record_before(version));
    CO_ASSIGN_OR_RETURN(lists.before, top_of(before));
    lists.before_level = before.list_level();
  }
  CO_ASSIGN_OR_RETURN(lists.refs, top_of(version));
  lists.level = version.list_level();
  About about{version.file_id(), version.version(), version.parent()};
  while (lists.before_level > lists.level) {
    CO_ASSIGN_OR_RETURN(lists.before, co_await below(about, std::move(lists.before), lists.before_level));
    --lists.before_level;
  }
  co_return co_await keep_list(std::move(about), std::move(lists));
}

Task<Result<ChunkRefs>> HintedChunks::below(About about, ChunkRefs lists, uint32_t level) {
  ChunkRefs all;
  for (const auto& list : lists) {
    CO_ASSIGN_OR_RETURN(Bytes bytes, co_await fetch(about, list, /*of_before=*/true));
    CO_ASSIGN_OR_RETURN(ChunkRefs entries, parse_list(bytes, level - 1));
    all.insert(all.end(), entries.begin(), entries.end());
  }
  co_return all;
}

Task<Result<std::vector<Lsn>>> HintedChunks::keep_list(About about, Lists lists) {
  std::set<ChunkHash> known;
  if (lists.level == lists.before_level) known = hashes_of(lists.before);
  if (lists.level == lists.before_level && lists.level > 0) {
    // Only what is under other lists can be of use further down.
    const std::set<ChunkHash> kept = hashes_of(lists.refs);
    std::erase_if(lists.before, [&](const ChunkRefInfo& ref) { return kept.contains(ref.hash); });
    CO_ASSIGN_OR_RETURN(lists.before, co_await below(about, std::move(lists.before), lists.level));
    --lists.before_level;
  }
  std::vector<Lsn> places;
  for (const auto& ref : lists.refs) {
    if (known.contains(ref.hash)) {
      places.push_back(kNoLsn);
      continue;
    }
    CO_ASSIGN_OR_RETURN(Lsn place, co_await keep_chunk(about, ref, lists.level, lists.before, lists.before_level));
    places.push_back(place);
  }
  co_return places;
}

// A list goes behind all that it names.
Task<Result<Lsn>> HintedChunks::keep_chunk(About about, ChunkRefInfo ref, uint32_t level, ChunkRefs before,
                                           uint32_t before_level) {
  if (auto stored = stored_.find(ref.hash); stored != stored_.end()) co_return stored->second;
  if (bytes_ + ref.size > budget_) co_return fail(Code::kNoSpace, "the hints would take more than --hint-bytes");
  bytes_ += ref.size;
  CO_ASSIGN_OR_RETURN(Bytes content, co_await fetch(about, ref, /*of_before=*/false));
  wire::HintChunk head;
  head.set_file_id(about.file_id);
  head.set_hash(Bytes(ref.hash.view()));
  head.set_level(level);
  if (level > 0) {
    Lists lists{.level = level - 1, .before = std::move(before), .before_level = before_level};
    CO_ASSIGN_OR_RETURN(lists.refs, parse_list(content, level - 1));
    CO_ASSIGN_OR_RETURN(auto places, co_await keep_list(about, std::move(lists)));
    for (Lsn place : places) head.add_below(number(place));
  }
  co_await store_->room(sync_);
  const Lsn lsn = store_->append_chunk(sync_, std::move(head), std::move(content));
  stored_[ref.hash] = lsn;
  first_ = std::min(first_, lsn);
  co_return lsn;
}

}  // namespace understudy
