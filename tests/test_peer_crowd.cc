// Many connections at once: what they may hold together, and who has to go.
#include "common/wire/peer_crowd.h"

#include <gtest/gtest.h>

#include "common/wire/frame.h"
#include "common/wire/peer.h"
#include "tests/sim/sim_world.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using sim::SimProcess;
using sim::SimWorld;

class Echo : public PeerHandler {
 public:
  Task<Result<Reply>> handle(Peer*, uint16_t, Bytes message, Bytes body) override {
    co_return Reply{std::move(message), std::move(body)};
  }
};

struct Server {
  PeerCrowd* crowd = nullptr;

  static Task<void> one(Env& env, std::unique_ptr<Connection> connection, PeerHandler* handler, PeerCrowd* crowd) {
    Peer peer(env, std::move(connection), handler, {.crowd = crowd});
    co_await peer.run();
    co_await peer.join_handlers();
  }
  static Task<void> run(Env& env, Server* server) {
    Echo echo;
    PeerCrowd crowd(env, 100);
    server->crowd = &crowd;
    auto listener = *env.net.listen("server:7000");
    TaskGroup tasks(env.executor);
    for (;;) {
      auto accepting = listener->accept();
      auto connection = co_await accepting;
      tasks.spawn(one(env, *std::move(connection), &echo, &crowd));
    }
  }
};

Bytes frame_bytes(Frame frame) {
  FrameWriter writer;
  writer.add(std::move(frame));
  Bytes all;
  for (auto& piece : writer.take()) all += piece;
  return all;
}

class PeerCrowdTest : public testing::Test {
 protected:
  void SetUp() override {
    world_.start(world_.host("server"), "server", [this](Env& env) { return Server::run(env, &server_); });
    world_.run_for(10ms);
  }
  static Task<Result<std::unique_ptr<Connection>>> dial(Env& env) { co_return co_await env.net.connect("server:7000", 1s); }
  static Task<Status> write(Connection* connection, Bytes bytes) {
    std::vector<Bytes> pieces;
    pieces.push_back(std::move(bytes));
    co_return co_await connection->write(std::move(pieces));
  }
  // A connection that said hello and then the beginning of a frame of 16 MiB.
  std::unique_ptr<Connection> half_a_frame() {
    auto connection = world_.await(client_, dial(client_.env())).value();
    Bytes begun = frame_bytes({FrameKind::kRequest, 100, 2, Bytes(15 << 20, 'x'), {}}).substr(0, 1000);
    Bytes hello = frame_bytes({FrameKind::kRequest, Peer::kHelloType, 1, "hello", {}});
    EXPECT_TRUE(world_.await(client_, write(connection.get(), hello + begun)));
    world_.run_for(10ms);
    return connection;
  }
  Task<Result<Reply>> ask(Env& env, Bytes body) {
    auto connection = co_await env.net.connect("server:7000", 1s);
    if (!connection) co_return std::unexpected(connection.error());
    Peer peer(env, *std::move(connection), nullptr);
    TaskGroup reading(env.executor);
    reading.spawn(peer.run());
    auto greeted = co_await peer.call(Peer::kHelloType, "hello", {}, 10s);
    if (!greeted) co_return greeted;
    co_return co_await peer.call(100, "x", std::move(body), 60s);
  }

  SimWorld world_{1};
  SimProcess& client_ = world_.start(world_.host("client"), "client");
  Server server_;
};

TEST_F(PeerCrowdTest, HalfFramesAreBoundedAndMakeWay) {
  std::vector<std::unique_ptr<Connection>> halves;
  for (int i = 0; i < 20; ++i) halves.push_back(half_a_frame());
  EXPECT_TRUE(server_.crowd->full());
  EXPECT_EQ(server_.crowd->size(), 20u);
  Instant begun = world_.now();
  auto reply = world_.await(client_, ask(client_.env(), Bytes(1 << 20, 'y')));
  ASSERT_TRUE(reply) << reply.error().to_string();
  EXPECT_EQ(reply->body.size(), size_t{1} << 20);
  EXPECT_LT(world_.now() - begun, 30s);
  EXPECT_LT(server_.crowd->size(), 20u);
}

// Byte by byte, so that something always comes: a frame has an end all the same.
TEST_F(PeerCrowdTest, ATrickledFrameHasADeadline) {
  auto connection = world_.await(client_, dial(client_.env())).value();
  Bytes hello = frame_bytes({FrameKind::kRequest, Peer::kHelloType, 1, "hello", {}});
  Bytes frame = frame_bytes({FrameKind::kRequest, 100, 2, Bytes(200, 'x'), {}});
  EXPECT_TRUE(world_.await(client_, write(connection.get(), hello)));
  world_.run_for(1min);
  EXPECT_EQ(server_.crowd->size(), 1u) << "between frames nobody hurries";
  Instant begun = world_.now();
  for (size_t i = 0; server_.crowd->size() == 1 && i < frame.size(); ++i) {
    (void)world_.await(client_, write(connection.get(), frame.substr(i, 1)));
    world_.run_for(1s);
  }
  EXPECT_EQ(server_.crowd->size(), 0u);
  EXPECT_LE(world_.now() - begun, 2min + 5s);
}

TEST_F(PeerCrowdTest, ALongFrameOverASlowLinkComesThrough) {
  world_.net().set_link("client", "server", {.bytes_per_second = 12 << 10});
  auto reply = world_.await(client_, ask(client_.env(), Bytes(300 << 10, 'y')));
  ASSERT_TRUE(reply) << reply.error().to_string();
  EXPECT_EQ(reply->body.size(), size_t{300} << 10);
}

TEST_F(PeerCrowdTest, WhoSaysNothingIsClosed) {
  auto silent = world_.await(client_, dial(client_.env())).value();
  world_.run_for(1s);
  EXPECT_EQ(server_.crowd->size(), 1u);
  world_.run_for(PeerCrowd::kHelloWithin);
  EXPECT_EQ(server_.crowd->size(), 0u);
}

}  // namespace
}  // namespace understudy
