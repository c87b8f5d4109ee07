// Chunks: cut, hashed, stored once for each file, found again by hash; and the lists
// of them, which are chunks too where they are long (docs/decisions/0009).
//
// Invariant: a list chunk is appended behind everything that it names. The log keeps
// order, so where a list chunk is stored, all under it is.
#include <fmt/format.h>

#include <algorithm>

#include "common/base/checksum.h"
#include "common/base/chunk_cutter.h"
#include "ss/store_engine.h"

namespace understudy {
namespace {

// Of a file that grows by little: smaller chunks at its end are written again with what
// comes behind them, so that there are never many.
constexpr uint32_t kTailChunkMin = 4 << 10;

std::string name_of(FileId file) { return fmt::format("file {:016x}", number(file)); }

// Wrong bytes, or a disk that cannot read them.
bool is_damage(Code code) { return code == Code::kCorrupt || code == Code::kInternal; }

// What a worker does for a run of bytes; shared, so that the waiting task may be cancelled.
struct Cutting {
  Bytes bytes;
  bool whole = false;  // One chunk, as it is.
  std::vector<StoreEngine::HashedChunk> chunks;

  void run() {
    BytesView rest = bytes;
    while (!rest.empty()) {
      const size_t size = whole ? rest.size() : cut_chunk(rest);
      BytesView chunk = rest.substr(0, size);
      chunks.push_back({{}, chunk_hash(chunk), checksum(chunk)});
      if (size < bytes.size()) chunks.back().bytes = chunk;
      rest.remove_prefix(size);
    }
    if (chunks.size() == 1) chunks[0].bytes = std::move(bytes);
  }
};

}  // namespace

Task<std::vector<StoreEngine::HashedChunk>> StoreEngine::hash_chunks(Bytes content, bool whole) {
  auto cutting = std::make_shared<Cutting>();
  cutting->bytes = std::move(content);
  cutting->whole = whole;
  if (cutting->bytes.size() > kInlineSizeMax) {
    auto cut = env_.workers.run([cutting] { cutting->run(); });
    co_await cut;
  } else {
    cutting->run();
  }
  co_return std::move(cutting->chunks);
}

Result<std::optional<ChunkPlace>> StoreEngine::place_of(FileId file, const ChunkHash& hash) {
  if (auto pinned = pins_.find(file, hash)) return pinned;
  // On its way out: stored again it stands behind the record that takes it.
  if (!freeing_.empty() && freeing_.contains({file, hash})) return std::nullopt;
  ASSIGN_OR_RETURN(auto row, index_->chunk(file, hash));
  if (!row) return std::nullopt;
  return ChunkPlace{row->lsn, row->size};
}

Result<std::optional<ChunkPlace>> StoreEngine::whole_place_of(FileId file, const ChunkHash& hash) {
  ASSIGN_OR_RETURN(auto place, place_of(file, hash));
  if (place && is_damaged(place->lsn)) return std::nullopt;
  return place;
}

// Pinned until it is durable, and so in the index.
Lsn StoreEngine::append_chunk(FileId file, HashedChunk chunk, LogWriter::Done done) {
  wire::ChunkRecord record;
  record.set_file_id(number(file));
  record.set_hash(chunk.hash.bytes.data(), chunk.hash.bytes.size());
  LogEntry entry{static_cast<uint32_t>(RecordType::kChunk), record.SerializeAsString(),
                 std::move(chunk.bytes), chunk.checksum};
  auto row = std::make_shared<ChunkRow>();
  *row = {{}, file, chunk.hash, static_cast<uint32_t>(entry.body.size())};
  const uint64_t size = record_size(entry.head.size() + entry.body.size());
  row->lsn = log_->append(std::move(entry), [this, row, size, done = std::move(done)](const Status& status) mutable {
    if (status) {
      feed_index({Lsn{number(row->lsn) + size}, *row});
      pins_.unpin(row->file, row->hash);
    } else {
      // The place holds something else soon.
      pins_.drop(row->file, row->hash, row->lsn);
    }
    if (done) done(status);
  });
  pins_.pin(file, row->hash, {row->lsn, row->size});
  return row->lsn;
}

// Appended unless it is stored already.
Result<ChunkPlace> StoreEngine::store_once(FileId file, HashedChunk chunk, LogWriter::Done done) {
  const auto size = static_cast<uint32_t>(chunk.bytes.size());
  ASSIGN_OR_RETURN(auto place, whole_place_of(file, chunk.hash));
  if (place && place->size == size) return *place;
  return ChunkPlace{append_chunk(file, std::move(chunk), std::move(done)), size};
}

Task<Result<Bytes>> StoreEngine::read_chunk(FileId file, ChunkRefInfo ref) {
  auto bytes = co_await read_chunk_here(file, ref);
  if (bytes || !is_damage(bytes.error().code)) co_return bytes;
  CO_ASSIGN_OR_RETURN(auto place, place_of(file, ref.hash));
  if (!place) {
    auto brought = co_await bring_lost_chunk(file, ref);
    if (brought) co_return brought;
    co_return fail(bytes.error().code, bytes.error().message + "; " + brought.error().message);
  }
  co_await repair_chunk_record(file, ref.hash, *place);
  co_return co_await read_chunk_here(file, ref);
}

Task<Result<Bytes>> StoreEngine::read_chunk_here(FileId file, ChunkRefInfo ref) {
  CO_ASSIGN_OR_RETURN(auto place, place_of(file, ref.hash));
  if (!place || (ref.size != 0 && place->size != ref.size)) {
    co_return fail(Code::kCorrupt, fmt::format("{}: chunk {} is not stored here", name_of(file), ref.hash.to_hex()));
  }
  if (place->lsn >= log_->durable_end()) {
    auto durable = log_->durable(Lsn{number(place->lsn) + 1});
    CO_RETURN_IF_ERROR(co_await durable);
  }
  auto record = co_await log_->read(place->lsn, place->size + 128);
  if (!record) co_return fail(record.error().code, name_of(file) + ": " + record.error().message);
  wire::ChunkRecord chunk;
  if (RecordType{record->type} != RecordType::kChunk || !chunk.ParseFromString(record->head) ||
      chunk.file_id() != number(file) || chunk.hash() != ref.hash.view() || record->body.size() != place->size) {
    co_return fail(Code::kCorrupt,
                   fmt::format("{}: no chunk {} at {}", name_of(file), ref.hash.to_hex(), number(place->lsn)));
  }
  co_return std::move(record->body);
}

Task<Result<ChunkRefs>> StoreEngine::read_list(FileId file, ChunkRefInfo list, uint32_t level) {
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read_chunk(file, list));
  auto entries = parse_list(bytes, level);
  if (!entries) co_return fail(entries.error().code, name_of(file) + ": " + entries.error().message);
  co_return *std::move(entries);
}

