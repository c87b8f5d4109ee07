#include "ss/index_rows.h"

#include <fmt/format.h>

#include "common/base/checksum.h"
#include "common/base/coding.h"
#include "common/env/env.h"

namespace understudy {
namespace {

constexpr std::string_view kIndexFormat = "4";
constexpr std::string_view kStatePrefix = "state.";

// lsn is the position of a record in the log. flags: index_rows.h. dead.bucket: index_space.cc.
constexpr const char* kSchema = R"sql(
CREATE TABLE IF NOT EXISTS changes(lsn INTEGER PRIMARY KEY, end_lsn INTEGER, file_id INTEGER, epoch INTEGER,
  counter INTEGER, parent_epoch INTEGER, parent_counter INTEGER, client INTEGER, sequence INTEGER,
  kind INTEGER, flags INTEGER, size INTEGER, new_bytes INTEGER, user TEXT, time_us INTEGER, mode INTEGER,
  modified_us INTEGER, meta_version INTEGER);
CREATE UNIQUE INDEX IF NOT EXISTS changes_by_version ON changes(file_id, epoch, counter);
CREATE INDEX IF NOT EXISTS changes_by_request ON changes(client, sequence) WHERE client <> 0;
CREATE INDEX IF NOT EXISTS changes_trimmed ON changes(file_id) WHERE flags & 8;
CREATE INDEX IF NOT EXISTS changes_deleted ON changes(file_id) WHERE kind = 5;
CREATE TABLE IF NOT EXISTS dead(bucket INTEGER PRIMARY KEY, bytes INTEGER);
CREATE TABLE IF NOT EXISTS staged(file_id INTEGER PRIMARY KEY);
CREATE INDEX IF NOT EXISTS changes_sync ON changes(lsn) WHERE flags & 16;
CREATE TABLE IF NOT EXISTS objects(id INTEGER PRIMARY KEY, kind INTEGER, meta_version INTEGER,
  name_lsn INTEGER, created_us INTEGER, versions INTEGER, head_lsn INTEGER);
CREATE INDEX IF NOT EXISTS objects_past ON objects(id) WHERE versions > 1;
CREATE TABLE IF NOT EXISTS aside(file_id INTEGER, epoch INTEGER, counter INTEGER,
  PRIMARY KEY(file_id, epoch, counter)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints(file_id INTEGER, tag TEXT, lsn INTEGER,
  PRIMARY KEY(file_id, tag)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunks(file_id INTEGER, hash BLOB, lsn INTEGER, size INTEGER,
  PRIMARY KEY(file_id, hash)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
)sql";

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
  return restore_staged();
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
  if (auto* chunk = std::get_if<ChunkRow>(&record.row)) return apply_chunk(*chunk);
  if (auto* name = std::get_if<NameRow>(&record.row)) return apply_name(*name);
  if (auto* aside = std::get_if<AsideRow>(&record.row)) return apply_aside(*aside);
  if (auto* trim = std::get_if<TrimRow>(&record.row)) return apply_trim(*trim);
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
          .bind((row.originated ? kOriginated : 0) | (row.aside ? kAside : 0) | (row.trimmed ? kTrimmed : 0) |
                (row.sync ? kSync : 0))
          .bind(row.size_bytes)
          .bind(row.new_bytes)
          .bind_text(row.user)
          .bind(static_cast<uint64_t>(row.time_us))
          .bind(row.mode)
          .bind(static_cast<uint64_t>(row.modified_us))
          .bind(row.meta_version)
          .run());
  object.kind = wire::KIND_FILE;
  totals_.versions += 1;
  if (row.aside) {
    totals_.divergent += 1;
    RETURN_IF_ERROR(put_aside(row.file, row.version));
    count(object, 1);
    return put_object(object, !known);
  }
  if (object.created_us == 0) object.created_us = row.time_us;
  if (row.checkpoint() && row.trimmed) {
    // Its tag went with it.
  } else if (row.checkpoint()) {
    RETURN_IF_ERROR(db_->statement("INSERT OR REPLACE INTO checkpoints VALUES(?1, ?2, ?3)")
                        .bind(number(row.file))
                        .bind_text(row.tag)
                        .bind(number(row.lsn))
                        .run());
  } else if (!row.trimmed) {
    object.versions += 1;
  }
  last_versions_ = object.versions;
  object.head = row;
  if (row.meta_version != 0 && row.meta_version >= object.meta_version) {
    object.meta_version = row.meta_version;
    object.name_lsn = row.lsn;
  }
  count(object, 1);
  return put_object(object, !known);
}

Status IndexDb::apply_chunk(const ChunkRow& row) {
  RETURN_IF_ERROR(note_staged(row.file));
  return db_->statement("INSERT OR REPLACE INTO chunks VALUES(?1, ?2, ?3, ?4)")
      .bind(number(row.file))
      .bind_blob(row.hash.view())
      .bind(number(row.lsn))
      .bind(row.size)
      .run();
}

Result<std::optional<ChunkRow>> IndexDb::chunk(FileId file, const ChunkHash& hash) {
  auto find = db_->statement("SELECT lsn, size FROM chunks WHERE file_id = ?1 AND hash = ?2");
  find.bind(number(file)).bind_blob(hash.view());
  ASSIGN_OR_RETURN(bool found, find.step());
  if (!found) return std::nullopt;
  return ChunkRow{Lsn{find.column_uint64(0)}, file, hash, static_cast<uint32_t>(find.column_uint64(1))};
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
  if (!known) return {};  // The only record of it is damaged, and was stepped over.
  ObjectRow object = *std::move(known);
  count(object, -1);
  for (Version version : row.versions) RETURN_IF_ERROR(set_aside(object, version, row.rescued));
  ASSIGN_OR_RETURN(object.head, version(row.file, row.keep));
  count(object, 1);
  return put_object(object, false);
}

// A tag that is set aside names nothing any more.
Status IndexDb::set_aside(ObjectRow& object, Version version, bool rescued) {
  // It may be said again, because where it was said first is damaged.
  auto find = db_->statement("SELECT 1 FROM aside WHERE file_id = ?1 AND epoch = ?2 AND counter = ?3");
  find.bind(number(object.id)).bind(number(version.epoch)).bind(version.counter);
  ASSIGN_OR_RETURN(const bool already, find.step());
  RETURN_IF_ERROR(
      db_->statement("UPDATE changes SET flags = flags | ?4 WHERE file_id = ?1 AND epoch = ?2 AND "
                     "counter = ?3")
          .bind(number(object.id))
          .bind(number(version.epoch))
          .bind(version.counter)
          .bind(rescued ? kAside | kRescued : kAside)
          .run());
  if (already) return {};
  ++totals_.divergent;
  RETURN_IF_ERROR(put_aside(object.id, version));
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

Status IndexDb::put_aside(FileId file, Version version) {
  return db_->statement("INSERT OR REPLACE INTO aside VALUES(?1, ?2, ?3)")
      .bind(number(file))
      .bind(number(version.epoch))
      .bind(version.counter)
      .run();
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
  const Lsn covered = committed_covered_;
  auto checkpoint = db_->checkpoint(env);
  CO_RETURN_IF_ERROR(co_await checkpoint);
  synced_ = std::max(synced_, covered);
  co_return Status{};
}

Status IndexDb::checkpoint_here() {
  records_since_checkpoint_ = 0;
  RETURN_IF_ERROR(db_->checkpoint_here());
  synced_ = std::max(synced_, committed_covered_);
  return {};
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

Result<std::vector<VersionRow>> IndexDb::recovered(FileId file) {
  std::vector<VersionRow> all;
  auto find = db_->statement("SELECT " CHANGE_COLUMNS
                             " FROM aside a JOIN changes c ON c.file_id = a.file_id AND c.epoch = a.epoch AND "
                             "c.counter = a.counter WHERE a.file_id = ?1 AND c.flags & 4 = 0 ORDER BY a.epoch, a.counter");
  find.bind(number(file));
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    VersionRow row = change_of(find);
    if (!row.checkpoint() && !row.deleted()) all.push_back(std::move(row));
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

Result<std::vector<VersionRow>> IndexDb::sync_versions(Lsn from) {
  std::vector<VersionRow> all;
  auto find = db_->statement("SELECT " CHANGE_COLUMNS
                             " FROM changes c WHERE c.lsn >= ?1 AND c.flags & 16 AND c.flags & 3 = 1 ORDER BY c.lsn");
  find.bind(number(from));
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

Result<Bytes> IndexDb::state(std::string_view key) {
  auto find = db_->statement("SELECT value FROM meta WHERE key = ?1");
  ASSIGN_OR_RETURN(bool found, find.bind_text(std::string(kStatePrefix) + std::string(key)).step());
  return found ? Bytes(find.column_bytes(0)) : Bytes();
}

Result<std::string> IndexDb::dump() {
  std::string text;
  const std::pair<const char*, int> tables[] = {
      // What is left of a trimmed record is shorter than it was.
      {"SELECT lsn, CASE WHEN flags & 8 THEN 0 ELSE end_lsn END, file_id, epoch, counter, parent_epoch, parent_counter, "
       "client, sequence, kind, flags, size, new_bytes, user, time_us, mode, modified_us, meta_version FROM changes ORDER BY lsn",
       kChangeColumns},
      {"SELECT * FROM objects ORDER BY id", 7},
      {"SELECT * FROM aside ORDER BY file_id, epoch, counter", 3},
      {"SELECT * FROM checkpoints ORDER BY file_id, tag", 3},
      {"SELECT file_id, hex(hash), lsn, size FROM chunks ORDER BY file_id, hash", 4},
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
