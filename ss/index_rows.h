// Inside the index only: the rows of `changes` as values, and what their flags mean.
#pragma once

#include "ss/index_db.h"

namespace understudy {

inline constexpr uint64_t kOriginated = 1;
inline constexpr uint64_t kAside = 2;
inline constexpr uint64_t kRescued = 4;   // Set aside, and came back as a newer version.
inline constexpr uint64_t kTrimmed = 8;
inline constexpr uint64_t kSync = 16;     // Its writer was promised two machines.
inline constexpr uint64_t kMoreFollow = 32;  // It came back, and a newer one was yet to.

#define CHANGE_COLUMNS                                                                            \
  "c.lsn, c.end_lsn, c.file_id, c.epoch, c.counter, c.parent_epoch, c.parent_counter, c.client, " \
  "c.sequence, "                                                                                  \
  "c.kind, c.flags, c.size, c.new_bytes, c.user, c.time_us, c.mode, c.modified_us, c.meta_version"
inline constexpr int kChangeColumns = 18;

inline VersionRow change_of(const SqliteStatement& row, int at = 0) {
  VersionRow change;
  change.lsn = Lsn{row.column_uint64(at)};
  change.end = Lsn{row.column_uint64(at + 1)};
  change.file = FileId{row.column_uint64(at + 2)};
  change.version = {Epoch{row.column_uint64(at + 3)}, row.column_uint64(at + 4)};
  change.parent = {Epoch{row.column_uint64(at + 5)}, row.column_uint64(at + 6)};
  change.request = {row.column_uint64(at + 7), row.column_uint64(at + 8)};
  change.kind = static_cast<uint32_t>(row.column_uint64(at + 9));
  change.originated = row.column_uint64(at + 10) & kOriginated;
  change.aside = row.column_uint64(at + 10) & kAside;
  change.sync = row.column_uint64(at + 10) & kSync;
  change.more_follow = row.column_uint64(at + 10) & kMoreFollow;
  change.trimmed = row.column_uint64(at + 10) & kTrimmed;
  change.size_bytes = row.column_uint64(at + 11);
  change.new_bytes = row.column_uint64(at + 12);
  change.user = row.column_bytes(at + 13);
  change.time_us = static_cast<int64_t>(row.column_uint64(at + 14));
  change.mode = static_cast<uint32_t>(row.column_uint64(at + 15));
  change.modified_us = static_cast<int64_t>(row.column_uint64(at + 16));
  change.meta_version = row.column_uint64(at + 17);
  return change;
}

}  // namespace understudy
