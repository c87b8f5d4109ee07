#include "nm/catalogue_store.h"

#include <fmt/format.h>

#include <iterator>

namespace understudy {
namespace {

// Format 1. Later formats add their step to kSteps, at its end; a step never changes
// once it has been on somebody's disk.
// Ids above 2^63 sort below zero in SQLite; a partition's ids stay one range.
constexpr const char* kSchema = R"(
CREATE TABLE cluster(
  id INTEGER PRIMARY KEY CHECK(id = 1), database_id TEXT NOT NULL, cluster_id TEXT NOT NULL, applied_index INTEGER NOT NULL,
  time_us INTEGER NOT NULL, next_object INTEGER NOT NULL, next_member INTEGER NOT NULL, next_job INTEGER NOT NULL,
  next_event INTEGER NOT NULL, files INTEGER NOT NULL, folders INTEGER NOT NULL);
CREATE TABLE nodes(
  id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name TEXT NOT NULL, kind INTEGER NOT NULL, state INTEGER NOT NULL,
  owner TEXT NOT NULL, pair INTEGER NOT NULL, access_generation INTEGER NOT NULL, created_us INTEGER NOT NULL,
  modified_us INTEGER NOT NULL, mode INTEGER NOT NULL, link_target BLOB NOT NULL, meta_version INTEGER NOT NULL,
  epoch INTEGER NOT NULL, counter INTEGER NOT NULL, size_bytes INTEGER NOT NULL, announced_by INTEGER NOT NULL,
  announced_lsn INTEGER NOT NULL);
CREATE UNIQUE INDEX nodes_by_name ON nodes(parent, name);
CREATE INDEX nodes_unsettled ON nodes(state, created_us) WHERE state != 1;
CREATE INDEX nodes_names ON nodes(id, meta_version) WHERE kind != 1;
CREATE TABLE servers(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, pair INTEGER NOT NULL, is_backup INTEGER NOT NULL, store_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL, address TEXT NOT NULL, machine TEXT NOT NULL, pid INTEGER NOT NULL,
  pid_start_time INTEGER NOT NULL, in_sync INTEGER NOT NULL, failed INTEGER NOT NULL, replaced INTEGER NOT NULL,
  announced_lsn INTEGER NOT NULL, confirmed_lsn INTEGER NOT NULL);
CREATE TABLE retired_stores(store_id TEXT PRIMARY KEY, server TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pairs(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, home INTEGER NOT NULL, backup INTEGER NOT NULL, acting INTEGER NOT NULL,
  epoch INTEGER NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE jobs(
  target INTEGER NOT NULL, object INTEGER NOT NULL, sequence INTEGER NOT NULL, kind INTEGER NOT NULL,
  from_epoch INTEGER NOT NULL, from_counter INTEGER NOT NULL, to_epoch INTEGER NOT NULL, to_counter INTEGER NOT NULL,
  meta_version INTEGER NOT NULL, bytes INTEGER NOT NULL, announce_lsn INTEGER NOT NULL, newest_lsn INTEGER NOT NULL,
  created_us INTEGER NOT NULL, PRIMARY KEY(target, object)) WITHOUT ROWID;
CREATE UNIQUE INDEX jobs_in_order ON jobs(target, sequence);
CREATE TABLE requests(
  raft_index INTEGER PRIMARY KEY, client INTEGER NOT NULL, sequence INTEGER NOT NULL, time_us INTEGER NOT NULL,
  outcome BLOB NOT NULL);
CREATE UNIQUE INDEX requests_by_number ON requests(client, sequence);
CREATE TABLE events(id INTEGER PRIMARY KEY, content BLOB NOT NULL);
)";

// kSteps[i] makes format i + 2 of format i + 1. They run in one transaction when a
// database is opened, a new one's too.
const char* const kSteps[] = {
    // 2: who is to act as primary, where an operator said so.
    "ALTER TABLE pairs ADD COLUMN preferred INTEGER NOT NULL DEFAULT 0",
    // 3: deleted files that can come back (state 3), and where folders were that hang under the trash.
    "CREATE TABLE deleted(id INTEGER PRIMARY KEY, path TEXT NOT NULL, deleted_us INTEGER NOT NULL, deleted_by TEXT NOT NULL,"
    "  owner TEXT NOT NULL, size_bytes INTEGER NOT NULL);"
    "CREATE INDEX deleted_by_path ON deleted(path, deleted_us);"
    "CREATE INDEX deleted_by_time ON deleted(deleted_us, id);"
    "CREATE TABLE trashed(folder INTEGER PRIMARY KEY, path TEXT NOT NULL)",
    // 4: how long the leases are that were given.
    "ALTER TABLE cluster ADD COLUMN failure_timeout_ms INTEGER NOT NULL DEFAULT 0",
    // 5: durability of folders, hints, and whose contents are not known.
    "CREATE TABLE durabilities(folder INTEGER PRIMARY KEY, durability INTEGER NOT NULL);"
    "CREATE TABLE unfilled(server INTEGER PRIMARY KEY);"
    "INSERT INTO unfilled SELECT id FROM servers WHERE in_sync = 0;"
    "CREATE TABLE hints(target INTEGER NOT NULL, object INTEGER NOT NULL, epoch INTEGER NOT NULL, counter INTEGER NOT NULL,"
    "  parent_epoch INTEGER NOT NULL, parent_counter INTEGER NOT NULL, name_node INTEGER NOT NULL, lsn INTEGER NOT NULL,"
    "  first_lsn INTEGER NOT NULL, bytes INTEGER NOT NULL, time_us INTEGER NOT NULL, created_us INTEGER NOT NULL,"
    "  sync INTEGER NOT NULL, PRIMARY KEY(target, object, epoch, counter)) WITHOUT ROWID;"
    "CREATE INDEX hints_by_age ON hints(target, created_us);"
    "CREATE INDEX hints_by_place ON hints(name_node, sync, first_lsn);",
    // 6: users, access lists, keys.
    kPeopleSchema,
    // 7: who may join, and whose key a name belongs to.
    "CREATE TABLE join_tokens(id TEXT PRIMARY KEY, secret_hash BLOB NOT NULL, expires_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE server_keys(server TEXT PRIMARY KEY, key BLOB NOT NULL, previous BLOB NOT NULL, authority BLOB NOT NULL,"
    "  expires_us INTEGER NOT NULL) WITHOUT ROWID",
    // 8: the jobs that can be carried where the versions of all others cannot (kind 3: DELETE).
    "CREATE INDEX jobs_of_names ON jobs(target, sequence) WHERE meta_version != 0 OR kind = 3",
    // 9: users who were removed, sessions that were ended before their time.
    "ALTER TABLE users ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE ended_sessions(session INTEGER PRIMARY KEY, expires_us INTEGER NOT NULL)",
};
constexpr uint64_t kFormat = 1 + std::size(kSteps);

constexpr const char* kNodeColumns =
    "id, parent, name, kind, state, owner, pair, access_generation, created_us, modified_us, mode, link_target, "
    "meta_version, epoch, counter, size_bytes, announced_by, announced_lsn";

Node node_of(const SqliteStatement& row) {
  Node node;
  node.id = FileId{row.column_uint64(0)};
  node.parent = FileId{row.column_uint64(1)};
  node.name = row.column_bytes(2);
  node.kind = static_cast<NodeKind>(row.column_uint64(3));
  node.state = static_cast<NodeState>(row.column_uint64(4));
  node.owner = row.column_bytes(5);
  node.pair = PairId{row.column_uint64(6)};
  node.access_generation = row.column_uint64(7);
  node.created_us = static_cast<int64_t>(row.column_uint64(8));
  node.modified_us = static_cast<int64_t>(row.column_uint64(9));
  node.mode = static_cast<uint32_t>(row.column_uint64(10));
  node.link_target = row.column_bytes(11);
  node.meta_version = row.column_uint64(12);
  node.announced = {Epoch{row.column_uint64(13)}, row.column_uint64(14)};
  node.size_bytes = row.column_uint64(15);
  node.announced_by = ServerId{row.column_uint64(16)};
  node.announced_lsn = Lsn{row.column_uint64(17)};
  return node;
}

void bind_node(SqliteStatement& statement, const Node& node) {
  statement.bind(number(node.id)).bind(number(node.parent)).bind_text(node.name);
  statement.bind(static_cast<uint64_t>(node.kind)).bind(static_cast<uint64_t>(node.state)).bind_text(node.owner);
  statement.bind(number(node.pair)).bind(node.access_generation).bind(static_cast<uint64_t>(node.created_us));
  statement.bind(static_cast<uint64_t>(node.modified_us)).bind(uint64_t{node.mode}).bind_blob(node.link_target);
  statement.bind(node.meta_version).bind(number(node.announced.epoch)).bind(node.announced.counter);
  statement.bind(node.size_bytes).bind(number(node.announced_by)).bind(number(node.announced_lsn));
}

constexpr const char* kJobColumns =
    "target, object, sequence, kind, from_epoch, from_counter, to_epoch, to_counter, meta_version, bytes, announce_lsn, "
    "newest_lsn, created_us";

Job job_of(const SqliteStatement& row) {
  Job job;
  job.target = ServerId{row.column_uint64(0)};
  job.object = FileId{row.column_uint64(1)};
  job.sequence = row.column_uint64(2);
  job.kind = static_cast<JobKind>(row.column_uint64(3));
  job.from = {Epoch{row.column_uint64(4)}, row.column_uint64(5)};
  job.to = {Epoch{row.column_uint64(6)}, row.column_uint64(7)};
  job.meta_version = row.column_uint64(8);
  job.bytes = row.column_uint64(9);
  job.announce_lsn = Lsn{row.column_uint64(10)};
  job.newest_lsn = Lsn{row.column_uint64(11)};
  job.created_us = static_cast<int64_t>(row.column_uint64(12));
  return job;
}

std::string new_database_cluster_row(const std::string& database_id) {
  return fmt::format(
      "INSERT INTO cluster VALUES(1, '{}', '', 0, 0, 16, 1, 1, 1, 0, 0);"
      "INSERT INTO nodes VALUES(1, 0, '/', 2, 1, '', 0, 0, 0, 0, 0, x'', 0, 0, 0, 0, 0, 0);"
      "INSERT INTO nodes VALUES(2, 0, 'trash', 2, 1, '', 0, 0, 0, 0, 0, x'', 0, 0, 0, 0, 0, 0);",
      database_id);
}

}  // namespace

Result<std::unique_ptr<CatalogueStore>> CatalogueStore::open(std::string path, std::string vfs,
                                                             std::string new_database_id) {
  ASSIGN_OR_RETURN(auto db, SqliteDb::open(std::move(path), {.vfs = std::move(vfs), .cache_kib_max = 64 * 1024}));
  std::unique_ptr<CatalogueStore> store(new CatalogueStore(std::move(db)));
  RETURN_IF_ERROR(store->prepare(new_database_id));
  RETURN_IF_ERROR(store->reload());
  return store;
}

Status CatalogueStore::prepare(const std::string& new_database_id) {
  uint64_t format = 0;
  {
    auto version = db_->statement("PRAGMA user_version");
    ASSIGN_OR_RETURN(bool found, version.step());
    if (found) format = version.column_uint64(0);
  }
  if (format == kFormat) return {};
  if (format > kFormat) {
    return fail(Code::kInvalid, fmt::format("{}: format {}, this program knows {}", db_->path(), format, kFormat));
  }
  RETURN_IF_ERROR(db_->begin());
  Status made;
  if (format == 0) {
    made = db_->execute(kSchema);
    if (made) made = db_->execute(new_database_cluster_row(new_database_id).c_str());
    format = 1;
  }
  for (; made && format < kFormat; ++format) made = db_->execute(kSteps[format - 1]);
  if (made) made = db_->execute(fmt::format("PRAGMA user_version={}", kFormat).c_str());
  if (made) return db_->commit();
  db_->rollback();
  return made;
}

bool CatalogueStore::note(const Status& status) {
  if (!status && !error_) error_ = status.error();
  return status.has_value();
}

bool CatalogueStore::step(SqliteStatement& statement) {
  if (error_) return false;
  auto stepped = statement.step();
  if (!stepped) error_ = stepped.error();
  return stepped && *stepped;
}

void CatalogueStore::run(SqliteStatement& statement) {
  if (!error_) note(statement.run());
}

Status CatalogueStore::reload() {
  error_.reset();
  // In place: whoever looks at a server or a pair goes on doing so. What is not there any more keeps no id.
  for (auto& [id, server] : servers) server.id = kNoServer;
  for (auto& [id, pair] : pairs) pair.id = PairId{};
  retired_stores.clear();
  lags.clear();
  RETURN_IF_ERROR(load());
  std::erase_if(servers, [](const auto& one) { return one.second.id == kNoServer; });
  std::erase_if(pairs, [](const auto& one) { return one.second.id == PairId{}; });
  stored_servers_ = servers;
  stored_pairs_ = pairs;
  return {};
}

Status CatalogueStore::load() {
  auto row = db_->statement(
      "SELECT database_id, cluster_id, applied_index, time_us, next_object, next_member, next_job, next_event, files, "
      "folders, failure_timeout_ms FROM cluster");
  ASSIGN_OR_RETURN(bool found, row.step());
  if (!found) return fail(Code::kCorrupt, db_->path() + ": the cluster row is missing");
  database_id_ = row.column_bytes(0);
  cluster = {.cluster_id = std::string(row.column_bytes(1)),
             .applied_index = row.column_uint64(2),
             .time_us = static_cast<int64_t>(row.column_uint64(3)),
             .next_object = row.column_uint64(4),
             .next_member = row.column_uint64(5),
             .next_job = row.column_uint64(6),
             .next_event = row.column_uint64(7),
             .files = row.column_uint64(8),
             .folders = row.column_uint64(9),
             .failure_timeout_ms = static_cast<int64_t>(row.column_uint64(10))};

  auto server = db_->statement(
      "SELECT id, name, pair, is_backup, store_id, incarnation, address, machine, pid, pid_start_time, in_sync, failed, "
      "replaced, announced_lsn, confirmed_lsn FROM servers");
  while (step(server)) {
    ServerId id{server.column_uint64(0)};
    servers[id] = {.id = id,
                   .name = std::string(server.column_bytes(1)),
                   .pair = PairId{server.column_uint64(2)},
                   .is_backup = server.column_uint64(3) != 0,
                   .store_id = std::string(server.column_bytes(4)),
                   .incarnation = server.column_uint64(5),
                   .address = std::string(server.column_bytes(6)),
                   .machine = std::string(server.column_bytes(7)),
                   .pid = server.column_uint64(8),
                   .pid_start_time = server.column_uint64(9),
                   .in_sync = server.column_uint64(10) != 0,
                   .failed = server.column_uint64(11) != 0,
                   .replaced = server.column_uint64(12) != 0,
                   .announced_lsn = Lsn{server.column_uint64(13)},
                   .confirmed_lsn = Lsn{server.column_uint64(14)}};
  }
  auto pair = db_->statement("SELECT id, name, home, backup, acting, epoch, files, bytes, preferred FROM pairs");
  while (step(pair)) {
    PairId id{pair.column_uint64(0)};
    pairs[id] = {.id = id,
                 .name = std::string(pair.column_bytes(1)),
                 .home = ServerId{pair.column_uint64(2)},
                 .backup = ServerId{pair.column_uint64(3)},
                 .acting = ServerId{pair.column_uint64(4)},
                 .epoch = Epoch{pair.column_uint64(5)},
                 .files = pair.column_uint64(6),
                 .bytes = pair.column_uint64(7),
                 .preferred = ServerId{pair.column_uint64(8)}};
  }
  auto retired = db_->statement("SELECT store_id, server FROM retired_stores");
  while (step(retired)) retired_stores[std::string(retired.column_bytes(0))] = retired.column_bytes(1);
  auto lag = db_->statement("SELECT target, count(*), sum(kind != 4), sum(bytes) FROM jobs GROUP BY target");
  while (step(lag)) {
    lags[ServerId{lag.column_uint64(0)}] = {
        .jobs = lag.column_uint64(1), .files = lag.column_uint64(2), .bytes = lag.column_uint64(3)};
  }
  RETURN_IF_ERROR(load_durability());
  stored_cluster_ = cluster;
  stored_servers_ = servers;
  stored_pairs_ = pairs;
  stored_retired_ = retired_stores;
  if (error_) return std::unexpected(*error_);
  return {};
}

void CatalogueStore::write_back() {
  if (cluster != stored_cluster_) {
    auto update = db_->statement(
        "UPDATE cluster SET cluster_id = ?1, applied_index = ?2, time_us = ?3, next_object = ?4, next_member = ?5, "
        "next_job = ?6, next_event = ?7, files = ?8, folders = ?9, failure_timeout_ms = ?10");
    update.bind_text(cluster.cluster_id).bind(cluster.applied_index).bind(static_cast<uint64_t>(cluster.time_us));
    update.bind(cluster.next_object).bind(cluster.next_member).bind(cluster.next_job).bind(cluster.next_event);
    update.bind(cluster.files).bind(cluster.folders).bind(static_cast<uint64_t>(cluster.failure_timeout_ms));
    run(update);
  }
  for (const auto& [id, server] : servers) {
    auto stored = stored_servers_.find(id);
    if (stored != stored_servers_.end() && stored->second == server) continue;
    auto put = db_->statement("INSERT OR REPLACE INTO servers VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)");
    put.bind(number(id)).bind_text(server.name).bind(number(server.pair)).bind(uint64_t{server.is_backup});
    put.bind_text(server.store_id).bind(server.incarnation).bind_text(server.address).bind_text(server.machine);
    put.bind(server.pid).bind(server.pid_start_time).bind(uint64_t{server.in_sync}).bind(uint64_t{server.failed});
    put.bind(uint64_t{server.replaced}).bind(number(server.announced_lsn)).bind(number(server.confirmed_lsn));
    run(put);
  }
  for (const auto& [id, pair] : pairs) {
    auto stored = stored_pairs_.find(id);
    if (stored != stored_pairs_.end() && stored->second == pair) continue;
    auto put = db_->statement("INSERT OR REPLACE INTO pairs VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)");
    put.bind(number(id)).bind_text(pair.name).bind(number(pair.home)).bind(number(pair.backup));
    put.bind(number(pair.acting)).bind(number(pair.epoch)).bind(pair.files).bind(pair.bytes);
    put.bind(number(pair.preferred));
    run(put);
  }
  for (const auto& [store_id, server] : retired_stores) {
    if (stored_retired_.contains(store_id)) continue;
    auto put = db_->statement("INSERT INTO retired_stores VALUES(?1,?2)");
    put.bind_text(store_id).bind_text(server);
    run(put);
  }
  stored_cluster_ = cluster;
  stored_servers_ = servers;
  stored_pairs_ = pairs;
  stored_retired_ = retired_stores;
}

Server* CatalogueStore::server_named(std::string_view name) {
  for (auto& [id, server] : servers) {
    if (server.name == name) return &server;
  }
  return nullptr;
}

Pair* CatalogueStore::pair_named(std::string_view name) {
  for (auto& [id, pair] : pairs) {
    if (pair.name == name) return &pair;
  }
  return nullptr;
}

std::optional<Node> CatalogueStore::node(FileId id) {
  static const std::string sql = fmt::format("SELECT {} FROM nodes WHERE id = ?1 AND state != 3", kNodeColumns);
  auto find = db_->statement(sql);
  find.bind(number(id));
  if (!step(find)) return std::nullopt;
  return node_of(find);
}

std::optional<Node> CatalogueStore::child(FileId parent, std::string_view name) {
  static const std::string sql = fmt::format("SELECT {} FROM nodes WHERE parent = ?1 AND name = ?2", kNodeColumns);
  auto find = db_->statement(sql);
  find.bind(number(parent)).bind_text(name);
  if (!step(find)) return std::nullopt;
  return node_of(find);
}

bool CatalogueStore::has_children(FileId folder) {
  auto find = db_->statement("SELECT 1 FROM nodes WHERE parent = ?1 LIMIT 1");
  find.bind(number(folder));
  return step(find);
}

std::vector<Node> CatalogueStore::children(FileId folder, std::string_view after, uint32_t limit) {
  static const std::string sql =
      fmt::format("SELECT {} FROM nodes WHERE parent = ?1 AND name > ?2 ORDER BY name LIMIT ?3", kNodeColumns);
  auto find = db_->statement(sql);
  find.bind(number(folder)).bind_text(after).bind(uint64_t{limit});
  std::vector<Node> found;
  while (step(find)) found.push_back(node_of(find));
  return found;
}

std::vector<Node> CatalogueStore::nodes_of_partition(uint32_t partition, FileId after, uint32_t limit) {
  static const std::string sql =
      fmt::format("SELECT {} FROM nodes WHERE id > ?1 AND id <= ?2 AND state != 3 ORDER BY id LIMIT ?3", kNodeColumns);
  uint64_t first = uint64_t{partition} << 54 | number(kTrashFolder);  // The fixed ids are no content.
  uint64_t behind = number(after) > first ? number(after) : first;
  auto find = db_->statement(sql);
  find.bind(behind).bind(uint64_t{partition} << 54 | ((uint64_t{1} << 54) - 1)).bind(uint64_t{limit});
  std::vector<Node> found;
  while (step(find)) found.push_back(node_of(find));
  return found;
}

std::vector<Node> CatalogueStore::unsettled(NodeState state, int64_t created_before_us, uint32_t limit) {
  static const std::string sql = fmt::format(
      "SELECT {} FROM nodes WHERE state = ?1 AND state != 1 AND created_us < ?2 ORDER BY created_us, id LIMIT ?3",
      kNodeColumns);
  auto find = db_->statement(sql);
  find.bind(static_cast<uint64_t>(state)).bind(static_cast<uint64_t>(created_before_us)).bind(uint64_t{limit});
  std::vector<Node> found;
  while (step(find)) found.push_back(node_of(find));
  return found;
}

std::vector<std::pair<FileId, uint64_t>> CatalogueStore::names() {
  auto find = db_->statement("SELECT id, meta_version FROM nodes WHERE kind != 1 AND (id < 0 OR id > 2) ORDER BY id");
  std::vector<std::pair<FileId, uint64_t>> found;
  while (step(find)) found.emplace_back(FileId{find.column_uint64(0)}, find.column_uint64(1));
  return found;
}

void CatalogueStore::count_node(const Node& node, int by) {
  (node.kind == NodeKind::kFile ? cluster.files : cluster.folders) += node.kind == NodeKind::kLink ? 0 : by;
  if (node.kind != NodeKind::kFile || !node.announced) return;
  auto pair = pairs.find(node.pair);
  if (pair == pairs.end()) return;
  pair->second.files += by;
  pair->second.bytes += by * static_cast<int64_t>(node.size_bytes);
}

void CatalogueStore::insert_node(const Node& node) {
  static const std::string sql = fmt::format(
      "INSERT INTO nodes({}) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)", kNodeColumns);
  auto insert = db_->statement(sql);
  bind_node(insert, node);
  run(insert);
  count_node(node, 1);
}

void CatalogueStore::update_node(const Node& old, const Node& node) {
  auto update = db_->statement(
      "UPDATE nodes SET parent = ?2, name = ?3, kind = ?4, state = ?5, owner = ?6, pair = ?7, access_generation = ?8, "
      "created_us = ?9, modified_us = ?10, mode = ?11, link_target = ?12, meta_version = ?13, epoch = ?14, counter = ?15, "
      "size_bytes = ?16, announced_by = ?17, announced_lsn = ?18 WHERE id = ?1");
  bind_node(update, node);
  run(update);
  count_node(old, -1);
  count_node(node, 1);
}

void CatalogueStore::erase_node(const Node& node) {
  people_.forget(node.id);
  auto erase = db_->statement("DELETE FROM nodes WHERE id = ?1");
  erase.bind(number(node.id));
  run(erase);
  count_node(node, -1);
  if (node.kind != NodeKind::kFolder) return;
  auto trashed = db_->statement("DELETE FROM trashed WHERE folder = ?1");
  trashed.bind(number(node.id));
  run(trashed);
}

// A row without a path; what lists deleted files passes over it.
void CatalogueStore::note_deleter(FileId id, std::string_view user) {
  auto note = user.empty() ? db_->statement("DELETE FROM deleted WHERE id = ?1 AND path = ''")
                           : db_->statement("INSERT OR REPLACE INTO deleted VALUES(?1, '', 9223372036854775807, ?2, '', 0)");
  note.bind(number(id));
  if (!user.empty()) note.bind_text(user);
  run(note);
}

std::string CatalogueStore::deleter(FileId id) {
  auto find = db_->statement("SELECT deleted_by FROM deleted WHERE id = ?1 AND path = ''");
  find.bind(number(id));
  return step(find) ? std::string(find.column_bytes(0)) : std::string();
}

void CatalogueStore::bury_node(const Node& node, const DeletedFile& deleted) {
  auto hide = db_->statement("UPDATE nodes SET parent = 3, name = ?2, state = 3 WHERE id = ?1");
  hide.bind(number(node.id)).bind_text(fmt::format("{:016x}", number(node.id)));
  run(hide);
  count_node(node, -1);
  auto put = db_->statement("INSERT OR REPLACE INTO deleted VALUES(?1, ?2, ?3, ?4, ?5, ?6)");
  put.bind(number(node.id)).bind_text(deleted.path).bind(static_cast<uint64_t>(deleted.deleted_us));
  put.bind_text(deleted.deleted_by).bind_text(node.owner).bind(node.size_bytes);
  run(put);
}

std::optional<Node> CatalogueStore::dig_up_node(FileId id) {
  static const std::string sql = fmt::format("SELECT {} FROM nodes WHERE id = ?1 AND state = 3", kNodeColumns);
  std::optional<Node> node;
  {
    auto find = db_->statement(sql);
    find.bind(number(id));
    if (step(find)) node = node_of(find);
  }
  if (!node) return std::nullopt;
  auto forget = db_->statement("DELETE FROM deleted WHERE id = ?1");
  forget.bind(number(id));
  run(forget);
  count_node(*node, 1);
  return node;
}

namespace {

DeletedFile deleted_of(const SqliteStatement& row) {
  DeletedFile deleted;
  deleted.id = FileId{row.column_uint64(0)};
  deleted.path = row.column_bytes(1);
  deleted.deleted_us = static_cast<int64_t>(row.column_uint64(2));
  deleted.deleted_by = row.column_bytes(3);
  deleted.owner = row.column_bytes(4);
  deleted.size_bytes = row.column_uint64(5);
  return deleted;
}

}  // namespace

std::optional<DeletedFile> CatalogueStore::deleted_at(std::string_view path) {
  auto find = db_->statement(
      "SELECT id, path, deleted_us, deleted_by, owner, size_bytes FROM deleted WHERE path = ?1 "
      "ORDER BY deleted_us DESC, id DESC LIMIT 1");
  find.bind_text(path);
  if (!step(find)) return std::nullopt;
  return deleted_of(find);
}

std::vector<DeletedFile> CatalogueStore::deleted(int64_t after_us, FileId after_id, std::string_view owner, uint32_t limit) {
  auto find = db_->statement(
      "SELECT id, path, deleted_us, deleted_by, owner, size_bytes FROM deleted WHERE path <> '' AND (?1 = 0 OR deleted_us < ?1 OR "
      "(deleted_us = ?1 AND id < ?2)) AND (?3 = '' OR owner = ?3) ORDER BY deleted_us DESC, id DESC LIMIT ?4");
  find.bind(static_cast<uint64_t>(after_us)).bind(number(after_id)).bind_text(owner).bind(uint64_t{limit});
  std::vector<DeletedFile> found;
  while (step(find)) found.push_back(deleted_of(find));
  return found;
}

std::optional<int64_t> CatalogueStore::oldest_deleted_us() {
  auto find = db_->statement("SELECT deleted_us FROM deleted ORDER BY deleted_us LIMIT 1");
  if (!step(find)) return std::nullopt;
  return static_cast<int64_t>(find.column_uint64(0));
}

uint64_t CatalogueStore::forget_deleted(int64_t before_us, uint32_t limit) {
  std::vector<uint64_t> ids;
  {
    auto find = db_->statement("SELECT id FROM deleted WHERE deleted_us < ?1 ORDER BY deleted_us, id LIMIT ?2");
    find.bind(static_cast<uint64_t>(before_us)).bind(uint64_t{limit});
    while (step(find)) ids.push_back(find.column_uint64(0));
  }
  for (uint64_t id : ids) {
    for (const char* sql : {"DELETE FROM deleted WHERE id = ?1", "DELETE FROM nodes WHERE id = ?1 AND state = 3"}) {
      auto erase = db_->statement(sql);
      erase.bind(id);
      run(erase);
    }
    people_.forget(FileId{id});
  }
  return ids.size();
}

void CatalogueStore::put_trashed(FileId folder, std::string_view path) {
  auto put = db_->statement("INSERT OR REPLACE INTO trashed VALUES(?1, ?2)");
  put.bind(number(folder)).bind_text(path);
  run(put);
}

std::string CatalogueStore::trashed_path(FileId folder) {
  auto find = db_->statement("SELECT path FROM trashed WHERE folder = ?1");
  find.bind(number(folder));
  return step(find) ? std::string(find.column_bytes(0)) : std::string();
}

std::optional<Job> CatalogueStore::job(ServerId target, FileId object) {
  static const std::string sql = fmt::format("SELECT {} FROM jobs WHERE target = ?1 AND object = ?2", kJobColumns);
  auto find = db_->statement(sql);
  find.bind(number(target)).bind(number(object));
  if (!step(find)) return std::nullopt;
  return job_of(find);
}

std::vector<Job> CatalogueStore::jobs_of(FileId object) {
  std::vector<Job> found;
  for (const auto& [id, server] : servers) {
    if (auto one = job(id, object)) found.push_back(*one);
  }
  return found;
}

std::vector<Job> CatalogueStore::jobs(ServerId target, uint64_t after_sequence, uint32_t limit) {
  static const std::string sql =
      fmt::format("SELECT {} FROM jobs WHERE target = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3", kJobColumns);
  auto find = db_->statement(sql);
  find.bind(number(target)).bind(after_sequence).bind(uint64_t{limit});
  std::vector<Job> found;
  while (step(find)) found.push_back(job_of(find));
  return found;
}

std::vector<Job> CatalogueStore::jobs_of_names(ServerId target, uint64_t after_sequence, uint32_t limit) {
  static const std::string sql =
      fmt::format("SELECT {} FROM jobs INDEXED BY jobs_of_names WHERE target = ?1 AND sequence > ?2 AND "
                  "(meta_version != 0 OR kind = 3) ORDER BY sequence LIMIT ?3", kJobColumns);
  auto find = db_->statement(sql);
  find.bind(number(target)).bind(after_sequence).bind(uint64_t{limit});
  std::vector<Job> found;
  while (step(find)) found.push_back(job_of(find));
  return found;
}

int64_t CatalogueStore::oldest_job_us(ServerId target) {
  auto oldest = jobs(target, 0, 1);
  return oldest.empty() ? 0 : oldest.front().created_us;
}

void CatalogueStore::count_job(const Job& job, int by) {
  auto& lag = lags[job.target];
  lag.jobs += by;
  lag.files += job.kind == JobKind::kMetadata ? 0 : by;
  lag.bytes += by * static_cast<int64_t>(job.bytes);
}

void CatalogueStore::put_job(const std::optional<Job>& old, const Job& job) {
  auto put = db_->statement("INSERT OR REPLACE INTO jobs VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)");
  put.bind(number(job.target)).bind(number(job.object)).bind(job.sequence).bind(static_cast<uint64_t>(job.kind));
  put.bind(number(job.from.epoch)).bind(job.from.counter).bind(number(job.to.epoch)).bind(job.to.counter);
  put.bind(job.meta_version).bind(job.bytes).bind(number(job.announce_lsn)).bind(number(job.newest_lsn));
  put.bind(static_cast<uint64_t>(job.created_us));
  run(put);
  if (old) count_job(*old, -1);
  count_job(job, 1);
}

void CatalogueStore::erase_job(const Job& job) {
  auto erase = db_->statement("DELETE FROM jobs WHERE target = ?1 AND object = ?2");
  erase.bind(number(job.target)).bind(number(job.object));
  run(erase);
  count_job(job, -1);
}

void CatalogueStore::restart_jobs(ServerId target) {
  auto update = db_->statement("UPDATE jobs SET from_epoch = 0, from_counter = 0 WHERE target = ?1");
  update.bind(number(target));
  run(update);
}

std::optional<Bytes> CatalogueStore::answer(RequestId request) {
  auto find = db_->statement("SELECT outcome FROM requests WHERE client = ?1 AND sequence = ?2");
  find.bind(request.client).bind(request.sequence);
  if (!step(find)) return std::nullopt;
  return Bytes(find.column_bytes(0));
}

void CatalogueStore::put_answer(uint64_t index, RequestId request, int64_t time_us, BytesView outcome) {
  auto put = db_->statement("INSERT INTO requests VALUES(?1,?2,?3,?4,?5)");
  put.bind(index).bind(request.client).bind(request.sequence).bind(static_cast<uint64_t>(time_us)).bind_blob(outcome);
  run(put);
}

void CatalogueStore::prune_answers(int64_t before_us, uint32_t limit) {
  uint64_t last = 0;
  {
    // Time never goes back from one index to the next, so the old ones stand first.
    auto oldest = db_->statement("SELECT raft_index, time_us FROM requests ORDER BY raft_index LIMIT ?1");
    oldest.bind(uint64_t{limit});
    while (step(oldest) && static_cast<int64_t>(oldest.column_uint64(1)) < before_us) last = oldest.column_uint64(0);
  }
  if (last == 0) return;
  auto erase = db_->statement("DELETE FROM requests WHERE raft_index <= ?1");
  erase.bind(last);
  run(erase);
}

void CatalogueStore::put_event(uint64_t id, BytesView content) {
  auto put = db_->statement("INSERT INTO events VALUES(?1,?2)");
  put.bind(id).bind_blob(content);
  run(put);
}

std::vector<EventRow> CatalogueStore::events(uint64_t after, uint32_t limit) {
  auto find = db_->statement("SELECT id, content FROM events WHERE id > ?1 ORDER BY id LIMIT ?2");
  find.bind(after).bind(uint64_t{limit});
  std::vector<EventRow> found;
  while (step(find)) found.push_back({find.column_uint64(0), std::string(find.column_bytes(1))});
  return found;
}

void CatalogueStore::prune_events(uint64_t below_id) {
  auto erase = db_->statement("DELETE FROM events WHERE id < ?1");
  erase.bind(below_id);
  run(erase);
}

}  // namespace understudy
