// The records of a storage server's log: their numbers, and what the index keeps
// of each. A NameRecord and the other messages are in common/wire/*.proto.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/base/chunk_list.h"
#include "common/base/result.h"
#include "common/base/types.h"
#include "common/segment_log/log_format.h"
#include "common/wire/records.pb.h"
#include "common/wire/understudy.pb.h"

namespace understudy {

// Never change meaning.
enum class RecordType : uint32_t {
  kEpoch = 1,    // EpochRecord
  kChunk = 2,    // ChunkRecord, the chunk
  kVersion = 3,  // LocalVersion, inline content. Tombstones and checkpoints are versions too, of those kinds.
  kName = 4,     // NameRecord
  kAside = 5,    // AsideRecord
  kState = 6,    // StateRecord
  kTrim = 7,     // TrimRecord
  kGap = 20,     // What stood here was damaged, and is not needed.
};

// Contents up to this size stand in their version's record.
inline constexpr uint64_t kInlineSizeMax = 64 << 10;

// Entries of a list of chunks in one version's record. Since there are list chunks it takes
// kTopListMax; those before had all their chunks there.
inline constexpr int kRecordChunksMax = 200 << 10;

struct VersionRow {
  Lsn lsn{};  // Where the record begins,
  Lsn end{};  // and ends.
  FileId file = kNoFile;
  Version version;
  Version parent;
  RequestId request;
  uint32_t kind = 0;  // wire::ChangeKind
  bool originated = false;
  bool aside = false;    // Was set aside, or is kept here only beside the line.
  bool sync = false;     // Its writer was promised two machines.
  bool trimmed = false;  // Its content is gone.
  bool more_follow = false;  // It came back, and a newer one was yet to.
  uint64_t size_bytes = 0;
  uint64_t new_bytes = 0;  // About what a half that has the parent lacks.
  std::string user;
  int64_t time_us = 0;
  uint32_t mode = 0;
  int64_t modified_us = 0;
  uint64_t meta_version = 0;  // Of the name that came along.
  std::string tag;            // Of a checkpoint; not from the index.

  bool deleted() const { return kind == wire::CHANGE_DELETE; }
  // The content is the parent's, which is named.
  bool checkpoint() const { return kind == wire::CHANGE_CHECKPOINT; }
};
struct ChunkRow {
  Lsn lsn{};
  FileId file = kNoFile;
  ChunkHash hash;
  uint32_t size = 0;
};
struct NameRow {
  Lsn lsn{};
  FileId object = kNoFile;
  uint32_t kind = 0;  // wire::NodeKind
  uint64_t meta_version = 0;
};
struct AsideRow {
  FileId file = kNoFile;
  Version keep;
  std::vector<Version> versions;
  bool rescued = false;  // They came back as newer versions.
};
struct TrimRow {
  struct Trimmed {
    Version version;
    Lsn lsn{};
    bool gone = false;
  };
  FileId file = kNoFile;
  std::vector<Trimmed> versions;
  std::vector<ChunkRow> chunks;
  std::vector<NameRow> names;  // Of removed folders and links: their last records.
};
struct EpochRow {
  Epoch epoch = kNoEpoch;
  bool serving = false;
};
struct StateRow {
  std::string key;
  Bytes value;
};

// One record as the index takes it in.
struct IndexRecord {
  Lsn end{};
  std::variant<std::monostate, VersionRow, ChunkRow, NameRow, AsideRow, EpochRow, StateRow, TrimRow> row;
};

// CORRUPT: no such record can be.
Result<IndexRecord> decode_index_record(const LogRecord& record);
// What the index keeps of a version; its position is for the caller to fill in.
VersionRow version_row(const wire::LocalVersion& version);
// A chunk without a hash is left out.
TrimRow trim_row(const wire::TrimRecord& record);

// What stays of a version that retention took.
void strip_content(wire::VersionRecord& version);

// In words, for `understudy inspect`.
std::string describe_record(const LogRecord& record);

// The entry of a version's list. False if it is none.
[[nodiscard]] bool chunk_ref_from_wire(const wire::ChunkRef& chunk, uint32_t level, ChunkRefInfo& ref);

inline wire::VersionNumber version_to_wire(Version version) {
  wire::VersionNumber result;
  result.set_epoch(number(version.epoch));
  result.set_counter(version.counter);
  return result;
}
inline Version version_from_wire(const wire::VersionNumber& version) {
  return {Epoch{version.epoch()}, version.counter()};
}

}  // namespace understudy
