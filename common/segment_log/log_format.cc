#include "common/segment_log/log_format.h"

#include <fmt/format.h>

#include <charconv>

#include "common/base/checksum.h"
#include "common/base/coding.h"

namespace understudy {
namespace {

constexpr uint32_t kSegmentChecksumAt = kSegmentHeaderSize - 8;
constexpr uint32_t kRecordChecksumAt = kRecordHeaderSize - 8;

}  // namespace

Bytes encode_segment_header(const SegmentHeader& header) {
  CHECK(header.store_id.size() <= kStoreIdSize);
  Bytes out(kSegmentMagic);
  put_fixed<uint32_t>(out, kSegmentFormat);
  put_fixed<uint32_t>(out, 0);
  out += header.store_id;
  out.append(kStoreIdSize - header.store_id.size(), '\0');
  put_fixed<uint64_t>(out, number(header.base_lsn));
  put_fixed<uint64_t>(out, checksum(out));
  CHECK(out.size() == kSegmentHeaderSize);
  return out;
}

Result<std::optional<SegmentHeader>> decode_segment_header(BytesView bytes) {
  if (bytes.size() < kSegmentHeaderSize || !bytes.starts_with(kSegmentMagic)) return std::nullopt;
  if (load_fixed<uint64_t>(bytes.data() + kSegmentChecksumAt) !=
      checksum(bytes.substr(0, kSegmentChecksumAt))) {
    return std::nullopt;
  }
  uint32_t format = load_fixed<uint32_t>(bytes.data() + 8);
  if (format != kSegmentFormat) {
    return fail(Code::kCorrupt,
                fmt::format("segment format {}; this program knows {}", format, kSegmentFormat));
  }
  SegmentHeader header;
  header.store_id = bytes.substr(16, kStoreIdSize);
  header.store_id.erase(header.store_id.find_last_not_of('\0') + 1);
  header.base_lsn = Lsn{load_fixed<uint64_t>(bytes.data() + 16 + kStoreIdSize)};
  return header;
}

uint64_t payload_checksum(BytesView head, uint64_t body_checksum) { return checksum(head, body_checksum); }

void append_record_header(Bytes& out, RecordHeader header, uint64_t payload_checksum) {
  size_t start = out.size();
  put_fixed<uint32_t>(out, header.head_size);
  put_fixed<uint32_t>(out, header.body_size);
  put_fixed<uint32_t>(out, header.type);
  put_fixed<uint32_t>(out, 0);
  put_fixed<uint64_t>(out, number(header.lsn));
  put_fixed<uint64_t>(out, number(header.durable_lsn));
  put_fixed<uint64_t>(out, checksum(BytesView(out).substr(start), payload_checksum));
}

Bytes encode_record(Lsn lsn, uint32_t type, BytesView head, BytesView body) {
  RecordHeader header;
  header.head_size = static_cast<uint32_t>(head.size());
  header.body_size = static_cast<uint32_t>(body.size());
  header.type = type;
  header.lsn = header.durable_lsn = lsn;
  Bytes out;
  append_record_header(out, header, payload_checksum(head, checksum(body)));
  out += head;
  out += body;
  out.resize(record_size(header.payload_size()), '\0');
  return out;
}

bool decode_record_header(BytesView bytes, Lsn lsn, RecordHeader& header) {
  const char* at = bytes.data();
  header.head_size = load_fixed<uint32_t>(at);
  header.body_size = load_fixed<uint32_t>(at + 4);
  header.type = load_fixed<uint32_t>(at + 8);
  header.lsn = Lsn{load_fixed<uint64_t>(at + 16)};
  header.durable_lsn = Lsn{load_fixed<uint64_t>(at + 24)};
  header.checksum = load_fixed<uint64_t>(at + kRecordChecksumAt);
  return header.lsn == lsn && header.durable_lsn <= lsn && header.payload_size() <= kRecordPayloadMax;
}

bool record_matches(BytesView header_bytes, const RecordHeader& header, BytesView head, BytesView body) {
  uint64_t payload = payload_checksum(head, checksum(body));
  return header.checksum == checksum(header_bytes.substr(0, kRecordChecksumAt), payload);
}

std::string segment_name(Lsn base) { return fmt::format("{:016x}.log", number(base)); }

std::optional<Lsn> parse_segment_name(std::string_view name) {
  if (name.size() != 20 || !name.ends_with(".log")) return std::nullopt;
  uint64_t base = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + 16, base, 16);
  if (error != std::errc() || end != name.data() + 16) return std::nullopt;
  return Lsn{base};
}

}  // namespace understudy
