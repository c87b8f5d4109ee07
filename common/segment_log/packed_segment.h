// A packed segment: what compaction left of one or several neighbouring segments,
// as one file, written once. docs/disk.md has the grammar.
//
//   packed := header record* table
//   header := magic format reserved store_id base_lsn end_lsn packed_at table_at checksum    96 bytes
//   table  := (lsn offset)* checksum
//
// A record keeps its position (Lsn) although others around it went, so nothing that
// names a position changes. Its bytes are those of a plain segment's record; it may
// have lost part of its payload, never its position. Records stand in order of
// position; the table says where about every sixteenth KiB of them stands.
//
// It stands for the positions [base_lsn, end_lsn), under a name that says so, and was
// synced before it got that name: so there is no torn tail, and whatever in it does not
// fit its checksum is damage. packed_at: the log's durable end when it was decided what stays.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/segment_log/log_format.h"

namespace understudy {

inline constexpr std::string_view kPackedMagic = "USEGPAK\n";
inline constexpr uint32_t kPackedFormat = 1;
inline constexpr uint32_t kPackedHeaderSize = 96;

struct PackedHeader {
  StoreId store_id;
  Lsn base = kNoLsn;
  Lsn end = kNoLsn;
  Lsn packed_at = kNoLsn;
  uint64_t table_at = 0;
};

struct PackedTable {
  struct Mark {
    Lsn lsn = kNoLsn;
    uint64_t offset = 0;
  };
  PackedHeader header;
  std::vector<Mark> marks;  // Ascending; the first record has one.
  bool recovered = false;   // Header or table are damaged, and this is what the records say (packed_recovery.h).

  struct Block {
    uint64_t begin = 0;
    uint64_t end = 0;
    bool exact = false;  // The record begins at `begin`.
  };
  // The bytes in which the record at `lsn` stands, if it is there; nothing if it cannot be.
  std::optional<Block> block_of(Lsn lsn) const;
  // Where to begin reading for the records from `lsn` on.
  uint64_t offset_before(Lsn lsn) const;
};

// CORRUPT: no packed segment, or damaged. INVALID: a newer format.
Result<PackedHeader> decode_packed_header(BytesView bytes);

// The same errors. `path` is for them.
Task<Result<std::shared_ptr<const PackedTable>>> load_packed(std::shared_ptr<File> file, std::string path);

// Builds the file front to back. Only finish() makes it one.
class PackedWriter {
 public:
  PackedWriter(std::shared_ptr<File> file, PackedHeader header)
      : file_(std::move(file)), header_(std::move(header)) {}

  // In order of position.
  Task<Status> add(LogRecord record);
  // What is damaged, as it stands: it stays known to be so.
  Task<Status> add_damaged(Bytes bytes);
  // Everything is durable when it returns.
  Task<Status> finish();
  uint64_t size() const { return offset_ + pending_.size(); }

 private:
  Task<Status> flush();

  std::shared_ptr<File> file_;
  PackedHeader header_;
  std::vector<PackedTable::Mark> marks_;
  uint64_t offset_ = kPackedHeaderSize;
  Bytes pending_;  // Stands at offset_.
  bool marked_behind_large_ = true;
};

// "0000000000000000-0000000004000000.pack"
std::string packed_name(Lsn base, Lsn end);
struct PackedRange {
  Lsn base = kNoLsn;
  Lsn end = kNoLsn;
};
std::optional<PackedRange> parse_packed_name(std::string_view name);

}  // namespace understudy
