#include "ss/client_calls.h"

#include <algorithm>

#include "common/base/version.h"
#include "ss/answers.h"
#include "ss/partner_link.h"
#include "ss/sync_writes.h"

namespace understudy {
namespace {

Status check_body(const Bytes& body) {
  if (body.size() > kChunkSizeMax) {
    return fail(Code::kInvalid,
                "a body is at most " + std::to_string(kChunkSizeMax) + " bytes; stage it in chunks");
  }
  return {};
}

// Room taken in the staging memory until destroyed.
class StagingRoom {
 public:
  StagingRoom(Semaphore* staging, uint64_t units) : staging_(staging), units_(units) {}
  StagingRoom(const StagingRoom&) = delete;
  StagingRoom& operator=(const StagingRoom&) = delete;
  ~StagingRoom() { staging_->release(units_); }

 private:
  Semaphore* staging_;
  uint64_t units_;
};

}  // namespace

// A repeat gets the first answer, if the first was the same user's.
Result<VersionInfo> ClientCalls::of_asker(Result<VersionInfo> done, const std::string& user) {
  if (done && done->user != user) return fail(Code::kDenied, "this request was another user's");
  return done;
}

// Whoever may not even ask learns nothing of the file, not whether it is there.
template <class Request>
Result<Request> ClientCalls::admitted(const Bytes& message, Right wanted, Asker* asker) const {
  Request request;
  if (!request.ParseFromString(message)) return fail(Code::kInvalid, "the message is damaged");
  if (asker->name_node) {
    if constexpr (requires { request.user(); }) asker->user = request.user();
    return request;
  }
  ASSIGN_OR_RETURN(wire::Capability shown,
                   state_->guard.check(request.capability(), FileId{request.file_id()}, wanted, Epoch{request.epoch()},
                                       state_->env.clock.now()));
  asker->access_generation = shown.access_generation();
  if constexpr (requires { request.mutable_name(); }) request.mutable_name()->Swap(shown.mutable_name());
  asker->user.swap(*shown.mutable_user());
  if (asker->peer != nullptr && asker->peer->caller() != asker->user) asker->peer->set_caller(asker->user);
  return request;
}

template <class Request>
Task<Result<Reply>> ClientCalls::change(Task<Result<Reply>> (ClientCalls::*method)(Request, Asker), const Bytes& message,
                                        Asker asker) {
  auto request = admitted<Request>(message, Right::kWrite, &asker);
  if (!request) return refuse(request.error());
  return (this->*method)(*std::move(request), std::move(asker));
}

template <class Request>
Task<Result<Reply>> ClientCalls::change(Task<Result<Reply>> (ClientCalls::*method)(Request, Asker, Bytes),
                                        const Bytes& message, Asker asker, Bytes& body) {
  auto request = admitted<Request>(message, Right::kWrite, &asker);
  if (!request) return refuse(request.error());
  return (this->*method)(*std::move(request), std::move(asker), std::move(body));
}

template <class Request>
Task<Result<Reply>> ClientCalls::look(Task<Result<Reply>> (ClientCalls::*method)(Request), const Bytes& message, Asker asker) {
  auto request = admitted<Request>(message, Right::kRead, &asker);
  if (!request) return refuse(request.error());
  return (this->*method)(*std::move(request));
}

Task<Result<Reply>> ClientCalls::handle(Peer* peer, uint16_t type, Bytes message, Bytes body) {
  return handle(peer, type, message, body, Asker{.peer = peer});
}

Task<Result<Reply>> ClientCalls::handle_own(Peer* peer, uint16_t type, Bytes message, Bytes body) {
  return handle(peer, type, message, body, Asker{.name_node = true});
}

Task<Result<Reply>> ClientCalls::handle(Peer* peer, uint16_t type, const Bytes& message, Bytes& body, Asker asker) {
  switch (type) {
    case wire::HELLO: return hello(peer, message);
    case wire::PUT: return change(&ClientCalls::put, message, std::move(asker), body);
    case wire::APPEND: return change(&ClientCalls::append, message, std::move(asker), body);
    case wire::STAGE: return change(&ClientCalls::stage, message, std::move(asker), body);
    case wire::COMMIT: return change(&ClientCalls::commit, message, std::move(asker));
    case wire::UNDO: return change(&ClientCalls::undo, message, std::move(asker));
    case wire::CHECKPOINT: return change(&ClientCalls::checkpoint, message, std::move(asker));
    case wire::REVERT: return change(&ClientCalls::revert, message, std::move(asker));
    case wire::LIST_CHECKPOINTS: return look(&ClientCalls::list_checkpoints, message, std::move(asker));
    case wire::HISTORY: return look(&ClientCalls::history, message, std::move(asker));
    case wire::STAT: return look(&ClientCalls::stat, message, std::move(asker));
    case wire::READ: {
      auto request = admitted<wire::ReadRequest>(message, Right::kRead, &asker);
      if (!request) return refuse(request.error());
      return read(*std::move(request), std::move(asker.user));
    }
    case wire::EDIT_OPEN: {
      auto request = admitted<wire::EditOpenRequest>(message, Right::kWrite, &asker);
      if (!request) return refuse(request.error());
      return edit_open(peer, *std::move(request), std::move(asker));
    }
    // What it inserts belongs to a sentence that this connection was let to open.
    case wire::EDIT_INSERT: return edit_insert(client(peer).id, message);
    case wire::EDIT_COMMIT: {
      auto request = admitted<wire::EditCommitRequest>(message, Right::kWrite, &asker);
      if (!request) return refuse(request.error());
      return edit_commit(client(peer).id, *std::move(request));
    }
    case wire::EDIT_ABORT: return edit_abort(client(peer).id, message);
    case wire::FETCH:
    case wire::FETCH_CHUNK:
    case wire::MISSING_CHUNKS:
    case wire::STORE_CHUNK:
    case wire::APPLY:
      if (!client(peer).partner) return refuse(Code::kDenied, "only the other half of the pair may ask for this");
      return partner_calls_->handle(peer, type, message, std::move(body));
    default: return refuse(Code::kInvalid, "a storage server does not take this call from a client");
  }
}

ClientCalls::Client& ClientCalls::client(Peer* peer) {
  auto [at, fresh] = clients_.try_emplace(peer);
  if (fresh) at->second.id = ConnectionId{next_connection_++};
  return at->second;
}

void ClientCalls::closed(Peer* peer) {
  if (auto at = clients_.find(peer); at != clients_.end()) state_->edits.connection_closed(at->second.id);
}

void ClientCalls::forget(Peer* peer) {
  closed(peer);  // A sentence may have been opened since.
  if (auto at = clients_.find(peer); at != clients_.end()) {
    if (auto writer = writers_.find(at->second.id); writer != writers_.end()) {
      auto [look, end] = looks_.equal_range(writer->second.look_at);
      while (look != end && look->second != writer->first) ++look;
      if (look != end) looks_.erase(look);
      writers_.erase(writer);
    }
    clients_.erase(at);
  }
}

Task<Result<Reply>> ClientCalls::hello(Peer* peer, Bytes message) {
  wire::HelloRequest request;
  if (!request.ParseFromString(message)) co_return fail(Code::kInvalid, "the message is damaged");
  if (request.protocol_version() != kProtocolVersion) {
    co_return fail(Code::kInvalid, "this server speaks protocol version " + std::to_string(kProtocolVersion) +
                                       ", the client " + std::to_string(request.protocol_version()) +
                                       "; use programs of one version");
  }
  const std::string& cluster = state_->cluster_id;
  if (!request.cluster_id().empty() && !cluster.empty() && request.cluster_id() != cluster) {
    co_return fail(Code::kMoved, "this server belongs to another cluster");
  }
  if (request.role() == wire::HelloRequest::STORAGE_SERVER) {
    CO_RETURN_IF_ERROR(check_partner(*state_, *peer, request.name()));
    client(peer).partner = true;
    peer->leave_crowd();  // No crowd of clients holds up the other half.
  }
  wire::HelloReply reply;
  reply.set_protocol_version(kProtocolVersion);
  reply.set_cluster_id(state_->cluster_id);
  reply.set_name(state_->options.name);
  reply.set_program_version(kVersion);
  co_return make_reply(reply);
}

// ---- Changes ----------------------------------------------------------------------

Task<Result<VersionInfo>> ClientCalls::carried(Asked asked, Task<Result<VersionInfo>> change) {
  auto carrying = state_->sync_writes->carry(asked.file, asked.epoch, asked.sync, std::move(change));
  return state_->changes.run(asked.file, asked.request, std::move(carrying));
}

Status ClientCalls::may_replace(const Change& change) const {
  if (state_->edits.none()) return {};
  auto status = state_->edits.may_replace(change.file);
  if (!status && state_->store->answered(change.file, change.request)) return {};
  return status;
}

Status ClientCalls::may_append(const Change& change, char first) const {
  if (state_->edits.none()) return {};
  auto status = state_->edits.may_append(change.file, first);
  if (!status && state_->store->answered(change.file, change.request)) return {};
  return status;
}

Task<Result<Reply>> ClientCalls::put(wire::PutRequest request, Asker asker, Bytes body) {
  CO_RETURN_IF_ERROR(check_change_ids(request.file_id(), request.request()));
  CO_RETURN_IF_ERROR(check_body(body));
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = wire::CHANGE_PUT,
                .user = asker.user,
                .mode = request.mode(),
                .modified_us = request.modified_us(),
                .name = std::move(*request.mutable_name()),
                .access_generation = asker.access_generation,
                .exclusive = request.exclusive(),
                .expected = from_wire(request.expected()),
                .sync = request.durability() == wire::DURABILITY_SYNC};
  change.more_follow = asker.name_node && request.more_follow();
  // What comes back from the half that alone had it stays what it was.
  if (auto kind = request.brought().kind();
      asker.name_node && (kind == wire::CHANGE_UNDO || kind == wire::CHANGE_REVERT || kind == wire::CHANGE_APPEND ||
                          kind == wire::CHANGE_EDIT)) {
    change.kind = kind;
    change.undo_target = from_wire(request.brought().undo_target());
    change.tag = std::move(*request.mutable_brought()->mutable_tag());
    change.edit_record = std::move(*request.mutable_brought()->mutable_edit_record());
  }
  const Asked asked(change);
  const bool by_chunks = asker.name_node && request.brought().chunks_size() > 0;
  auto putting = by_chunks ? take_back(std::move(change), std::move(*request.mutable_brought()))
                           : perform_put(std::move(change), std::move(body));
  auto done = co_await carried(asked, std::move(putting));
  co_return version_reply(*state_, of_asker(std::move(done), asker.user));
}

