// A storage server in the simulator, with a name node that does as the test says.
#include <gtest/gtest.h>

#include "common/crypto/key_ring.h"
#include "common/wire/call.h"
#include "ss/storage_server.h"
#include "ss/wire_convert.h"
#include "tests/sim/sim_world.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using sim::SimProcess;
using sim::SimWorld;

constexpr char kKey[] = "the key of this test's capabilities";
constexpr int64_t kNow = int64_t{1'700'000'000} * 1'000'000;  // NM time.

Bytes signed_capability(const wire::Capability& capability, std::string key = kKey) {
  KeyRing ring("understudy capability", 16);
  ring.set({{1, std::move(key)}});
  return ring.sign(1, capability.SerializeAsString());
}

wire::Capability capability_for(uint64_t file, uint64_t epoch) {
  wire::Capability capability;
  capability.set_file_id(file);
  capability.set_right(wire::RIGHT_WRITE);
  capability.set_user("admin");
  capability.set_access_generation(1);
  capability.set_epoch(epoch);
  capability.set_issued_us(kNow);
  capability.set_expires_us(kNow + int64_t{3600} * 1'000'000);
  auto* name = capability.mutable_name();
  name->set_object_id(file);
  name->set_kind(wire::KIND_FILE);
  name->set_folder_id(1);
  name->set_name("f" + std::to_string(file));
  name->set_meta_version(3);
  return capability;
}

// As whoever may do all.
template <class Request>
Request permitted(Request request) {
  if constexpr (requires { request.mutable_capability(); }) {
    if (request.capability().empty()) request.set_capability(signed_capability(capability_for(request.file_id(), request.epoch())));
  }
  return request;
}

// Registers everybody, answers heartbeats with the lease of `lease_epoch`, and
// confirms announcements that go on where the last ended, as a name node does.
class ScriptedNameNode : public PeerHandler {
 public:
  Task<void> run(Env& env) {
    env_ = &env;
    auto listener = env.net.listen("nm:7400");
    CHECK(listener.has_value());
    TaskGroup connections(env.executor);
    for (;;) {
      auto connection = co_await (*listener)->accept();
      CHECK(connection.has_value());
      connections.spawn(serve(env, std::move(*connection)));
    }
  }

  Task<Result<Reply>> handle(Peer* peer, uint16_t type, Bytes message, Bytes) override {
    switch (type) {
      case wire::HELLO: {
        wire::HelloReply reply;
        reply.set_protocol_version(1);
        co_return make_reply(reply);
      }
      case wire::REGISTER: {
        registrations.push_back(*parse_message<wire::RegisterRequest>(message));
        if (refusal) co_return std::unexpected(*refusal);
        if (full) co_return fail(Code::kNoSpace, "the name node's disk is full");
        server = peer;
        wire::RegisterReply reply;
        reply.set_cluster_id("c1");
        reply.set_announced_lsn(announced_lsn);
        reply.set_heartbeat_interval_ms(100);
        reply.set_failure_timeout_ms(1000);
        reply.set_pair("ss1");
        reply.set_server_time_us(kNow);
        auto* key = reply.add_capability_keys();
        key->set_id(1);
        key->set_secret(kKey);
        co_return make_reply(reply);
      }
      case wire::HEARTBEAT: {
        ++heartbeats;
        wire::HeartbeatReply reply;
        if (granting && parse_message<wire::HeartbeatRequest>(message)->epoch() == lease_epoch) {
          reply.set_lease_epoch(lease_epoch);
          reply.set_lease_ms(800);
        }
        co_return make_reply(reply);
      }
      case wire::ANNOUNCE: {
        auto request = *parse_message<wire::AnnounceRequest>(message);
        ++announcements_in_flight;
        EXPECT_EQ(announcements_in_flight, 1);
        co_await sleep_for(*env_, 5ms);
        --announcements_in_flight;
        if (full) co_return fail(Code::kNoSpace, "the name node's disk is full");
        if (request.from_lsn() != announced_lsn || request.epoch() != lease_epoch) {
          co_return fail(Code::kStaleEpoch, "not so");
        }
        for (const auto& item : request.items()) announced.push_back(item);
        announced_lsn = request.to_lsn();
        if (lose_announce_answers > 0 && lose_announce_answers--) {
          peer->close();
          co_return fail(Code::kUnavailable, "lost");
        }
        wire::AnnounceReply reply;
        reply.set_announced_lsn(announced_lsn);
        co_return make_reply(reply);
      }
      case wire::LEAVE:
        if (!parse_message<wire::LeaveRequest>(message)->hand_over()) ++leaves;
        co_return make_reply(wire::Done());
      default: co_return fail(Code::kInvalid, "?");
    }
  }
  void closed(Peer* peer) override {
    if (server == peer) server = nullptr;
  }

  Peer* server = nullptr;  // The registered server's connection.
  std::optional<Error> refusal;
  bool full = false;  // Its disk.
  bool granting = true;
  uint64_t lease_epoch = 0;
  uint64_t announced_lsn = 0;
  int announcements_in_flight = 0;
  int lose_announce_answers = 0;
  int heartbeats = 0;
  int leaves = 0;
  std::vector<wire::RegisterRequest> registrations;
  std::vector<wire::AnnounceItem> announced;

 private:
  Task<void> serve(Env& env, std::unique_ptr<Connection> connection) {
    Peer peer(env, std::move(connection), this);
    co_await peer.run();
    announcements_in_flight = 0;
  }
  Env* env_ = nullptr;
};

Task<Result<ReplyWithBody<wire::ReadReply>>> receive(Future<Result<Reply>> waiting) {
  return parse_reply_with_body<wire::ReadReply>(waiting);
}

class StorageServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world_.host("nm").act_as(PeerIdentity::Role::kNameNode, "nm1");
    world_.host("ss1").act_as(PeerIdentity::Role::kStorageServer, "ss1");
    world_.start(world_.host("nm"), "nm", [this](Env& env) { return nm_.run(env); });
    start_server();
  }

  static Task<void> run_server(Env& env, StorageServerOptions options, StorageServerTest* test) {
    StorageServer server(env, options);
    test->server_ = &server;
    co_await server.run();
    test->ended_ = server.result();
    test->server_ = nullptr;
  }
  void start_server(const std::string& name = "ss1") {
    ended_.reset();
    StorageServerOptions options;
    options.name = name;
    options.folder = "/data";
    options.name_nodes = {"nm:7400"};
    options.listen = "ss1:7000";
    auto before = nm_.registrations.size();
    process_ = &world_.start(world_.host("ss1"), "ss1",
                             [options, this](Env& env) { return run_server(env, options, this); });
    world_.run_until([&] { return nm_.registrations.size() > before || ended_; }, 10s);
    world_.run_for(20ms);
  }
  void kill_server() {
    world_.kill(*process_);
    server_ = nullptr;
    world_.run_for(20ms);
  }

  // ---- As the name node
  template <class Response, class Request>
  Result<Response> order(uint16_t type, const Request& request, Bytes body = {}) {
    if (nm_.server == nullptr) return fail(Code::kUnavailable, "no server");
    auto* process = world_.find_process("nm");
    return world_.await(*process, call<Response>(nm_.server, type, request, 10s, std::move(body)));
  }
  // Gives it the epoch, and a lease as soon as it asks.
  void serve(uint64_t epoch) {
    nm_.lease_epoch = epoch;
    wire::ServeRequest request;
    request.set_epoch(epoch);
    auto reply = order<wire::ServeReply>(wire::SERVE, request);
    ASSERT_TRUE(reply) << reply.error().to_string();
    world_.run_for(150ms);
  }

  // ---- As a client
  struct Client {
    std::unique_ptr<Peer> peer;
    SimProcess* process = nullptr;
  };
  Task<Result<Unit>> dial(Client* client) {
    auto connection = co_await client->process->env().net.connect("ss1:7000", 1s);
    if (!connection) co_return std::unexpected(connection.error());
    client->peer = std::make_unique<Peer>(client->process->env(), std::move(*connection), nullptr);
    client->process->spawn(client->peer->run());
    wire::HelloRequest hello;
    hello.set_protocol_version(1);
    hello.set_role(wire::HelloRequest::CLIENT);
    hello.set_name("admin");
    auto reply = co_await call<wire::HelloReply>(client->peer.get(), wire::HELLO, hello, 1s);
    if (!reply) co_return std::unexpected(reply.error());
    co_return Unit{};
  }
  Client connect() {
    Client client;
    client.process = &world_.start(world_.host("client"), "client");
    auto dialled = world_.await(*client.process, dial(&client));
    EXPECT_TRUE(dialled) << dialled.error().to_string();
    return client;
  }
  Client& client() {
    if (!client_.peer || client_.peer->closed()) client_ = connect();
    return client_;
  }
  template <class Response, class Request>
  Result<Response> ask(Client& from, uint16_t type, const Request& request, Bytes body = {}) {
    return world_.await(*from.process, call<Response>(from.peer.get(), type, permitted(request), 30s, std::move(body)));
  }
  static std::string word(const Result<wire::VersionReply>& reply) {
    if (!reply) return std::string(code_name(reply.error().code));
    return from_wire(reply->version()).to_string() + "@" + std::to_string(reply->epoch());
  }
  static wire::PutRequest put_request(uint64_t file, uint64_t epoch, uint64_t sequence) {
    wire::PutRequest request;
    request.set_file_id(file);
    request.set_epoch(epoch);
    request.mutable_request()->set_client(9);
    request.mutable_request()->set_sequence(sequence);
    request.mutable_name()->set_object_id(file);
    request.mutable_name()->set_kind(wire::KIND_FILE);
    request.mutable_name()->set_folder_id(1);
    request.mutable_name()->set_name("f" + std::to_string(file));
    request.mutable_name()->set_meta_version(3);
    request.set_user("admin");
    return request;
  }
  // "1.2@7": version and epoch of the answer, or the code of the refusal.
  std::string put(uint64_t file, uint64_t epoch, uint64_t sequence, Bytes content) {
    return word(ask<wire::VersionReply>(client(), wire::PUT, put_request(file, epoch, sequence), std::move(content)));
  }
  std::string read(uint64_t file, uint64_t epoch, Version version = {}) {
    wire::ReadRequest request;
    request.set_file_id(file);
    request.set_epoch(epoch);
    request.set_length(kChunkSizeMax);
    *request.mutable_version() = to_wire(version);
    auto reply = world_.await(*client().process, receive(client().peer->call(
                                                     wire::READ, permitted(request).SerializeAsString(), {}, 10s)));
    if (!reply) return std::string(code_name(reply.error().code));
    EXPECT_EQ(reply->message.linearizable(), epoch != 0);
    return reply->body;
  }
  wire::VersionRecord record(uint64_t file, Version version, Version parent, Bytes content) {
    wire::VersionRecord record;
    record.set_file_id(file);
    *record.mutable_version() = to_wire(version);
    *record.mutable_parent() = to_wire(parent);
    record.mutable_request()->set_client(77);
    record.mutable_request()->set_sequence(version.counter);
    record.set_kind(wire::CHANGE_PUT);
    record.set_size_bytes(content.size());
    record.set_time_us(1);
    *record.mutable_name() = put_request(file, 0, 0).name();
    record.set_inline_content(std::move(content));
    return record;
  }
  Result<wire::ApplyReply> apply(uint64_t epoch, wire::VersionRecord version) {
    wire::ApplyRequest request;
    request.set_epoch(epoch);
    *request.add_items()->mutable_version() = std::move(version);
    return order<wire::ApplyReply>(wire::APPLY, request);
  }
  std::string set_aside(uint64_t epoch, uint64_t file, Version keep) {
    wire::SetAsideRequest request;
    request.set_epoch(epoch);
    auto* item = request.add_items();
    item->set_file_id(file);
    *item->mutable_keep() = to_wire(keep);
    auto reply = order<wire::SetAsideReply>(wire::SET_ASIDE, request);
    return reply ? "ok" : reply.error().to_string();
  }

  SimWorld world_{7};
  ScriptedNameNode nm_;
  SimProcess* process_ = nullptr;
  StorageServer* server_ = nullptr;
  std::optional<Status> ended_;
  Client client_;
};

