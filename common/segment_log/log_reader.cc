#include "common/segment_log/log_reader.h"

#include <algorithm>

#include "common/base/coding.h"

namespace understudy {
namespace {

constexpr uint64_t kWindowSize = 1 << 20;
constexpr uint64_t kBlockSize = 4 << 10;  // What a disk loses at once, about.

}  // namespace

LogReader::LogReader(std::shared_ptr<File> file, std::string path, Lsn base, Lsn from, uint64_t file_size)
    : file_(std::move(file)),
      path_(std::move(path)),
      base_(number(base)),
      offset_(number(from) - number(base)),
      file_size_(std::max(file_size, offset_)) {}

LogReader::LogReader(std::shared_ptr<File> file, std::string path, std::shared_ptr<const PackedTable> packed,
                     Lsn from)
    : file_(std::move(file)),
      path_(std::move(path)),
      base_(number(packed->header.base)),
      offset_(packed->offset_before(from)),
      file_size_(packed->header.table_at),
      packed_(std::move(packed)),
      position_(packed_->header.base),
      from_(from) {}

Task<Status> LogReader::fill(uint64_t offset, uint64_t size) {
  uint64_t wanted = std::min(std::max(size, kWindowSize), file_size_ - offset);
  auto read = file_->read(offset, static_cast<uint32_t>(wanted));
  auto bytes = co_await read;
  if (!bytes && bytes.error().code == Code::kCorrupt) bytes = co_await read_around(offset, wanted);
  if (!bytes) co_return fail(bytes.error().code, path_ + ": " + bytes.error().message);
  window_ = *std::move(bytes);
  window_at_ = offset;
  co_return Status{};
}

// Block by block, with zeros, which are no record, for those that cannot be read.
Task<Result<Bytes>> LogReader::read_around(uint64_t offset, uint64_t size) {
  Bytes all;
  for (uint64_t at = offset; at < offset + size;) {
    const uint64_t next = std::min(offset + size, (at / kBlockSize + 1) * kBlockSize);
    auto read = file_->read(at, static_cast<uint32_t>(next - at));
    auto bytes = co_await read;
    if (!bytes && bytes.error().code != Code::kCorrupt) co_return bytes;
    if (!bytes) unreadable_end_ = std::max(unreadable_end_, next);
    all += bytes ? *bytes : Bytes(next - at, '\0');
    if (all.size() < next - offset) break;  // The file ends there.
    at = next;
  }
  co_return all;
}

Task<Result<std::optional<LogRecord>>> LogReader::record_at(uint64_t offset) {
  if (offset + kRecordHeaderSize > file_size_) co_return std::nullopt;
  if (!holds(offset, kRecordHeaderSize)) CO_RETURN_IF_ERROR(co_await fill(offset, kRecordHeaderSize));
  if (!holds(offset, kRecordHeaderSize)) co_return std::nullopt;
  RecordHeader header;
  Lsn lsn{base_ + offset};
  if (packed_) {
    // The table holds which one; whatever else stands here does not match its checksum.
    lsn = Lsn{load_fixed<uint64_t>(view(offset + 16, 8).data())};
    if (lsn < position_ || lsn >= packed_->header.end) co_return std::nullopt;
  }
  if (!decode_record_header(view(offset, kRecordHeaderSize), lsn, header)) co_return std::nullopt;
  uint64_t size = record_size(header.payload_size());
  if (offset + size > file_size_) co_return std::nullopt;
  if (!holds(offset, size)) CO_RETURN_IF_ERROR(co_await fill(offset, size));
  if (!holds(offset, size)) co_return std::nullopt;
  BytesView head = view(offset + kRecordHeaderSize, header.head_size);
  BytesView body = view(offset + kRecordHeaderSize + header.head_size, header.body_size);
  if (!record_matches(view(offset, kRecordHeaderSize), header, head, body)) co_return std::nullopt;
  LogRecord record;
  record.lsn = header.lsn;
  record.durable_lsn = header.durable_lsn;
  record.type = header.type;
  record.head = head;
  record.body = body;
  co_return record;
}

Task<Result<std::optional<LogRecord>>> LogReader::next_whole() {
  auto record = co_await record_at(offset_);
  if (!record || !*record) co_return record;
  offset_ += record_size((*record)->head.size() + (*record)->body.size());
  if (packed_) position_ = (*record)->end();
  co_return record;
}

Task<Result<std::optional<LogRecord>>> LogReader::next() {
  while (true) {
    auto record = co_await next_whole();
    if (!record || !*record || !packed_ || (*record)->lsn >= from_) co_return record;
  }
}

Task<Status> LogReader::skip_damage() {
  for (uint64_t offset = offset_ + 8; offset + kRecordHeaderSize <= file_size_; offset += 8) {
    // Nearly every place fails here, without a coroutine.
    if (holds(offset, kRecordHeaderSize)) {
      const uint64_t lsn = load_fixed<uint64_t>(view(offset + 16, 8).data());
      if (packed_ ? Lsn{lsn} < position_ || Lsn{lsn} >= packed_->header.end : lsn != base_ + offset) continue;
    }
    CO_ASSIGN_OR_RETURN(auto record, co_await record_at(offset));
    if (!record) continue;
    offset_ = offset;
    position_ = record->lsn;
    co_return Status{};
  }
  offset_ = file_size_;
  if (packed_) position_ = packed_->header.end;
  co_return Status{};
}

Task<Result<bool>> LogReader::proves_damage() {
  if (packed_) co_return true;  // It was synced as a whole.
  for (uint64_t offset = offset_ + 8; offset + kRecordHeaderSize <= file_size_; offset += 8) {
    // Nearly every place fails here, without a coroutine.
    if (holds(offset, kRecordHeaderSize) &&
        load_fixed<uint64_t>(view(offset + 16, 8).data()) != base_ + offset)
      continue;
    CO_ASSIGN_OR_RETURN(auto record, co_await record_at(offset));
    if (record && record->durable_lsn > position()) co_return true;
    if (unreadable_end_ > offset_) co_return true;
  }
  co_return unreadable_end_ > offset_;
}

}  // namespace understudy
