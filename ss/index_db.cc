#include "ss/index_db.h"

#include <fmt/format.h>

#include "common/base/checksum.h"
#include "common/base/coding.h"
#include "common/env/env.h"

namespace understudy {
namespace {

constexpr std::string_view kIndexFormat = "1";
constexpr std::string_view kStatePrefix = "state.";

// lsn is the position of a record in the log. flags: 1 originated, 2 set aside.
constexpr const char* kSchema = R"sql(
CREATE TABLE IF NOT EXISTS changes(lsn INTEGER PRIMARY KEY, end_lsn INTEGER, file_id INTEGER, epoch INTEGER,
  counter INTEGER, parent_epoch INTEGER, parent_counter INTEGER, client INTEGER, sequence INTEGER,
  kind INTEGER, flags INTEGER, size INTEGER, new_bytes INTEGER, user TEXT, time_us INTEGER, mode INTEGER,
  modified_us INTEGER, meta_version INTEGER);
CREATE UNIQUE INDEX IF NOT EXISTS changes_by_version ON changes(file_id, epoch, counter);
CREATE INDEX IF NOT EXISTS changes_by_request ON changes(client, sequence) WHERE client <> 0;
CREATE TABLE IF NOT EXISTS objects(id INTEGER PRIMARY KEY, kind INTEGER, meta_version INTEGER,
  name_lsn INTEGER, created_us INTEGER, versions INTEGER, head_lsn INTEGER);
CREATE TABLE IF NOT EXISTS aside(file_id INTEGER, epoch INTEGER, counter INTEGER,
  PRIMARY KEY(file_id, epoch, counter)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints(file_id INTEGER, tag TEXT, lsn INTEGER,
  PRIMARY KEY(file_id, tag)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
)sql";

constexpr uint64_t kOriginated = 1;
constexpr uint64_t kAside = 2;

#define CHANGE_COLUMNS                                                                            \
  "c.lsn, c.end_lsn, c.file_id, c.epoch, c.counter, c.parent_epoch, c.parent_counter, c.client, " \
  "c.sequence, "                                                                                  \
  "c.kind, c.flags, c.size, c.new_bytes, c.user, c.time_us, c.mode, c.modified_us, c.meta_version"
constexpr int kChangeColumns = 18;

VersionRow change_of(const SqliteStatement& row, int at = 0) {
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
  change.size_bytes = row.column_uint64(at + 11);
  change.new_bytes = row.column_uint64(at + 12);
  change.user = row.column_bytes(at + 13);
  change.time_us = static_cast<int64_t>(row.column_uint64(at + 14));
  change.mode = static_cast<uint32_t>(row.column_uint64(at + 15));
  change.modified_us = static_cast<int64_t>(row.column_uint64(at + 16));
  change.meta_version = row.column_uint64(at + 17);
  return change;
}

ObjectRow object_of(const SqliteStatement& row) {
  ObjectRow object;
  object.id = FileId{row.column_uint64(0)};
  object.kind = static_cast<uint32_t>(row.column_uint64(1));
  object.meta_version = row.column_uint64(2);
  object.name_lsn = Lsn{row.column_uint64(3)};
  object.created_us = static_cast<int64_t>(row.column_uint64(4));
  object.versions = row.column_uint64(5);
  if (!row.column_is_null(6)) object.head = change_of(row, 6);
  return object;
}

#define OBJECT_SELECT                                                                          \
  "SELECT o.id, o.kind, o.meta_version, o.name_lsn, o.created_us, o.versions, " CHANGE_COLUMNS \
  " FROM objects o "                                                                           \
  "LEFT JOIN changes c ON c.lsn = o.head_lsn "

// Whether a half that lacks this object lacks anything: a file's name alone is
// nothing, for a file whose only versions were set aside has no more than that.
bool counts_in_digest(const ObjectRow& object) {
  return object.head || (object.kind != wire::KIND_FILE && object.meta_version != 0);
}

uint64_t digest_of(const ObjectRow& object) {
  Bytes bytes;
  put_fixed<uint64_t>(bytes, number(object.id));
  bool deleted = object.head && object.head->deleted();
  put_fixed<uint64_t>(bytes, deleted);
  if (!deleted) {
    Version head = object.head ? object.head->version : Version{};
    put_fixed<uint64_t>(bytes, number(head.epoch));
    put_fixed<uint64_t>(bytes, head.counter);
    put_fixed<uint64_t>(bytes, object.meta_version);
  }
  return checksum(bytes);
}

}  // namespace

Result<std::unique_ptr<IndexDb>> IndexDb::open(Env& env, std::string path, StoreId store_id) {
  ASSIGN_OR_RETURN(auto db, SqliteDb::open(path, {env.disk.sqlite_vfs(), 16 * 1024}));
  std::unique_ptr<IndexDb> index(new IndexDb(std::move(db)));
  RETURN_IF_ERROR(index->load(store_id));
  return index;
}

Status IndexDb::remove(Env& env, const std::string& path) {
  for (const char* part : {"", "-wal", "-shm"}) {
    auto removed = env.disk.remove(path + part);
    if (!removed && removed.error().code != Code::kNotFound) return removed;
  }
  return {};
}

Status IndexDb::load(const StoreId& store_id) {
  RETURN_IF_ERROR(db_->execute(kSchema));
  auto get = db_->statement("SELECT value FROM meta WHERE key = 'store'");
  ASSIGN_OR_RETURN(bool found, get.step());
  std::string wanted = fmt::format("format {} store {}", kIndexFormat, store_id);
  if (!found) {
    RETURN_IF_ERROR(db_->statement("INSERT INTO meta VALUES('store', ?1)").bind_blob(wanted).run());
    return save_summary();
  }
  if (get.column_bytes(0) != wanted) {
    return fail(Code::kCorrupt,
                fmt::format("{}: is the index \"{}\", not \"{}\"", db_->path(), get.column_bytes(0), wanted));
  }
  return restore_summary();
}

Status IndexDb::save_summary() {
  Bytes value;
  put_fixed<uint64_t>(value, number(covered_));
  put_fixed(value, totals_.files);
  put_fixed(value, totals_.bytes);
  put_fixed(value, totals_.divergent);
  put_fixed(value, totals_.versions);
  put_fixed(value, number(epoch_seen_));
  put_fixed(value, number(epoch_served_));
  for (uint64_t digest : digests_) put_fixed(value, digest);
  return db_->statement("INSERT OR REPLACE INTO meta VALUES('summary', ?1)").bind_blob(value).run();
}

Status IndexDb::restore_summary() {
  auto get = db_->statement("SELECT value FROM meta WHERE key = 'summary'");
  ASSIGN_OR_RETURN(bool found, get.step());
  BytesView value = found ? get.column_bytes(0) : BytesView();
  uint64_t covered, seen, served;
  bool whole = get_fixed(value, covered) && get_fixed(value, totals_.files) &&
               get_fixed(value, totals_.bytes) && get_fixed(value, totals_.divergent) &&
               get_fixed(value, totals_.versions) && get_fixed(value, seen) && get_fixed(value, served);
  for (uint64_t& digest : digests_) whole = whole && get_fixed(value, digest);
  if (!whole) return fail(Code::kCorrupt, db_->path() + ": the index has no summary");
  covered_ = committed_covered_ = Lsn{covered};
  epoch_seen_ = Epoch{seen};
  epoch_served_ = Epoch{served};
  return {};
}

Status IndexDb::begin_if_needed() { return db_->in_transaction() ? Status() : db_->begin(); }

Status IndexDb::apply(const IndexRecord& record) {
  uncommitted_.push_back(record);
  return apply_rows(record);
}

Status IndexDb::apply_rows(const IndexRecord& record) {
  RETURN_IF_ERROR(begin_if_needed());
  covered_ = record.end;
  if (auto* version = std::get_if<VersionRow>(&record.row)) return apply_version(*version);
  if (auto* name = std::get_if<NameRow>(&record.row)) return apply_name(*name);
  if (auto* aside = std::get_if<AsideRow>(&record.row)) return apply_aside(*aside);
  if (auto* state = std::get_if<StateRow>(&record.row)) {
    return put_state(std::string(kStatePrefix) + state->key, state->value);
  }
  if (auto* epoch = std::get_if<EpochRow>(&record.row)) {
    epoch_seen_ = std::max(epoch_seen_, epoch->epoch);
    if (epoch->serving) epoch_served_ = std::max(epoch_served_, epoch->epoch);
  }
  return {};
}

Status IndexDb::apply_version(const VersionRow& row) {
  ASSIGN_OR_RETURN(auto known, object(row.file));
  ObjectRow object = known.value_or(ObjectRow{row.file});
  if (known) count(object, -1);
  RETURN_IF_ERROR(
      db_->statement("INSERT OR REPLACE INTO changes VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, "
                     "?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)")
          .bind(number(row.lsn))
          .bind(number(row.end))
          .bind(number(row.file))
          .bind(number(row.version.epoch))
          .bind(row.version.counter)
          .bind(number(row.parent.epoch))
          .bind(row.parent.counter)
          .bind(row.request.client)
          .bind(row.request.sequence)
          .bind(row.kind)
          .bind(row.originated ? kOriginated : 0)
          .bind(row.size_bytes)
          .bind(row.new_bytes)
          .bind_text(row.user)
          .bind(static_cast<uint64_t>(row.time_us))
          .bind(row.mode)
          .bind(static_cast<uint64_t>(row.modified_us))
          .bind(row.meta_version)
          .run());
  if (object.versions == 0) object.created_us = row.time_us;
  object.kind = wire::KIND_FILE;
  if (row.checkpoint()) {
    RETURN_IF_ERROR(db_->statement("INSERT OR REPLACE INTO checkpoints VALUES(?1, ?2, ?3)")
                        .bind(number(row.file))
                        .bind_text(row.tag)
                        .bind(number(row.lsn))
                        .run());
  } else {
    object.versions += 1;
  }
  object.head = row;
  totals_.versions += 1;
  if (row.meta_version != 0 && row.meta_version >= object.meta_version) {
    object.meta_version = row.meta_version;
    object.name_lsn = row.lsn;
  }
  count(object, 1);
  return put_object(object, !known);
}

Status IndexDb::apply_name(const NameRow& row) {
  ASSIGN_OR_RETURN(auto known, object(row.object));
  ObjectRow object = known.value_or(ObjectRow{row.object});
  // The same one again: it was damaged where it stood before.
  if (row.meta_version < object.meta_version) return {};
  if (known) count(object, -1);
  object.kind = row.kind;
  object.meta_version = row.meta_version;
  object.name_lsn = row.lsn;
  count(object, 1);
  return put_object(object, !known);
}

Status IndexDb::apply_aside(const AsideRow& row) {
  ASSIGN_OR_RETURN(auto known, object(row.file));
  if (!known) return fail(Code::kCorrupt, fmt::format("{}: an unknown file is set aside", db_->path()));
  ObjectRow object = *std::move(known);
  count(object, -1);
  for (Version version : row.versions) RETURN_IF_ERROR(set_aside(object, version));
  ASSIGN_OR_RETURN(object.head, version(row.file, row.keep));
  count(object, 1);
  return put_object(object, false);
}

// A tag that is set aside names nothing any more.
Status IndexDb::set_aside(ObjectRow& object, Version version) {
  {
    // Said again, because where it was said first may be damaged.
    auto known = db_->statement("SELECT 1 FROM aside WHERE file_id = ?1 AND epoch = ?2 AND counter = ?3");
    known.bind(number(object.id)).bind(number(version.epoch)).bind(version.counter);
    ASSIGN_OR_RETURN(bool already, known.step());
    if (already) return {};
  }
  ++totals_.divergent;
  RETURN_IF_ERROR(
      db_->statement("UPDATE changes SET flags = flags | 2 WHERE file_id = ?1 AND epoch = ?2 AND "
                     "counter = ?3")
          .bind(number(object.id))
          .bind(number(version.epoch))
          .bind(version.counter)
          .run());
  RETURN_IF_ERROR(db_->statement("INSERT OR REPLACE INTO aside VALUES(?1, ?2, ?3)")
                      .bind(number(object.id))
                      .bind(number(version.epoch))
                      .bind(version.counter)
                      .run());
  ASSIGN_OR_RETURN(auto row, this->version(object.id, version));
  if (row && row->checkpoint()) {
    return db_->statement("DELETE FROM checkpoints WHERE file_id = ?1 AND lsn = ?2")
        .bind(number(object.id))
        .bind(number(row->lsn))
        .run();
  }
  object.versions -= std::min<uint64_t>(object.versions, 1);
  return {};
}

void IndexDb::count(const ObjectRow& object, int sign) {
  if (object.head && !object.head->deleted()) {
    totals_.files += sign;
    totals_.bytes += sign * object.head->size_bytes;
  }
  if (counts_in_digest(object)) digests_[partition_of(object.id)] += sign * digest_of(object);
}

Status IndexDb::put_object(const ObjectRow& object, bool is_new) {
  auto put = is_new ? db_->statement("INSERT INTO objects VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")
                    : db_->statement(
                          "UPDATE objects SET kind = ?2, meta_version = ?3, name_lsn = ?4, created_us = ?5, "
                          "versions = ?6, head_lsn = ?7 WHERE id = ?1");
  put.bind(number(object.id))
      .bind(object.kind)
      .bind(object.meta_version)
      .bind(number(object.name_lsn))
      .bind(static_cast<uint64_t>(object.created_us))
      .bind(object.versions);
  if (object.head)
    put.bind(number(object.head->lsn));
  else
    put.bind_null();
  return put.run();
}

Status IndexDb::put_state(std::string_view key, BytesView value) {
  return db_->statement("INSERT OR REPLACE INTO meta VALUES(?1, ?2)").bind_text(key).bind_blob(value).run();
}

Status IndexDb::commit() {
  if (!dirty()) return {};
  RETURN_IF_ERROR(begin_if_needed());
  auto saved = save_summary();
  auto committed = saved ? db_->commit() : saved;
  if (committed) {
    records_since_checkpoint_ += uncommitted_.size();
    uncommitted_.clear();
    committed_covered_ = covered_;
    return {};
  }
  if (committed.error().code == Code::kNoSpace) RETURN_IF_ERROR(reapply());
  return committed;
}

// After a commit that the full disk refused: back to the last one, and everything
// since fed again, so that look-ups go on. The write-ahead log may start over
// once it is checkpointed, which can be all the space that the next commit needs.
Status IndexDb::reapply() {
  db_->rollback();
  (void)db_->checkpoint_here();
  Lsn covered = covered_;
  RETURN_IF_ERROR(restore_summary());
  for (const auto& record : uncommitted_) RETURN_IF_ERROR(apply_rows(record));
  covered_ = covered;
  return {};
}

Task<Status> IndexDb::checkpoint(Env& env) {
  records_since_checkpoint_ = 0;
  return db_->checkpoint(env);
}

Status IndexDb::checkpoint_here() {
  records_since_checkpoint_ = 0;
  return db_->checkpoint_here();
}

Result<std::optional<ObjectRow>> IndexDb::object(FileId id) {
  auto find = db_->statement(OBJECT_SELECT "WHERE o.id = ?1");
  ASSIGN_OR_RETURN(bool found, find.bind(number(id)).step());
  if (!found) return std::nullopt;
  return object_of(find);
}

Result<std::optional<VersionRow>> IndexDb::head(FileId file) {
  auto find = db_->statement("SELECT " CHANGE_COLUMNS
                             " FROM objects o JOIN changes c ON c.lsn = o.head_lsn "
                             "WHERE o.id = ?1");
  ASSIGN_OR_RETURN(bool found, find.bind(number(file)).step());
  if (!found) return std::nullopt;
  return change_of(find);
}

Result<std::optional<VersionRow>> IndexDb::version(FileId file, Version version) {
  auto find = db_->statement("SELECT " CHANGE_COLUMNS
                             " FROM changes c WHERE c.file_id = ?1 AND c.epoch = ?2 AND "
                             "c.counter = ?3");
  find.bind(number(file)).bind(number(version.epoch)).bind(version.counter);
  ASSIGN_OR_RETURN(bool found, find.step());
  if (!found) return std::nullopt;
  return change_of(find);
}

Result<std::optional<VersionRow>> IndexDb::request(FileId file, RequestId request) {
  if (!request) return std::nullopt;
  auto find = db_->statement("SELECT " CHANGE_COLUMNS
                             " FROM changes c WHERE c.client = ?1 AND c.sequence = ?2 AND "
                             "c.client <> 0 AND c.file_id = ?3 AND c.flags & 2 = 0");
  find.bind(request.client).bind(request.sequence).bind(number(file));
  ASSIGN_OR_RETURN(bool found, find.step());
  if (!found) return std::nullopt;
  return change_of(find);
}

namespace {

// Of what one file has seen of failovers, as much as a listing bears.
constexpr size_t kOlderEpochsMax = 192;

}  // namespace

Result<std::vector<Version>> IndexDb::ancestors(FileId file, Version from, size_t count_max) {
  std::vector<Version> all;
  ASSIGN_OR_RETURN(auto row, version(file, from));
  while (row && row->parent && all.size() < count_max + kOlderEpochsMax) {
    all.push_back(row->parent);
    Version next = row->parent;
    // The versions that one epoch made in a line are numbered from 1 on without a gap.
    if (all.size() >= count_max) next.counter = 1;
    ASSIGN_OR_RETURN(row, version(file, next));
  }
  return all;
}

Result<std::vector<Version>> IndexDb::aside(FileId file) {
  std::vector<Version> all;
  auto find = db_->statement("SELECT epoch, counter FROM aside WHERE file_id = ?1 ORDER BY epoch, counter");
  find.bind(number(file));
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    all.push_back({Epoch{find.column_uint64(0)}, find.column_uint64(1)});
  }
}

Result<std::vector<VersionRow>> IndexDb::checkpoints(FileId file, std::string_view tag) {
  std::vector<VersionRow> all;
  auto find = db_->statement("SELECT k.tag, " CHANGE_COLUMNS
                             " FROM checkpoints k JOIN changes c ON c.lsn = k.lsn WHERE k.file_id = ?1 "
                             "AND (?2 = '' OR k.tag = ?2) ORDER BY c.lsn");
  find.bind(number(file)).bind_text(tag);
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    all.push_back(change_of(find, 1));
    all.back().tag = find.column_bytes(0);
  }
}

