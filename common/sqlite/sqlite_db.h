// One connection to an SQLite database in WAL mode, as both kinds of server use it
// for what can be rebuilt: their logs are the truth, the database is an index of
// them that records the position it covers in the same transaction.
//
// synchronous=NORMAL: a commit is atomic but becomes durable only with a later
// checkpoint, so after a power cut an older commit may show. Checkpoints never run
// by themselves; the owner calls checkpoint().
//
// One thread at a time. This file's .cc is the only one in common/ that includes
// sqlite3.h, beside checked_vfs.cc, which puts a checksum under every page. Errors are converted here, once: NO_SPACE, CORRUPT, EXISTS (a unique
// constraint), UNAVAILABLE (busy), else INTERNAL.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "common/base/result.h"
#include "common/base/types.h"
#include "common/env/task.h"

struct sqlite3;
struct sqlite3_stmt;

namespace understudy {

struct Env;
class CheckedVfs;
class SqliteDb;

// A prepared statement, lent by its database; resets itself when destroyed. An
// error in preparing or binding is kept and comes out of step() or run().
//
//   auto find = db.statement("SELECT size FROM files WHERE file_id = ?1");
//   find.bind(number(id));
//   ASSIGN_OR_RETURN(bool found, find.step());
//   if (found) size = find.column_uint64(0);
class SqliteStatement {
 public:
  SqliteStatement(SqliteStatement&& other) noexcept;
  SqliteStatement& operator=(SqliteStatement&&) = delete;
  ~SqliteStatement();

  // Binds the next parameter, ?1 first. Integers above 2^63 are stored as their
  // two's complement: equal values stay equal, but they sort below zero.
  SqliteStatement& bind(uint64_t value);
  SqliteStatement& bind_text(std::string_view value);
  SqliteStatement& bind_blob(BytesView value);
  SqliteStatement& bind_null();

  // True: a row stands ready. False: done.
  [[nodiscard]] Result<bool> step();
  // For what gives no rows: steps once and resets, ready to be bound again.
  Status run();
  // Ready to be bound from ?1 and stepped again.
  void reset();

  // Columns of the row that stands ready, 0 first; views live until the next step.
  int columns() const;
  uint64_t column_uint64(int index) const;
  BytesView column_bytes(int index) const;  // Text or blob.
  bool column_is_null(int index) const;

 private:
  friend class SqliteDb;
  struct Cached {
    sqlite3_stmt* handle = nullptr;
    bool lent = false;
  };
  SqliteStatement(SqliteDb* db, Cached* cached, sqlite3_stmt* own, Status prepared)
      : db_(db), cached_(cached), own_(own), status_(std::move(prepared)) {}
  sqlite3_stmt* handle() const { return cached_ ? cached_->handle : own_; }
  void note(int code);

  SqliteDb* db_;
  Cached* cached_;
  sqlite3_stmt* own_;
  Status status_;
  int next_parameter_ = 1;
};

struct SqliteOptions {
  std::string vfs;  // Disk::sqlite_vfs(); empty: SQLite's own.
  uint32_t cache_kib_max = 16 * 1024;
};

class SqliteDb {
 public:
  // Makes the database if it is not there. CORRUPT if it is no database.
  static Result<std::unique_ptr<SqliteDb>> open(std::string path, SqliteOptions options);
  ~SqliteDb();
  SqliteDb(const SqliteDb&) = delete;
  SqliteDb& operator=(const SqliteDb&) = delete;

  // Any number of statements without parameters or rows: schemas and pragmas.
  Status execute(const char* sql);
  // Prepared once per text and kept.
  SqliteStatement statement(std::string_view sql);

  Status begin();
  // After a failed commit nothing of the transaction is left: begin again.
  Status commit();
  // No-op outside a transaction.
  void rollback();
  bool in_transaction() const;

  // Copies what is committed into the database file and syncs it, on a worker
  // thread and a connection of its own, while this connection goes on. Under a VFS
  // of the simulator it runs at once on this connection, so that a seed replays
  // exactly: call it outside a transaction. What was committed before the call is
  // in the synced database file when it ends.
  Task<Status> checkpoint(Env& env);
  // The same, blocking, outside a transaction. The write-ahead log starts over
  // afterwards, so a short one behind checkpoint() keeps that log from growing.
  Status checkpoint_here();

  const std::string& path() const { return path_; }

 private:
  friend class SqliteStatement;
  SqliteDb(sqlite3* handle, std::string path, SqliteOptions options);
  Error error(int code, std::string_view doing) const;

  std::unique_ptr<CheckedVfs> checked_;  // The connection goes first.
  sqlite3* handle_;
  std::string path_;
  SqliteOptions options_;
  std::map<std::string, SqliteStatement::Cached, std::less<>> statements_;
};

// Reads a database's file from the disk, page by page, as it lies there, whoever has it open, and verifies every
// page's checksum; says what does not fit (empty: nothing). Pages that are being written are looked at
// again. Those of a database that was made without checksums are not verified.
Task<Result<std::string>> verify_pages(Env& env, std::string path, uint64_t bytes_per_second);

}  // namespace understudy
