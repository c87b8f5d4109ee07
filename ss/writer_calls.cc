// The calls of ClientCalls that write sentences, and the watch over who writes.
#include "common/env/env_util.h"
#include "ss/answers.h"
#include "ss/client_calls.h"
#include "ss/sync_writes.h"

namespace understudy {
namespace {

// Looks that fall due within so long are one.
constexpr Duration kLooksTogether = std::chrono::milliseconds(20);

}  // namespace

// Whoever writes learns at once that another server is to be asked, not at the next line.
ClientCalls::ClientCalls(ServerState* state) : state_(state), writers_changed_(state->env.executor) {
  state_->edits.on_dropped([this](ConnectionId owner, uint64_t session, FileId file) {
    auto writer = writers_.find(owner);
    if (writer == writers_.end() || writer->second.peer->closed()) return;
    wire::EditLostRequest lost;
    lost.set_session(session);
    lost.set_file_id(number(file));
    writer->second.peer->notify(wire::EDIT_LOST, lost.SerializeAsString());
  });
}

ClientCalls::~ClientCalls() { state_->edits.on_dropped({}); }

Task<Result<Reply>> ClientCalls::edit_open(Peer* peer, wire::EditOpenRequest request, Asker asker) {
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  CO_RETURN_IF_ERROR(co_await state_->sync_writes->settled(FileId{request.file_id()}));
  FileId file{request.file_id()};
  request.set_user(asker.user);
  CO_ASSIGN_OR_RETURN(auto reply, co_await state_->edits.open(client(peer).id, std::move(request)));
  // Access may have been taken away while the file was read.
  if (auto counts = state_->guard.still_counts(file, asker.access_generation); !counts) {
    state_->edits.abort(client(peer).id, reply.session());
    co_return std::unexpected(counts.error());
  }
  watch(peer);
  co_return make_reply(reply);
}

Task<Result<Reply>> ClientCalls::edit_insert(ConnectionId owner, Bytes message) {
  wire::EditInsertRequest request;
  if (!request.ParseFromString(message)) co_return fail(Code::kInvalid, "the message is damaged");
  CO_ASSIGN_OR_RETURN(auto reply, state_->edits.insert(owner, request));
  co_return make_reply(reply);
}

Task<Result<Reply>> ClientCalls::edit_commit(ConnectionId owner, wire::EditCommitRequest request) {
  CO_RETURN_IF_ERROR(check_change_ids(request.file_id(), request.request()));
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .sync = request.durability() == wire::DURABILITY_SYNC};
  auto done = co_await carried(Asked(change), state_->edits.commit(owner, std::move(request)));
  co_return version_reply(*state_, done);
}

Task<Result<Reply>> ClientCalls::edit_abort(ConnectionId owner, Bytes message) {
  wire::EditAbortRequest request;
  if (!request.ParseFromString(message)) co_return fail(Code::kInvalid, "the message is damaged");
  state_->edits.abort(owner, request.session());
  co_return make_reply(wire::Done());
}

// ---- Who is still there ---------------------------------------------------------------

void ClientCalls::watch(Peer* peer) {
  ConnectionId id = client(peer).id;
  auto [at, fresh] = writers_.try_emplace(id);
  if (!fresh) return;
  at->second.peer = peer;
  at->second.look_at = state_->env.clock.now() + kAskWritersEvery;
  looks_.emplace(at->second.look_at, id);
  writers_changed_.notify_all();
}

// However many write, no two of them are asked at once without need: each at its own time.
Task<void> ClientCalls::watch_writers() {
  for (;;) {
    if (looks_.empty()) {
      auto changed = writers_changed_.wait();
      co_await changed;
      continue;
    }
    const Instant now = state_->env.clock.now();
    if (const Instant next = looks_.begin()->first; next > now) {
      auto slept = sleep_for(state_->env, std::max(next - now, kLooksTogether));
      co_await slept;
      continue;
    }
    auto look = looks_.extract(looks_.begin());
    auto at = writers_.find(look.mapped());
    Writer& writer = at->second;
    if (writer.asked && writer.asked->ready()) writer.asked.reset();
    if (writer.peer->closed() || (!writer.asked && !state_->edits.has_sessions(at->first))) {
      writers_.erase(at);  // Watched again when it opens another sentence.
      continue;
    }
    if (writer.asked) {
      // Its sessions end with its connection.
      writer.peer->close();
      writers_.erase(at);
      continue;
    }
    // Longer than anybody waits for it: what counts is whether it is there at the next look.
    writer.asked = writer.peer->call(wire::PING, {}, {}, 4 * kWriterAnswersWithin);
    writer.look_at = now + kWriterAnswersWithin;
    look.key() = writer.look_at;
    looks_.insert(std::move(look));
  }
}

}  // namespace understudy
