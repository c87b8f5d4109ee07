#include "common/segment_log/packed_recovery.h"

#include "common/base/checksum.h"
#include "common/base/coding.h"
#include "common/segment_log/log_reader.h"

namespace understudy {
namespace {

// As the writer leaves them, about.
constexpr uint64_t kMarkEvery = 16 << 10;
constexpr uint32_t kMarkSize = 16;
constexpr uint64_t kTableSizeMax = 256 << 20;

// Whether a whole table stands from there to the end of the file.
Task<Result<bool>> is_table(std::shared_ptr<File> file, uint64_t at, uint64_t size) {
  if (at + 8 > size || size - at > kTableSizeMax || (size - at - 8) % kMarkSize != 0) co_return false;
  auto read = file->read(at, static_cast<uint32_t>(size - at));
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read);
  if (bytes.size() != size - at) co_return false;
  const BytesView marks = BytesView(bytes).substr(0, bytes.size() - 8);
  co_return load_fixed<uint64_t>(bytes.data() + marks.size()) == checksum(marks);
}

}  // namespace

Task<Result<std::shared_ptr<const PackedTable>>> recover_packed(std::shared_ptr<File> file, std::string path,
                                                                PackedRange range, StoreId store_id) {
  CO_ASSIGN_OR_RETURN(const uint64_t size, file->size());
  auto read = file->read(0, kPackedHeaderSize);
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read);
  auto header = decode_packed_header(bytes);
  const bool fits = header && header->base == range.base && header->end == range.end && header->store_id == store_id &&
                    header->table_at >= kPackedHeaderSize && header->table_at <= size;
  auto table = std::make_shared<PackedTable>();
  table->recovered = true;
  // When it was packed is not known any more: never, as far as that keeps more.
  table->header = fits ? *header : PackedHeader{store_id, range.base, range.end, kNoLsn, std::max<uint64_t>(size, kPackedHeaderSize)};
  LogReader reader(file, path, std::make_shared<const PackedTable>(*table), range.base);
  uint64_t end = kPackedHeaderSize;
  bool behind_damage = true;
  while (true) {
    const uint64_t at = reader.offset();
    CO_ASSIGN_OR_RETURN(auto record, co_await reader.next());
    if (!record) {
      if (reader.at_file_end()) break;
      CO_RETURN_IF_ERROR(co_await reader.skip_damage());
      behind_damage = true;
      continue;
    }
    if (behind_damage || at - table->marks.back().offset >= kMarkEvery) table->marks.push_back({record->lsn, at});
    behind_damage = reader.offset() - at > kMarkEvery;
    end = reader.offset();
  }
  if (!fits) {
    CO_ASSIGN_OR_RETURN(const bool whole, co_await is_table(file, end, size));
    if (whole) table->header.table_at = end;
  }
  co_return std::shared_ptr<const PackedTable>(std::move(table));
}

}  // namespace understudy