Task<Result<VersionInfo>> ClientCalls::perform_put(Change change, Bytes content) {
  FileId file = change.file;
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(file, hold)) hold = co_await state_->gates.share(file);
  CO_RETURN_IF_ERROR(state_->guard.still_counts(file, change.access_generation));
  CO_RETURN_IF_ERROR(may_replace(change));
  CO_ASSIGN_OR_RETURN(VersionInfo done, co_await state_->store->put(std::move(change), std::move(content)));
  CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
  co_return done;
}

Task<Result<VersionInfo>> ClientCalls::take_back(Change change, wire::Brought brought) {
  FileId file = change.file;
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(file, hold)) hold = co_await state_->gates.share(file);
  CO_RETURN_IF_ERROR(may_replace(change));
  CO_ASSIGN_OR_RETURN(VersionInfo done, co_await state_->store->take_back(std::move(change), std::move(brought)));
  CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
  co_return done;
}

Task<Result<Reply>> ClientCalls::append(wire::AppendRequest request, Asker asker, Bytes body) {
  CO_RETURN_IF_ERROR(check_change_ids(request.file_id(), request.request()));
  CO_RETURN_IF_ERROR(check_body(body));
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = wire::CHANGE_APPEND,
                .user = asker.user,
                .name = std::move(*request.mutable_name()),
                .access_generation = asker.access_generation,
                .sync = request.durability() == wire::DURABILITY_SYNC};
  const Asked asked(change);
  auto done = co_await carried(asked, perform_append(std::move(change), std::move(body)));
  co_return version_reply(*state_, of_asker(std::move(done), asker.user));
}

