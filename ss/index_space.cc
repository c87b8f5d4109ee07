// What the index knows for the sake of space: whole pasts of files, what retention took
// of them, and how much of the log is dead.
#include "ss/index_rows.h"

namespace understudy {
namespace {

// Dead bytes are counted by the 64 KiB of the log that they stand in: a hint that outlives
// the packing and merging of segments.
constexpr int kDeadShift = 16;

}  // namespace

Result<std::vector<VersionRow>> IndexDb::versions_of(FileId file, Version before, size_t count_max) {
  std::vector<VersionRow> all;
  auto find = db_->statement("SELECT " CHANGE_COLUMNS
                             " FROM changes c WHERE c.file_id = ?1 AND (c.epoch, c.counter) < (?2, ?3) "
                             "ORDER BY c.epoch DESC, c.counter DESC LIMIT ?4");
  find.bind(number(file)).bind(before ? number(before.epoch) : uint64_t{INT64_MAX}).bind(before.counter).bind(count_max);
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    all.push_back(change_of(find));
  }
}

Result<std::optional<VersionRow>> IndexDb::older(FileId file, Version version) {
  auto find = db_->statement("SELECT " CHANGE_COLUMNS
                             " FROM changes c WHERE c.file_id = ?1 AND (c.epoch, c.counter) < (?2, ?3) "
                             "AND c.flags & 2 = 0 ORDER BY c.epoch DESC, c.counter DESC LIMIT 1");
  find.bind(number(file)).bind(number(version.epoch)).bind(version.counter);
  ASSIGN_OR_RETURN(bool found, find.step());
  if (!found) return std::nullopt;
  return change_of(find);
}

Result<std::vector<VersionRow>> IndexDb::newer(FileId file, Version version, Version upto, size_t count_max) {
  std::vector<VersionRow> some;
  auto find = db_->statement("SELECT " CHANGE_COLUMNS
                             " FROM changes c WHERE c.file_id = ?1 AND (c.epoch, c.counter) > (?2, ?3) "
                             "AND (c.epoch, c.counter) <= (?4, ?5) AND c.flags & 2 = 0 ORDER BY c.epoch, c.counter LIMIT ?6");
  find.bind(number(file)).bind(number(version.epoch)).bind(version.counter);
  find.bind(number(upto.epoch)).bind(upto.counter).bind(count_max);
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return some;
    some.push_back(change_of(find));
  }
}

Result<std::vector<ChunkRow>> IndexDb::chunks_of(FileId file, std::optional<ChunkHash> after, size_t count_max) {
  std::vector<ChunkRow> all;
  auto find = db_->statement("SELECT hash, lsn, size FROM chunks WHERE file_id = ?1 AND hash > ?2 ORDER BY hash LIMIT ?3");
  find.bind(number(file)).bind_blob(after ? after->view() : BytesView("")).bind(count_max);
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    ChunkRow row{Lsn{find.column_uint64(1)}, file, {}, static_cast<uint32_t>(find.column_uint64(2))};
    if (!parse_chunk_hash(find.column_bytes(0), row.hash)) return fail(Code::kCorrupt, db_->path() + ": a chunk without a hash");
    all.push_back(row);
  }
}

Result<std::vector<FileId>> IndexDb::files_with_past(std::optional<FileId> after, size_t count_max) {
  std::vector<FileId> files;
  // Each of them by an index of its own: with a million files, few have a past.
  auto find = db_->statement(
      "SELECT * FROM (SELECT id FROM objects WHERE versions > 1 AND id > ?1 ORDER BY id LIMIT ?2) "
      "UNION SELECT * FROM (SELECT DISTINCT file_id FROM changes WHERE kind = 5 AND file_id > ?1 ORDER BY file_id LIMIT ?2) "
      "UNION SELECT * FROM (SELECT DISTINCT file_id FROM changes WHERE flags & 8 AND file_id > ?1 ORDER BY file_id LIMIT ?2) "
      "UNION SELECT * FROM (SELECT DISTINCT file_id FROM aside WHERE file_id > ?1 ORDER BY file_id LIMIT ?2) "
      "ORDER BY 1 LIMIT ?2");
  // SQLite takes the highest bit for a sign: this is its least number.
  find.bind(after ? number(*after) : uint64_t{1} << 63).bind(count_max);
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return files;
    files.push_back(FileId{find.column_uint64(0)});
  }
}

Status IndexDb::forget_name(const NameRow& name) {
  ASSIGN_OR_RETURN(auto known, object(name.object));
  if (!known || known->head || known->name_lsn > name.lsn) return {};
  count(*known, -1);
  return db_->statement("DELETE FROM objects WHERE id = ?1").bind(number(name.object)).run();
}

