// What repairing and checking a store ask of the index.
#include <fmt/format.h>

#include "ss/index_rows.h"

namespace understudy {

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

Result<std::vector<ChunkRow>> IndexDb::chunks_behind(const std::optional<ChunkRow>& after, size_t count_max) {
  std::vector<ChunkRow> all;
  auto find = db_->statement(after ? "SELECT file_id, hash, lsn, size FROM chunks WHERE (file_id, hash) > (?1, ?2) "
                                     "ORDER BY file_id, hash LIMIT ?3"
                                   : "SELECT file_id, hash, lsn, size FROM chunks ORDER BY file_id, hash LIMIT ?1");
  if (after) find.bind(number(after->file)).bind_blob(after->hash.view());
  find.bind(count_max);
  while (true) {
    ASSIGN_OR_RETURN(bool found, find.step());
    if (!found) return all;
    ChunkRow row{Lsn{find.column_uint64(2)}, FileId{find.column_uint64(0)}, {}, static_cast<uint32_t>(find.column_uint64(3))};
    if (!parse_chunk_hash(find.column_bytes(1), row.hash)) return fail(Code::kCorrupt, db_->path() + ": a chunk without a hash");
    all.push_back(row);
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
    all.emplace_back(std::string(find.column_bytes(0).substr(std::string_view("state.").size())), Bytes(find.column_bytes(1)));
  }
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
  // Left out is what the log does not tell: hints, and what depends on when something was trimmed.
  const std::pair<const char*, const char*> tables[] = {
      {"changes", "lsn, CASE WHEN flags & 8 THEN 0 ELSE end_lsn END, file_id, epoch, counter, parent_epoch, parent_counter, "
                  "client, sequence, kind, flags, size, new_bytes, user, time_us, mode, modified_us, meta_version"},
      {"objects", "id, kind, meta_version, name_lsn, created_us, head_lsn"},
      {"aside", "*"},
      {"checkpoints", "*"},
      {"chunks", "file_id, hash, lsn, size"},
      {"meta", "*"}};
  for (auto [table, columns] : tables) {
    for (bool only_here : {true, false}) {
      auto rows = db_->statement(fmt::format("SELECT {0} FROM {1}.{3} EXCEPT SELECT {0} FROM {2}.{3}", columns,
                                             only_here ? "main" : "other", only_here ? "other" : "main", table));
      while (true) {
        ASSIGN_OR_RETURN(bool found, rows.step());
        if (!found) break;
        std::string text = std::string(table) + ":";
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

}  // namespace understudy
