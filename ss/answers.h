// How a storage server's call handlers turn bytes into requests and results into
// replies. A damaged message is refused before anything is begun.
#pragma once

#include <utility>

#include "common/wire/call.h"
#include "ss/server_state.h"
#include "ss/wire_convert.h"

namespace understudy {

inline Task<Result<Reply>> refuse(Code code, std::string message) {
  co_return fail(code, std::move(message));
}
inline Task<Result<Reply>> refuse(Error error) { co_return std::unexpected(std::move(error)); }
inline Task<Result<Reply>> refuse_damaged() { return refuse(Code::kInvalid, "the message is damaged"); }

// Parses `message` and calls self->method(request).
template <class Request, class Self>
Task<Result<Reply>> with(Self* self, Task<Result<Reply>> (Self::*method)(Request), const Bytes& message) {
  Request request;
  if (!request.ParseFromString(message)) return refuse_damaged();
  return (self->*method)(std::move(request));
}

// The same with the request's body.
template <class Request, class Self>
Task<Result<Reply>> with(Self* self, Task<Result<Reply>> (Self::*method)(Request, Bytes),
                         const Bytes& message, Bytes& body) {
  Request request;
  if (!request.ParseFromString(message)) return refuse_damaged();
  return (self->*method)(std::move(request), std::move(body));
}

// A call that the store answers as it is.
template <class Request, class Answer>
Task<Result<Reply>> answered(FileStore* store, Task<Result<Answer>> (FileStore::*method)(Request),
                             Bytes message) {
  Request request;
  if (!request.ParseFromString(message)) co_return fail(Code::kInvalid, "the message is damaged");
  CO_ASSIGN_OR_RETURN(auto answer, co_await (store->*method)(std::move(request)));
  co_return make_reply(answer);
}
template <class Answer>
Task<Result<Reply>> answered(FileStore* store, Task<Result<Answer>> (FileStore::*method)()) {
  CO_ASSIGN_OR_RETURN(auto answer, co_await (store->*method)());
  co_return make_reply(answer);
}

template <class Answer>
Task<Result<Reply>> at_once(Result<Answer> answer) {
  if (!answer) co_return std::unexpected(std::move(answer).error());
  co_return make_reply(*answer);
}

inline Status check_change_ids(uint64_t file, const wire::RequestNumber& request) {
  if (file == 0) return fail(Code::kInvalid, "a change names its file");
  if (request.client() == 0 || request.sequence() == 0) {
    return fail(Code::kInvalid, "a change carries a request number");
  }
  return {};
}

// What every change answers. Names the epoch under which it is acknowledged.
inline Result<Reply> version_reply(const ServerState& state, const Result<VersionInfo>& done) {
  if (!done) return std::unexpected(done.error());
  wire::VersionReply reply;
  *reply.mutable_version() = to_wire(done->version);
  reply.set_epoch(number(state.fence.serving()));
  reply.set_lsn(number(done->lsn));
  reply.set_size_bytes(done->size_bytes);
  reply.set_time_us(done->time_us);
  reply.set_durability(done->second_holder.empty() ? "async" : "sync");
  reply.set_second_holder(done->second_holder);
  return make_reply(reply);
}

}  // namespace understudy
