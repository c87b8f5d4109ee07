// The RPC peer over a real loopback connection.
#include <gtest/gtest.h>

#include "common/uv/uv_runtime.h"
#include "common/wire/call.h"
#include "common/wire/understudy.pb.h"
#include "tests/co_assert.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

enum : uint16_t { kEcho = 100, kWait, kFail, kCount, kCallBack, kHuge };

// One side's doings, told by type.
class Story : public PeerHandler {
 public:
  explicit Story(Env& env) : released_(env.executor) {}

  Task<Result<Reply>> handle(Peer* peer, uint16_t type, Bytes message, Bytes body) override {
    ++started;
    most_bytes = std::max(most_bytes, handling_bytes += body.size());
    most = std::max(most, ++handling);
    auto reply = co_await answer(peer, type, std::move(message), body.size());
    handling_bytes -= body.size();
    --handling;
    if (reply && type == kEcho) reply->body = std::move(body);
    co_return reply;
  }

  void closed(Peer*) override { ++closings; }

  void release() {
    holding = false;
    released_.notify_all();
  }

  bool holding = true;  // kWait waits for its end.
  int started = 0, handling = 0, most = 0, closings = 0, counted = 0;
  size_t handling_bytes = 0, most_bytes = 0;

 private:
  Task<Result<Reply>> answer(Peer* peer, uint16_t type, Bytes message, size_t body_size) {
    switch (type) {
      case Peer::kHelloType:
        if (message == "stranger") co_return fail(Code::kInvalid, "no strangers");
        co_return Reply{"welcome", {}};
      case kWait:
        while (holding) {
          auto released = released_.wait();
          co_await released;
        }
        break;
      case kFail: co_return fail(Code::kNotFound, "no " + message);
      case kCount: ++counted; break;
      case kCallBack: co_return co_await peer->call(kEcho, "back: " + message, {}, 5s);
      case kHuge: co_return Reply{{}, Bytes(2 << 20, 'x')};
    }
    co_return Reply{std::move(message), {}};
  }

  Notifier released_;
};

// A server and a client on one loop. run() tells a test's story between them.
struct Ends {
  explicit Ends(Env& e) : env(e), at_server(e), at_client(e) {}
  Env& env;
  PeerOptions options;
  Story at_server;
  Story at_client;
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Peer> server;
  std::unique_ptr<Peer> client;
  std::unique_ptr<Connection> raw;  // The client's, where a test writes frames itself.

  Task<void> connect(bool raw_client) {
    listener = *env.net.listen("127.0.0.1:0");
    auto accepted = listener->accept();
    auto near = co_await env.net.connect(listener->local(), 5s);
    auto far = co_await accepted;
    server = std::make_unique<Peer>(env, *std::move(far), &at_server, options);
    if (raw_client) {
      raw = *std::move(near);
    } else {
      client = std::make_unique<Peer>(env, *std::move(near), &at_client, options);
    }
  }
};

class PeerTest : public testing::Test {
 protected:
  using Tale = Task<void> (*)(Ends*);

  void tell(Tale tale, bool raw_client = false, bool hello = true) {
    UvRuntime runtime;
    Ends ends(runtime.env());
    ends.options = options_;
    runtime.run(story(&ends, tale, raw_client, hello));
  }

  static Task<void> story(Ends* ends, Tale tale, bool raw_client, bool hello) {
    co_await ends->connect(raw_client);
    TaskGroup readers(ends->env.executor);
    readers.spawn(ends->server->run());
    if (ends->client) readers.spawn(ends->client->run());
    if (ends->client && hello) {
      auto reply = co_await ends->client->call(Peer::kHelloType, "hello", {}, 5s);
      CO_ASSERT_OK(reply);
      CO_ASSERT(reply->message == "welcome");
    }
    co_await tale(ends);
    if (ends->client) ends->client->close();
    ends->raw.reset();
    co_await readers.join();
    EXPECT_EQ(1, ends->at_server.closings);
    EXPECT_TRUE(ends->server->closed());
  }

  PeerOptions options_;
};

Bytes text(const Result<Reply>& reply) { return reply ? reply->message : reply.error().to_string(); }
Code code(const Result<Reply>& reply) { return reply ? Code{} : reply.error().code; }

Task<void> echoes(Ends* ends) {
  std::vector<Future<Result<Reply>>> replies;
  for (int i = 0; i < 5000; ++i) {  // More than may be handled at once.
    replies.push_back(ends->client->call(kEcho, std::to_string(i), Bytes(i % 3000, 'b'), 5s));
  }
  for (int i = 0; i < 5000; ++i) {
    auto reply = co_await replies[i];
    CO_ASSERT_OK(reply);
    CO_ASSERT(reply->message == std::to_string(i) && reply->body == Bytes(i % 3000, 'b'));
  }
  auto large = co_await ends->client->call(kEcho, Bytes(10 << 20, 'm'), Bytes(1 << 20, 'b'), 10s);
  CO_ASSERT_OK(large);
  EXPECT_TRUE(large->message == Bytes(10 << 20, 'm') && large->body == Bytes(1 << 20, 'b'));
}
TEST_F(PeerTest, ManyRequestsAtOnce) { tell(echoes); }