Result<std::vector<VersionRow>> IndexDb::originated(Lsn from, size_t count_max) {
  std::vector<VersionRow> all;
  auto find = db_->statement("SELECT " CHANGE_COLUMNS
                             " FROM changes c WHERE c.lsn >= ?1 AND c.flags & 3 = 1 "
                             "ORDER BY c.lsn LIMIT ?2");
  find.bind(number(from)).bind(count_max);
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    all.push_back(change_of(find));
  }
}

Result<std::vector<ObjectRow>> IndexDb::partition(uint32_t partition, FileId after, size_t count_max) {
  // Ids of one partition share their upper bits, so they are one run also where
  // SQLite takes the highest bit for a sign.
  const uint64_t first = uint64_t{partition} << 54;
  const uint64_t last = first | ((uint64_t{1} << 54) - 1);
  const bool inside = number(after) >= first && number(after) <= last;
  if (number(after) >= last) return std::vector<ObjectRow>{};
  std::vector<ObjectRow> all;
  auto find = db_->statement(OBJECT_SELECT "WHERE o.id >= ?1 AND o.id <= ?2 ORDER BY o.id");
  find.bind(inside ? number(after) + 1 : first).bind(last);
  while (all.size() < count_max) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) break;
    ObjectRow object = object_of(find);
    if (counts_in_digest(object)) all.push_back(std::move(object));
  }
  return all;
}

