#include "ss/edit_sessions.h"

#include <algorithm>

#include "ss/merge_sentence.h"
#include "ss/wire_convert.h"

namespace understudy {
namespace {

// So often a text that changes meanwhile is looked at before its gate is closed for it.
constexpr int kLooks = 3;

}  // namespace

EditSessions::EditSessions(Env& env, FileStore* store, FileGates* gates, EpochFence* fence, TextIndex* index,
                           Duration idle_limit)
    : env_(env), store_(store), gates_(gates), fence_(fence), index_(index), locks_(idle_limit) {}

// ---- Opening ------------------------------------------------------------------------

Task<Result<EditSessions::Opened>> EditSessions::place_in(FileId file, Version head, uint64_t sentence) {
  CO_ASSIGN_OR_RETURN(Sentence found, co_await index_->find(file, head, sentence));
  SentencePlace place{sentence, found.span, found.at_end, found.closed};
  co_return Opened{place, std::move(found.text)};
}

Task<Result<EditSessions::Opened>> EditSessions::place_again(FileId file, Version head, uint64_t size_bytes,
                                                             Version then, uint64_t sentence) {
  auto steps = co_await store_->text_steps(file, then);
  if (!steps && steps.error().code != Code::kNotFound) co_return std::unexpected(std::move(steps).error());
  auto sentence_then = co_await place_in(file, then, sentence);
  if (!steps || !sentence_then) {
    co_return fail(Code::kConflict, "this server has not got version " + then.to_string() +
                                        ", in which the sentence was opened; WRITE it again");
  }
  Opened opened = *std::move(sentence_then);
  for (const TextStep& step : *steps) {
    std::optional<Splice> splice;
    if (step.kind == wire::CHANGE_CHECKPOINT) continue;
    if (step.kind == wire::CHANGE_EDIT) splice = decode_edit_record(step.edit_record);
    if (step.kind == wire::CHANGE_APPEND) splice = Splice{{UINT64_MAX, 0}, 0, 0};
    if (!splice || !follow(opened.place, *splice)) {
      co_return fail(Code::kConflict, "sentence " + std::to_string(sentence) + " was changed meanwhile by " +
                                          step.user + ", version " + step.version.to_string() + "; WRITE it again");
    }
  }
  const bool followed = !opened.place.at_end && opened.place.span.end() < size_bytes;
  if (followed && opened.place.closed) {
    CO_ASSIGN_OR_RETURN(Bytes next, co_await store_->read(file, head, opened.place.span.end(), 1));
    if (closes_sentence(next.front())) {
      co_return fail(Code::kConflict, "sentence " + std::to_string(sentence) + " was prolonged meanwhile; WRITE it again");
    }
  }
  if (opened.place.at_end) {
    CO_ASSIGN_OR_RETURN(ScanPoint end, co_await index_->end(file, head));
    if (end.state == SentenceState::kOpen) {
      co_return fail(Code::kConflict, "the last sentence is not closed any more; WRITE it instead");
    }
    opened.place.ordinal = end.sentences;
  }
  co_return opened;
}

Task<Result<wire::EditOpenReply>> EditSessions::open(ConnectionId owner, wire::EditOpenRequest request) {
  FileId file{request.file_id()};
  Epoch epoch{request.epoch()};
  // The text is looked at before its file's gate is closed for it; what changes then is little.
  Version looked_at;
  for (int i = 0; i < kLooks; ++i) {
    CO_ASSIGN_OR_RETURN(VersionInfo head, store_->info(file, {}));
    if (head.version == looked_at) break;
    if (head.size_bytes > kDocumentSizeMax) {
      co_return fail(Code::kInvalid, "a file of more than 4 GiB is no document; use GET and PUT");
    }
    looked_at = head.version;
    CO_RETURN_IF_ERROR(co_await index_->counts(file, head.version));
  }
  auto hold = co_await gates_->alone(file);
  CO_RETURN_IF_ERROR(fence_->check_change(epoch, env_.clock.now()));
  if (auto before = sessions_.find(WriteId{request.session()});
      before != sessions_.end() && before->second.file == file && before->second.user == request.user()) {
    end(before->first, {});
  }
  if (sessions_.size() >= kSessionsMax || text_bytes_ >= kTextBytesMax) {
    co_return fail(Code::kUnavailable, "too many sentences are open; try again later");
  }
  CO_ASSIGN_OR_RETURN(VersionInfo head, store_->info(file, {}));
  Version then = from_wire(request.version());
  auto placing = then ? place_again(file, head.version, head.size_bytes, then, request.sentence())
                      : place_in(file, head.version, request.sentence());
  CO_ASSIGN_OR_RETURN(Opened opened, co_await placing);
  // The epoch may have ended while the file was read.
  CO_RETURN_IF_ERROR(fence_->check_change(epoch, env_.clock.now()));

  WriteId id{};
  while (id == WriteId{} || sessions_.contains(id)) id = WriteId{env_.random.next()};
  CO_RETURN_IF_ERROR(locks_.lock({.id = id,
                                  .file = file,
                                  .user = request.user(),
                                  .place = opened.place,
                                  .since = env_.clock.wall(),
                                  .last_used = env_.clock.now()}));
  wire::EditOpenReply reply;
  reply.set_session(static_cast<uint64_t>(id));
  *reply.mutable_version() = to_wire(head.version);
  reply.set_sentence(opened.place.ordinal);
  reply.set_words(count_text(opened.text).words);
  if (opened.text.size() <= kTextShownMax) reply.set_text(opened.text);
  owners_[owner].push_back(id);
  text_bytes_ += opened.text.size();
  const int64_t begun = sentences_begun(opened.text);
  sessions_.try_emplace(id, Session{.owner = owner,
                                    .file = file,
                                    .epoch = epoch,
                                    .user = request.user(),
                                    .name = std::move(*request.mutable_name()),
                                    .begun = begun,
                                    .writing = WriteSession(std::move(opened.text))});
  co_return reply;
}

// ---- Writing ------------------------------------------------------------------------

Result<EditSessions::Session*> EditSessions::find(ConnectionId owner, uint64_t session) {
  auto at = sessions_.find(WriteId{session});
  if (at == sessions_.end() || at->second.owner != owner) {
    auto ended = ended_.find(WriteId{session});
    return fail(Code::kConflict, "this WRITE is over" + (ended == ended_.end() ? "" : ": " + ended->second) +
                                     "; nothing was changed, WRITE it again");
  }
  return &at->second;
}

FileId EditSessions::file_of(ConnectionId owner, uint64_t session) const {
  auto at = sessions_.find(WriteId{session});
  return at == sessions_.end() || at->second.owner != owner ? kNoFile : at->second.file;
}

Result<wire::EditInsertReply> EditSessions::insert(ConnectionId owner,
                                                   const wire::EditInsertRequest& request) {
  if (WriteId id{request.session()}; !sessions_.contains(id) && !ended_.contains(id)) {
    // It ended with an epoch: its writer takes the sentence again at whoever serves now.
    return fail(Code::kMoved, "this server does not know the WRITE");
  }
  ASSIGN_OR_RETURN(Session * session, find(owner, request.session()));
  locks_.touch(WriteId{request.session()}, env_.clock.now());
  const Bytes& text = session->writing.text();
  const uint64_t size_before = text.size();
  if (text_bytes_ + request.content().size() > kTextBytesMax) {
    return fail(Code::kUnavailable, "too much text is open at this server; try again later");
  }
  RETURN_IF_ERROR(session->writing.insert(request.word(), request.content()));
  text_bytes_ += text.size() - size_before;
  wire::EditInsertReply reply;
  reply.set_words(count_text(text).words);
  if (text.size() <= kTextShownMax) reply.set_text(text);
  return reply;
}

void EditSessions::abort(ConnectionId owner, uint64_t session) {
  if (find(owner, session)) end(WriteId{session}, {});
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
  SentencePlace place = lock->place;
  CO_ASSIGN_OR_RETURN(VersionInfo head, store_->info(file, {}));
  // The session may end while the file is read (its connection may close), so what
  // is needed of it is taken now.
  Change change{.file = file, .epoch = session->epoch, .request = request_id, .kind = wire::CHANGE_EDIT,
                .user = session->user, .name = session->name,
                .sync = request.durability() == wire::DURABILITY_SYNC};
  WriteSession writing = session->writing;
  const int64_t begun = session->begun;
  Epoch epoch = session->epoch;
  session = nullptr;
  lock = nullptr;
  CO_ASSIGN_OR_RETURN(Merged merged, co_await merge_sentence(store_, std::move(change), std::move(head), place, begun,
                                                             std::move(writing)));
  end(id, {});
  locks_.on_commit(file, merged.splice);
  CO_RETURN_IF_ERROR(fence_->check_acknowledge(epoch, env_.clock.now()));
  co_return std::move(merged.version);
}

Status EditSessions::may_append(FileId file, char first) const {
  if (!open_in(file)) return {};
  ASSIGN_OR_RETURN(VersionInfo head, store_->info(file, {}));
  return locks_.may_append(file, head.size_bytes, first);
}

Task<void> EditSessions::on_append(FileId file, VersionInfo done) {
  // Nobody else is moved by what comes behind the last sentence.
  if (!locks_.end_is_open(file)) co_return;
  auto end = co_await index_->end(file, done.version);
  // Only a number that is shown depends on it.
  if (end) locks_.end_moved(file, end->sentences);
}

// ---- Locks --------------------------------------------------------------------------

wire::LocksReply EditSessions::list(std::optional<FileId> file) const {
  wire::LocksReply reply;
  for (const SentenceLock& held : locks_.list(file)) {
    auto* open = reply.add_locks();
    open->set_file_id(number(held.file));
    open->set_sentence(held.place.ordinal);
    open->set_user(held.user);
    open->set_since_us(held.since.time_since_epoch().count());
  }
  return reply;
}

Status EditSessions::break_lock(FileId file, uint64_t sentence) {
  for (const SentenceLock& held : locks_.list(file)) {
    if (held.place.ordinal != sentence) continue;
    end(held.id, "its lock was broken by the file's owner");
    return {};
  }
  return fail(Code::kNotFound, "nobody is writing sentence " + std::to_string(sentence) + "; LOCKS lists who writes what");
}

void EditSessions::end(WriteId id, std::string why) {
  auto at = sessions_.find(id);
  if (at == sessions_.end()) return;
  locks_.release(id);
  text_bytes_ -= at->second.writing.text().size();
  auto owner = owners_.find(at->second.owner);
  std::erase(owner->second, id);
  if (owner->second.empty()) owners_.erase(owner);
  sessions_.erase(at);
  if (why.empty()) return;
  if (ended_order_.size() == kEndedMax) {
    ended_.erase(ended_order_.front());
    ended_order_.pop_front();
  }
  ended_order_.push_back(id);
  ended_[id] = std::move(why);
}

void EditSessions::connection_closed(ConnectionId owner) {
  auto found = owners_.find(owner);
  if (found == owners_.end()) return;
  for (WriteId id : std::vector<WriteId>(found->second)) end(id, {});
}

void EditSessions::give_way(FileId file) {
  for (WriteId id : locks_.of_file(file)) end(id, "a newer version of the file came back with a failed server");
}

void EditSessions::drop(FileId file, const std::string& user) {
  for (const SentenceLock& held : locks_.list(file)) {
    if (held.user == user) end(held.id, "access to the file was taken away");
  }
}

void EditSessions::drop_all() {
  for (const auto& [id, session] : sessions_) {
    locks_.release(id);
    if (on_dropped_) on_dropped_(session.owner, static_cast<uint64_t>(id), session.file);
  }
  sessions_.clear();
  owners_.clear();
  text_bytes_ = 0;
}

void EditSessions::expire(Instant now) {
  for (WriteId id : locks_.expire(now)) end(id, "it was idle for too long");
}

}  // namespace understudy