constexpr uint64_t kFile = 5;

TEST_F(StorageServerTest, RegistersServesPutsAndReads) {
  ASSERT_EQ(nm_.registrations.size(), 1u);
  const auto& registration = nm_.registrations[0];
  EXPECT_TRUE(registration.empty());
  EXPECT_EQ(registration.epoch(), 0u);
  EXPECT_EQ(registration.address(), "ss1:7000");
  EXPECT_NE(registration.pid(), 0u);
  EXPECT_EQ(put(kFile, 7, 1, "too early"), "MOVED");

  serve(7);
  EXPECT_EQ(put(kFile, 7, 1, "one"), "7.1@7");
  EXPECT_EQ(put(kFile, 7, 2, "two"), "7.2@7");
  EXPECT_EQ(put(kFile, 7, 1, "one"), "7.1@7") << "a repeat gets the first answer";
  EXPECT_EQ(read(kFile, 7), "two");
  EXPECT_EQ(read(kFile, 0), "two");
  EXPECT_EQ(read(kFile, 7, {Epoch{7}, 1}), "one");
  EXPECT_EQ(read(6, 7), "NOT_FOUND");
  world_.run_for(100ms);
  ASSERT_EQ(nm_.announced.size(), 2u);
  EXPECT_EQ(nm_.announced[1].version().counter(), 2u);
}

