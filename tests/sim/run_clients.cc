#include "tests/sim/run_clients.h"

#include "client/session_internal.h"
#include "common/wire/durability.pb.h"
#include "common/wire/identity.pb.h"
#include "tests/sim/filled_files.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

}  // namespace

Task<bool> RunClient::prepare() {
  for (const std::string& folder : {"/c" + std::to_string(number_), std::string("/s"), std::string("/d"), std::string("/x"), std::string("/g")}) {
    wire::CreateFolderRequest request;
    request.set_path(folder);
    request.set_exist_ok(true);
    auto making = session_->change(wire::CREATE_FOLDER, request);
    auto made = co_await making;
    if (!made) co_return false;
  }
  co_return true;
}

Task<void> RunClient::run(std::vector<Step> steps) {
  for (Step& step : steps) {
    auto pause = sleep_for(env_, step.time);
    co_await pause;
    if (record_->stopping) break;
    auto doing = perform(std::move(step.words));
    co_await doing;
  }
  ended_ = true;
}

Task<void> RunClient::read_all(std::vector<std::string> paths) {
  ended_ = false;
  for (std::string& path : paths) {
    auto reading = read(std::move(path));
    co_await reading;
  }
  ended_ = true;
}

Task<void> RunClient::perform(std::vector<std::string> words) {
  const std::string verb = words[0];
  std::string path = words.size() > 1 ? words[1] : "/";
  std::string more = words.size() > 2 ? words[2] : "";
  if (verb == "put") return write(Op::Kind::kPut, path, std::strtoull(more.c_str(), nullptr, 10));
  if (verb == "put-document") return write(Op::Kind::kPutDocument, path, 0);
  if (verb == "append") return write(Op::Kind::kAppend, path, 0);
  if (verb == "edit") return edit(path, std::strtoull(more.c_str(), nullptr, 10), words.size() > 3 ? words[3] : "0");
  if (verb == "undo") return go_back(Op::Kind::kUndo, path, "");
  if (verb == "checkpoint") return go_back(Op::Kind::kCheckpoint, path, more);
  if (verb == "revert") return go_back(Op::Kind::kRevert, path, more);
  if (verb == "delete") return change_names(Op::Kind::kDelete, path, "");
  if (verb == "move") return change_names(Op::Kind::kMove, path, more);
  if (verb == "undelete") return change_names(Op::Kind::kUndelete, path, "");
  if (verb == "link") return change_names(Op::Kind::kLink, path, more);
  if (verb == "grant") return change_setting(Op::Kind::kGrant, path, more, words.size() > 3 ? words[3] : "R");
  if (verb == "revoke") return change_setting(Op::Kind::kRevoke, path, more, "");
  if (verb == "durability") return change_setting(Op::Kind::kDurability, path, "", more);
  if (verb == "folder") return change_names(Op::Kind::kMakeFolder, path, "");
  if (verb == "delete-folder") return change_names(Op::Kind::kRemoveFolder, path, "");
  CHECK(verb == "read");
  return read(path);
}

Token RunClient::begin(Op::Kind kind, const std::string& path) {
  return record_->history.begin(number_, kind, path, record_->now()).token;
}

void RunClient::end(Token token, const Status& status) {
  if (status) {
    record_->history.done(token, record_->now());
  } else {
    record_->history.failed(token, status.error(), record_->now());
  }
  record_->tell("client" + std::to_string(number_), to_string(record_->history.op(token)));
}

void RunClient::note(Token token, const Result<wire::VersionReply>& reply) {
  if (!reply) return end(token, std::unexpected(reply.error()));
  Op& op = record_->history.op(token);
  op.file = FileId{reply->file_id()};
  op.version = client::version_of(reply->version());
  op.epoch = Epoch{reply->epoch()};
  op.sync = reply->durability() == "sync";
  end(token, {});
}

Task<void> RunClient::write(Op::Kind kind, std::string path, uint64_t size) {
  Token token = begin(kind, path);
  if (kind == Op::Kind::kAppend) {
    auto appending = session_->append(path, append_content(token));
    co_return note(token, co_await appending);
  }
  GivenSource source(kind == Op::Kind::kPut ? put_content(token, size) : document_content(token));
  auto uploading = session_->upload(path, &source, {});
  note(token, co_await uploading);
}

Task<void> RunClient::edit(std::string path, uint64_t sentence, std::string open_for) {
  Token token = begin(Op::Kind::kEdit, path);
  auto opening = session_->edit_open(path, sentence, std::nullopt);
  auto opened = co_await opening;
  if (!opened) {
    end(token, std::unexpected(opened.error()));
    co_return;
  }
  // Its lock ends with the connection, or when it was idle for too long.
  if (open_for == "drop") co_return end(token, fail(Code::kUnavailable, "left open"));
  auto pause = sleep_for(env_, std::chrono::milliseconds(std::strtoull(open_for.c_str(), nullptr, 10)));
  co_await pause;
  auto inserting = session_->edit_insert(*opened, 1, edit_word(token));
  auto inserted = co_await inserting;
  Result<wire::VersionReply> done = fail(Code::kInternal, "");
  if (inserted.result) {
    wire::RequestNumber number = session_->next_request();
    auto committing = session_->edit_commit(*opened, number);
    auto outcome = co_await committing;
    wire::VersionReply reply;
    if (outcome.result && reply.ParseFromString(outcome.result->message)) {
      reply.set_file_id(opened->location.file_id());
      done = std::move(reply);
    } else if (!outcome.result && !client::may_pass(outcome.result.error().code)) {
      done = std::unexpected(outcome.result.error());
    } else {
      // It may have been carried out: a repeat gets that answer, and nothing else does.
      auto asking = session_->edit_committed(*opened, number);
      done = co_await asking;
      if (!done) done = fail(Code::kUnavailable, "outcome unknown: " + done.error().message);
    }
  } else {
    // Whoever waits at a screen takes the sentence again then (client/sentence_edit.h).
    Error error = inserted.result.error();
    if (client::may_pass(error.code)) error.code = Code::kUnavailable;
    done = std::unexpected(std::move(error));
  }
  if (!done) {
    // What was refused stays open until somebody ends it.
    auto aborting = session_->edit_abort(*opened);
    static_cast<void>(co_await aborting);
  }
  note(token, done);
}

