#include "common/segment_log/packed_segment.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "common/base/checksum.h"
#include "common/base/coding.h"

namespace understudy {
namespace {

constexpr uint64_t kBlockSize = 16 << 10;
constexpr uint64_t kWriteSize = 1 << 20;
constexpr uint64_t kTableSizeMax = 256 << 20;
constexpr uint32_t kHeaderChecksumAt = kPackedHeaderSize - 8;

Bytes encode_header(const PackedHeader& header) {
  Bytes out(kPackedMagic);
  put_fixed<uint32_t>(out, kPackedFormat);
  put_fixed<uint32_t>(out, 0);
  out += header.store_id;
  out.append(kStoreIdSize - header.store_id.size(), '\0');
  put_fixed<uint64_t>(out, number(header.base));
  put_fixed<uint64_t>(out, number(header.end));
  put_fixed<uint64_t>(out, number(header.packed_at));
  put_fixed<uint64_t>(out, header.table_at);
  out.append(kHeaderChecksumAt - out.size(), '\0');
  put_fixed<uint64_t>(out, checksum(out));
  CHECK(out.size() == kPackedHeaderSize);
  return out;
}

}  // namespace

Result<PackedHeader> decode_packed_header(BytesView bytes) {
  if (bytes.size() < kPackedHeaderSize || !bytes.starts_with(kPackedMagic)) {
    return fail(Code::kCorrupt, "no packed segment");
  }
  if (load_fixed<uint64_t>(bytes.data() + kHeaderChecksumAt) != checksum(bytes.substr(0, kHeaderChecksumAt))) {
    return fail(Code::kCorrupt, "a damaged header");
  }
  if (uint32_t format = load_fixed<uint32_t>(bytes.data() + 8); format != kPackedFormat) {
    return fail(Code::kInvalid, fmt::format("packed segment format {}; this program knows {}", format, kPackedFormat));
  }
  PackedHeader header;
  header.store_id = bytes.substr(16, kStoreIdSize);
  header.store_id.erase(header.store_id.find_last_not_of('\0') + 1);
  const char* at = bytes.data() + 16 + kStoreIdSize;
  header.base = Lsn{load_fixed<uint64_t>(at)};
  header.end = Lsn{load_fixed<uint64_t>(at + 8)};
  header.packed_at = Lsn{load_fixed<uint64_t>(at + 16)};
  header.table_at = load_fixed<uint64_t>(at + 24);
  return header;
}

std::optional<PackedTable::Block> PackedTable::block_of(Lsn lsn) const {
  auto above = std::ranges::upper_bound(marks, lsn, {}, &Mark::lsn);
  if (above == marks.begin()) return std::nullopt;
  const Mark& mark = *std::prev(above);
  return Block{mark.offset, above == marks.end() ? header.table_at : above->offset, mark.lsn == lsn};
}

uint64_t PackedTable::offset_before(Lsn lsn) const {
  auto above = std::ranges::upper_bound(marks, lsn, {}, &Mark::lsn);
  return above == marks.begin() ? kPackedHeaderSize : std::prev(above)->offset;
}

Task<Result<std::shared_ptr<const PackedTable>>> load_packed(std::shared_ptr<File> file, std::string path) {
  CO_ASSIGN_OR_RETURN(uint64_t size, file->size());
  auto read_header = file->read(0, kPackedHeaderSize);
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read_header);
  auto table = std::make_shared<PackedTable>();
  auto header = decode_packed_header(bytes);
  if (!header) co_return fail(header.error().code, path + ": " + header.error().message);
  table->header = *std::move(header);
  const uint64_t at = table->header.table_at;
  if (at < kPackedHeaderSize || at + 8 > size || size - at > kTableSizeMax || (size - at - 8) % 16 != 0) {
    co_return fail(Code::kCorrupt, path + ": is cut short");
  }
  auto read_table = file->read(at, static_cast<uint32_t>(size - at));
  CO_ASSIGN_OR_RETURN(bytes, co_await read_table);
  if (bytes.size() != size - at || load_fixed<uint64_t>(bytes.data() + bytes.size() - 8) !=
                                       checksum(BytesView(bytes).substr(0, bytes.size() - 8))) {
    co_return fail(Code::kCorrupt, path + ": a damaged table");
  }
  for (size_t i = 0; i + 16 < bytes.size(); i += 16) {
    table->marks.push_back(
        {Lsn{load_fixed<uint64_t>(bytes.data() + i)}, load_fixed<uint64_t>(bytes.data() + i + 8)});
    const auto& mark = table->marks.back();
    const bool ordered = i == 0 || (table->marks[i / 16 - 1].lsn < mark.lsn &&
                                    table->marks[i / 16 - 1].offset < mark.offset);
    if (!ordered || mark.offset < kPackedHeaderSize || mark.offset >= at) {
      co_return fail(Code::kCorrupt, path + ": a table out of order");
    }
  }
  co_return std::shared_ptr<const PackedTable>(std::move(table));
}