Result<std::vector<ObjectRow>> IndexDb::objects(bool from_start, FileId after, size_t count_max) {
  std::vector<ObjectRow> all;
  auto find = db_->statement(OBJECT_SELECT "WHERE o.id > ?1 ORDER BY o.id LIMIT ?2");
  // As a signed number, which is how SQLite sorts them, nothing is below this one.
  find.bind(from_start ? uint64_t{1} << 63 : number(after)).bind(count_max);
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    all.push_back(object_of(find));
  }
}

Result<std::vector<VersionRow>> IndexDb::versions_in(Lsn from, Lsn to) {
  std::vector<VersionRow> all;
  auto find = db_->statement("SELECT " CHANGE_COLUMNS " FROM changes c WHERE c.lsn >= ?1 AND c.lsn < ?2 ORDER BY c.lsn");
  find.bind(number(from)).bind(number(to));
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    all.push_back(change_of(find));
  }
}

Result<std::vector<Lsn>> IndexDb::big_versions(Lsn from) {
  std::vector<Lsn> all;
  auto find = db_->statement("SELECT lsn FROM changes WHERE lsn > ?1 AND size > ?2 ORDER BY lsn");
  find.bind(number(from)).bind(kInlineSizeMax);
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    all.push_back(Lsn{find.column_uint64(0)});
  }
}

