// Protobuf messages over a Peer: typed calls, and the parsing that both sides do.
#pragma once

#include <google/protobuf/message_lite.h>

#include <utility>

#include "common/wire/peer.h"

namespace understudy {

// INVALID if the bytes are not such a message.
template <class Message>
Result<Message> parse_message(BytesView bytes) {
  Message message;
  if (bytes.size() <= INT32_MAX && message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return message;
  return fail(Code::kInvalid, "not a " + message.GetTypeName());
}

inline Reply make_reply(const google::protobuf::MessageLite& message, Bytes body = {}) {
  return {message.SerializeAsString(), std::move(body)};
}

template <class Response>
struct ReplyWithBody {
  Response message;
  Bytes body;
};

template <class Response>
Task<Result<ReplyWithBody<Response>>> parse_reply_with_body(Future<Result<Reply>> waiting) {
  CO_ASSIGN_OR_RETURN(auto reply, co_await waiting);
  CO_ASSIGN_OR_RETURN(auto message, parse_message<Response>(reply.message));
  co_return ReplyWithBody<Response>{std::move(message), std::move(reply.body)};
}

template <class Response>
Task<Result<Response>> parse_reply(Future<Result<Reply>> waiting) {
  CO_ASSIGN_OR_RETURN(auto reply, co_await waiting);
  co_return parse_message<Response>(reply.message);
}

// The request is sent at once, before the task is awaited.
//   auto reply = co_await call<wire::LocateReply>(peer, wire::LOCATE, request, 5s);
template <class Response>
Task<Result<Response>> call(Peer* peer, uint16_t type, const google::protobuf::MessageLite& request, Duration timeout,
                            Bytes body = {}) {
  return parse_reply<Response>(peer->call(type, request.SerializeAsString(), std::move(body), timeout));
}

template <class Response>
Task<Result<ReplyWithBody<Response>>> call_with_body(Peer* peer, uint16_t type,
                                                     const google::protobuf::MessageLite& request, Duration timeout,
                                                     Bytes body = {}) {
  return parse_reply_with_body<Response>(peer->call(type, request.SerializeAsString(), std::move(body), timeout));
}

}  // namespace understudy
