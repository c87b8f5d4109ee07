// Somebody at the other end of a server that is being fuzzed, in the simulator: a connection over which it asks what
// the fuzzer says, and answers what the server asks of it, by the fuzzer's bytes or as an honest one would.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/env/sync.h"
#include "common/wire/call.h"
#include "common/wire/understudy.pb.h"
#include "tests/fuzz/input.h"
#include "tests/sim/sim_world.h"

namespace understudy::fuzz {

struct Asked {
  uint16_t type = 0;
  Bytes message;
  Bytes body;
};

class Party final : public PeerHandler {
 public:
  using Honest = std::function<Result<Reply>(uint16_t type, const Bytes& message)>;
  struct Options {
    std::string host;
    Address address;                           // To dial; or, with `listens`, to listen at.
    bool listens = false;
    std::optional<wire::HelloRequest> hello;   // Sent first by whoever dials.
    Honest honest;                             // Empty: refuses everything.
  };

  Party(sim::SimWorld& world, Options options) : world_(world), options_(std::move(options)) { begin(); }
  Party(const Party&) = delete;

  bool connected() const { return process_->alive() && peer_ != nullptr && !peer_->closed(); }
  void begin_again() {
    world_.kill(*process_);
    begin();
  }
  // Nothing if there is no connection.
  void ask(Asked asked) {
    if (!connected()) return;
    ++unanswered_;
    process_->spawn(ask_and_wait(this, peer_, std::move(asked)));
  }
  size_t unanswered() const { return unanswered_; }
  // For the next that it is asked.
  void will_answer(Bytes message, Bytes body) {
    if (answers_.size() < kAnswersMax) answers_.push_back({std::move(message), std::move(body)});
  }
  void forget_answers() { answers_.clear(); }
  const std::optional<Result<Reply>>& last() const { return last_; }
  sim::SimProcess& process() { return *process_; }

  Task<Result<Reply>> handle(Peer* peer, uint16_t type, Bytes message, Bytes) override {
    if (type != wire::HELLO && !answers_.empty()) {
      Reply reply = std::move(answers_.front());
      answers_.pop_front();
      co_return reply;
    }
    if (type == wire::REGISTER) peer_ = peer;
    if (!options_.honest) co_return fail(Code::kInvalid, "nothing is answered here");
    co_return options_.honest(type, message);
  }
  void closed(Peer* peer) override {
    if (peer_ == peer) peer_ = nullptr;
  }

 private:
  static constexpr size_t kAnswersMax = 64;

  void begin() {
    peer_ = nullptr;
    unanswered_ = 0;
    answers_.clear();
    process_ = &world_.start(world_.host(options_.host), options_.host, [this](Env& env) { return live(env, this); });
  }
  static Task<void> live(Env& env, Party* self) {
    if (self->options_.listens) {
      auto listener = env.net.listen(self->options_.address);
      CHECK(listener.has_value());
      TaskGroup connections(env.executor);
      while (true) {
        auto accepted = (*listener)->accept();
        auto connection = co_await accepted;
        if (!connection) co_return;
        connections.spawn(serve(env, self, *std::move(connection)));
      }
    }
    auto connecting = env.net.connect(self->options_.address, std::chrono::seconds(5));
    auto connection = co_await connecting;
    if (!connection) co_return;
    Peer peer(env, *std::move(connection), self);
    TaskGroup running(env.executor);
    running.spawn(peer.run());
    if (self->options_.hello) {
      auto greeting = peer.call(wire::HELLO, self->options_.hello->SerializeAsString(), {}, std::chrono::seconds(5));
      auto greeted = co_await greeting;
      if (!greeted) co_return;
    }
    self->peer_ = &peer;
    co_await running.join();
    self->peer_ = nullptr;
  }
  static Task<void> serve(Env& env, Party* self, std::unique_ptr<Connection> connection) {
    Peer peer(env, std::move(connection), self);
    co_await peer.run();
  }
  static Task<void> ask_and_wait(Party* self, Peer* peer, Asked asked) {
    if (self->peer_ != peer) {
      --self->unanswered_;
      co_return;
    }
    auto asking = peer->call(asked.type, std::move(asked.message), std::move(asked.body), std::chrono::seconds(60));
    auto reply = co_await asking;
    --self->unanswered_;
    if (!reply) {
      // What people are told is one line, and short.
      const Error& error = reply.error();
      CHECK(!error.message.empty() && error.message.size() < 8192);
      CHECK(error.message.find('\n') == std::string::npos && error.message.find('\0') == std::string::npos);
      CHECK(error.code != Code::kInternal);
    }
    self->last_ = std::move(reply);
  }

  sim::SimWorld& world_;
  Options options_;
  sim::SimProcess* process_ = nullptr;
  Peer* peer_ = nullptr;
  size_t unanswered_ = 0;
  std::deque<Reply> answers_;
  std::optional<Result<Reply>> last_;
};

}  // namespace understudy::fuzz