// The file's own chunks that have bytes in [from, to), and where the first of them begins.
Task<Result<StoreEngine::ChunkRun>> StoreEngine::chunk_run(StoredVersionRef version, uint64_t from, uint64_t to) {
  ChunkRun run;
  run.chunks = version->top();
  for (uint32_t level = version->list_level();; --level) {
    ChunkRefs inside;
    uint64_t at = run.begin;
    for (const auto& ref : run.chunks) {
      const uint64_t end = at + ref.file_bytes();
      if (end > from && at < to) {
        if (inside.empty()) run.begin = at;
        inside.push_back(ref);
      }
      at = end;
    }
    run.chunks = std::move(inside);
    if (level == 0) co_return run;
    ChunkRefs below;
    for (const auto& list : run.chunks) {
      CO_ASSIGN_OR_RETURN(ChunkRefs entries, co_await read_list(version->file(), list, level - 1));
      below.insert(below.end(), entries.begin(), entries.end());
    }
    run.chunks = std::move(below);
  }
}

Task<Result<ChunkRefs>> StoreEngine::all_chunks(StoredVersionRef version) {
  ChunkRefs all, entries = version->top();
  for (uint32_t level = version->list_level();; --level) {
    all.insert(all.end(), entries.begin(), entries.end());
    if (level == 0) co_return all;
    ChunkRefs below;
    for (const auto& list : entries) {
      CO_ASSIGN_OR_RETURN(ChunkRefs more, co_await read_list(version->file(), list, level - 1));
      below.insert(below.end(), more.begin(), more.end());
    }
    entries = std::move(below);
  }
}