TEST_F(StorageServerTest, AnotherEpochChangesNothing) {
  serve(7);
  EXPECT_EQ(put(kFile, 6, 1, "old"), "STALE_EPOCH");
  EXPECT_EQ(put(kFile, 8, 1, "new"), "STALE_EPOCH");
  EXPECT_EQ(put(kFile, 0, 1, "none"), "STALE_EPOCH");
  EXPECT_EQ(read(kFile, 7), "NOT_FOUND");
  EXPECT_EQ(read(kFile, 6), "STALE_EPOCH");
}

TEST_F(StorageServerTest, WithoutHeartbeatAnswersItRefusesWhenTheLeaseIsOver) {
  serve(7);
  EXPECT_EQ(put(kFile, 7, 1, "one"), "7.1@7");
  nm_.granting = false;
  world_.run_for(700ms);
  EXPECT_EQ(put(kFile, 7, 2, "two"), "7.2@7");
  world_.run_for(200ms);
  EXPECT_EQ(put(kFile, 7, 3, "three"), "MOVED");
  EXPECT_EQ(read(kFile, 7), "MOVED");
  EXPECT_EQ(read(kFile, 0), "two");
  nm_.granting = true;
  world_.run_for(300ms);
  EXPECT_EQ(put(kFile, 7, 3, "three"), "7.3@7");
}

