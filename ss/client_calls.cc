#include "ss/client_calls.h"

#include <algorithm>

#include "common/base/version.h"
#include "ss/answers.h"

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

Task<Result<Reply>> ClientCalls::handle(Peer* peer, uint16_t type, Bytes message, Bytes body) {
  switch (type) {
    case wire::HELLO: return hello(peer, std::move(message));
    case wire::PUT: return with<wire::PutRequest>(this, &ClientCalls::put, message, body);
    case wire::APPEND: return with<wire::AppendRequest>(this, &ClientCalls::append, message, body);
    case wire::STAGE: return with<wire::StageRequest>(this, &ClientCalls::stage, message, body);
    case wire::COMMIT: return with<wire::CommitRequest>(this, &ClientCalls::commit, message);
    case wire::UNDO: return with<wire::UndoRequest>(this, &ClientCalls::undo, message);
    case wire::CHECKPOINT: return with<wire::CheckpointRequest>(this, &ClientCalls::checkpoint, message);
    case wire::LIST_CHECKPOINTS:
      return with<wire::ListCheckpointsRequest>(this, &ClientCalls::list_checkpoints, message);
    case wire::REVERT: return with<wire::RevertRequest>(this, &ClientCalls::revert, message);
    case wire::HISTORY: return with<wire::HistoryRequest>(this, &ClientCalls::history, message);
    case wire::READ: {
      wire::ReadRequest request;
      if (!request.ParseFromString(message)) return refuse_damaged();
      return read(std::move(request), client(peer).user);
    }
    case wire::STAT: return with<wire::StatRequest>(this, &ClientCalls::stat, message);
    case wire::EDIT_OPEN: return edit_open(peer, std::move(message));
    case wire::EDIT_INSERT: return edit_insert(client(peer).id, std::move(message));
    case wire::EDIT_COMMIT: return edit_commit(client(peer).id, std::move(message));
    case wire::EDIT_ABORT: return edit_abort(client(peer).id, std::move(message));
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
  client(peer).user = request.name();
  peer->set_caller(request.name());
  wire::HelloReply reply;
  reply.set_protocol_version(kProtocolVersion);
  reply.set_cluster_id(state_->cluster_id);
  reply.set_name(state_->options.name);
  reply.set_program_version(kVersion);
  co_return make_reply(reply);
}

// ---- Changes ----------------------------------------------------------------------

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

Task<Result<Reply>> ClientCalls::put(wire::PutRequest request, Bytes body) {
  CO_RETURN_IF_ERROR(check_change_ids(request.file_id(), request.request()));
  CO_RETURN_IF_ERROR(check_body(body));
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = wire::CHANGE_PUT,
                .user = std::move(*request.mutable_user()),
                .mode = request.mode(),
                .modified_us = request.modified_us(),
                .name = std::move(*request.mutable_name()),
                .exclusive = request.exclusive(),
                .expected = from_wire(request.expected())};
  FileId file = change.file;
  if (request.more_follow()) {
    state_->hidden_until[file] = state_->env.clock.now() + ServerState::kHiddenMax;
  }
  RequestId id = change.request;
  auto done = co_await state_->changes.run(file, id, perform_put(std::move(change), std::move(body)));
  if (!request.more_follow()) state_->hidden_until.erase(file);
  co_return version_reply(*state_, done);
}

Task<Result<VersionInfo>> ClientCalls::perform_put(Change change, Bytes content) {
  FileId file = change.file;
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(file, hold)) hold = co_await state_->gates.share(file);
  CO_RETURN_IF_ERROR(may_replace(change));
  CO_ASSIGN_OR_RETURN(VersionInfo done, co_await state_->store->put(std::move(change), std::move(content)));
  CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
  co_return done;
}

Task<Result<Reply>> ClientCalls::append(wire::AppendRequest request, Bytes body) {
  CO_RETURN_IF_ERROR(check_change_ids(request.file_id(), request.request()));
  CO_RETURN_IF_ERROR(check_body(body));
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = wire::CHANGE_APPEND,
                .user = std::move(*request.mutable_user()),
                .name = std::move(*request.mutable_name())};
  FileId file = change.file;
  RequestId id = change.request;
  auto done = co_await state_->changes.run(file, id, perform_append(std::move(change), std::move(body)));
  co_return version_reply(*state_, done);
}

Task<Result<VersionInfo>> ClientCalls::perform_append(Change change, Bytes content) {
  FileId file = change.file;
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(file, hold)) hold = co_await state_->gates.share(file);
  // Sentences may be open while the file grows behind them.
  if (!content.empty()) CO_RETURN_IF_ERROR(may_append(change, content.front()));
  CO_ASSIGN_OR_RETURN(VersionInfo done,
                      co_await state_->store->append(std::move(change), std::move(content)));
  co_await state_->edits.on_append(file, done);
  CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
  co_return done;
}

Task<Result<Reply>> ClientCalls::stage(wire::StageRequest request, Bytes body) {
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

Task<Result<Reply>> ClientCalls::commit(wire::CommitRequest request) {
  CO_RETURN_IF_ERROR(check_change_ids(request.file_id(), request.request()));
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = request.append() ? wire::CHANGE_APPEND : wire::CHANGE_PUT,
                .user = std::move(*request.mutable_user()),
                .mode = request.mode(),
                .modified_us = request.modified_us(),
                .name = std::move(*request.mutable_name()),
                .exclusive = request.exclusive(),
                .expected = from_wire(request.expected())};
  FileId file = change.file;
  RequestId id = change.request;
  auto done = co_await state_->changes.run(file, id, perform_commit(std::move(change), std::move(request)));
  state_->hidden_until.erase(file);
  co_return version_reply(*state_, done);
}

Task<Result<VersionInfo>> ClientCalls::perform_commit(Change change, wire::CommitRequest request) {
  FileId file = change.file;
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(file, hold)) hold = co_await state_->gates.share(file);
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
  if (auto hidden = state_->hidden_until.find(file);
      hidden != state_->hidden_until.end() && state_->env.clock.now() < hidden->second) {
    return fail(Code::kUnavailable, "a newer version is being brought back; try again");
  }
  auto head = state_->store->info(file, {});
  if (at_least && (!head || head->head < at_least)) {
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
    // The answer must be true when it leaves, not when it was begun.
    CO_ASSIGN_OR_RETURN(linearizable, state_->fence.check_read(epoch, state_->env.clock.now()));
  }
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