Task<Result<VersionInfo>> ClientCalls::perform_append(Change change, Bytes content) {
  FileId file = change.file;
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(file, hold)) hold = co_await state_->gates.share(file);
  CO_RETURN_IF_ERROR(state_->guard.still_counts(file, change.access_generation));
  // Sentences may be open while the file grows behind them.
  if (!content.empty()) CO_RETURN_IF_ERROR(may_append(change, content.front()));
  CO_ASSIGN_OR_RETURN(VersionInfo done,
                      co_await state_->store->append(std::move(change), std::move(content)));
  co_await state_->edits.on_append(file, done);
  CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
  co_return done;
}

Task<Result<Reply>> ClientCalls::stage(wire::StageRequest request, Asker asker, Bytes body) {
  FileId file{request.file_id()};
  if (file == kNoFile || body.empty()) {
    co_return fail(Code::kInvalid, "a staged chunk names its file and has bytes");
  }
  CO_RETURN_IF_ERROR(check_body(body));
  // Only the commit needs the lease; but who does not serve will not commit it either.
  if (state_->fence.serving() == kNoEpoch) {
    co_return fail(Code::kMoved, "this server is not the acting primary");
  }
  CO_RETURN_IF_ERROR(state_->uploads.check(file, request.upload_id(), request.index()));
  uint64_t size = body.size();
  co_await state_->staging.acquire(size);
  StagingRoom room(&state_->staging, size);
  CO_ASSIGN_OR_RETURN(auto chunk, co_await state_->store->stage(file, std::move(body)));
  wire::StageReply reply;
  reply.set_staged(state_->uploads.add(file, request.upload_id(), request.index(), chunk));
  co_return make_reply(reply);
}

