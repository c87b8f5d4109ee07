#include "nm/hint_store.h"

#include <fmt/format.h>

#include "common/base/chunk_hash.h"
#include "common/base/log.h"
#include "common/env/env_util.h"

namespace understudy {
namespace {

constexpr uint64_t kSegmentSize = 8 << 20;
constexpr uint64_t kBufferedMax = 16 << 20;
// The disk's last bytes are for the name node's log.
constexpr uint64_t kReserveBytes = 32 << 20;
constexpr uint32_t kSizeHint = 4096;

enum class HintRecordType : uint32_t { kChunk = 1, kVersion = 2 };

}  // namespace

Task<Result<std::unique_ptr<HintStore>>> HintStore::open(Env& env, std::string folder, StoreId store_id) {
  std::unique_ptr<HintStore> store(new HintStore(env));
  store->folder_ = folder;
  CO_RETURN_IF_ERROR(co_await store->open_log(folder + "/promised", store_id, &store->sync_));
  CO_RETURN_IF_ERROR(co_await store->open_log(folder + "/expiring", store_id, &store->async_));
  co_return store;
}

Task<Status> HintStore::open_log(std::string folder, StoreId store_id, std::unique_ptr<SegmentLog>* log) {
  CO_RETURN_IF_ERROR(make_folder_durably(env_, folder));
  SegmentLogOptions options{.folder = folder, .store_id = store_id, .segment_size = kSegmentSize, .reserve_bytes = kReserveBytes};
  CO_ASSIGN_OR_RETURN(*log, co_await SegmentLog::open(env_, options, kNoLsn, [](const LogRecord&) -> Status { return {}; }));
  co_return Status{};
}

Lsn HintStore::append_chunk(bool sync, wire::HintChunk head, Bytes chunk) {
  return log(sync).append({static_cast<uint32_t>(HintRecordType::kChunk), head.SerializeAsString(), std::move(chunk), {}});
}

Lsn HintStore::append_version(bool sync, wire::HintRecord record, Bytes inline_content) {
  record.mutable_version()->clear_inline_content();
  return log(sync).append(
      {static_cast<uint32_t>(HintRecordType::kVersion), record.SerializeAsString(), std::move(inline_content), {}});
}

Task<Status> HintStore::durable(bool sync) {
  auto flush = log(sync).flush();
  co_return co_await flush;
}

Status HintStore::has_room() const {
  auto space = env_.disk.space(folder_);
  if (!space || space->free_bytes >= kReserveBytes + kSegmentSize) return {};
  return fail(Code::kNoSpace, fmt::format("the name node's disk has {} MiB left, too little for hints", space->free_bytes >> 20));
}

Task<void> HintStore::room(bool sync) { return log(sync).room(kBufferedMax); }

Task<Result<wire::HintRecord>> HintStore::version(bool sync, Lsn lsn) {
  CO_ASSIGN_OR_RETURN(LogRecord record, co_await log(sync).read(lsn, kSizeHint));
  wire::HintRecord hint;
  if (HintRecordType{record.type} != HintRecordType::kVersion || !hint.ParseFromString(record.head)) {
    co_return fail(Code::kCorrupt, fmt::format("no hint at {} of the hint store", number(lsn)));
  }
  *hint.mutable_version()->mutable_inline_content() = std::move(record.body);
  co_return hint;
}

Task<Result<HintStore::Chunk>> HintStore::chunk(bool sync, Lsn lsn, Bytes hash) {
  CO_ASSIGN_OR_RETURN(LogRecord record, co_await log(sync).read(lsn, kChunkSizeMax + kSizeHint));
  wire::HintChunk head;
  if (HintRecordType{record.type} != HintRecordType::kChunk || !head.ParseFromString(record.head) || head.hash() != hash) {
    co_return fail(Code::kCorrupt, fmt::format("no such chunk at {} of the hint store", number(lsn)));
  }
  co_return Chunk{std::move(head), std::move(record.body)};
}

void HintStore::trim(bool sync, Lsn first_needed) {
  Lsn before = std::min(first_needed, log(sync).durable_end());
  if (auto trimmed = log(sync).trim_before(before); !trimmed) {
    log_warning("old hints stay on the disk: " + trimmed.error().to_string());
  }
}

}  // namespace understudy
