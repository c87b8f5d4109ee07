// A layer between SQLite and the file system below it that puts a checksum under every page of a
// database file: the last eight bytes of each page are the XXH3 of the rest and of where it stands,
// written with the page and verified whenever it is read. What does not fit is an error of reading, which
// sqlite_db.cc says as CORRUPT, and never data.
//
// SQLite leaves those bytes free in databases that are made under reserve_room(); any other
// database is read and written as it is. The write-ahead log has checksums of SQLite's own.
//
// One layer for each connection, registered as long as that lives. Only sqlite_db.cc uses it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/base/result.h"
#include "common/base/types.h"

struct sqlite3;

namespace understudy {

inline constexpr int kPageChecksumSize = 8;

class CheckedVfs {
 public:
  // `below`: the name of a registered VFS; empty: SQLite's own.
  explicit CheckedVfs(const std::string& below);
  ~CheckedVfs();
  CheckedVfs(const CheckedVfs&) = delete;
  CheckedVfs& operator=(const CheckedVfs&) = delete;

  const std::string& name() const;
  // Before the first table is made.
  static void reserve_room(sqlite3* database);

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// What the first bytes of a database file say of its pages; 0: they have no checksums, or it is none.
uint32_t checked_page_size(BytesView first_bytes);
// Whether the page fits its checksum. One that was never written is all zeros, and fits.
bool page_fits(BytesView page, uint64_t offset);

}  // namespace understudy