Task<Result<Reply>> ClientCalls::commit(wire::CommitRequest request, Asker asker) {
  CO_RETURN_IF_ERROR(check_change_ids(request.file_id(), request.request()));
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = request.append() ? wire::CHANGE_APPEND : wire::CHANGE_PUT,
                .user = asker.user,
                .mode = request.mode(),
                .modified_us = request.modified_us(),
                .name = std::move(*request.mutable_name()),
                .access_generation = asker.access_generation,
                .exclusive = request.exclusive(),
                .expected = from_wire(request.expected()),
                .sync = request.durability() == wire::DURABILITY_SYNC};
  const Asked asked(change);
  auto done = co_await carried(asked, perform_commit(std::move(change), std::move(request)));
  co_return version_reply(*state_, of_asker(std::move(done), asker.user));
}

Task<Result<VersionInfo>> ClientCalls::perform_commit(Change change, wire::CommitRequest request) {
  FileId file = change.file;
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(file, hold)) hold = co_await state_->gates.share(file);
  CO_RETURN_IF_ERROR(state_->guard.still_counts(file, change.access_generation));
  if (auto first = state_->store->answered(file, change.request)) {
    // The upload went with the first one. Its record may still be on its way to the
    // disk; the same change asked of the store waits for it.
    CO_ASSIGN_OR_RETURN(VersionInfo done,
                        co_await state_->store->commit(std::move(change), {}, request.append()));
    CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
    co_return done;
  }
  if (!request.append()) CO_RETURN_IF_ERROR(may_replace(change));
  CO_ASSIGN_OR_RETURN(auto upload, state_->uploads.take(file, request.upload_id(), request.chunk_count(),
                                                        request.size_bytes()));
  if (request.append() && state_->edits.open_in(file)) {
    auto chunks = upload.chunks();
    auto first = chunks.empty() ? Result<char>(' ') : co_await first_byte(file, chunks.front());
    Status allowed = first ? may_append(change, *first) : Status(std::unexpected(std::move(first).error()));
    if (!allowed) {
      upload.put_back();
      co_return std::unexpected(std::move(allowed).error());
    }
  }
  auto done = co_await state_->store->commit(std::move(change), upload.chunks(), request.append());
  if (!done) {
    upload.put_back();
    co_return done;
  }
  if (request.append()) co_await state_->edits.on_append(file, *done);
  CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
  co_return done;
}

Task<Result<char>> ClientCalls::first_byte(FileId file, ChunkRefInfo chunk) {
  wire::FetchChunkRequest request;
  request.set_file_id(number(file));
  request.set_hash(chunk.hash.bytes.data(), chunk.hash.bytes.size());
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await state_->store->fetch_chunk(std::move(request)));
  co_return bytes.front();
}

// ---- Reads ------------------------------------------------------------------------

Result<VersionInfo> ClientCalls::newest(FileId file, Version at_least) const {
  auto head = state_->store->info(file, {});
  // An older content with a newer number than what a session saw.
  if (head && head->more_follow &&
      state_->env.clock.wall().time_since_epoch().count() < head->time_us + ServerState::kHiddenMaxUs) {
    return fail(Code::kUnavailable, "a newer version is being brought back; try again");
  }
  if (auto readable = state_->sync_writes->readable(file); head && readable && *readable != head->version) {
    // The newest is on this machine only so far, and was to be on two.
    head = *readable ? state_->store->info(file, *readable) : fail(Code::kNotFound, "the file has no version yet");
  }
  // The content's number counts: a checkpoint of an older content has a newer one.
  if (at_least && (!head || head->version < at_least)) {
    if (!head && head.error().code != Code::kNotFound) return head;
    return fail(Code::kConflict, "this half has not got version " + at_least.to_string() + " yet");
  }
  return head;
}

