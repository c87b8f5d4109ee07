#include "ss/replica_calls.h"

#include "common/base/log.h"
#include "ss/answers.h"
#include "ss/pull_calls.h"
#include "ss/sync_writes.h"

namespace understudy {
namespace {

// Counts one APPLY or SET_ASIDE while it runs, also when it is cancelled.
class Applying {
 public:
  explicit Applying(ServerState* state) : state_(state) { ++state_->applies; }
  Applying(const Applying&) = delete;
  Applying& operator=(const Applying&) = delete;
  ~Applying() {
    --state_->applies;
    state_->applies_ended.notify_all();
  }

 private:
  ServerState* state_;
};

}  // namespace

Task<Result<Reply>> ReplicaCalls::handle(Peer* peer, uint16_t type, Bytes message, Bytes body) {
  FileStore* store = state_->store;
  switch (type) {
    case wire::SERVE: return with<wire::ServeRequest>(this, &ReplicaCalls::serve, message);
    case wire::DRAIN: return with<wire::DrainRequest>(this, &ReplicaCalls::drain_call, message);
    case wire::FLUSH: return flush();
    case wire::FETCH: return answered<wire::FetchRequest>(store, &FileStore::fetch, std::move(message));
    case wire::FETCH_CHUNK: return with<wire::FetchChunkRequest>(this, &ReplicaCalls::fetch_chunk, message);
    case wire::MISSING_CHUNKS:
      return answered<wire::MissingChunksRequest>(store, &FileStore::missing_chunks, std::move(message));
    case wire::STORE_CHUNK:
      return with<wire::StoreChunkRequest>(this, &ReplicaCalls::store_chunk, message, body);
    case wire::APPLY: return with<wire::ApplyRequest>(this, &ReplicaCalls::apply, message);
    case wire::PULL: return with<wire::PullRequest>(this, &ReplicaCalls::pull, message);
    case wire::SET_ASIDE: return with<wire::SetAsideRequest>(this, &ReplicaCalls::set_aside, message);
    case wire::KEEP_ASIDE: return with<wire::KeepAsideRequest>(this, &ReplicaCalls::keep_aside, message);
    case wire::RAISE_ACCESS: return with<wire::RaiseAccessRequest>(this, &ReplicaCalls::raise_access, message);
    case wire::DELETE_FILE: return with<wire::DeleteFileRequest>(this, &ReplicaCalls::delete_file, message);
    case wire::LIST_OBJECTS:
      return answered<wire::ListObjectsRequest>(store, &FileStore::list_objects, std::move(message));
    case wire::UNDELETE_FILE: return with<wire::UndeleteFileRequest>(this, &ReplicaCalls::undelete_file, message);
    case wire::DIGEST: return answered(store, &FileStore::digest);
    case wire::LIST_PARTITION:
      return answered<wire::ListPartitionRequest>(store, &FileStore::list_partition, std::move(message));
    case wire::MEMBER_STAT: {
      wire::MemberStatRequest request;
      if (!request.ParseFromString(message)) return refuse_damaged();
      return at_once(store->member_stat(FileId{request.file_id()}));
    }
    case wire::LIST_LOCKS: {
      wire::ListLocksRequest request;
      if (!request.ParseFromString(message)) return refuse_damaged();
      std::optional<FileId> file;
      if (request.file_id() != 0) file = FileId{request.file_id()};
      return at_once(Result<wire::LocksReply>(state_->edits.list(file)));
    }
    case wire::LIST_ASIDE: {
      wire::ListAsideRequest request;
      if (!request.ParseFromString(message)) return refuse_damaged();
      return at_once(store->list_aside(request));
    }
    case wire::BREAK_LOCK: return with<wire::BreakLockRequest>(this, &ReplicaCalls::break_lock, message);
    case wire::PUT: {
      wire::PutRequest request;
      if (!request.ParseFromString(message)) return refuse_damaged();
      state_->edits.give_way(FileId{request.file_id()});
      return clients_->handle_own(peer, type, std::move(message), std::move(body));
    }
    case wire::CHECKPOINT: return clients_->handle_own(peer, type, std::move(message), std::move(body));
    default: return refuse(Code::kInvalid, "a storage server does not know this call; is one side newer?");
  }
}

Status ReplicaCalls::make_way(Epoch epoch) {
  Epoch served = state_->fence.serving();
  RETURN_IF_ERROR(state_->fence.supersede(epoch));
  if (served != kNoEpoch && state_->fence.serving() == kNoEpoch) {
    log_warning("epoch " + std::to_string(number(served)) + " is over here: epoch " +
                std::to_string(number(epoch)) + " has begun elsewhere");
    state_->epoch_ended();
  }
  return {};
}

Task<Result<Reply>> ReplicaCalls::serve(wire::ServeRequest request) {
  Epoch epoch{request.epoch()};
  if (state_->stopping) co_return fail(Code::kUnavailable, "this server is stopping");
  bool again = state_->fence.serving() == epoch;
  CO_RETURN_IF_ERROR(state_->fence.begin_serve(epoch));
  if (!again) {
    state_->epoch_ended();
    while (state_->applies > 0) {
      auto ended = state_->applies_ended.wait();
      co_await ended;
    }
    CO_RETURN_IF_ERROR(co_await state_->store->begin_epoch(epoch));
    CO_RETURN_IF_ERROR(state_->sync_writes->resume());
    if (!state_->fence.served(epoch)) {
      co_return fail(Code::kStaleEpoch, "a greater epoch came while this one was made durable");
    }
    log_info("serving epoch " + std::to_string(number(epoch)));
    state_->serving_changed.notify_all();
    state_->sync_writes->wake();
  }
  wire::ServeReply reply;
  reply.set_log_end_lsn(number(state_->store->durable_lsn()));
  serving_();
  co_return make_reply(reply);
}

Task<Status> ReplicaCalls::drain(Epoch epoch) {
  CO_RETURN_IF_ERROR(state_->fence.begin_drain(epoch));
  if (state_->fence.serving() != epoch) {
    if (drained_ == epoch) co_return Status{};
    // Served by an earlier start of this server, which may not have come to announce all.
    co_return fail(Code::kMoved, "this server does not serve any more, and did not drain");
  }
  state_->edits.drop_all();
  co_await state_->changes.idle();
  co_await state_->sync_writes->remember();
  CO_RETURN_IF_ERROR(co_await announcer_->flush());
  drained_ = epoch;
  state_->fence.end_drain(epoch);
  state_->epoch_ended();
  log_info("drained epoch " + std::to_string(number(epoch)) + ", the lease is given back");
  co_return Status{};
}

Task<Result<Reply>> ReplicaCalls::drain_call(wire::DrainRequest request) {
  CO_RETURN_IF_ERROR(co_await drain(Epoch{request.epoch()}));
  wire::DrainReply reply;
  reply.set_drained_lsn(number(announcer_->confirmed()));
  co_return make_reply(reply);
}

Task<Result<Reply>> ReplicaCalls::flush() {
  CO_RETURN_IF_ERROR(co_await announcer_->flush());
  wire::FlushReply reply;
  reply.set_announced_lsn(number(announcer_->confirmed()));
  co_return make_reply(reply);
}

Task<Result<Reply>> ReplicaCalls::apply(wire::ApplyRequest request) {
  // Names go to every server of the cluster, under no epoch of its own pair.
  bool versions = false;
  for (const auto& item : request.items()) versions |= item.has_version();
  if (!request.pair().empty() && !state_->pair.empty() && request.pair() != state_->pair) {
    co_return fail(Code::kConflict, "versions of the pair " + request.pair() + " have no place on a server of " + state_->pair);
  }
  std::optional<Applying> applying;
  if (versions) {
    CO_RETURN_IF_ERROR(make_way(Epoch{request.epoch()}));
    applying.emplace(state_);
  } else {
    request.set_epoch(0);
  }
  CO_ASSIGN_OR_RETURN(auto reply, co_await state_->store->apply(std::move(request)));
  co_return make_reply(reply);
}

Task<Result<Reply>> ReplicaCalls::pull(wire::PullRequest request) {
  CO_RETURN_IF_ERROR(make_way(Epoch{request.epoch()}));
  Applying applying(state_);
  CO_ASSIGN_OR_RETURN(auto reply, co_await pull_calls_->pull(std::move(request)));
  co_return make_reply(reply);
}

Task<Result<Reply>> ReplicaCalls::set_aside(wire::SetAsideRequest request) {
  CO_RETURN_IF_ERROR(make_way(Epoch{request.epoch()}));
  Applying applying(state_);
  CO_ASSIGN_OR_RETURN(auto reply, co_await state_->store->set_aside(std::move(request)));
  co_return make_reply(reply);
}

// Also of the acting primary: it changes nothing that anybody reads without asking for it by number.
Task<Result<Reply>> ReplicaCalls::keep_aside(wire::KeepAsideRequest request) {
  if (Epoch{request.epoch()} != state_->fence.serving()) CO_RETURN_IF_ERROR(make_way(Epoch{request.epoch()}));
  CO_ASSIGN_OR_RETURN(auto reply, co_await state_->store->keep_aside(std::move(request)));
  co_return make_reply(reply);
}

Task<Result<Reply>> ReplicaCalls::store_chunk(wire::StoreChunkRequest request, Bytes body) {
  const bool as_primary = request.epoch() != 0 && Epoch{request.epoch()} == state_->fence.serving();
  if (!as_primary && state_->fence.lease_live(state_->env.clock.now())) {
    co_return fail(Code::kStaleEpoch, "this server is the acting primary; it takes no chunks");
  }
  ChunkHash hash;
  if (!parse_chunk_hash(request.hash(), hash)) co_return fail(Code::kInvalid, "a chunk's hash is 32 bytes");
  CO_RETURN_IF_ERROR(co_await state_->store->store_chunk(FileId{request.file_id()}, hash, std::move(body)));
  co_return make_reply(wire::Done());
}

Task<Result<Reply>> ReplicaCalls::fetch_chunk(wire::FetchChunkRequest request) {
  CO_ASSIGN_OR_RETURN(Bytes chunk, co_await state_->store->fetch_chunk(std::move(request)));
  Reply reply = make_reply(wire::FetchChunkReply());
  reply.body = std::move(chunk);
  co_return reply;
}

Task<Result<Reply>> ReplicaCalls::break_lock(wire::BreakLockRequest request) {
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  CO_RETURN_IF_ERROR(state_->edits.break_lock(FileId{request.file_id()}, request.sentence()));
  co_return make_reply(wire::Done());
}

// What was begun under an older capability has ended when it is answered.
Task<Result<Reply>> ReplicaCalls::raise_access(wire::RaiseAccessRequest request) {
  FileId file{request.file_id()};
  state_->guard.raise(file, request.access_generation(), state_->env.clock.now());
  auto hold = co_await state_->gates.alone(file);
  state_->edits.drop(file, request.user());
  co_return make_reply(wire::Done());
}

Task<Result<Reply>> ReplicaCalls::delete_file(wire::DeleteFileRequest request) {
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = wire::CHANGE_DELETE,
                .user = std::move(*request.mutable_user()),
                .name = std::move(*request.mutable_name()),
                .exclusive = request.only_unborn()};
  FileId file = change.file;
  RequestId id = change.request;
  auto done = co_await state_->changes.run(file, id, perform_delete(std::move(change)));
  co_return version_reply(*state_, done);
}

