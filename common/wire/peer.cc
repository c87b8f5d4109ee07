#include "common/wire/peer.h"

#include <fmt/format.h>

#include "common/base/log.h"
#include "common/wire/peer_crowd.h"

namespace understudy {
namespace {

// Shorter frames come in one or two reads.
constexpr uint64_t kLongFrame = 256 << 10;
// A frame that has begun is to be whole by then: 1 MiB at 9 KiB/s is.
constexpr Duration kFrameWithin = std::chrono::minutes(2);
// How a TLS client begins, where it does not belong.
constexpr char kTlsHandshake = 22;
constexpr char kTlsMajor = 3;

}  // namespace

Peer::Peer(Env& env, std::unique_ptr<Connection> connection, PeerHandler* handler, PeerOptions options)
    : env_(env),
      connection_(std::move(connection)),
      handler_(handler),
      options_(options),
      address_(connection_->peer()),
      decoder_(options.hello ? kHelloLimits : options.limits),
      greeted_(!options.hello),
      to_write_(env.executor),
      written_(env.executor),
      handled_(env.executor),
      handlers_(env.executor),
      writer_(env.executor) {
  writer_.spawn(write_loop());
  if (!options_.crowd) return;
  options_.crowd->joined(this);
  moved_at_ = env_.clock.now();
  hello_timer_ = env_.clock.schedule(moved_at_ + PeerCrowd::kHelloWithin, [this] {
    hello_timer_.reset();
    if (!greeted_) close();
  });
}

Peer::~Peer() {
  close();
  leave_crowd();
}

void Peer::leave_crowd() {
  if (!options_.crowd) return;
  options_.crowd->release(held_bytes());
  options_.crowd->left(this);
  options_.crowd = nullptr;
}

void Peer::count(uint64_t& held, uint64_t bytes) {
  held += bytes;
  if (options_.crowd) options_.crowd->hold(bytes);
}

void Peer::uncount(uint64_t& held, uint64_t bytes) {
  held -= bytes;
  if (!options_.crowd) return;
  options_.crowd->release(bytes);
  moved_at_ = env_.clock.now();
}

void Peer::close() {
  if (closed_) return;
  closed_ = true;
  if (hello_timer_) env_.clock.cancel(*hello_timer_);
  hello_timer_.reset();
  connection_->close();
  if (!lost_) lost_ = Error{Code::kUnavailable, "connection lost: " + address_};
  fail_calls(*lost_);
  outgoing_.take();
  uncount(answer_bytes_, answer_bytes_);
  uncount(expected_bytes_, expected_bytes_);
  to_write_.notify_all();
  written_.notify_all();
  handled_.notify_all();
}

void Peer::fail_calls(const Error& error) {
  auto calls = std::exchange(calls_, {});
  for (auto& [id, call] : calls) {
    env_.clock.cancel(call.timer);
    call.promise.try_set(std::unexpected(error));
  }
}

std::optional<Error> Peer::oversized(size_t message_size, size_t body_size) const {
  const FrameLimits& limits = options_.limits;
  if (message_size <= limits.message_size_max && body_size <= limits.body_size_max) return std::nullopt;
  return Error{Code::kInvalid, fmt::format("too long for a frame: a message of {} and a body of {} bytes",
                                           message_size, body_size)};
}

Future<Result<Reply>> Peer::call(uint16_t type, Bytes message, Bytes body, Duration timeout) {
  Promise<Result<Reply>> promise(env_.executor);
  if (auto error = oversized(message.size(), body.size())) {
    promise.set(std::unexpected(*std::move(error)));
  } else if (closed_) {
    promise.set(std::unexpected(*lost_));
  } else {
    uint64_t id = next_request_++;
    TimerId timer = env_.clock.schedule(env_.clock.now() + timeout, [this, id] {
      auto node = calls_.extract(id);
      if (node) node.mapped().promise.try_set(fail(Code::kUnavailable, "no answer in time from " + address_));
    });
    calls_.emplace(id, Call{promise, timer});
    send({FrameKind::kRequest, type, id, std::move(message), std::move(body)});
  }
  return promise.future();
}

void Peer::notify(uint16_t type, Bytes message, Bytes body) {
  CHECK(!oversized(message.size(), body.size()));
  send({FrameKind::kOneWay, type, 0, std::move(message), std::move(body)});
}

void Peer::send(Frame frame) {
  if (closed_) return;
  outgoing_.add(std::move(frame));
  to_write_.notify_all();
}

Task<void> Peer::write_loop() {
  while (!closed_) {
    if (outgoing_.empty()) {
      // Woken behind all that is ready now, which may have more to send.
      auto more = to_write_.wait();
      co_await more;
      continue;
    }
    writing_ = true;
    answer_bytes_writing_ = std::exchange(answer_bytes_, 0);
    auto status = co_await connection_->write(outgoing_.take());
    writing_ = false;
    uncount(answer_bytes_writing_, answer_bytes_writing_);
    if (!status) break;
    written_.notify_all();
    handled_.notify_all();
  }
  close();
}

Task<void> Peer::flush() {
  while (!closed_ && (writing_ || !outgoing_.empty())) {
    auto written = written_.wait();
    co_await written;
  }
}

Task<void> Peer::join_handlers() { return handlers_.join(); }

bool Peer::full() const {
  return handled_requests_ >= options_.handled_requests_max ||
         handled_bytes_ + answer_bytes_ + answer_bytes_writing_ >= options_.handled_bytes_max;
}

Task<void> Peer::run() {
  while (!closed_) {
    auto bytes = co_await connection_->read();
    if (!bytes) {
      if (!closed_) lost_ = bytes.error();
      break;
    }
    if (bytes->empty()) {
      if (!decoder_.idle()) log_warning(address_ + ": connection ended in the middle of a frame");
      break;
    }
    bool tls = !greeted_ && bytes->size() > 1 && (*bytes)[0] == kTlsHandshake && (*bytes)[1] == kTlsMajor;
    decoder_.feed(*std::move(bytes));
    auto status = co_await take_frames();
    if (!status) {
      if (tls && handler_) {
        // It knows a frame of ours when it sees one.
        send_answer(kHelloType, 0, fail(Code::kInvalid, "this port speaks plaintext"));
        co_await flush();
      }
      if (!closed_) log_warning(address_ + ": " + status.error().to_string() + "; connection closed");
      break;
    }
  }
  close();
  if (handler_) handler_->closed(this);
}

Task<Status> Peer::take_frames() {
  while (!closed_) {
    CO_ASSIGN_OR_RETURN(auto frame, decoder_.next());
    if (!frame) {
      if (options_.crowd && expected_bytes_ == 0 && decoder_.expected_bytes() > kLongFrame) co_await expect_long_frame();
      // Half a frame holds memory and a place: whoever sends one a byte at a time has to make room. Its timer is the
      // Hello's, which is over.
      if (options_.crowd && greeted_ && !decoder_.idle() && !closed_ && !hello_timer_) {
        hello_timer_ = env_.clock.schedule(env_.clock.now() + kFrameWithin, [this] {
          hello_timer_.reset();
          if (closed_ || !options_.crowd) return;
          log_warning(address_ + ": half a frame, and no more of it in time; connection closed");
          close();
        });
      }
      break;
    }
    if (greeted_ && hello_timer_) {
      env_.clock.cancel(*hello_timer_);
      hello_timer_.reset();
    }
    if (expected_bytes_ != 0) uncount(expected_bytes_, expected_bytes_);
    if (!greeted_) {
      CO_RETURN_IF_ERROR(co_await greet(*std::move(frame)));
    } else if (frame->kind == FrameKind::kResponse || frame->kind == FrameKind::kError) {
      answered(*std::move(frame));
    } else {
      while (full() && !closed_) {
        auto changed = handled_.wait();
        co_await changed;
      }
      if (options_.crowd && options_.crowd->full()) co_await options_.crowd->room(this);
      if (!closed_) handlers_.spawn(serve(*std::move(frame)));
    }
  }
  co_return Status();
}

// Its header is here, most of it is not: it has its place before it comes.
Task<void> Peer::expect_long_frame() {
  co_await options_.crowd->room(this);
  if (!closed_) count(expected_bytes_, decoder_.expected_bytes());
  moved_at_ = env_.clock.now();
}

// The first frame of all: a Hello to answer, or the answer to ours.
Task<Status> Peer::greet(Frame frame) {
  if (frame.type != kHelloType || frame.kind == FrameKind::kOneWay) {
    co_return fail(Code::kInvalid, fmt::format("a frame of type {} before the Hello", frame.type));
  }
  Result<Reply> reply = fail(Code::kInvalid, "nothing is asked for on this side");
  bool ours = frame.kind != FrameKind::kRequest;
  if (ours && !calls_.contains(frame.request_id)) co_return fail(Code::kInvalid, "an answer to nothing before the Hello");
  uint64_t id = frame.request_id;
  if (ours) {
    greeted_ = frame.kind == FrameKind::kResponse;
    answered(std::move(frame));
  } else {
    auto handled = handle(kHelloType, std::move(frame.message), {});
    reply = co_await handled;
    greeted_ = reply.has_value();
  }
  if (greeted_) {
    decoder_.set_limits(options_.limits);
    if (hello_timer_) env_.clock.cancel(*hello_timer_);
    hello_timer_.reset();
  }
  if (ours || closed_) co_return Status();
  std::string refusal = greeted_ ? "" : reply.error().message;
  send_answer(kHelloType, id, std::move(reply));
  if (greeted_) co_return Status();
  co_await flush();
  co_return fail(Code::kInvalid, "Hello refused: " + refusal);
}

void Peer::answered(Frame frame) {
  auto node = calls_.extract(frame.request_id);
  if (!node) return;  // Late: nobody waits any more.
  Call& call = node.mapped();
  env_.clock.cancel(call.timer);
  if (frame.kind == FrameKind::kError) {
    call.promise.try_set(std::unexpected(decode_error(frame.message)));
  } else {
    call.promise.try_set(Reply{std::move(frame.message), std::move(frame.body)});
  }
}

Task<Result<Reply>> Peer::handle(uint16_t type, Bytes message, Bytes body) {
  if (!handler_) co_return fail(Code::kInvalid, "nothing is asked for on this side");
  if (!options_.observer) co_return co_await handler_->handle(this, type, std::move(message), std::move(body));
  // What was begun and is never answered, because the server stops, is heard of too.
  struct Heard {
    Heard(Peer* peer, uint16_t type, const Bytes& message, size_t body_bytes)
        : peer(peer), type(type), body_bytes(body_bytes), what(peer->options_.observer->describe(type, message)),
          begun(peer->env_.clock.now()) {}
    Heard(const Heard&) = delete;
    ~Heard() {
      if (!told) tell(fail(Code::kUnavailable, "cut short; the outcome is not known"));
    }
    void tell(const Result<Reply>& reply) {
      told = true;
      peer->options_.observer->answered(*peer, type, what, body_bytes, reply, peer->env_.clock.now() - begun);
    }
    Peer* peer;
    uint16_t type;
    size_t body_bytes;
    std::string what;
    Instant begun;
    bool told = false;
  };
  Heard heard(this, type, message, body.size());
  auto reply = co_await handler_->handle(this, type, std::move(message), std::move(body));
  heard.tell(reply);
  co_return reply;
}

Task<void> Peer::serve(Frame frame) {
  uint64_t size = frame.message.size() + frame.body.size();
  count(handled_bytes_, size);
  ++handled_requests_;
  auto handled = handle(frame.type, std::move(frame.message), std::move(frame.body));
  Result<Reply> reply = co_await handled;
  uncount(handled_bytes_, size);
  --handled_requests_;
  if (frame.kind == FrameKind::kRequest) send_answer(frame.type, frame.request_id, std::move(reply));
  handled_.notify_all();
}

void Peer::send_answer(uint16_t type, uint64_t request_id, Result<Reply> reply) {
  if (reply) {
    if (auto error = oversized(reply->message.size(), reply->body.size())) reply = std::unexpected(*std::move(error));
  }
  if (reply) {
    if (!closed_) count(answer_bytes_, reply->message.size() + reply->body.size());
    send({FrameKind::kResponse, type, request_id, std::move(reply->message), std::move(reply->body)});
  } else {
    send({FrameKind::kError, type, request_id, encode_error(reply.error()), {}});
  }
}

}  // namespace understudy