TEST_F(StorageServerTest, ALeaseThatRunsOutDuringASlowSyncIsNotAcknowledgedUnder) {
  serve(7);
  ASSERT_EQ(put(kFile, 7, 1, "one"), "7.1@7");
  nm_.granting = false;
  auto& disk = world_.host("ss1").disk;
  disk.set_latency({1ms, 1ms}, {2s, 2s}, {1ms, 1ms});
  EXPECT_EQ(put(kFile, 7, 2, "two"), "UNAVAILABLE");
  disk.set_latency({1ms, 1ms}, {1ms, 1ms}, {1ms, 1ms});
  nm_.granting = true;
  world_.run_for(1s);
  EXPECT_EQ(read(kFile, 7), "two") << "it was appended, and nobody else has taken over";
  EXPECT_EQ(put(kFile, 7, 2, "two"), "7.2@7") << "the repeat learns that it happened";
}

TEST_F(StorageServerTest, ARepeatInFlightWaitsForTheFirstAnswer) {
  serve(7);
  world_.host("ss1").disk.set_latency({1ms, 1ms}, {300ms, 300ms}, {1ms, 1ms});
  auto bytes = permitted(put_request(kFile, 7, 1)).SerializeAsString();
  auto first = client().peer->call(wire::PUT, bytes, "one", 10s);
  auto repeat = client().peer->call(wire::PUT, bytes, "one", 10s);
  world_.run_for(2s);
  ASSERT_TRUE(first.ready());
  ASSERT_TRUE(repeat.ready());
  EXPECT_EQ(word(world_.await(*client().process, parse_reply<wire::VersionReply>(first))), "7.1@7");
  EXPECT_EQ(word(world_.await(*client().process, parse_reply<wire::VersionReply>(repeat))), "7.1@7");
  EXPECT_EQ(put(kFile, 7, 2, "two"), "7.2@7");
}

TEST_F(StorageServerTest, ADrainedServerHasAnnouncedAllAndServesOnlyANewEpoch) {
  serve(7);
  for (uint64_t i = 1; i <= 20; ++i) ASSERT_EQ(put(i, 7, i, "x"), "7.1@7");
  wire::DrainRequest request;
  request.set_epoch(7);
  auto drained = order<wire::DrainReply>(wire::DRAIN, request);
  ASSERT_TRUE(drained) << drained.error().to_string();
  EXPECT_EQ(nm_.announced.size(), 20u);
  EXPECT_EQ(drained->drained_lsn(), nm_.announced_lsn);
  EXPECT_EQ(put(kFile, 7, 99, "late"), "MOVED");
  world_.run_for(500ms);
  EXPECT_EQ(put(kFile, 7, 99, "late"), "MOVED") << "heartbeats bring no lease back";
  EXPECT_TRUE(order<wire::DrainReply>(wire::DRAIN, request)) << "asked again";
  wire::ServeRequest old;
  old.set_epoch(7);
  auto served = order<wire::ServeReply>(wire::SERVE, old);
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().code, Code::kStaleEpoch);
  serve(9);
  EXPECT_EQ(put(kFile, 9, 99, "now"), "9.1@9");
}

