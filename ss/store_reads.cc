// Reads see durable versions only, each as a whole: a version and its chunks never
// change, so whatever is written meanwhile does not matter to a reader.
#include <fmt/format.h>

#include <algorithm>

#include "ss/store_engine.h"

namespace understudy {
namespace {

// Wrong bytes, or a disk that cannot read them.
bool is_damage(Code code) { return code == Code::kCorrupt || code == Code::kInternal; }

std::string name_of(FileId file) { return fmt::format("file {:016x}", number(file)); }

}  // namespace

Result<VersionRow> StoreEngine::durable_row(FileId file, Version version) {
  ASSIGN_OR_RETURN(auto row, version ? index_->version(file, version) : index_->head(file));
  if (!row) {
    return fail(Code::kNotFound,
                name_of(file) + (version ? ": no version " + version.to_string() : ": no such file"));
  }
  return version ? *std::move(row) : named_row(*std::move(row));
}

VersionInfo StoreEngine::info_of(const VersionRow& row) {
  return {row.version, row.parent, row.end, row.size_bytes, row.time_us, row.user, row.mode, row.modified_us};
}

Result<VersionInfo> StoreEngine::info(FileId file, Version version) {
  ASSIGN_OR_RETURN(VersionRow row, durable_row(file, version));
  if (!version && row.deleted()) return fail(Code::kNotFound, name_of(file) + ": deleted");
  VersionInfo info = info_of(row);
  ASSIGN_OR_RETURN(auto object, index_->object(file));
  info.head = object && object->head ? object->head->version : info.version;
  if (object) {
    info.created_us = object->created_us;
    info.versions = object->versions;
  }
  return info;
}

Task<Result<StoredVersionRef>> StoreEngine::load(Lsn lsn, uint64_t size_hint) {
  auto version = co_await load_here(lsn, size_hint);
  if (version || !is_damage(version.error().code)) co_return version;
  co_await repair_version_record(lsn);
  co_return co_await load_here(lsn, size_hint);
}

Task<Result<StoredVersionRef>> StoreEngine::load_here(Lsn lsn, uint64_t size_hint) {
  if (auto cached = cache_.find(lsn)) co_return cached;
  const auto hint = static_cast<uint32_t>(std::min<uint64_t>(size_hint, kInlineSizeMax) + 1024);
  CO_ASSIGN_OR_RETURN(LogRecord record, co_await log_->read(lsn, hint));
  CO_ASSIGN_OR_RETURN(auto version, decode_stored_version(std::move(record)));
  cache_.add(version);
  co_return version;
}

Task<Result<Bytes>> StoreEngine::read_chunk(FileId file, ChunkHash hash, ChunkPlace place) {
  auto bytes = co_await read_chunk_here(file, hash, place);
  if (bytes || !is_damage(bytes.error().code)) co_return bytes;
  co_await repair_chunk_record(file, hash, place);
  co_return co_await read_chunk_here(file, hash, place);
}

Task<Result<Bytes>> StoreEngine::read_chunk_here(FileId file, ChunkHash hash, ChunkPlace place) {
  if (place.lsn >= log_->durable_end()) {
    auto durable = log_->durable(Lsn{number(place.lsn) + 1});
    CO_RETURN_IF_ERROR(co_await durable);
  }
  auto record = co_await log_->read(place.lsn, place.size + 128);
  if (!record) co_return fail(record.error().code, name_of(file) + ": " + record.error().message);
  wire::ChunkRecord chunk;
  if (RecordType{record->type} != RecordType::kChunk || !chunk.ParseFromString(record->head) ||
      chunk.file_id() != number(file) || chunk.hash() != hash.view() || record->body.size() != place.size) {
    co_return fail(Code::kCorrupt,
                   fmt::format("{}: no chunk {} at {}", name_of(file), hash.to_hex(), number(place.lsn)));
  }
  co_return std::move(record->body);
}

Task<Result<Bytes>> StoreEngine::read(FileId file, Version version, uint64_t offset, uint32_t size) {
  CO_ASSIGN_OR_RETURN(VersionRow row, durable_row(file, version));
  if (row.deleted()) co_return fail(Code::kNotFound, name_of(file) + ": deleted");
  if (offset > row.size_bytes) {
    co_return fail(Code::kOutOfRange,
                   fmt::format("{}: {} is behind the end at {}", name_of(file), offset, row.size_bytes));
  }
  auto loaded = co_await load(row.lsn, row.size_bytes);
  if (!loaded) co_return fail(loaded.error().code, name_of(file) + ": " + loaded.error().message);
  const StoredVersionRef stored = *loaded;
  const uint64_t end = std::min(row.size_bytes, offset + size);
  if (stored->is_inline()) co_return stored->inline_content.substr(offset, end - offset);
  Bytes result;
  uint64_t begin_of_chunk = 0;
  for (int i = 0; i < stored->record().chunks_size() && begin_of_chunk < end; ++i) {
    const uint32_t chunk_size = stored->record().chunks(i).size();
    const uint64_t from = std::max(offset, begin_of_chunk), to = std::min(end, begin_of_chunk + chunk_size);
    if (from < to) {
      CO_ASSIGN_OR_RETURN(Bytes chunk,
                          co_await read_chunk(file, stored->hash(i), {stored->chunk_lsn(i), chunk_size}));
      if (from == begin_of_chunk && to == begin_of_chunk + chunk_size && result.empty())
        result = std::move(chunk);
      else
        result.append(chunk, from - begin_of_chunk, to - from);
    }
    begin_of_chunk += chunk_size;
  }
  co_return result;
}

Task<Result<std::vector<ChunkRefInfo>>> StoreEngine::chunks(FileId file, Version version) {
  CO_ASSIGN_OR_RETURN(VersionRow row, durable_row(file, version));
  CO_ASSIGN_OR_RETURN(StoredVersionRef stored, co_await load(row.lsn, 0));
  std::vector<ChunkRefInfo> chunks;
  for (int i = 0; i < stored->record().chunks_size(); ++i) {
    chunks.push_back({stored->hash(i), stored->record().chunks(i).size()});
  }
  co_return chunks;
}

std::vector<Version> StoreEngine::divergent(FileId file) {
  auto versions = index_->aside(file);
  if (versions) return *std::move(versions);
  broken(versions.error());
  return {};
}

AnnounceBatch StoreEngine::announceable(Lsn from, size_t items_max) {
  AnnounceBatch batch;
  batch.to = log_->durable_end();
  auto rows = index_->originated(from, items_max);
  if (!rows) {
    broken(rows.error());
    return {from, {}};
  }
  if (rows->size() == items_max && !rows->empty()) batch.to = rows->back().end;
  for (const auto& row : *rows) {
    wire::AnnounceItem item;
    item.set_file_id(number(row.file));
    *item.mutable_version() = version_to_wire(row.version);
    *item.mutable_parent() = version_to_wire(row.parent);
    item.set_lsn(number(row.end));
    item.set_bytes(row.new_bytes);
    item.set_size_bytes(row.size_bytes);
    item.set_kind(static_cast<wire::ChangeKind>(row.kind));
    // A checkpoint modifies nothing.
    if (!row.checkpoint()) item.set_time_us(row.time_us);
    batch.items.push_back(std::move(item));
  }
  return batch;
}

}  // namespace understudy
