// Join tokens, and which key a server's name belongs to. Of secrets only hashes are here.
#include "nm/catalogue_change.h"

namespace understudy {

void Catalogue::add_join_token(const wire::AddJoinToken& command, Change& change) {
  for (const JoinTokenRow& token : store_->join_tokens()) {
    if (token.expires_us < change.now_us) store_->erase_join_token(token.id);
  }
  store_->put_join_token({command.id(), command.secret_hash(), command.expires_us()});
}

void Catalogue::drop_join_token(const wire::DropJoinToken& command, Change& change) {
  uint64_t count = 0;
  for (const JoinTokenRow& token : store_->join_tokens()) {
    if (!command.id().empty() && token.id != command.id()) continue;
    store_->erase_join_token(token.id);
    ++count;
  }
  if (count == 0 && !command.id().empty()) return change.refuse(Code::kNotFound, printable(command.id()) + ": no such join token");
  change.outcome.set_count(count);
}

void Catalogue::set_server_key(const wire::SetServerKey& command, Change& change) {
  ServerKeyRow row = store_->server_key(command.server()).value_or(ServerKeyRow{});
  bool free = row.key.empty() || row.key == command.key() || (!command.instead_of().empty() && row.key == command.instead_of());
  if (!free) return change.refuse(Code::kConflict, command.server() + " has another key by now");
  if (row.key != command.key()) row.previous = row.key;
  row.key = command.key();
  row.authority = command.authority();
  row.expires_us = command.expires_us();
  store_->put_server_key(command.server(), row);
}

// Its place is to be taken: whoever comes with a token may, whoever has the old key may not.
void Catalogue::forget_server_key(const std::string& server) {
  if (store_->server_key(server)) store_->put_server_key(server, {});
}

}  // namespace understudy