Task<Result<Reply>> ClientCalls::read(wire::ReadRequest request, std::string user) {
  FileId file{request.file_id()};
  Epoch epoch{request.epoch()};
  CO_ASSIGN_OR_RETURN(bool linearizable, state_->fence.check_read(epoch, state_->env.clock.now()));
  // A version is what it is, also one that was set aside and no newest one stands before.
  Version asked = from_wire(request.version());
  auto readable = state_->sync_writes->readable(file);
  if (asked ? readable && asked > *readable : state_->sync_writes->in_doubt(file)) {
    CO_RETURN_IF_ERROR(co_await state_->sync_writes->settled(file));
  }
  CO_ASSIGN_OR_RETURN(VersionInfo version,
                      asked ? state_->store->info(file, asked) : newest(file, from_wire(request.at_least())));
  if (request.offset() > version.size_bytes) {
    co_return fail(Code::kOutOfRange, "the file has " + std::to_string(version.size_bytes) + " bytes");
  }
  uint64_t size = std::min<uint64_t>(
      {request.length(), kChunkSizeMax, version.size_bytes - request.offset()});
  Reply reply;
  if (size > 0) {
    CO_ASSIGN_OR_RETURN(reply.body, co_await state_->store->read(file, version.version, request.offset(),
                                                                 static_cast<uint32_t>(size)));
  }
  // The answer must be true when it leaves, not when it was begun.
  CO_ASSIGN_OR_RETURN(linearizable, state_->fence.check_read(epoch, state_->env.clock.now()));
  if (!user.empty()) {
    if (state_->accesses.size() >= ServerState::kRememberedMax) state_->accesses.clear();
    state_->accesses[file] = {state_->env.clock.wall().time_since_epoch().count(), std::move(user)};
  }
  wire::ReadReply message;
  *message.mutable_version() = to_wire(version.version);
  message.set_size_bytes(version.size_bytes);
  message.set_mode(version.mode);
  message.set_modified_us(version.modified_us);
  message.set_linearizable(linearizable);
  reply.message = message.SerializeAsString();
  co_return reply;
}

Task<Result<Reply>> ClientCalls::stat(wire::StatRequest request) {
  FileId file{request.file_id()};
  Epoch epoch{request.epoch()};
  CO_ASSIGN_OR_RETURN(bool linearizable, state_->fence.check_read(epoch, state_->env.clock.now()));
  if (state_->sync_writes->in_doubt(file)) {
    CO_RETURN_IF_ERROR(co_await state_->sync_writes->settled(file));
    CO_ASSIGN_OR_RETURN(linearizable, state_->fence.check_read(epoch, state_->env.clock.now()));
  }
  CO_ASSIGN_OR_RETURN(VersionInfo version, newest(file, from_wire(request.at_least())));
  wire::StatReply reply;
  if (request.count_words()) {
    CO_ASSIGN_OR_RETURN(TextCounts counts, co_await state_->text_index.counts(file, version.version));
    reply.set_words(counts.words);
    reply.set_sentences(counts.sentences);
    reply.set_characters(counts.characters);
    CO_ASSIGN_OR_RETURN(linearizable, state_->fence.check_read(epoch, state_->env.clock.now()));
  }
  *reply.mutable_version() = to_wire(version.version);
  reply.set_durability(version.sync ? wire::DURABILITY_SYNC : wire::DURABILITY_ASYNC);
  reply.set_size_bytes(version.size_bytes);
  reply.set_created_us(version.created_us);
  reply.set_modified_us(version.modified_us != 0 ? version.modified_us : version.time_us);
  reply.set_modified_by(version.user);
  reply.set_mode(version.mode);
  reply.set_versions(version.versions);
  reply.set_linearizable(linearizable);
  CO_ASSIGN_OR_RETURN(auto checkpoints, state_->store->checkpoints(file, ""));
  reply.mutable_checkpoints()->Assign(checkpoints.begin(), checkpoints.end());
  for (Version divergent : state_->store->divergent(file)) *reply.add_divergent() = to_wire(divergent);
  if (auto access = state_->accesses.find(file); access != state_->accesses.end()) {
    reply.set_accessed_us(access->second.time_us);
    reply.set_accessed_by(access->second.user);
  }
  co_return make_reply(reply);
}

}  // namespace understudy
