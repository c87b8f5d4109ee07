// The catalogue's rows about durability: folders where it was set, hints, and which
// servers' contents are not known.
#include <fmt/format.h>

#include "nm/catalogue_store.h"

namespace understudy {
namespace {

constexpr const char* kHintColumns =
    "target, object, epoch, counter, parent_epoch, parent_counter, name_node, lsn, first_lsn, bytes, time_us, created_us, sync";

Hint hint_of(const SqliteStatement& row) {
  Hint hint;
  hint.target = ServerId{row.column_uint64(0)};
  hint.object = FileId{row.column_uint64(1)};
  hint.version = {Epoch{row.column_uint64(2)}, row.column_uint64(3)};
  hint.parent = {Epoch{row.column_uint64(4)}, row.column_uint64(5)};
  hint.name_node = row.column_uint64(6);
  hint.lsn = Lsn{row.column_uint64(7)};
  hint.first_lsn = Lsn{row.column_uint64(8)};
  hint.bytes = row.column_uint64(9);
  hint.time_us = static_cast<int64_t>(row.column_uint64(10));
  hint.created_us = static_cast<int64_t>(row.column_uint64(11));
  hint.sync = row.column_uint64(12) != 0;
  return hint;
}

}  // namespace

Status CatalogueStore::load_durability() {
  durabilities.clear();
  unfilled.clear();
  hint_totals.clear();
  auto durability = db_->statement("SELECT folder, durability FROM durabilities");
  while (step(durability)) durabilities[FileId{durability.column_uint64(0)}] = static_cast<uint8_t>(durability.column_uint64(1));
  auto server = db_->statement("SELECT server FROM unfilled");
  while (step(server)) unfilled.insert(ServerId{server.column_uint64(0)});
  auto hints = db_->statement(
      "SELECT target, count(*), sum(bytes), sum(sync), sum(sync * bytes) FROM hints GROUP BY target");
  while (step(hints)) {
    hint_totals[ServerId{hints.column_uint64(0)}] = {.hints = hints.column_uint64(1),
                                                     .bytes = hints.column_uint64(2),
                                                     .sync_hints = hints.column_uint64(3),
                                                     .sync_bytes = hints.column_uint64(4)};
  }
  if (error_) return std::unexpected(*error_);
  return {};
}

void CatalogueStore::set_durability(FileId folder, uint8_t durability) {
  if (durability == 0) {
    if (durabilities.erase(folder) == 0) return;
    auto erase = db_->statement("DELETE FROM durabilities WHERE folder = ?1");
    erase.bind(number(folder));
    return run(erase);
  }
  durabilities[folder] = durability;
  auto put = db_->statement("INSERT OR REPLACE INTO durabilities VALUES(?1,?2)");
  put.bind(number(folder)).bind(uint64_t{durability});
  run(put);
}

void CatalogueStore::set_unfilled(ServerId server, bool now) {
  if (unfilled.contains(server) == now) return;
  auto change = db_->statement(now ? "INSERT INTO unfilled VALUES(?1)" : "DELETE FROM unfilled WHERE server = ?1");
  change.bind(number(server));
  run(change);
  now ? (void)unfilled.insert(server) : (void)unfilled.erase(server);
}

std::vector<Hint> CatalogueStore::hints(ServerId target, FileId object) {
  static const std::string sql =
      fmt::format("SELECT {} FROM hints WHERE target = ?1 AND object = ?2 ORDER BY epoch, counter", kHintColumns);
  auto find = db_->statement(sql);
  find.bind(number(target)).bind(number(object));
  std::vector<Hint> found;
  while (step(find)) found.push_back(hint_of(find));
  return found;
}

std::vector<Hint> CatalogueStore::old_hints(ServerId target, int64_t created_before_us, uint32_t limit) {
  static const std::string sql = fmt::format(
      "SELECT {} FROM hints WHERE target = ?1 AND sync = 0 AND created_us < ?2 ORDER BY created_us LIMIT ?3", kHintColumns);
  auto find = db_->statement(sql);
  find.bind(number(target)).bind(static_cast<uint64_t>(created_before_us)).bind(uint64_t{limit});
  std::vector<Hint> found;
  while (step(find)) found.push_back(hint_of(find));
  return found;
}

int64_t CatalogueStore::oldest_hint_us(ServerId target) {
  auto find = db_->statement("SELECT min(created_us) FROM hints WHERE target = ?1");
  find.bind(number(target));
  return step(find) ? static_cast<int64_t>(find.column_uint64(0)) : 0;
}

Lsn CatalogueStore::first_hint_lsn(bool sync, uint64_t name_node) {
  auto find = db_->statement("SELECT min(first_lsn) FROM hints WHERE sync = ?1 AND name_node = ?2");
  find.bind(uint64_t{sync}).bind(name_node);
  return step(find) && !find.column_is_null(0) ? Lsn{find.column_uint64(0)} : Lsn{UINT64_MAX};
}

void CatalogueStore::count_hint(const Hint& hint, int by) {
  HintTotals& totals = hint_totals[hint.target];
  const auto bytes = by * static_cast<int64_t>(hint.bytes);
  totals.hints += by;
  totals.bytes += bytes;
  if (!hint.sync) return;
  totals.sync_hints += by;
  totals.sync_bytes += bytes;
}

void CatalogueStore::put_hint(const Hint& hint) {
  auto put = db_->statement("INSERT INTO hints VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)");
  put.bind(number(hint.target)).bind(number(hint.object)).bind(number(hint.version.epoch)).bind(hint.version.counter);
  put.bind(number(hint.parent.epoch)).bind(hint.parent.counter).bind(hint.name_node).bind(number(hint.lsn));
  put.bind(number(hint.first_lsn)).bind(hint.bytes).bind(static_cast<uint64_t>(hint.time_us));
  put.bind(static_cast<uint64_t>(hint.created_us)).bind(uint64_t{hint.sync});
  run(put);
  count_hint(hint, 1);
}

void CatalogueStore::erase_hint(const Hint& hint) {
  auto erase = db_->statement("DELETE FROM hints WHERE target = ?1 AND object = ?2 AND epoch = ?3 AND counter = ?4");
  erase.bind(number(hint.target)).bind(number(hint.object)).bind(number(hint.version.epoch)).bind(hint.version.counter);
  run(erase);
  count_hint(hint, -1);
}

}  // namespace understudy
