#include "nm/people_store.h"

namespace understudy {
namespace {

constexpr uint64_t kKeysKept = 2;
// Nobody waits for long while such a look is taken.
constexpr uint64_t kLookedAtMax = 5000;
constexpr uint64_t kListsLookedAtMax = 500;

UserRow user_of(const SqliteStatement& row) {
  return {.name = std::string(row.column_bytes(0)),
          .administrator = row.column_uint64(1) != 0,
          .generation = row.column_uint64(2),
          .created_us = static_cast<int64_t>(row.column_uint64(3)),
          .password = Bytes(row.column_bytes(4)),
          .removed = row.column_uint64(5) != 0};
}

AccessRequestRow request_row(const SqliteStatement& row) {
  return {.id = row.column_uint64(0),
          .object = FileId{row.column_uint64(1)},
          .user = std::string(row.column_bytes(2)),
          .owner = std::string(row.column_bytes(3)),
          .right = static_cast<Right>(row.column_uint64(4)),
          .time_us = static_cast<int64_t>(row.column_uint64(5))};
}

}  // namespace

const char kPeopleSchema[] = R"(
CREATE TABLE users(
  name TEXT PRIMARY KEY, administrator INTEGER NOT NULL, generation INTEGER NOT NULL, created_us INTEGER NOT NULL,
  password BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE access(
  object INTEGER NOT NULL, user TEXT NOT NULL, right INTEGER NOT NULL, PRIMARY KEY(object, user)) WITHOUT ROWID;
CREATE TABLE access_requests(
  id INTEGER PRIMARY KEY AUTOINCREMENT, object INTEGER NOT NULL, user TEXT NOT NULL, owner TEXT NOT NULL,
  right INTEGER NOT NULL, time_us INTEGER NOT NULL);
CREATE UNIQUE INDEX access_requests_by_object ON access_requests(object, user);
CREATE INDEX access_requests_by_user ON access_requests(user, id);
CREATE INDEX access_requests_by_owner ON access_requests(owner, id);
CREATE TABLE signing_keys(
  pair TEXT NOT NULL, id INTEGER NOT NULL, secret BLOB NOT NULL, created_us INTEGER NOT NULL, PRIMARY KEY(pair, id)) WITHOUT ROWID;
)";

bool PeopleStore::step(SqliteStatement& statement) {
  auto stepped = statement.step();
  if (!stepped) note_(stepped.error());
  return stepped && *stepped;
}

void PeopleStore::run(SqliteStatement& statement) {
  if (auto done = statement.run(); !done) note_(done.error());
}

std::optional<UserRow> PeopleStore::user_ever(std::string_view name) {
  auto find = db_->statement("SELECT name, administrator, generation, created_us, password, removed FROM users WHERE name = ?1");
  find.bind_text(name);
  if (!step(find)) return std::nullopt;
  return user_of(find);
}

std::optional<UserRow> PeopleStore::user(std::string_view name) {
  auto found = user_ever(name);
  return found && !found->removed ? found : std::nullopt;
}

std::vector<UserRow> PeopleStore::users(std::string_view after, uint32_t limit) {
  auto find = db_->statement(
      "SELECT name, administrator, generation, created_us, password, removed FROM users WHERE name > ?1 ORDER BY name LIMIT ?2");
  find.bind_text(after).bind(uint64_t{limit});
  std::vector<UserRow> found;
  while (step(find)) found.push_back(user_of(find));
  return found;
}

void PeopleStore::put_user(const UserRow& user) {
  auto put = db_->statement("INSERT OR REPLACE INTO users VALUES(?1,?2,?3,?4,?5,?6)");
  put.bind_text(user.name).bind(uint64_t{user.administrator}).bind(user.generation);
  put.bind(static_cast<uint64_t>(user.created_us)).bind_blob(user.password).bind(uint64_t{user.removed});
  run(put);
}

bool PeopleStore::session_ended(uint64_t session) {
  auto find = db_->statement("SELECT 1 FROM ended_sessions WHERE session = ?1");
  find.bind(session);
  return step(find);
}

void PeopleStore::end_session(uint64_t session, int64_t expires_us, int64_t now_us) {
  auto forget = db_->statement("DELETE FROM ended_sessions WHERE expires_us < ?1");
  forget.bind(static_cast<uint64_t>(now_us));
  run(forget);
  auto put = db_->statement("INSERT OR REPLACE INTO ended_sessions VALUES(?1,?2)");
  put.bind(session).bind(static_cast<uint64_t>(expires_us));
  run(put);
}

PeopleStore::Held PeopleStore::owned(std::string_view user, int64_t after) {
  auto look = db_->statement("SELECT id, owner FROM nodes WHERE id > ?1 ORDER BY id LIMIT ?2");
  look.bind(static_cast<uint64_t>(after)).bind(kLookedAtMax);
  Held held;
  uint64_t looked_at = 0;
  for (; step(look); ++looked_at) {
    held.next_after = static_cast<int64_t>(look.column_uint64(0));
    if (look.column_bytes(1) == user) held.objects.push_back(look.column_uint64(0));
  }
  if (looked_at < kLookedAtMax) held.next_after.reset();
  return held;
}

// An object's list is looked at in one piece.
PeopleStore::Held PeopleStore::accessible(std::string_view user, int64_t after) {
  auto look = db_->statement(
      "SELECT object, max(user = ?3) FROM access WHERE object > ?1 GROUP BY object ORDER BY object LIMIT ?2");
  look.bind(static_cast<uint64_t>(after)).bind(kListsLookedAtMax).bind_text(user);
  Held held;
  uint64_t looked_at = 0;
  for (; step(look); ++looked_at) {
    held.next_after = static_cast<int64_t>(look.column_uint64(0));
    if (look.column_uint64(1) != 0) held.objects.push_back(look.column_uint64(0));
  }
  if (looked_at < kListsLookedAtMax) held.next_after.reset();
  return held;
}

void PeopleStore::give(FileId object, std::string_view from, std::string_view to) {
  for (const char* table : {"UPDATE nodes SET owner = ?3 WHERE id = ?1 AND owner = ?2", "UPDATE deleted SET owner = ?3 WHERE id = ?1 AND owner = ?2",
                            "UPDATE access_requests SET owner = ?3 WHERE object = ?1 AND owner = ?2"}) {
    auto update = db_->statement(table);
    update.bind(number(object)).bind_text(from).bind_text(to);
    run(update);
  }
}

void PeopleStore::forget_requests_of(std::string_view user) {
  auto erase = db_->statement("DELETE FROM access_requests WHERE user = ?1");
  erase.bind_text(user);
  run(erase);
}

Right PeopleStore::access(FileId object, std::string_view user) {
  auto find = db_->statement("SELECT right FROM access WHERE object = ?1 AND user = ?2");
  find.bind(number(object)).bind_text(user);
  return step(find) ? static_cast<Right>(find.column_uint64(0)) : Right::kNone;
}

std::vector<AccessRow> PeopleStore::access_list(FileId object, std::string_view after, uint32_t limit) {
  auto find = db_->statement("SELECT user, right FROM access WHERE object = ?1 AND user > ?2 ORDER BY user LIMIT ?3");
  find.bind(number(object)).bind_text(after).bind(uint64_t{limit});
  std::vector<AccessRow> found;
  while (step(find)) found.push_back({std::string(find.column_bytes(0)), static_cast<Right>(find.column_uint64(1))});
  return found;
}

void PeopleStore::put_access(FileId object, std::string_view user, Right right) {
  auto put = db_->statement("INSERT OR REPLACE INTO access VALUES(?1,?2,?3)");
  put.bind(number(object)).bind_text(user).bind(static_cast<uint64_t>(right));
  run(put);
}

void PeopleStore::erase_access(FileId object, std::string_view user) {
  auto erase = db_->statement("DELETE FROM access WHERE object = ?1 AND user = ?2");
  erase.bind(number(object)).bind_text(user);
  run(erase);
}

uint64_t PeopleStore::copy_access(FileId from, FileId to, std::string_view but_not) {
  if (access_list(from, "", 1).empty()) return 0;  // The usual case; nothing is written.
  auto copy = db_->statement("INSERT OR REPLACE INTO access SELECT ?2, user, right FROM access WHERE object = ?1 AND user != ?3");
  copy.bind(number(from)).bind(number(to)).bind_text(but_not);
  run(copy);
  auto count = db_->statement("SELECT count(*) FROM access WHERE object = ?1");
  count.bind(number(to));
  return step(count) ? count.column_uint64(0) : 0;
}

std::optional<AccessRequestRow> PeopleStore::request(uint64_t id) {
  auto find = db_->statement("SELECT id, object, user, owner, right, time_us FROM access_requests WHERE id = ?1");
  find.bind(id);
  if (!step(find)) return std::nullopt;
  return request_row(find);
}

std::optional<AccessRequestRow> PeopleStore::request_of(FileId object, std::string_view user) {
  auto find = db_->statement(
      "SELECT id, object, user, owner, right, time_us FROM access_requests WHERE object = ?1 AND user = ?2");
  find.bind(number(object)).bind_text(user);
  if (!step(find)) return std::nullopt;
  return request_row(find);
}

std::vector<AccessRequestRow> PeopleStore::requests(std::string_view user, uint64_t after, uint32_t limit) {
  auto find = db_->statement(
      user.empty() ? "SELECT id, object, user, owner, right, time_us FROM access_requests WHERE id > ?1 ORDER BY id LIMIT ?2"
                   : "SELECT id, object, user, owner, right, time_us FROM access_requests WHERE owner = ?3 AND id > ?1 UNION "
                     "SELECT id, object, user, owner, right, time_us FROM access_requests WHERE user = ?3 AND id > ?1 "
                     "ORDER BY id LIMIT ?2");
  find.bind(after).bind(uint64_t{limit});
  if (!user.empty()) find.bind_text(user);
  std::vector<AccessRequestRow> found;
  while (step(find)) found.push_back(request_row(find));
  return found;
}

uint64_t PeopleStore::count_requests_of(std::string_view user, uint32_t limit) {
  auto count = db_->statement("SELECT count(*) FROM (SELECT 1 FROM access_requests WHERE user = ?1 LIMIT ?2)");
  count.bind_text(user).bind(uint64_t{limit});
  return step(count) ? count.column_uint64(0) : 0;
}

uint64_t PeopleStore::put_request(const AccessRequestRow& request) {
  auto put = db_->statement("INSERT OR REPLACE INTO access_requests VALUES(?1,?2,?3,?4,?5,?6)");
  request.id == 0 ? put.bind_null() : put.bind(request.id);
  put.bind(number(request.object)).bind_text(request.user).bind_text(request.owner);
  put.bind(static_cast<uint64_t>(request.right)).bind(static_cast<uint64_t>(request.time_us));
  run(put);
  auto stored = request_of(request.object, request.user);
  return stored ? stored->id : 0;
}

void PeopleStore::erase_request(uint64_t id) {
  auto erase = db_->statement("DELETE FROM access_requests WHERE id = ?1");
  erase.bind(id);
  run(erase);
}

void PeopleStore::forget(FileId object) {
  auto access = db_->statement("DELETE FROM access WHERE object = ?1");
  access.bind(number(object));
  run(access);
  auto requests = db_->statement("DELETE FROM access_requests WHERE object = ?1");
  requests.bind(number(object));
  run(requests);
}

std::vector<KeyRow> PeopleStore::keys(std::string_view pair) {
  auto find = db_->statement("SELECT id, secret, created_us FROM signing_keys WHERE pair = ?1 ORDER BY id DESC");
  find.bind_text(pair);
  std::vector<KeyRow> found;
  while (step(find)) {
    found.push_back({static_cast<uint32_t>(find.column_uint64(0)), Bytes(find.column_bytes(1)),
                     static_cast<int64_t>(find.column_uint64(2))});
  }
  return found;
}

void PeopleStore::put_key(std::string_view pair, const KeyRow& key) {
  auto put = db_->statement("INSERT INTO signing_keys VALUES(?1,?2,?3,?4)");
  put.bind_text(pair).bind(uint64_t{key.id}).bind_blob(key.secret).bind(static_cast<uint64_t>(key.created_us));
  run(put);
  auto prune = db_->statement(
      "DELETE FROM signing_keys WHERE pair = ?1 AND id NOT IN (SELECT id FROM signing_keys WHERE pair = ?1 ORDER BY id DESC LIMIT ?2)");
  prune.bind_text(pair).bind(kKeysKept);
  run(prune);
}

}  // namespace understudy
