// The bytes of a segment file. docs/disk.md has the grammar.
//
//   segment := header record*
//   header  := magic format reserved store_id base_lsn checksum          64 bytes
//   record  := head_size body_size type reserved lsn durable_lsn checksum head body padding to 8
//
// A position (Lsn) counts headers too: the record at `lsn` stands at lsn - base_lsn
// in its file, and a segment's base is the end of the one before.
//
// durable_lsn is the position below which all was synced when the record was
// written. So a bad record is a torn tail as long as no valid record behind it says
// that it had been durable; if one does, the file is damaged.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy {

inline constexpr std::string_view kSegmentMagic = "USEGLOG\n";
inline constexpr uint32_t kSegmentFormat = 1;
inline constexpr uint32_t kSegmentHeaderSize = 64;
inline constexpr uint32_t kRecordHeaderSize = 40;
inline constexpr uint32_t kRecordPayloadMax = 17 << 20;  // Head and body together.
inline constexpr uint32_t kStoreIdSize = 32;

struct SegmentHeader {
  StoreId store_id;
  Lsn base_lsn = kNoLsn;
};

Bytes encode_segment_header(const SegmentHeader& header);
// Nothing if it is torn or no such header. CORRUPT if its format is newer than ours.
Result<std::optional<SegmentHeader>> decode_segment_header(BytesView bytes);

struct RecordHeader {
  uint32_t head_size = 0;
  uint32_t body_size = 0;
  uint32_t type = 0;
  Lsn lsn = kNoLsn;
  Lsn durable_lsn = kNoLsn;
  uint64_t checksum = 0;

  uint64_t payload_size() const { return uint64_t{head_size} + body_size; }
};

// What a record takes in the file.
constexpr uint64_t record_size(uint64_t payload_size) {
  return (kRecordHeaderSize + payload_size + 7) / 8 * 8;
}

// The part of the checksum that does not wait for durable_lsn to be known.
uint64_t payload_checksum(BytesView head, uint64_t body_checksum);

void append_record_header(Bytes& out, RecordHeader header, uint64_t payload_checksum);
// A whole record as it stands at `lsn`, which is durable: for putting back what was damaged.
Bytes encode_record(Lsn lsn, uint32_t type, BytesView head, BytesView body);
// Needs kRecordHeaderSize bytes. False if no record can stand at `lsn` with these
// bytes; that the payload fits them is record_matches().
bool decode_record_header(BytesView bytes, Lsn lsn, RecordHeader& header);
bool record_matches(BytesView header_bytes, const RecordHeader& header, BytesView head, BytesView body);

// A record as it is read back.
struct LogRecord {
  Lsn lsn = kNoLsn;
  Lsn durable_lsn = kNoLsn;
  uint32_t type = 0;
  Bytes head;
  Bytes body;

  Lsn end() const { return Lsn{number(lsn) + record_size(head.size() + body.size())}; }
};

std::string segment_name(Lsn base);  // "0000000000000000.log"
std::optional<Lsn> parse_segment_name(std::string_view name);

}  // namespace understudy