TEST_F(StorageServerTest, AnotherStartHasNotDrainedWhatAnEarlierOneServed) {
  serve(7);
  ASSERT_EQ(put(kFile, 7, 1, "x"), "7.1@7");
  kill_server();
  start_server();
  wire::DrainRequest request;
  request.set_epoch(7);
  auto drained = order<wire::DrainReply>(wire::DRAIN, request);
  ASSERT_FALSE(drained) << "what was not announced before it was killed is not announced now";
  EXPECT_EQ(drained.error().code, Code::kMoved);
}

TEST_F(StorageServerTest, AnnouncesGoOnBehindWhatWasConfirmed) {
  serve(7);
  nm_.lose_announce_answers = 1;
  for (uint64_t i = 1; i <= 5; ++i) ASSERT_EQ(put(i, 7, i, "x"), "7.1@7");
  world_.run_for(2s);
  EXPECT_GE(nm_.registrations.size(), 2u);
  EXPECT_TRUE(nm_.registrations.back().serving());
  EXPECT_EQ(nm_.registrations.back().epoch(), 7u);
  EXPECT_EQ(nm_.announced.size(), 5u) << "none twice, none left out";
  EXPECT_EQ(put(6, 7, 6, "x"), "7.1@7") << "still the same epoch";

  // The process dies with something unannounced; the next one announces it under the next epoch.
  world_.net().partition("ss1", "nm");
  ASSERT_EQ(put(7, 7, 7, "x"), "7.1@7");
  kill_server();
  world_.net().heal_all();
  start_server();
  EXPECT_FALSE(nm_.registrations.back().serving());
  EXPECT_EQ(nm_.registrations.back().epoch(), 7u);
  serve(8);
  world_.run_for(200ms);
  ASSERT_EQ(nm_.announced.size(), 7u);
  EXPECT_EQ(nm_.announced.back().file_id(), 7u);
  EXPECT_EQ(read(7, 8), "x");
  EXPECT_EQ(put(7, 8, 7, "x"), "7.1@8") << "a repeat across the restart";
}

TEST_F(StorageServerTest, ABackupAppliesAndANewerEpochEndsAnOlderOne) {
  auto applied = apply(4, record(kFile, {Epoch{4}, 1}, {}, "theirs"));
  ASSERT_TRUE(applied) << applied.error().to_string();
  EXPECT_EQ(applied->outcomes(0).outcome(), wire::ApplyOutcome::APPLIED);
  EXPECT_EQ(read(kFile, 0), "theirs");
  auto older = apply(3, record(kFile, {Epoch{3}, 9}, {Epoch{4}, 1}, "older"));
  ASSERT_FALSE(older);
  EXPECT_EQ(older.error().code, Code::kStaleEpoch);

  serve(7);
  EXPECT_EQ(put(kFile, 7, 1, "ours"), "7.1@7");
  auto same = apply(7, record(kFile, {Epoch{7}, 2}, {Epoch{7}, 1}, "not theirs"));
  ASSERT_FALSE(same) << "the acting primary takes no versions";
  auto newer = apply(9, record(6, {Epoch{9}, 1}, {}, "new primary"));
  ASSERT_TRUE(newer) << newer.error().to_string();
  EXPECT_EQ(put(kFile, 7, 2, "again"), "MOVED");
  EXPECT_EQ(read(6, 0), "new primary");
}

TEST_F(StorageServerTest, WhatIsSetAsideStaysReadableByVersion) {
  serve(7);
  ASSERT_EQ(put(kFile, 7, 1, "base"), "7.1@7");
  ASSERT_EQ(put(kFile, 7, 2, "only here"), "7.2@7");
  ASSERT_EQ(set_aside(9, kFile, {Epoch{7}, 1}), "ok");
  ASSERT_TRUE(apply(9, record(kFile, {Epoch{9}, 1}, {Epoch{7}, 1}, "theirs")));
  EXPECT_EQ(read(kFile, 0), "theirs");
  EXPECT_EQ(read(kFile, 0, {Epoch{7}, 2}), "only here");
  wire::MemberStatRequest request;
  request.set_file_id(kFile);
  auto stat = order<wire::MemberStatReply>(wire::MEMBER_STAT, request);
  ASSERT_TRUE(stat);
  ASSERT_EQ(stat->divergent_size(), 1);
  EXPECT_EQ(from_wire(stat->divergent(0)).to_string(), "7.2");
}