Result<std::vector<NameRow>> IndexDb::removed_names(uint64_t upto, size_t count_max) {
  std::vector<NameRow> all;
  auto find = db_->statement("SELECT id, name_lsn, meta_version FROM objects WHERE kind = 0 AND meta_version <= ?1 AND "
                             "meta_version > 0 AND head_lsn IS NULL LIMIT ?2");
  find.bind(upto).bind(count_max);
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    all.push_back({Lsn{find.column_uint64(1)}, FileId{find.column_uint64(0)}, 0, find.column_uint64(2)});
  }
}

Status IndexDb::apply_trim(const TrimRow& trim) {
  for (const auto& name : trim.names) RETURN_IF_ERROR(forget_name(name));
  for (const auto& trimmed : trim.versions) RETURN_IF_ERROR(trim_version(trim.file, trimmed));
  // What they named may belong to nobody now.
  if (!trim.versions.empty()) {
    auto any = db_->statement("SELECT 1 FROM chunks WHERE file_id = ?1 LIMIT 1");
    ASSIGN_OR_RETURN(bool found, any.bind(number(trim.file)).step());
    if (found) RETURN_IF_ERROR(note_staged(trim.file));
  }
  for (const auto& chunk : trim.chunks) {
    RETURN_IF_ERROR(db_->statement("DELETE FROM chunks WHERE file_id = ?1 AND hash = ?2 AND lsn = ?3")
                        .bind(number(trim.file))
                        .bind_blob(chunk.hash.view())
                        .bind(number(chunk.lsn))
                        .run());
    RETURN_IF_ERROR(add_dead(chunk.lsn, chunk.size));
  }
  return {};
}

Status IndexDb::trim_version(FileId file, const TrimRow::Trimmed& trimmed) {
  ASSIGN_OR_RETURN(auto row, version(file, trimmed.version));
  if (!row || row->lsn != trimmed.lsn) return {};  // It went before, and its record with it.
  if (!row->trimmed) {
    ASSIGN_OR_RETURN(auto object, this->object(file));
    if (object && !row->checkpoint()) {
      object->versions -= std::min<uint64_t>(object->versions, 1);
      RETURN_IF_ERROR(put_object(*object, false));
    }
    if (row->checkpoint()) {
      RETURN_IF_ERROR(db_->statement("DELETE FROM checkpoints WHERE file_id = ?1 AND lsn = ?2")
                          .bind(number(file))
                          .bind(number(row->lsn))
                          .run());
    }
    const uint64_t size = number(row->end) - number(row->lsn);
    if (size > row->size_bytes) RETURN_IF_ERROR(add_dead(row->lsn, row->size_bytes));
  }
  if (!trimmed.gone) {
    return db_->statement("UPDATE changes SET flags = flags | ?2 WHERE lsn = ?1").bind(number(row->lsn)).bind(kTrimmed).run();
  }
  totals_.versions -= 1;
  RETURN_IF_ERROR(add_dead(row->lsn, std::min<uint64_t>(number(row->end) - number(row->lsn), 200)));
  return db_->statement("DELETE FROM changes WHERE lsn = ?1").bind(number(row->lsn)).run();
}

Status IndexDb::add_dead(Lsn lsn, uint64_t bytes) {
  return db_->statement(
               "INSERT INTO dead VALUES(?1, ?2) ON CONFLICT(bucket) DO UPDATE SET bytes = bytes + excluded.bytes")
      .bind(number(lsn) >> kDeadShift)
      .bind(bytes)
      .run();
}

Result<uint64_t> IndexDb::dead_bytes(Lsn base, Lsn end) {
  auto find = db_->statement("SELECT total(bytes) FROM dead WHERE bucket >= ?1 AND bucket < ?2");
  find.bind(number(base) >> kDeadShift).bind(std::max((number(base) >> kDeadShift) + 1, number(end) >> kDeadShift));
  ASSIGN_OR_RETURN(bool found, find.step());
  return found ? find.column_uint64(0) : 0;
}

Status IndexDb::clear_dead(Lsn base, Lsn end) {
  RETURN_IF_ERROR(begin_if_needed());
  return db_->statement("DELETE FROM dead WHERE bucket >= ?1 AND bucket < ?2")
      .bind(number(base) >> kDeadShift)
      .bind(std::max((number(base) >> kDeadShift) + 1, number(end) >> kDeadShift))
      .run();
}

Status IndexDb::note_staged(FileId file) {
  if (!staged_.insert(file).second) return {};
  return db_->statement("INSERT OR IGNORE INTO staged VALUES(?1)").bind(number(file)).run();
}

Status IndexDb::end_staged(FileId file) {
  RETURN_IF_ERROR(begin_if_needed());
  staged_.erase(file);
  return db_->statement("DELETE FROM staged WHERE file_id = ?1").bind(number(file)).run();
}

Status IndexDb::restore_staged() {
  staged_.clear();
  auto find = db_->statement("SELECT file_id FROM staged");
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return {};
    staged_.insert(FileId{find.column_uint64(0)});
  }
}

}  // namespace understudy
