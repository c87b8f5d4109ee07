// How the name node's call handlers turn bytes into requests and results into replies.
// A damaged message is refused before anything is begun.
#pragma once

#include <utility>

#include "common/wire/call.h"

namespace understudy {

inline Task<Result<Reply>> refused(Error error) { co_return std::unexpected(std::move(error)); }

inline Result<Reply> reply_with(Result<Reply> reply) { return reply; }
inline Result<Reply> reply_with(const google::protobuf::MessageLite& answer) { return make_reply(answer); }
template <class Answer>
Result<Reply> reply_with(Result<Answer> answer) {
  if (!answer) return std::unexpected(std::move(answer).error());
  return make_reply(*answer);
}

// What is known without waiting.
template <class Answer>
Task<Result<Reply>> at_once(Answer answer) {
  co_return reply_with(std::move(answer));
}

// Parses `message` and answers part->method(request, more...).
template <class Part, class Request, class Answer, class... More>
Task<Result<Reply>> with(Part* part, Task<Answer> (Part::*method)(Request, More...), Bytes message, More... more) {
  CO_ASSIGN_OR_RETURN(auto request, parse_message<Request>(message));
  co_return reply_with(co_await (part->*method)(std::move(request), std::move(more)...));
}

// The same of a part that answers without waiting, a Result or an answer that cannot fail.
template <class Part, class Request, class Answer, class... More>
Task<Result<Reply>> with(Part* part, Answer (Part::*method)(const Request&, const More&...), Bytes message, More... more) {
  auto request = parse_message<Request>(message);
  if (!request) return refused(std::move(request).error());
  return at_once((part->*method)(*request, more...));
}

}  // namespace understudy
