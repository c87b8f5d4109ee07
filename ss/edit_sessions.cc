#include "ss/edit_sessions.h"

#include "common/base/coding.h"
#include "ss/splice_file.h"
#include "ss/wire_convert.h"

namespace understudy {
namespace {

// For later, when locks outlive a failover: what the commit replaced and how the
// ordinals behind it moved. Five little-endian 64-bit numbers.
Bytes encode_edit_record(uint64_t ordinal, const Splice& splice) {
  Bytes record;
  put_fixed(record, ordinal);
  put_fixed(record, splice.replaced.offset);
  put_fixed(record, splice.replaced.size);
  put_fixed(record, splice.inserted_size);
  put_fixed(record, splice.sentence_shift);
  return record;
}

}  // namespace

EditSessions::EditSessions(Env& env, FileStore* store, FileGates* gates, EpochFence* fence,
                           Duration idle_limit)
    : env_(env), store_(store), gates_(gates), fence_(fence), locks_(idle_limit) {}

Task<Result<wire::EditOpenReply>> EditSessions::open(ConnectionId owner, wire::EditOpenRequest request) {
  FileId file{request.file_id()};
  Epoch epoch{request.epoch()};
  auto hold = co_await gates_->alone(file);
  CO_RETURN_IF_ERROR(fence_->check_change(epoch, env_.clock.now()));
  if (sessions_.size() >= kSessionsMax) {
    co_return fail(Code::kUnavailable, "too many sentences are open; try again later");
  }
  CO_ASSIGN_OR_RETURN(VersionInfo head, store_->info(file, {}));

  SentenceFinder finder(request.sentence());
  for (uint64_t at = 0; at < head.size_bytes;) {
    CO_ASSIGN_OR_RETURN(Bytes piece, co_await store_->read(file, head.version, at, kChunkSizeMax));
    if (piece.empty() || !finder.feed(piece)) break;
    at += piece.size();
  }
  CO_ASSIGN_OR_RETURN(Sentence sentence, finder.finish());
  // The epoch may have ended while the file was read.
  CO_RETURN_IF_ERROR(fence_->check_change(epoch, env_.clock.now()));

  WriteId id{};
  while (id == WriteId{} || sessions_.contains(id)) id = WriteId{env_.random.next()};
  CO_RETURN_IF_ERROR(locks_.lock({.id = id,
                                  .file = file,
                                  .user = request.user(),
                                  .ordinal = request.sentence(),
                                  .span = sentence.span,
                                  .at_end = sentence.at_end,
                                  .closed = sentence.closed,
                                  .since = env_.clock.wall(),
                                  .last_used = env_.clock.now()}));
  wire::EditOpenReply reply;
  reply.set_session(static_cast<uint64_t>(id));
  *reply.mutable_version() = to_wire(head.version);
  reply.set_words(count_text(sentence.text).words);
  if (sentence.text.size() <= kTextShownMax) reply.set_text(sentence.text);
  sessions_.try_emplace(id, Session{.owner = owner,
                                    .file = file,
                                    .epoch = epoch,
                                    .user = request.user(),
                                    .name = std::move(*request.mutable_name()),
                                    .original = sentence.text,
                                    .writing = WriteSession(std::move(sentence.text))});
  co_return reply;
}

Result<EditSessions::Session*> EditSessions::find(ConnectionId owner, uint64_t session) {
  auto at = sessions_.find(WriteId{session});
  if (at == sessions_.end() || at->second.owner != owner) {
    return fail(Code::kConflict,
                "this WRITE is over (idle for too long, or its server was replaced) and changed nothing; "
                "open it again");
  }
  return &at->second;
}

FileId EditSessions::file_of(ConnectionId owner, uint64_t session) const {
  auto at = sessions_.find(WriteId{session});
  return at == sessions_.end() || at->second.owner != owner ? kNoFile : at->second.file;
}

Result<wire::EditInsertReply> EditSessions::insert(ConnectionId owner,
                                                   const wire::EditInsertRequest& request) {
  ASSIGN_OR_RETURN(Session * session, find(owner, request.session()));
  locks_.touch(WriteId{request.session()}, env_.clock.now());
  RETURN_IF_ERROR(session->writing.insert(request.word(), request.content()));
  wire::EditInsertReply reply;
  const Bytes& text = session->writing.text();
  reply.set_words(count_text(text).words);
  if (text.size() <= kTextShownMax) reply.set_text(text);
  return reply;
}

void EditSessions::abort(ConnectionId owner, uint64_t session) {
  if (find(owner, session)) end(WriteId{session});
}

Task<Result<VersionInfo>> EditSessions::commit(ConnectionId owner, wire::EditCommitRequest request) {
  WriteId id{request.session()};
  FileId file{request.file_id()};
  RequestId request_id = from_wire(request.request());
  if (file == kNoFile) file = file_of(owner, request.session());
  auto hold = co_await gates_->alone(file);
  // A repeat: the session went with the first one.
  if (auto first = store_->answered(file, request_id)) {
    CO_RETURN_IF_ERROR(fence_->check_acknowledge(fence_->serving(), env_.clock.now()));
    co_return *first;
  }
  CO_ASSIGN_OR_RETURN(Session * session, find(owner, request.session()));
  if (session->file != file) co_return fail(Code::kInvalid, "this WRITE is of another file");
  CO_RETURN_IF_ERROR(fence_->check_change(session->epoch, env_.clock.now()));
  locks_.touch(id, env_.clock.now());
  const SentenceLock* lock = locks_.find(id);
  CHECK(lock != nullptr);  // Both end together.
  uint64_t ordinal = lock->ordinal;
  Splice splice{.replaced = lock->span};
  CO_ASSIGN_OR_RETURN(VersionInfo head, store_->info(file, {}));
  if (lock->at_end) splice.replaced = {head.size_bytes, 0};
  // The session may end while the file is read (its connection may close), so what
  // is needed of it is taken now.
  Change change{.file = file, .epoch = session->epoch, .request = request_id, .kind = wire::CHANGE_EDIT,
                .user = session->user, .name = session->name};
  WriteSession writing = session->writing;
  Bytes original = session->original;
  session = nullptr;
  lock = nullptr;

  std::optional<char> before, after;
  if (splice.replaced.offset > 0) {
    CO_ASSIGN_OR_RETURN(Bytes byte, co_await store_->read(file, head.version, splice.replaced.offset - 1, 1));
    if (!byte.empty()) before = byte.front();
  }
  if (splice.replaced.end() < head.size_bytes) {
    CO_ASSIGN_OR_RETURN(Bytes byte, co_await store_->read(file, head.version, splice.replaced.end(), 1));
    if (!byte.empty()) after = byte.front();
  }
  Bytes inserted = writing.result(before, after);
  splice.inserted_size = inserted.size();
  splice.sentence_shift = sentence_shift(original, inserted);
  change.edit_record = encode_edit_record(ordinal, splice);
  Epoch epoch = change.epoch;
  CO_ASSIGN_OR_RETURN(VersionInfo done, co_await splice_file(store_, std::move(change), head, splice.replaced,
                                                             std::move(inserted)));
  end(id);
  locks_.on_commit(file, splice);
  CO_RETURN_IF_ERROR(fence_->check_acknowledge(epoch, env_.clock.now()));
  co_return done;
}

void EditSessions::on_append(FileId file, const VersionInfo& done, BytesView appended) {
  if (none()) return;
  Splice splice{.replaced = {done.size_bytes - appended.size(), 0}, .inserted_size = appended.size()};
  splice.sentence_shift = static_cast<int64_t>(count_text(appended).sentences);
  locks_.on_commit(file, splice);
}

void EditSessions::end(WriteId id) {
  locks_.release(id);
  sessions_.erase(id);
}

void EditSessions::connection_closed(ConnectionId owner) {
  for (auto at = sessions_.begin(); at != sessions_.end();) {
    if (at->second.owner != owner) {
      ++at;
      continue;
    }
    locks_.release(at->first);
    at = sessions_.erase(at);
  }
}

void EditSessions::drop_all() {
  for (const auto& [id, session] : sessions_) locks_.release(id);
  sessions_.clear();
}

void EditSessions::expire(Instant now) {
  for (WriteId id : locks_.expire(now)) sessions_.erase(id);
}

}  // namespace understudy
