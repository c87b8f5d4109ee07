#include "common/sqlite/sqlite_db.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include "common/env/env.h"

namespace understudy {
namespace {

Code code_of(int sqlite_code) {
  switch (sqlite_code & 0xff) {
    case SQLITE_FULL:
      return Code::kNoSpace;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Code::kCorrupt;
    case SQLITE_CONSTRAINT:
      return Code::kExists;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Code::kUnavailable;
    default:
      return Code::kInternal;
  }
}

}  // namespace

SqliteStatement::SqliteStatement(SqliteStatement&& other) noexcept
    : db_(other.db_),
      cached_(std::exchange(other.cached_, nullptr)),
      own_(std::exchange(other.own_, nullptr)),
      status_(std::move(other.status_)),
      next_parameter_(other.next_parameter_) {}

SqliteStatement::~SqliteStatement() {
  if (handle()) {
    sqlite3_reset(handle());
    sqlite3_clear_bindings(handle());
  }
  if (cached_) cached_->lent = false;
  if (own_) sqlite3_finalize(own_);
}

void SqliteStatement::note(int code) {
  if (code != SQLITE_OK && status_) status_ = std::unexpected(db_->error(code, "bind"));
}

SqliteStatement& SqliteStatement::bind(uint64_t value) {
  if (handle()) note(sqlite3_bind_int64(handle(), next_parameter_++, static_cast<int64_t>(value)));
  return *this;
}

SqliteStatement& SqliteStatement::bind_text(std::string_view value) {
  const char* data = value.data() ? value.data() : "";
  if (handle())
    note(sqlite3_bind_text64(handle(), next_parameter_++, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

SqliteStatement& SqliteStatement::bind_blob(BytesView value) {
  const char* data = value.data() ? value.data() : "";  // A null pointer would bind NULL.
  if (handle()) note(sqlite3_bind_blob64(handle(), next_parameter_++, data, value.size(), SQLITE_TRANSIENT));
  return *this;
}

SqliteStatement& SqliteStatement::bind_null() {
  if (handle()) note(sqlite3_bind_null(handle(), next_parameter_++));
  return *this;
}

Result<bool> SqliteStatement::step() {
  if (!status_) return std::unexpected(status_.error());
  int code = sqlite3_step(handle());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return std::unexpected(db_->error(code, sqlite3_sql(handle())));
}

Status SqliteStatement::run() {
  auto stepped = step();
  reset();
  if (!stepped) return std::unexpected(std::move(stepped).error());
  return {};
}

void SqliteStatement::reset() {
  next_parameter_ = 1;
  if (handle()) sqlite3_reset(handle());
}

int SqliteStatement::columns() const { return sqlite3_column_count(handle()); }

uint64_t SqliteStatement::column_uint64(int index) const {
  return static_cast<uint64_t>(sqlite3_column_int64(handle(), index));
}

BytesView SqliteStatement::column_bytes(int index) const {
  const void* data = sqlite3_column_blob(handle(), index);
  int size = sqlite3_column_bytes(handle(), index);
  return {static_cast<const char*>(data), static_cast<size_t>(size)};
}

bool SqliteStatement::column_is_null(int index) const {
  return sqlite3_column_type(handle(), index) == SQLITE_NULL;
}

Result<std::unique_ptr<SqliteDb>> SqliteDb::open(std::string path, SqliteOptions options) {
  sqlite3* handle = nullptr;
  int code =
      sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                      options.vfs.empty() ? nullptr : options.vfs.c_str());
  std::unique_ptr<SqliteDb> db(new SqliteDb(handle, std::move(path), options));
  if (code != SQLITE_OK) return std::unexpected(db->error(code, "open"));
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, 5000);
  // In the simulator one connection has the database alone and keeps the index of
  // its write-ahead log in memory: its VFS needs no shared memory.
  if (!options.vfs.empty()) RETURN_IF_ERROR(db->execute("PRAGMA locking_mode=EXCLUSIVE"));
  RETURN_IF_ERROR(db->execute("PRAGMA journal_mode=WAL"));
  // Without cache_spill an open transaction stays in memory until its commit, so a
  // full disk is met at the commit and nowhere else.
  RETURN_IF_ERROR(
      db->execute(fmt::format("PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0;"
                              "PRAGMA cache_spill=OFF; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-{}",
                              options.cache_kib_max)
                      .c_str()));
  return db;
}

SqliteDb::~SqliteDb() {
  for (auto& [sql, cached] : statements_) sqlite3_finalize(cached.handle);
  sqlite3_close(handle_);
}

Error SqliteDb::error(int code, std::string_view doing) const {
  const char* words = handle_ ? sqlite3_errmsg(handle_) : "out of memory";
  return {code_of(code), fmt::format("{}: {} ({}; {})", path_, words, code, doing)};
}

Status SqliteDb::execute(const char* sql) {
  int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return std::unexpected(error(code, sql));
  return {};
}

SqliteStatement SqliteDb::statement(std::string_view sql) {
  auto found = statements_.find(sql);
  if (found != statements_.end() && !found->second.lent) {
    found->second.lent = true;
    return SqliteStatement(this, &found->second, nullptr, {});
  }
  sqlite3_stmt* handle = nullptr;
  int code = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                &handle, nullptr);
  if (code != SQLITE_OK) return SqliteStatement(this, nullptr, nullptr, std::unexpected(error(code, sql)));
  // A statement used inside a loop over itself gets a handle of its own.
  if (found != statements_.end()) return SqliteStatement(this, nullptr, handle, {});
  auto& cached = statements_[std::string(sql)];
  cached.handle = handle;
  cached.lent = true;
  return SqliteStatement(this, &cached, nullptr, {});
}

Status SqliteDb::begin() { return statement("BEGIN IMMEDIATE").run(); }

Status SqliteDb::commit() {
  auto committed = statement("COMMIT").run();
  if (!committed) rollback();
  return committed;
}

void SqliteDb::rollback() {
  // SQLite may have rolled back by itself, and then this finds nothing to do.
  if (in_transaction()) (void)statement("ROLLBACK").run();
}

bool SqliteDb::in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

Status SqliteDb::checkpoint_here() {
  int frames = 0, copied = 0;
  int code = sqlite3_wal_checkpoint_v2(handle_, nullptr, SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
  if (code != SQLITE_OK) return std::unexpected(error(code, "checkpoint"));
  // A reader that still needs what an older page says keeps the rest back, and SQLite calls that success.
  if (copied < frames) return fail(Code::kUnavailable, path_ + ": not all could be checkpointed");
  return {};
}

namespace {

Status checkpoint_alone(const std::string& path) {
  auto db = SqliteDb::open(path, {});
  if (!db) return std::unexpected(std::move(db).error());
  return (*db)->checkpoint_here();
}

}  // namespace

Task<Status> SqliteDb::checkpoint(Env& env) {
  if (!options_.vfs.empty()) co_return checkpoint_here();
  auto result = std::make_shared<Status>();
  auto done = env.workers.run([result, path = path_] { *result = checkpoint_alone(path); });
  co_await done;
  co_return *result;
}

}  // namespace understudy
