// Peer: requests and answers, both ways, over one connection.
//
// Many requests at once; answers may overtake. All frames written while the ready
// queue drains leave in one write. The first frame each way is the Hello (type 1) or
// its answer, under narrow limits; nothing behind it is looked at before the handler
// accepted it, and a refused Hello ends the connection once the refusal was sent.
//
// A Peer must outlive run(), and must not be destroyed from within one of its own
// handlers (whatever handle() awaits, and closed()). Elsewhere, destroying cancels its
// handlers and breaks the connection; calls under way answer UNAVAILABLE.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/wire/frame.h"

namespace understudy {

class Peer;
class PeerCrowd;

struct Reply {
  Bytes message;
  Bytes body;
};

class PeerHandler {
 public:
  virtual ~PeerHandler() = default;
  // One request; the answer of a one-way message is dropped. Runs up to its first wait
  // before the next frame is looked at, so that requests start in the order they came.
  virtual Task<Result<Reply>> handle(Peer* peer, uint16_t type, Bytes message, Bytes body) = 0;
  // The connection is gone; once, from run(). Handlers may still be running.
  virtual void closed(Peer* peer) {}
};

// Hears of every request that was answered, the refused ones too (common/wire/audit.h).
class RequestObserver {
 public:
  virtual ~RequestObserver() = default;
  // In words, before the message is handed on.
  virtual std::string describe(uint16_t type, BytesView message) = 0;
  virtual void answered(const Peer& peer, uint16_t type, const std::string& what, size_t body_bytes, const Result<Reply>& result,
                        Duration took) = 0;
};

struct PeerOptions {
  FrameLimits limits = kFrameLimits;
  // While requests of so many bytes are being handled, answers not yet sent included,
  // nothing more is read, not even answers: a handler that calls back over its own
  // connection must stay far below.
  uint64_t handled_bytes_max = 64 << 20;
  uint32_t handled_requests_max = 4096;
  bool hello = true;
  PeerCrowd* crowd = nullptr;  // Of a connection that a server accepted.
  RequestObserver* observer = nullptr;  // Outlives it.
};

class Peer {
 public:
  static constexpr uint16_t kHelloType = 1;

  // `handler` outlives the Peer; nullptr refuses every request.
  Peer(Env& env, std::unique_ptr<Connection> connection, PeerHandler* handler, PeerOptions options = {});
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer();

  // Reads until the connection ends, and closes. Call it once; without it no call is answered.
  Task<void> run();

  // Sent at once. What the other side answered, an error as an error; UNAVAILABLE when
  // the connection is lost or nothing came within `timeout` (a late answer is dropped):
  // then the outcome is unknown.
  Future<Result<Reply>> call(uint16_t type, Bytes message, Bytes body, Duration timeout);
  // No answer.
  void notify(uint16_t type, Bytes message, Bytes body = {});

  // Breaks the connection; what was not yet sent is lost. Handlers run on, unheard.
  void close();
  // Until all that was written is with the kernel, or the connection is gone.
  Task<void> flush();
  // Until no handler runs.
  Task<void> join_handlers();

  bool closed() const { return closed_; }
  const Address& address() const { return address_; }
  // Who the other end has proven to be.
  const PeerIdentity& identity() const { return connection_->identity(); }
  // The user who asks, as the handler found out; empty: not known.
  const std::string& caller() const { return caller_; }
  void set_caller(std::string user) { caller_ = std::move(user); }
  // Is not counted any more.
  void leave_crowd();
  // In memory for this connection, as its crowd counts it; when it last moved on.
  uint64_t held_bytes() const { return handled_bytes_ + answer_bytes_ + answer_bytes_writing_ + expected_bytes_; }
  Instant moved_at() const { return moved_at_; }
  size_t handled_requests() const { return handled_requests_; }

 private:
  struct Call {
    Promise<Result<Reply>> promise;
    TimerId timer;
  };

  Task<void> write_loop();
  Task<Status> take_frames();
  Task<Status> greet(Frame frame);
  Task<Result<Reply>> handle(uint16_t type, Bytes message, Bytes body);
  Task<void> serve(Frame frame);
  void answered(Frame frame);
  void send(Frame frame);
  void send_answer(uint16_t type, uint64_t request_id, Result<Reply> reply);
  void fail_calls(const Error& error);
  Task<void> expect_long_frame();
  void count(uint64_t& held, uint64_t bytes);
  void uncount(uint64_t& held, uint64_t bytes);
  bool full() const;
  std::optional<Error> oversized(size_t message_size, size_t body_size) const;

  Env& env_;
  std::unique_ptr<Connection> connection_;
  PeerHandler* handler_;
  PeerOptions options_;
  Address address_;
  std::string caller_;
  FrameDecoder decoder_;
  FrameWriter outgoing_;
  bool writing_ = false;
  bool greeted_;
  bool closed_ = false;
  std::optional<Error> lost_;  // Why, where that is known.
  uint64_t next_request_ = 1;
  std::map<uint64_t, Call> calls_;
  uint64_t handled_bytes_ = 0;  // Of requests, until they are answered.
  uint64_t answer_bytes_ = 0;   // In outgoing_.
  uint64_t answer_bytes_writing_ = 0;
  uint32_t handled_requests_ = 0;
  uint64_t expected_bytes_ = 0;  // Of a long frame that is coming.
  Instant moved_at_{};
  std::optional<TimerId> hello_timer_;
  Notifier to_write_;
  Notifier written_;
  Notifier handled_;
  TaskGroup handlers_;  // These two last: their tasks use what is above.
  TaskGroup writer_;
};

}  // namespace understudy