Result<std::vector<FileId>> IndexDb::names_in(Lsn from, Lsn to) {
  std::vector<FileId> all;
  auto find = db_->statement(
      "SELECT o.id FROM objects o WHERE o.name_lsn >= ?1 AND o.name_lsn < ?2 "
      "AND NOT EXISTS (SELECT 1 FROM changes c WHERE c.lsn = o.name_lsn) ORDER BY o.id");
  find.bind(number(from)).bind(number(to));
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    all.push_back(FileId{find.column_uint64(0)});
  }
}

Result<std::vector<FileId>> IndexDb::files_with_aside() {
  std::vector<FileId> all;
  auto find = db_->statement("SELECT DISTINCT file_id FROM aside ORDER BY file_id");
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    all.push_back(FileId{find.column_uint64(0)});
  }
}

Result<std::vector<std::pair<std::string, Bytes>>> IndexDb::states() {
  std::vector<std::pair<std::string, Bytes>> all;
  auto find = db_->statement("SELECT key, value FROM meta WHERE key > 'state.' AND key < 'state/' ORDER BY key");
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    all.emplace_back(std::string(find.column_bytes(0).substr(kStatePrefix.size())), Bytes(find.column_bytes(1)));
  }
}

Result<Bytes> IndexDb::state(std::string_view key) {
  auto find = db_->statement("SELECT value FROM meta WHERE key = ?1");
  ASSIGN_OR_RETURN(bool found, find.bind_text(std::string(kStatePrefix) + std::string(key)).step());
  return found ? Bytes(find.column_bytes(0)) : Bytes();
}