Task<void> RunClient::go_back(Op::Kind kind, std::string path, std::string tag) {
  Token token = begin(kind, path);
  record_->history.op(token).tag = tag;
  auto going = kind == Op::Kind::kUndo         ? session_->undo(path)
               : kind == Op::Kind::kCheckpoint ? session_->checkpoint(path, tag)
                                               : session_->revert(path, tag);
  note(token, co_await going);
}

Task<void> RunClient::read(std::string path) {
  Token token = begin(Op::Kind::kRead, path);
  KeptSink kept;
  auto reading = session_->download(path, {}, &kept);
  auto answer = co_await reading;
  if (!answer) co_return end(token, std::unexpected(answer.error()));
  Op& op = record_->history.op(token);
  op.file = answer->file;
  op.version = answer->version;
  op.linearizable = answer->linearizable;
  op.server = answer->server;
  op.tokens = tokens_of(kept.content);
  std::string where = to_string(op);
  if (op.tokens) {
    check_content(record_->history, where, *op.tokens, &record_->violations);
  } else {
    record_->violations.add("content", where + ": bytes that no writes made, " + std::to_string(kept.content.size()) +
                                           " of them, \"" + kept.content.substr(0, 20) + "\"");
  }
  end(token, {});
}

Task<void> RunClient::change_names(Op::Kind kind, std::string path, std::string to) {
  Token token = begin(kind, path);
  record_->history.op(token).to = to;
  Result<wire::ChangeReply> reply;
  if (kind == Op::Kind::kMove) {
    wire::MoveRequest request;
    request.set_from(path);
    request.set_to(to);
    auto moving = session_->change(wire::MOVE, request);
    reply = co_await moving;
  } else if (kind == Op::Kind::kMakeFolder) {
    wire::CreateFolderRequest request;
    request.set_path(path);
    request.set_exist_ok(true);
    auto making = session_->change(wire::CREATE_FOLDER, request);
    reply = co_await making;
  } else if (kind == Op::Kind::kLink) {
    wire::CreateLinkRequest request;
    request.set_path(path);
    request.set_target(to);
    auto linking = session_->change(wire::CREATE_LINK, request);
    reply = co_await linking;
  } else if (kind == Op::Kind::kUndelete) {
    wire::UndeleteRequest request;
    request.set_path(path);
    auto returning = session_->change(wire::UNDELETE, request);
    reply = co_await returning;
  } else {
    wire::RemoveRequest request;
    request.set_path(path);
    request.set_folder(kind == Op::Kind::kRemoveFolder);
    request.set_recursive(kind == Op::Kind::kRemoveFolder);
    auto removing = session_->change(wire::REMOVE, request);
    reply = co_await removing;
  }
  if (!reply) co_return end(token, std::unexpected(reply.error()));
  if (kind == Op::Kind::kDelete) record_->history.op(token).file = FileId{reply->object_id()};
  end(token, {});
}

Task<void> RunClient::change_setting(Op::Kind kind, std::string path, std::string whom, std::string what) {
  Token token = begin(kind, path);
  record_->history.op(token).tag = kind == Op::Kind::kDurability ? what : whom + " " + what;
  Result<wire::ChangeReply> reply;
  if (kind == Op::Kind::kDurability) {
    wire::SetDurabilityRequest request;
    request.set_path(path);
    request.set_durability(what == "sync" ? wire::DURABILITY_SYNC : wire::DURABILITY_ASYNC);
    auto setting = session_->change(wire::SET_DURABILITY, request);
    reply = co_await setting;
  } else {
    wire::SetAccessRequest request;
    request.set_path(path);
    request.set_user(whom);
    request.set_right(kind == Op::Kind::kRevoke ? wire::RIGHT_NONE : what == "W" ? wire::RIGHT_WRITE : wire::RIGHT_READ);
    auto setting = session_->change(wire::SET_ACCESS, request);
    reply = co_await setting;
  }
  end(token, reply ? Status{} : std::unexpected(reply.error()));
}

Task<void> move_primary(client::Session* session, std::vector<std::string> words) {
  wire::MovePrimaryRequest request;
  request.set_to(words[0] == "move"        ? wire::MovePrimaryRequest::BACKUP
                 : words[0] == "hand-back" ? wire::MovePrimaryRequest::HOME
                                           : wire::MovePrimaryRequest::AWAY);
  words[0] == "drain" ? request.set_server(words[1]) : request.set_pair(words[1]);
  *request.mutable_request() = session->next_request();
  request.set_wait_ms(1000);
  auto asking = session->ask<wire::MovePrimaryReply>(wire::MOVE_PRIMARY, request.SerializeAsString(), std::chrono::seconds(1));
  static_cast<void>(co_await asking);
}

}  // namespace understudy::sim
