// The catalogue's rows about people: users, access lists, requests for access, and the
// keys that sessions and capabilities are signed by. SQL and nothing else; the rules
// are Catalogue's (catalogue_people.cc). Errors go the way of CatalogueStore's.
//
// The access list is one table by (object, user): a look-up is one step into it,
// however many users and files there are.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/right.h"
#include "common/sqlite/sqlite_db.h"
#include "nm/catalogue_types.h"

namespace understudy {

struct UserRow {
  std::string name;
  bool administrator = false;
  uint64_t generation = 1;  // Of the password: tokens of another one are over.
  int64_t created_us = 0;
  Bytes password;           // A serialized wire::PasswordHash.
  bool removed = false;     // Was a user once; LIST tells of it.
};

struct AccessRow {
  std::string user;
  Right right = Right::kNone;
};

struct AccessRequestRow {
  uint64_t id = 0;
  FileId object = kNoFile;
  std::string user;
  std::string owner;  // Of the object, for good.
  Right right = Right::kNone;
  int64_t time_us = 0;
};

struct KeyRow {
  uint32_t id = 0;
  Bytes secret;
  int64_t created_us = 0;
};

class PeopleStore {
 public:
  // What an SQL error is told to.
  using Note = std::function<void(const Error&)>;
  PeopleStore(SqliteDb* db, Note note) : db_(db), note_(std::move(note)) {}

  // Those who were removed, too.
  std::optional<UserRow> user_ever(std::string_view name);
  std::optional<UserRow> user(std::string_view name);
  std::vector<UserRow> users(std::string_view after, uint32_t limit);
  void put_user(const UserRow& user);

  bool session_ended(uint64_t session);
  // Those that expired before are forgotten.
  void end_session(uint64_t session, int64_t expires_us, int64_t now_us);

  // A look at some thousand rows behind `after`: which of the objects `user` owns, or has access to.
  struct Held {
    std::vector<uint64_t> objects;
    std::optional<int64_t> next_after;  // None: that was the end.
  };
  Held owned(std::string_view user, int64_t after);
  Held accessible(std::string_view user, int64_t after);
  // Also of what is deleted and can come back. `to` has no access of its own any more.
  void give(FileId object, std::string_view from, std::string_view to);
  void forget_requests_of(std::string_view user);

  Right access(FileId object, std::string_view user);
  // In order of names, behind `after`.
  std::vector<AccessRow> access_list(FileId object, std::string_view after, uint32_t limit);
  void put_access(FileId object, std::string_view user, Right right);
  void erase_access(FileId object, std::string_view user);
  // What is made in a folder gets the folder's list, without `but_not`. How many entries.
  uint64_t copy_access(FileId from, FileId to, std::string_view but_not);

  std::optional<AccessRequestRow> request(uint64_t id);
  std::optional<AccessRequestRow> request_of(FileId object, std::string_view user);
  // Those that `user` may answer or has made (everybody's if empty), behind `after`.
  std::vector<AccessRequestRow> requests(std::string_view user, uint64_t after, uint32_t limit);
  uint64_t count_requests_of(std::string_view user, uint32_t limit);
  // Gives it an id if it has none.
  uint64_t put_request(const AccessRequestRow& request);
  void erase_request(uint64_t id);

  // The object is gone, with all that was said of it.
  void forget(FileId object);

  // Newest first; `pair` empty: of sessions.
  std::vector<KeyRow> keys(std::string_view pair);
  // Keeps the newest two.
  void put_key(std::string_view pair, const KeyRow& key);

 private:
  bool step(SqliteStatement& statement);
  void run(SqliteStatement& statement);

  SqliteDb* db_;
  Note note_;
};

// The step that makes its tables (catalogue_store.cc).
extern const char kPeopleSchema[];

}  // namespace understudy