Result<std::string> IndexDb::integrity_problems() {
  auto check = db_->statement("PRAGMA integrity_check(10)");
  std::string problems;
  while (true) {
    ASSIGN_OR_RETURN(bool found, check.step());
    if (!found) return problems;
    if (check.column_bytes(0) == "ok") continue;
    problems += (problems.empty() ? "" : "; ") + std::string(check.column_bytes(0));
  }
}

Status IndexDb::compare(std::string path, const std::function<void(const std::string& row, bool only_here)>& tell) {
  for (size_t at = 0; (at = path.find('\'', at)) != std::string::npos; at += 2) path.insert(at, 1, '\'');
  RETURN_IF_ERROR(db_->execute(("ATTACH DATABASE '" + path + "' AS other").c_str()));
  std::vector<std::string> tables;
  {
    auto list = db_->statement("SELECT name FROM main.sqlite_schema WHERE type = 'table' ORDER BY name");
    while (true) {
      ASSIGN_OR_RETURN(bool found, list.step());
      if (!found) break;
      tables.emplace_back(list.column_bytes(0));
    }
  }
  for (const auto& table : tables) {
    for (bool only_here : {true, false}) {
      auto rows = db_->statement(fmt::format("SELECT * FROM {0}.{2} EXCEPT SELECT * FROM {1}.{2}", only_here ? "main" : "other",
                                             only_here ? "other" : "main", table));
      while (true) {
        ASSIGN_OR_RETURN(bool found, rows.step());
        if (!found) break;
        std::string text = table + ":";
        for (int i = 0; i < rows.columns(); ++i) {
          BytesView value = rows.column_bytes(i);
          text += value.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-/ ") == BytesView::npos
                      ? fmt::format(" {}", value)
                      : fmt::format(" ({} bytes)", value.size());
        }
        tell(text, only_here);
      }
    }
  }
  return db_->execute("DETACH DATABASE other");
}

