// The calls of ClientCalls that concern the past of a file.
#include <algorithm>

#include "common/base/path.h"
#include "ss/answers.h"
#include "ss/sync_writes.h"
#include "ss/client_calls.h"

namespace understudy {
namespace {

constexpr size_t kTagSizeMax = 255;

Status check_tag(const std::string& tag) {
  const bool control = std::ranges::any_of(tag, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (!tag.empty() && tag.size() <= kTagSizeMax && !control && is_valid_utf8(tag)) return {};
  return fail(Code::kInvalid, "a tag is 1 to 255 bytes of UTF-8 without control characters");
}

}  // namespace

Task<Result<Reply>> ClientCalls::undo(wire::UndoRequest request, Asker asker) {
  CO_RETURN_IF_ERROR(check_change_ids(request.file_id(), request.request()));
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = wire::CHANGE_UNDO,
                .user = asker.user,
                .name = std::move(*request.mutable_name()),
                .access_generation = asker.access_generation,
                .sync = request.durability() == wire::DURABILITY_SYNC};
  const Asked asked(change);
  auto done = co_await carried(asked, perform_undo(std::move(change)));
  co_return version_reply(*state_, of_asker(std::move(done), asker.user));
}

Task<Result<VersionInfo>> ClientCalls::perform_undo(Change change) {
  FileId file = change.file;
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(file, hold)) hold = co_await state_->gates.share(file);
  CO_RETURN_IF_ERROR(state_->guard.still_counts(file, change.access_generation));
  CO_RETURN_IF_ERROR(may_replace(change));
  auto changing = change.kind == wire::CHANGE_UNDO ? state_->store->undo(std::move(change))
                                                   : state_->store->revert(std::move(change));
  auto done = co_await changing;
  // A refusal says something of the newest version, so it needs the lease too.
  CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
  co_return done;
}

Task<Result<Reply>> ClientCalls::revert(wire::RevertRequest request, Asker asker) {
  CO_RETURN_IF_ERROR(check_change_ids(request.file_id(), request.request()));
  CO_RETURN_IF_ERROR(check_tag(request.tag()));
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = wire::CHANGE_REVERT,
                .user = asker.user,
                .name = std::move(*request.mutable_name()),
                .access_generation = asker.access_generation,
                .tag = std::move(*request.mutable_tag()),
                .sync = request.durability() == wire::DURABILITY_SYNC};
  const Asked asked(change);
  auto done = co_await carried(asked, perform_undo(std::move(change)));
  co_return version_reply(*state_, of_asker(std::move(done), asker.user));
}

// Sentences may be open: no text changes.
Task<Result<Reply>> ClientCalls::checkpoint(wire::CheckpointRequest request, Asker asker) {
  CO_RETURN_IF_ERROR(check_change_ids(request.file_id(), request.request()));
  CO_RETURN_IF_ERROR(check_tag(request.tag()));
  CO_RETURN_IF_ERROR(state_->fence.check_change(Epoch{request.epoch()}, state_->env.clock.now()));
  Change change{.file = FileId{request.file_id()},
                .epoch = Epoch{request.epoch()},
                .request = from_wire(request.request()),
                .kind = wire::CHANGE_CHECKPOINT,
                .user = std::move(asker.user),
                .name = std::move(*request.mutable_name()),
                .access_generation = asker.access_generation,
                .expected = from_wire(request.expected()),
                .tag = std::move(*request.mutable_tag()),
                .sync = request.durability() == wire::DURABILITY_SYNC};
  const Asked asked(change);
  auto done = co_await carried(asked, perform_checkpoint(std::move(change)));
  co_return version_reply(*state_, done);
}

Task<Result<VersionInfo>> ClientCalls::perform_checkpoint(Change change) {
  FileId file = change.file;
  Epoch epoch = change.epoch;
  FileGates::Hold hold;
  if (!state_->gates.try_share(file, hold)) hold = co_await state_->gates.share(file);
  CO_RETURN_IF_ERROR(state_->guard.still_counts(file, change.access_generation));
  auto done = co_await state_->store->checkpoint(std::move(change));
  CO_RETURN_IF_ERROR(state_->fence.check_acknowledge(epoch, state_->env.clock.now()));
  co_return done;
}

Task<Result<Reply>> ClientCalls::list_checkpoints(wire::ListCheckpointsRequest request) {
  CO_RETURN_IF_ERROR(state_->fence.check_read(Epoch{request.epoch()}, state_->env.clock.now()));
  const FileId file{request.file_id()};
  CO_RETURN_IF_ERROR(co_await state_->sync_writes->settled(file));
  CO_RETURN_IF_ERROR(state_->store->info(file, {}));
  CO_ASSIGN_OR_RETURN(auto checkpoints, state_->store->checkpoints(file, request.tag()));
  wire::ListCheckpointsReply reply;
  reply.mutable_checkpoints()->Assign(checkpoints.begin(), checkpoints.end());
  co_return make_reply(reply);
}

Task<Result<Reply>> ClientCalls::history(wire::HistoryRequest request) {
  Epoch epoch{request.epoch()};
  CO_RETURN_IF_ERROR(state_->fence.check_read(epoch, state_->env.clock.now()));
  CO_RETURN_IF_ERROR(co_await state_->sync_writes->settled(FileId{request.file_id()}));
  CO_ASSIGN_OR_RETURN(auto reply, co_await state_->store->history(std::move(request)));
  CO_RETURN_IF_ERROR(state_->fence.check_read(epoch, state_->env.clock.now()));
  co_return make_reply(reply);
}

}  // namespace understudy
