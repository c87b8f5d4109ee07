// The calls of ClientCalls that concern the past of a file.
#include "ss/answers.h"
#include "ss/client_calls.h"

namespace understudy {

Task<Result<Reply>> ClientCalls::undo(wire::UndoRequest request) {
  CO_RETURN_IF_ERROR(check_change_ids(request.file_id(), request.request()));
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = wire::CHANGE_UNDO,
                .user = std::move(*request.mutable_user()),
                .name = std::move(*request.mutable_name())};
  FileId file = change.file;
  RequestId id = change.request;
  auto done = co_await state_->changes.run(file, id, perform_undo(std::move(change)));
  co_return version_reply(*state_, done);
}

Task<Result<VersionInfo>> ClientCalls::perform_undo(Change change) {
  FileId file = change.file;
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(file, hold)) hold = co_await state_->gates.share(file);
  CO_RETURN_IF_ERROR(may_replace(change));
  auto done = co_await state_->store->undo(std::move(change));
  // A refusal says something of the newest version, so it needs the lease too.
  CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
  co_return done;
}

Task<Result<Reply>> ClientCalls::history(wire::HistoryRequest request) {
  Epoch epoch{request.epoch()};
  CO_RETURN_IF_ERROR(state_->fence.check_read(epoch, state_->env.clock.now()));
  CO_ASSIGN_OR_RETURN(auto reply, co_await state_->store->history(std::move(request)));
  CO_RETURN_IF_ERROR(state_->fence.check_read(epoch, state_->env.clock.now()));
  co_return make_reply(reply);
}

}  // namespace understudy