TEST_F(StorageServerTest, GarbageAndStrangersDoNotHurt) {
  serve(7);
  auto& stranger = world_.start(world_.host("stranger"), "stranger");
  auto connection = world_.await(stranger, [](Env* env) -> Task<Result<std::unique_ptr<Connection>>> {
    co_return co_await env->net.connect("ss1:7000", 1s);
  }(&stranger.env()));
  ASSERT_TRUE(connection);
  auto sent = (*connection)->write({Bytes(100'000, '\x7f')});
  world_.run_for(100ms);
  wire::ServeRequest usurper;
  usurper.set_epoch(99);
  auto served = ask<wire::ServeReply>(client(), wire::SERVE, usurper);
  ASSERT_FALSE(served) << "only the name node says who serves";
  auto damaged = world_.await(*client().process, parse_reply<wire::VersionReply>(
                                                     client().peer->call(wire::PUT, "\xff\xff\xff", "x", 1s)));
  EXPECT_EQ(word(damaged), "INVALID");
  EXPECT_EQ(put(0, 7, 1, "no file"), "INVALID");
  EXPECT_EQ(put(kFile, 7, 1, "fine"), "7.1@7");
  connection->reset();
}

TEST_F(StorageServerTest, AnUploadOutlivesItsConnectionAndIsOneVersion) {
  serve(7);
  auto stage = [&](Client& from, uint64_t index, Bytes body) {
    wire::StageRequest request;
    request.set_file_id(kFile);
    request.set_epoch(7);
    request.set_upload_id(3);
    request.set_index(index);
    return ask<wire::StageReply>(from, wire::STAGE, request, std::move(body));
  };
  wire::CommitRequest commit;
  commit.set_file_id(kFile);
  commit.set_epoch(7);
  commit.set_upload_id(3);
  commit.mutable_request()->set_client(9);
  commit.mutable_request()->set_sequence(1);
  commit.set_chunk_count(3);
  commit.set_size_bytes(2 * kChunkSizeMax + 3);

  Client vanishing = connect();
  ASSERT_TRUE(stage(vanishing, 2, "end"));
  ASSERT_TRUE(stage(vanishing, 0, Bytes(kChunkSizeMax, 'a')));
  world_.kill(*vanishing.process);
  world_.run_for(100ms);
  EXPECT_EQ(read(kFile, 7), "NOT_FOUND") << "nothing of it shows";
  auto early = ask<wire::VersionReply>(client(), wire::COMMIT, commit);
  ASSERT_FALSE(early);
  EXPECT_NE(early.error().message.find("chunk 1"), std::string::npos) << early.error().message;
  ASSERT_TRUE(stage(client(), 1, Bytes(kChunkSizeMax, 'b')));
  EXPECT_EQ(word(ask<wire::VersionReply>(client(), wire::COMMIT, commit)), "7.1@7");
  EXPECT_EQ(word(ask<wire::VersionReply>(client(), wire::COMMIT, commit)), "7.1@7") << "a repeat";
  EXPECT_EQ(read(kFile, 7), Bytes(kChunkSizeMax, 'a'));
  EXPECT_EQ(server_->state()->uploads.size(), 0u);
}

TEST_F(StorageServerTest, WritersOfSentencesMergeAndHoldOthersOff) {
  serve(7);
  ASSERT_EQ(put(kFile, 7, 1, "One here. Two here."), "7.1@7");
  auto open = [&](Client& from, uint64_t sentence) {
    wire::EditOpenRequest request;
    request.set_file_id(kFile);
    request.set_epoch(7);
    request.set_sentence(sentence);
    request.set_user("admin");
    return ask<wire::EditOpenReply>(from, wire::EDIT_OPEN, request);
  };
  auto insert = [&](Client& from, uint64_t session, uint64_t word, Bytes content) {
    wire::EditInsertRequest request;
    request.set_session(session);
    request.set_word(word);
    request.set_content(std::move(content));
    return ask<wire::EditInsertReply>(from, wire::EDIT_INSERT, request);
  };
  auto commit = [&](Client& from, uint64_t session, uint64_t sequence) {
    wire::EditCommitRequest request;
    request.set_session(session);
    request.set_epoch(7);
    request.set_file_id(kFile);
    request.mutable_request()->set_client(9);
    request.mutable_request()->set_sequence(sequence);
    return word(ask<wire::VersionReply>(from, wire::EDIT_COMMIT, request));
  };
  Client other = connect();
  auto first = open(client(), 0);
  auto second = open(other, 1);
  ASSERT_TRUE(first) << first.error().to_string();
  ASSERT_TRUE(second) << second.error().to_string();
  EXPECT_EQ(second->text(), "Two here.");
  EXPECT_EQ(open(other, 0).error().code, Code::kLocked);
  EXPECT_EQ(put(kFile, 7, 2, "all new"), "LOCKED");
  EXPECT_EQ(put(kFile, 7, 1, "One here. Two here."), "7.1@7") << "a repeat is no change";
  ASSERT_TRUE(insert(client(), first->session(), 1, "more. And"));
  ASSERT_TRUE(insert(other, second->session(), 0, "Now"));
  EXPECT_EQ(insert(other, first->session(), 0, "x").error().code, Code::kConflict) << "another's session";
  EXPECT_EQ(commit(client(), first->session(), 3), "7.2@7");
  EXPECT_EQ(commit(other, second->session(), 4), "7.3@7");
  EXPECT_EQ(commit(other, second->session(), 4), "7.3@7") << "a repeat";
  EXPECT_EQ(read(kFile, 7), "One more. And here. Now Two here.");

  ASSERT_TRUE(open(other, 0));
  EXPECT_EQ(put(kFile, 7, 5, "all new"), "LOCKED");
  other.peer->close();
  world_.run_for(50ms);
  EXPECT_EQ(put(kFile, 7, 5, "all new"), "7.4@7") << "a lost connection frees the sentence";
}

TEST_F(StorageServerTest, ASmallEditOfABigFileCostsAboutAChunk) {
  serve(7);
  auto stage = [&](uint64_t index, Bytes body) {
    wire::StageRequest request;
    request.set_file_id(kFile);
    request.set_epoch(7);
    request.set_upload_id(1);
    request.set_index(index);
    return ask<wire::StageReply>(client(), wire::STAGE, request, std::move(body)).has_value();
  };
  Bytes text = "First. ";
  while (text.size() < kChunkSizeMax) text += "word ";
  text.resize(kChunkSizeMax);
  ASSERT_TRUE(stage(0, text));
  ASSERT_TRUE(stage(1, Bytes(kChunkSizeMax, 'z')));
  ASSERT_TRUE(stage(2, ". Last"));
  wire::CommitRequest commit;
  commit.set_file_id(kFile);
  commit.set_epoch(7);
  commit.set_upload_id(1);
  commit.mutable_request()->set_client(9);
  commit.mutable_request()->set_sequence(1);
  commit.set_chunk_count(3);
  commit.set_size_bytes(2 * kChunkSizeMax + 6);
  ASSERT_EQ(word(ask<wire::VersionReply>(client(), wire::COMMIT, commit)), "7.1@7");
  auto before = server_->state()->store->durable_lsn();

  wire::EditOpenRequest open;
  open.set_file_id(kFile);
  open.set_epoch(7);
  open.set_sentence(2);
  auto opened = ask<wire::EditOpenReply>(client(), wire::EDIT_OPEN, open);
  ASSERT_TRUE(opened) << opened.error().to_string();
  EXPECT_EQ(opened->text(), "Last");
  wire::EditInsertRequest insert;
  insert.set_session(opened->session());
  insert.set_word(1);
  insert.set_content("words.");
  ASSERT_TRUE(ask<wire::EditInsertReply>(client(), wire::EDIT_INSERT, insert));
  wire::EditCommitRequest done;
  done.set_session(opened->session());
  done.set_file_id(kFile);
  done.set_epoch(7);
  done.mutable_request()->set_client(9);
  done.mutable_request()->set_sequence(2);
  ASSERT_EQ(word(ask<wire::VersionReply>(client(), wire::EDIT_COMMIT, done)), "7.2@7");
  EXPECT_LT(number(server_->state()->store->durable_lsn()) - number(before), uint64_t{kChunkSizeMax});

  wire::ReadRequest tail;
  tail.set_file_id(kFile);
  tail.set_epoch(7);
  tail.set_offset(2 * kChunkSizeMax - 1);
  tail.set_length(100);
  auto reply = world_.await(*client().process,
                            receive(client().peer->call(wire::READ, permitted(tail).SerializeAsString(), {}, 10s)));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "z. Last words.");
}

TEST_F(StorageServerTest, DeletedIsDeleted) {
  serve(7);
  ASSERT_EQ(put(kFile, 7, 1, "one"), "7.1@7");
  wire::DeleteFileRequest request;
  request.set_file_id(kFile);
  request.set_epoch(7);
  request.mutable_request()->set_client(1);
  request.mutable_request()->set_sequence(1);
  EXPECT_EQ(word(order<wire::VersionReply>(wire::DELETE_FILE, request)), "7.2@7");
  EXPECT_EQ(word(order<wire::VersionReply>(wire::DELETE_FILE, request)), "7.2@7");
  EXPECT_EQ(put(kFile, 7, 2, "two"), "NOT_FOUND");
  EXPECT_EQ(read(kFile, 7), "NOT_FOUND");
}

TEST_F(StorageServerTest, AStopDrainsAnnouncesAndSaysGoodbye) {
  serve(7);
  for (uint64_t i = 1; i <= 10; ++i) ASSERT_EQ(put(i, 7, i, "x"), "7.1@7");
  server_->stop();
  ASSERT_TRUE(world_.run_until([&] { return ended_.has_value(); }, 5s));
  EXPECT_TRUE(*ended_) << ended_->error().to_string();
  EXPECT_EQ(nm_.announced.size(), 10u);
  EXPECT_EQ(nm_.leaves, 1);
  start_server();
  EXPECT_EQ(read(3, 0), "x");
}

TEST_F(StorageServerTest, ARefusedRegistrationOrAForeignFolderEndsIt) {
  kill_server();
  start_server("ss2");
  ASSERT_TRUE(ended_.has_value());
  ASSERT_FALSE(*ended_);
  EXPECT_NE(ended_->error().message.find("belongs to ss1"), std::string::npos) << ended_->error().message;
  nm_.refusal = Error{Code::kConflict, "ss1 has another store"};
  start_server();
  ASSERT_TRUE(world_.run_until([&] { return ended_.has_value(); }, 5s));
  ASSERT_FALSE(*ended_);
  EXPECT_EQ(ended_->error().message, "ss1 has another store");
}

TEST_F(StorageServerTest, AFullDiskRefusesChangesAndServesOn) {
  serve(7);
  ASSERT_EQ(put(kFile, 7, 1, "one"), "7.1@7");
  auto& disk = world_.host("ss1").disk;
  disk.set_quota(0);
  EXPECT_EQ(put(kFile, 7, 2, Bytes(300'000, 'x')), "NO_SPACE");
  EXPECT_EQ(put(6, 7, 3, "two"), "NO_SPACE");
  EXPECT_EQ(read(kFile, 7), "one");
  disk.set_quota(std::nullopt);
  EXPECT_EQ(put(kFile, 7, 2, Bytes(300'000, 'x')), "7.2@7") << "the repeat of what was refused";
  EXPECT_FALSE(ended_.has_value());
}

TEST_F(StorageServerTest, WhatIsLeftOfAFullDiskIsForDeletions) {
  serve(7);
  ASSERT_EQ(put(kFile, 7, 1, "one"), "7.1@7");
  auto& disk = world_.host("ss1").disk;
  disk.set_quota(1 << 30);
  disk.set_quota((1 << 30) - disk.space().free_bytes + (12 << 20));
  world_.run_for(1s);
  EXPECT_EQ(put(6, 7, 2, "two"), "NO_SPACE");
  wire::DeleteFileRequest request;
  request.set_file_id(kFile);
  request.set_epoch(7);
  EXPECT_EQ(word(order<wire::VersionReply>(wire::DELETE_FILE, request)), "7.2@7");
}

TEST_F(StorageServerTest, ANameNodeWithAFullDiskEndsNoServer) {
  serve(7);
  nm_.full = true;
  ASSERT_EQ(put(kFile, 7, 1, "one"), "7.1@7");
  world_.run_for(3s);
  EXPECT_FALSE(ended_.has_value());
  EXPECT_EQ(put(kFile, 7, 2, "two"), "7.2@7") << "its lease goes on";
  nm_.full = false;
  world_.run_for(1s);
  EXPECT_EQ(nm_.announced.size(), 2u);
  EXPECT_EQ(nm_.registrations.size(), 1u);
  kill_server();
  nm_.full = true;
  start_server();
  world_.run_for(3s);
  EXPECT_FALSE(ended_.has_value());
}

TEST_F(StorageServerTest, AFailedSyncEndsIt) {
  serve(7);
  ASSERT_EQ(put(kFile, 7, 1, "one"), "7.1@7");
  world_.host("ss1").disk.fail_call(sim::DiskCall::kSync, 1);
  EXPECT_EQ(put(kFile, 7, 2, "two"), "UNAVAILABLE");
  ASSERT_TRUE(world_.run_until([&] { return ended_.has_value(); }, 5s));
  EXPECT_FALSE(*ended_);
}

}  // namespace
}  // namespace understudy
