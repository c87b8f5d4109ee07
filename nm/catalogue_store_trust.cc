// The rows of join tokens and of servers' keys.
#include "nm/catalogue_store.h"

namespace understudy {

std::vector<JoinTokenRow> CatalogueStore::join_tokens() {
  std::vector<JoinTokenRow> tokens;
  auto rows = db_->statement("SELECT id, secret_hash, expires_us FROM join_tokens ORDER BY expires_us, id");
  while (step(rows)) {
    tokens.push_back({Bytes(rows.column_bytes(0)), Bytes(rows.column_bytes(1)), static_cast<int64_t>(rows.column_uint64(2))});
  }
  return tokens;
}

void CatalogueStore::put_join_token(const JoinTokenRow& token) {
  auto put = db_->statement("INSERT OR REPLACE INTO join_tokens VALUES(?1, ?2, ?3)");
  put.bind_text(token.id).bind_blob(token.secret_hash).bind(static_cast<uint64_t>(token.expires_us));
  run(put);
}

void CatalogueStore::erase_join_token(const std::string& id) {
  auto erase = db_->statement("DELETE FROM join_tokens WHERE id = ?1");
  erase.bind_text(id);
  run(erase);
}

std::optional<ServerKeyRow> CatalogueStore::server_key(const std::string& server) {
  auto row = db_->statement("SELECT key, previous, authority, expires_us FROM server_keys WHERE server = ?1");
  row.bind_text(server);
  if (!step(row)) return std::nullopt;
  return ServerKeyRow{Bytes(row.column_bytes(0)), Bytes(row.column_bytes(1)), Bytes(row.column_bytes(2)),
                      static_cast<int64_t>(row.column_uint64(3))};
}

void CatalogueStore::put_server_key(const std::string& server, const ServerKeyRow& row) {
  auto put = db_->statement("INSERT OR REPLACE INTO server_keys VALUES(?1, ?2, ?3, ?4, ?5)");
  put.bind_text(server).bind_blob(row.key).bind_blob(row.previous).bind_blob(row.authority);
  put.bind(static_cast<uint64_t>(row.expires_us));
  run(put);
}

}  // namespace understudy
