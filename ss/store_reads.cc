// Reads see durable versions only, each as a whole: a version and its chunks never
// change, so whatever is written meanwhile does not matter to a reader.
#include <fmt/format.h>

#include <algorithm>

#include "common/base/coding.h"
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
                name_of(file) + (version ? ": no version " + version.to_string() + ", or it is kept no more" : ": no such file"));
  }
  return version ? *std::move(row) : named_row(*std::move(row));
}

VersionInfo StoreEngine::info_of(const VersionRow& row) {
  return {row.version, row.parent, row.end,         row.size_bytes, row.time_us,
          row.user,    row.mode,   row.modified_us, row.sync,       row.more_follow};
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

Task<Result<Bytes>> StoreEngine::read(FileId file, Version version, uint64_t offset, uint32_t size) {
  CO_ASSIGN_OR_RETURN(VersionRow row, durable_row(file, version));
  if (row.deleted()) co_return fail(Code::kNotFound, name_of(file) + ": deleted");
  if (row.trimmed) co_return std::unexpected(content_gone(row));
  if (offset > 0 || size < row.size_bytes) pin_read(file, row.version);
  if (offset > row.size_bytes) {
    co_return fail(Code::kOutOfRange,
                   fmt::format("{}: {} is behind the end at {}", name_of(file), offset, row.size_bytes));
  }
  auto loaded = co_await load(row.lsn, row.size_bytes);
  if (!loaded) co_return fail(loaded.error().code, name_of(file) + ": " + loaded.error().message);
  const StoredVersionRef stored = *loaded;
  const uint64_t end = std::min(row.size_bytes, offset + size);
  if (stored->is_inline()) co_return stored->inline_content.substr(offset, end - offset);
  CO_ASSIGN_OR_RETURN(ChunkRun run, co_await chunk_run(stored, offset, end));
  Bytes result;
  uint64_t begin_of_chunk = run.begin;
  for (const auto& ref : run.chunks) {
    const uint64_t from = std::max(offset, begin_of_chunk), to = std::min(end, begin_of_chunk + ref.size);
    CO_ASSIGN_OR_RETURN(Bytes chunk, co_await read_chunk(file, ref));
    if (to - from == ref.size && result.empty())
      result = std::move(chunk);
    else
      result.append(chunk, from - begin_of_chunk, to - from);
    begin_of_chunk += ref.size;
  }
  co_return result;
}

std::vector<Version> StoreEngine::divergent(FileId file) {
  auto versions = index_->aside(file);
  if (versions) return *std::move(versions);
  broken(versions.error());
  return {};
}

namespace {

constexpr std::string_view kSyncSettled = "sync_settled";

}  // namespace

Result<std::vector<FileStore::SyncVersion>> StoreEngine::sync_versions(Lsn from) {
  ASSIGN_OR_RETURN(auto rows, index_->sync_versions(from));
  std::vector<SyncVersion> all;
  for (const auto& row : rows) all.push_back({row.file, row.version, row.parent});
  return all;
}

Result<Lsn> StoreEngine::sync_settled() {
  ASSIGN_OR_RETURN(Bytes value, index_->state(kSyncSettled));
  BytesView view = value;
  uint64_t lsn = 0;
  if (!value.empty() && !get_fixed(view, lsn)) return fail(Code::kCorrupt, "the index has a damaged position");
  return Lsn{lsn};
}

Task<Status> StoreEngine::set_sync_settled(Lsn lsn) {
  Bytes value;
  put_fixed<uint64_t>(value, number(lsn));
  return set_state(std::string(kSyncSettled), std::move(value));
}

Result<Version> StoreEngine::content_version(FileId file, Version version) {
  ASSIGN_OR_RETURN(VersionRow row, durable_row(file, version));
  if (row.trimmed) return std::unexpected(content_gone(row));
  ASSIGN_OR_RETURN(VersionRow named, named_row(std::move(row)));
  if (named.trimmed) return std::unexpected(content_gone(named));
  return named.version;
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