Task<void> overtaking(Ends* ends) {
  auto slow = ends->client->call(kWait, "slow", {}, 5s);
  EXPECT_EQ("fast", text(co_await ends->client->call(kEcho, "fast", {}, 5s)));
  EXPECT_FALSE(slow.ready());
  ends->at_server.release();
  EXPECT_EQ("slow", text(co_await slow));
}
TEST_F(PeerTest, AnswersOvertake) { tell(overtaking); }

Task<void> both_ways(Ends* ends) {
  EXPECT_EQ("mine", text(co_await ends->server->call(kEcho, "mine", {}, 5s)));
  EXPECT_EQ("back: yours", text(co_await ends->client->call(kCallBack, "yours", {}, 5s)));
  ends->client->notify(kCount, "x");
  ends->client->notify(kCount, "x");
  EXPECT_EQ("done", text(co_await ends->client->call(kEcho, "done", {}, 5s)));
  EXPECT_EQ(2, ends->at_server.counted);
}
TEST_F(PeerTest, BothSidesAskAndTell) { tell(both_ways); }

Task<void> errors(Ends* ends) {
  EXPECT_EQ("NOT_FOUND: no bread", text(co_await ends->client->call(kFail, "bread", {}, 5s)));
  EXPECT_EQ(Code::kInvalid, code(co_await ends->client->call(kHuge, {}, {}, 5s)));
  EXPECT_EQ(Code::kInvalid, code(co_await ends->client->call(kEcho, {}, Bytes(2 << 20, 'x'), 5s)));
  EXPECT_EQ(Code::kInvalid, code(co_await ends->client->call(kEcho, Bytes(17 << 20, 'x'), {}, 5s)));
  EXPECT_EQ("still here", text(co_await ends->client->call(kEcho, "still here", {}, 5s)));
}
TEST_F(PeerTest, ErrorsTravelAndBreakNothing) { tell(errors); }

Task<void> timeouts(Ends* ends) {
  Instant start = ends->env.clock.now();
  EXPECT_EQ(Code::kUnavailable, code(co_await ends->client->call(kWait, "late", {}, 30ms)));
  EXPECT_GE(ends->env.clock.now() - start, 30ms);
  ends->at_server.release();
  EXPECT_EQ("next", text(co_await ends->client->call(kEcho, "next", {}, 5s)));
}
TEST_F(PeerTest, ALateAnswerIsDropped) { tell(timeouts); }

Task<void> lost(Ends* ends) {
  auto one = ends->client->call(kWait, "1", {}, 1h);
  auto two = ends->client->call(kWait, "2", {}, 1h);
  EXPECT_EQ("x", text(co_await ends->client->call(kEcho, "x", {}, 5s)));
  ends->server->close();
  EXPECT_EQ(Code::kUnavailable, code(co_await one));
  EXPECT_EQ(Code::kUnavailable, code(co_await two));
  EXPECT_EQ(Code::kUnavailable, code(co_await ends->client->call(kEcho, "x", {}, 1h)));
  EXPECT_EQ(2, ends->at_server.handling);  // Handlers run on, unheard.
  ends->at_server.release();
  co_await ends->server->join_handlers();
  EXPECT_EQ(0, ends->at_server.handling);
}
TEST_F(PeerTest, ALostConnectionFailsWhatWaits) { tell(lost); }

Task<void> destroyed(Ends* ends) {
  auto waiting = ends->client->call(kWait, "1", {}, 1h);
  EXPECT_EQ("x", text(co_await ends->client->call(kEcho, "x", {}, 5s)));
  // A second pair of ends, destroyed with everything under way.
  auto other = std::make_unique<Ends>(ends->env);
  co_await other->connect(false);
  {
    TaskGroup readers(ends->env.executor);
    readers.spawn(other->server->run());
    readers.spawn(other->client->run());
    EXPECT_EQ("welcome", text(co_await other->client->call(Peer::kHelloType, "hello", {}, 5s)));
    auto orphan = other->client->call(kWait, "1", {}, 1h);
    EXPECT_EQ("x", text(co_await other->client->call(kEcho, "x", {}, 5s)));
    readers.cancel();
    other.reset();
    EXPECT_EQ(Code::kUnavailable, code(co_await orphan));
  }
  ends->at_server.release();
  EXPECT_EQ("1", text(co_await waiting));
}
TEST_F(PeerTest, DestroyingCancelsHandlersAndCalls) { tell(destroyed); }