Task<Result<ChunkRefs>> StoreEngine::chunks(FileId file, Version version) {
  CO_ASSIGN_OR_RETURN(VersionRow row, durable_row(file, version));
  if (row.trimmed) co_return std::unexpected(content_gone(row));
  CO_ASSIGN_OR_RETURN(StoredVersionRef stored, co_await load(row.lsn, 0));
  CO_ASSIGN_OR_RETURN(ChunkRun run, co_await chunk_run(stored, 0, row.size_bytes));
  co_return std::move(run.chunks);
}

// What build_list() needs to put more behind the version's chunks.
Task<Result<std::vector<ChunkRefs>>> StoreEngine::spine_of(StoredVersionRef version) {
  std::vector<ChunkRefs> spine{version->top()};
  for (uint32_t level = version->list_level(); level > 0; --level) {
    const ChunkRefInfo last = spine.back().back();
    CO_ASSIGN_OR_RETURN(ChunkRefs below, co_await read_list(version->file(), last, level - 1));
    spine.push_back(std::move(below));
  }
  std::ranges::reverse(spine);
  co_return spine;
}

// The content of `before` (null: nothing) with `bytes` behind it. The last chunks of `before` are written
// again while they are no larger than what comes behind them, so those that appends leave
// at the end are as few as the digits of its size.
Task<Result<StoreEngine::Content>> StoreEngine::appended_content(StoredVersionRef before, Bytes bytes) {
  Content content;
  Bytes tail = std::move(bytes);
  if (before && before->is_inline()) {
    tail = before->inline_content + tail;
  } else if (before) {
    CO_ASSIGN_OR_RETURN(content.spine, co_await spine_of(before));
    content.spine_bytes = before->record().size_bytes();
    ChunkRefs& last = content.spine[0];
    while (!last.empty() && last.back().size < kChunkSizeMin &&
           last.back().size <= std::max<size_t>(tail.size(), kTailChunkMin)) {
      const ChunkRefInfo ref = last.back();
      CO_ASSIGN_OR_RETURN(Bytes piece, co_await read_chunk(before->file(), ref));
      tail.insert(0, piece);
      content.spine_bytes -= ref.size;
      last.pop_back();
    }
  }
  if (content.spine_bytes == 0 && tail.size() <= kInlineSizeMax) {
    content.spine = {{}};
    content.inline_content = std::move(tail);
  } else {
    content.fresh = co_await hash_chunks(std::move(tail));
  }
  co_return content;
}

Task<Result<ChunkRefInfo>> StoreEngine::stage(FileId file, Bytes bytes) {
  if (bytes.empty() || bytes.size() > kChunkSizeMax)
    co_return fail(Code::kInvalid, "a chunk has 1 byte to 1 MiB");
  CO_RETURN_IF_ERROR(has_room());
  auto hashed = co_await hash_chunks(std::move(bytes), /*whole=*/true);
  co_await log_->room(kBufferedMax);
  const ChunkRefInfo info{hashed[0].hash, static_cast<uint32_t>(hashed[0].bytes.size())};
  // Nobody waits for its sync here: it comes before its version in the log, and is
  // durable with that at the latest. If the append is refused, the pin goes with it.
  CO_ASSIGN_OR_RETURN(ChunkPlace place, store_once(file, std::move(hashed[0]), [this](const Status& status) {
                        if (!status) chunk_refused_ = status.error();
                      }));
  pins_.pin(file, info.hash, place);
  co_return info;
}

void StoreEngine::unpin(FileId file, const ChunkRefs& chunks) {
  for (const auto& chunk : chunks) pins_.unpin(file, chunk.hash);
}