Task<Status> PackedWriter::add(LogRecord record) {
  const uint64_t size = record_size(record.head.size() + record.body.size());
  const uint64_t size_so_far = this->size();
  const bool large = size > kBlockSize;
  if (large || marked_behind_large_ || size_so_far - marks_.back().offset >= kBlockSize) {
    marks_.push_back({record.lsn, size_so_far});
  }
  marked_behind_large_ = large;
  RecordHeader header;
  header.head_size = static_cast<uint32_t>(record.head.size());
  header.body_size = static_cast<uint32_t>(record.body.size());
  header.type = record.type;
  header.lsn = record.lsn;
  header.durable_lsn = record.durable_lsn;
  const size_t start = pending_.size();
  append_record_header(pending_, header, payload_checksum(record.head, checksum(record.body)));
  pending_ += record.head;
  pending_ += record.body;
  pending_.resize(start + size, '\0');
  if (pending_.size() >= kWriteSize) co_return co_await flush();
  co_return Status{};
}

Task<Status> PackedWriter::add_damaged(Bytes bytes) {
  pending_ += bytes;
  marked_behind_large_ = true;
  if (pending_.size() >= kWriteSize) co_return co_await flush();
  co_return Status{};
}

Task<Status> PackedWriter::flush() {
  const uint64_t at = offset_;
  offset_ += pending_.size();
  std::vector<Bytes> pieces;
  pieces.push_back(std::exchange(pending_, {}));
  auto write = file_->write(at, std::move(pieces), Sync::kNo);
  co_return co_await write;
}

Task<Status> PackedWriter::finish() {
  header_.table_at = offset_ + pending_.size();
  Bytes table;
  for (const auto& mark : marks_) {
    put_fixed<uint64_t>(table, number(mark.lsn));
    put_fixed<uint64_t>(table, mark.offset);
  }
  put_fixed<uint64_t>(table, checksum(table));
  pending_ += table;
  CO_RETURN_IF_ERROR(co_await flush());
  std::vector<Bytes> pieces;
  pieces.push_back(encode_header(header_));
  auto write = file_->write(0, std::move(pieces), Sync::kYes);
  co_return co_await write;
}

std::string packed_name(Lsn base, Lsn end) { return fmt::format("{:016x}-{:016x}.pack", number(base), number(end)); }

std::optional<PackedRange> parse_packed_name(std::string_view name) {
  if (name.size() != 38 || name[16] != '-' || !name.ends_with(".pack")) return std::nullopt;
  uint64_t base = 0, end = 0;
  auto hex = [&](size_t at, uint64_t& value) {
    auto [stop, error] = std::from_chars(name.data() + at, name.data() + at + 16, value, 16);
    return error == std::errc() && stop == name.data() + at + 16;
  };
  if (!hex(0, base) || !hex(17, end) || base >= end) return std::nullopt;
  return PackedRange{Lsn{base}, Lsn{end}};
}

}  // namespace understudy