Result<std::string> IndexDb::dump() {
  std::string text;
  const std::pair<const char*, int> tables[] = {
      {"SELECT * FROM changes ORDER BY lsn", kChangeColumns},
      {"SELECT * FROM objects ORDER BY id", 7},
      {"SELECT * FROM aside ORDER BY file_id, epoch, counter", 3},
      {"SELECT * FROM checkpoints ORDER BY file_id, tag", 3},
      {"SELECT * FROM meta WHERE key <> 'summary' ORDER BY key", 2}};
  for (auto [sql, columns] : tables) {
    auto rows = db_->statement(sql);
    while (true) {
      ASSIGN_OR_RETURN(bool found, rows.step());
      if (!found) break;
      for (int i = 0; i < columns; ++i) text += fmt::format("{}|", rows.column_bytes(i));
      text += '\n';
    }
  }
  text +=
      fmt::format("{} files {} bytes {} divergent {} versions, epochs {} {}\n", totals_.files, totals_.bytes,
                  totals_.divergent, totals_.versions, number(epoch_seen_), number(epoch_served_));
  for (uint32_t i = 0; i < kPartitions; ++i) {
    if (digests_[i]) text += fmt::format("partition {} {:x}\n", i, digests_[i]);
  }
  return text;
}

}  // namespace understudy