// Chunks that are stored here; `before` (may be null) tells which of them are new since.
Result<ChunkRefs> StoreEngine::stored_chunks(FileId file, ChunkRefs chunks, StoredVersionRef before,
                                             uint64_t* new_bytes) {
  for (size_t i = 0; i < chunks.size(); ++i) {
    ASSIGN_OR_RETURN(auto place, whole_place_of(file, chunks[i].hash));
    if (!place || place->size != chunks[i].size) {
      // Why, if the disk refused it behind the back of whoever staged it.
      if (chunk_refused_) return std::unexpected(*std::exchange(chunk_refused_, std::nullopt));
      return fail(Code::kNotFound,
                  fmt::format("{}: chunk {} of {} is not stored here", name_of(file), i, chunks.size()));
    }
    if (!before || place->lsn > before->lsn) *new_bytes += chunks[i].size;
  }
  return chunks;
}

Task<Result<VersionInfo>> StoreEngine::commit(Change change, ChunkRefs chunks, bool append) {
  if (append) change.kind = wire::CHANGE_APPEND;
  while (true) {
    if (change.request) {
      CO_ASSIGN_OR_RETURN(auto first, co_await first_answer(change.file, change.request));
      if (first) co_return *first;
    }
    CO_ASSIGN_OR_RETURN(StoredVersionRef before, co_await load_head(change.file));
    if (append && !before) co_return fail(Code::kNotFound, name_of(change.file) + ": no such file");
    Content content;
    std::vector<HashedChunk> small;
    if (append && before && !before->inline_content.empty()) {
      // What stood inline becomes the first chunk.
      small = co_await hash_chunks(before->inline_content, /*whole=*/true);
    } else if (append && before) {
      CO_ASSIGN_OR_RETURN(content.spine, co_await spine_of(before));
      content.spine_bytes = before->record().size_bytes();
    }
    CO_ASSIGN_OR_RETURN(Head head, head_of(change.file));
    if (head.version != (before ? before->version() : Version{})) continue;
    CO_ASSIGN_OR_RETURN(content.stored, stored_chunks(change.file, chunks, before, &content.new_bytes));
    if (!small.empty()) {
      CO_RETURN_IF_ERROR(check_change(change, head));
      const ChunkRefInfo first{small[0].hash, static_cast<uint32_t>(small[0].bytes.size())};
      CO_RETURN_IF_ERROR(store_once(change.file, std::move(small[0]), nullptr));
      content.stored.insert(content.stored.begin(), first);
      content.new_bytes += first.size;
    }
    co_return co_await submit(std::move(change), std::move(content));
  }
}

// Appends what the content has that is not stored, and puts the list into the record.
// Nothing waits.
Status StoreEngine::append_content(FileId file, Content& content, wire::VersionRecord& record, uint64_t* new_bytes) {
  if (content.same) {
    *record.mutable_chunks() = content.same->record().chunks();
    record.set_list_level(content.same->list_level());
    record.set_size_bytes(content.same->record().size_bytes());
    *new_bytes = content.new_bytes;
    return {};
  }
  uint64_t size = content.spine_bytes + content.inline_content.size();
  *new_bytes = content.new_bytes + content.inline_content.size();
  ChunkRefs added = std::move(content.stored);
  for (auto& chunk : content.fresh) {
    const ChunkRefInfo ref{chunk.hash, static_cast<uint32_t>(chunk.bytes.size())};
    *new_bytes += ref.size;
    added.push_back(ref);
    RETURN_IF_ERROR(store_once(file, std::move(chunk), nullptr));
  }
  for (const auto& ref : added) size += ref.size;
  BuiltList built = build_list(std::move(content.spine), added);
  for (auto& list : built.lists) {
    ASSIGN_OR_RETURN(auto place, whole_place_of(file, list.ref.hash));
    if (place) continue;
    *new_bytes += list.bytes.size();
    const uint64_t sum = checksum(list.bytes);
    append_chunk(file, {std::move(list.bytes), list.ref.hash, sum}, nullptr);
  }
  for (const auto& ref : built.top) {
    auto* chunk = record.add_chunks();
    chunk->set_hash(ref.hash.bytes.data(), ref.hash.bytes.size());
    chunk->set_size(ref.size);
    chunk->set_span(ref.span);
  }
  record.set_list_level(built.level);
  record.set_size_bytes(size);
  return {};
}

}  // namespace understudy