Task<void> bounded(Ends* ends) {
  std::vector<Future<Result<Reply>>> replies;
  for (int i = 0; i < 100; ++i) replies.push_back(ends->client->call(kWait, {}, Bytes(100'000, 'x'), 10s));
  co_await sleep_for(ends->env, 100ms);
  EXPECT_EQ(1 + 4, ends->at_server.started);  // The Hello, and what a bound of 400,000 bytes lets in.
  ends->at_server.release();
  for (auto& reply : replies) CO_ASSERT_OK(co_await reply);
  EXPECT_LE(ends->at_server.most_bytes, 400'000u);

  ends->at_server.holding = true;
  replies.clear();
  for (int i = 0; i < 100; ++i) replies.push_back(ends->client->call(kWait, "small", {}, 10s));
  co_await sleep_for(ends->env, 50ms);
  EXPECT_EQ(10, ends->at_server.handling);
  ends->at_server.release();
  for (auto& reply : replies) CO_ASSERT_OK(co_await reply);
  EXPECT_LE(ends->at_server.most, 10);
}
TEST_F(PeerTest, NoMoreIsReadThanMayBeHandled) {
  options_.handled_bytes_max = 400'000;
  options_.handled_requests_max = 10;
  tell(bounded);
}

Task<void> stranger(Ends* ends) {
  auto hello = ends->client->call(Peer::kHelloType, "stranger", {}, 5s);
  auto more = ends->client->call(kCount, "x", {}, 5s);
  EXPECT_EQ("INVALID: no strangers", text(co_await hello));
  EXPECT_EQ(Code::kUnavailable, code(co_await more));
  EXPECT_EQ(0, ends->at_server.counted);
}
TEST_F(PeerTest, ARefusedHelloEndsTheConnection) { tell(stranger, false, false); }

Task<void> no_hello(Ends* ends) {
  EXPECT_EQ(Code::kUnavailable, code(co_await ends->client->call(kCount, "x", {}, 5s)));
  EXPECT_EQ(0, ends->at_server.counted);
}
TEST_F(PeerTest, NothingComesBeforeTheHello) { tell(no_hello, false, false); }

// What a raw client reads until the server closes.
Task<Bytes> rest(Connection* raw) {
  Bytes all;
  for (;;) {
    auto bytes = co_await raw->read();
    if (!bytes || bytes->empty()) break;
    all += *bytes;
  }
  co_return all;
}

std::vector<Bytes> frames(std::vector<Frame> list) {
  FrameWriter writer;
  for (Frame& frame : list) writer.add(std::move(frame));
  return writer.take();
}

Task<void> garbage(Ends* ends) {
  std::vector<Bytes> pieces{"GET / HTTP/1.1\r\nHost: understudy.example\r\n\r\n"};
  CO_ASSERT_OK(co_await ends->raw->write(std::move(pieces)));
  EXPECT_EQ("", co_await rest(ends->raw.get()));
  EXPECT_EQ(0, ends->at_server.started);
}
TEST_F(PeerTest, GarbageClosesTheConnection) { tell(garbage, true); }

Task<void> half_frame(Ends* ends) {
  auto pieces = frames({{FrameKind::kRequest, Peer::kHelloType, 1, "hi", {}}, {FrameKind::kRequest, kCount, 2, "x", {}}});
  CO_ASSERT(pieces.size() == 1);
  pieces[0].pop_back();
  CO_ASSERT_OK(co_await ends->raw->write(std::move(pieces)));
  auto answer = co_await ends->raw->read();
  CO_ASSERT_OK(answer);
  ends->raw->close();
  co_await sleep_for(ends->env, 20ms);
  EXPECT_TRUE(ends->server->closed());
  EXPECT_EQ(0, ends->at_server.counted);
}
TEST_F(PeerTest, HalfAFrameIsNoFrame) { tell(half_frame, true); }

Task<void> too_large_a_hello(Ends* ends) {
  CO_ASSERT_OK(co_await ends->raw->write(frames({{FrameKind::kRequest, Peer::kHelloType, 1, Bytes(5000, 'x'), {}}})));
  co_await rest(ends->raw.get());
  EXPECT_EQ(0, ends->at_server.started);
}
TEST_F(PeerTest, AHelloIsSmall) { tell(too_large_a_hello, true); }

Task<void> typed(Ends* ends) {
  wire::HelloRequest request;
  request.set_name("ss1");
  auto reply = co_await call<wire::HelloRequest>(ends->client.get(), kEcho, request, 5s);
  CO_ASSERT_OK(reply);
  EXPECT_EQ("ss1", reply->name());
  auto with_body = co_await call_with_body<wire::HelloRequest>(ends->client.get(), kEcho, request, 5s, "body");
  CO_ASSERT_OK(with_body);
  EXPECT_EQ("body", with_body->body);
  auto nonsense = parse_message<wire::HelloRequest>("\xff\xff");
  EXPECT_TRUE(!nonsense && nonsense.error().code == Code::kInvalid);
}
TEST_F(PeerTest, TypedCalls) { tell(typed); }

}  // namespace
}  // namespace understudy