Task<Result<Reply>> ReplicaCalls::undelete_file(wire::UndeleteFileRequest request) {
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = wire::CHANGE_UNDELETE,
                .user = std::move(*request.mutable_user()),
                .name = std::move(*request.mutable_name()),
                .sync = request.durability() == wire::DURABILITY_SYNC};
  FileId file = change.file;
  RequestId id = change.request;
  auto carrying = state_->sync_writes->carry(file, change.epoch, change.sync, perform_undelete(std::move(change)));
  auto done = co_await state_->changes.run(file, id, std::move(carrying));
  co_return version_reply(*state_, done);
}

Task<Result<VersionInfo>> ReplicaCalls::perform_undelete(Change change) {
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(change.file, hold)) hold = co_await state_->gates.share(change.file);
  auto done = co_await state_->store->undelete(std::move(change));
  // NOT_FOUND makes the name node forget the file: it needs the lease too.
  CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
  co_return done;
}

Task<Result<VersionInfo>> ReplicaCalls::perform_delete(Change change) {
  FileId file = change.file;
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(file, hold)) hold = co_await state_->gates.share(file);
  CO_RETURN_IF_ERROR(state_->edits.may_replace(file));
  CO_ASSIGN_OR_RETURN(VersionInfo done, co_await state_->store->remove(std::move(change)));
  CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
  co_return done;
}

}  // namespace understudy
