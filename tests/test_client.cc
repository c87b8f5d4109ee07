// The client library against servers that do little, but die, hang and move on the
// simulator: who is asked, what is sent again, and what a user is told.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "client/local_io.h"
#include "client/sentence_edit.h"
#include "client/session.h"
#include "common/base/chunk_hash.h"
#include "common/wire/call.h"
#include "tests/sim/sim_world.h"

namespace understudy::client {
namespace {

using namespace std::chrono_literals;
using sim::SimProcess;
using sim::SimWorld;

// What the fake servers share: the test's own memory.
struct FakeCluster {
  wire::Location location;
  int creates = 0;
  std::map<std::string, std::map<uint64_t, Bytes>> staged;           // By server: chunk index -> bytes.
  uint64_t upload_id = 0;                                            // Of what is staged.
  std::map<std::string, std::vector<wire::RequestNumber>> changes;   // By server: PUTs and COMMITs.
  std::map<std::string, Bytes> contents;                             // By server.
  std::map<std::string, uint64_t> counters;                          // By server: its version.
  std::optional<Error> refusal;                                      // What every storage server answers, if set,
  std::map<std::string, Error> refusals;                             // or one of them.
  std::set<std::string> mute;                                        // Receive, and never answer;
  std::set<std::pair<std::string, uint16_t>> mute_to;                // only calls of that type.
  std::set<std::string> damaged;                                     // Their copies fail their checksums.
};

class FakeServer : public PeerHandler {
 public:
  FakeServer(Env& env, FakeCluster* cluster, std::string name) : env_(env), cluster_(cluster), name_(std::move(name)) {}

  Task<Result<Reply>> handle(Peer*, uint16_t type, Bytes message, Bytes body) override {
    if (type == wire::HELLO) co_return make_reply(wire::HelloReply());
    if (type == wire::LOCATE) {
      wire::LocateRequest request;
      request.ParseFromString(message);
      wire::LocateReply reply;
      *reply.mutable_location() = cluster_->location;
      if (request.create() != wire::LocateRequest::LOOK_UP && cluster_->creates++ == 0) {
        reply.mutable_location()->set_created(true);
      }
      co_return make_reply(reply);
    }
    if (cluster_->refusal) co_return std::unexpected(*cluster_->refusal);
    if (cluster_->refusals.contains(name_)) co_return std::unexpected(cluster_->refusals.at(name_));
    if (cluster_->mute.contains(name_) || cluster_->mute_to.contains({name_, type})) {
      note(type, message);
      auto forever = sleep_for(env_, 24h);
      co_await forever;
    }
    bool acting = cluster_->location.primary().server() == name_;
    wire::VersionReply done;
    done.mutable_version()->set_epoch(cluster_->location.epoch());
    if (type == wire::READ) co_return read(message);
    if (!acting) co_return fail(Code::kMoved, "not serving");
    if (type == wire::STAGE) {
      wire::StageRequest request;
      request.ParseFromString(message);
      cluster_->upload_id = request.upload_id();
      cluster_->staged[name_][request.index()] = std::move(body);
      auto slow = sleep_for(env_, 5ms);
      co_await slow;
      co_return make_reply(wire::StageReply());
    }
    if (type == wire::COMMIT) {
      wire::CommitRequest request;
      request.ParseFromString(message);
      Bytes whole;
      for (uint64_t i = 0; i < request.chunk_count(); ++i) {
        bool there = request.upload_id() == cluster_->upload_id && cluster_->staged[name_].contains(i);
        if (!there) co_return fail(Code::kNotFound, "chunk not staged");
        whole += cluster_->staged[name_][i];
      }
      body = std::move(whole);
    }
    if (type == wire::EDIT_OPEN) co_return make_reply(wire::EditOpenReply());
    note(type, message);
    cluster_->contents[name_] = std::move(body);
    done.mutable_version()->set_counter(++cluster_->counters[name_]);
    done.set_size_bytes(cluster_->contents[name_].size());
    co_return make_reply(done);
  }

  static Task<void> serve(Env& env, FakeCluster* cluster, std::string name, Address address) {
    FakeServer server(env, cluster, name);
    auto listener = env.net.listen(address);
    CHECK(listener.has_value());
    std::vector<std::unique_ptr<Peer>> peers;
    TaskGroup tasks(env.executor);
    for (;;) {
      auto accepting = (*listener)->accept();
      auto connection = co_await accepting;
      if (!connection) co_return;
      peers.push_back(std::make_unique<Peer>(env, *std::move(connection), &server));
      tasks.spawn(peers.back()->run());
    }
  }

 private:
  void note(uint16_t type, const Bytes& message) {
    wire::PutRequest put;
    wire::CommitRequest commit;
    if (type == wire::PUT && put.ParseFromString(message)) cluster_->changes[name_].push_back(put.request());
    if (type == wire::COMMIT && commit.ParseFromString(message)) cluster_->changes[name_].push_back(commit.request());
  }
  Result<Reply> read(const Bytes& message) {
    wire::ReadRequest request;
    request.ParseFromString(message);
    if (cluster_->damaged.contains(name_)) return fail(Code::kCorrupt, "a chunk is not what its name says");
    if (cluster_->counters[name_] < request.at_least().counter()) return fail(Code::kConflict, "nothing so new");
    const Bytes& content = cluster_->contents[name_];
    wire::ReadReply reply;
    reply.mutable_version()->set_counter(cluster_->counters[name_]);
    reply.set_size_bytes(content.size());
    reply.set_linearizable(request.epoch() != 0);
    return make_reply(reply, content.substr(std::min<size_t>(request.offset(), content.size()), request.length()));
  }
  Env& env_;
  FakeCluster* cluster_;
  std::string name_;
};

class BytesSource : public Source {
 public:
  BytesSource(Bytes bytes, bool rewinds) : bytes_(std::move(bytes)), rewinds_(rewinds) {}
  Task<Result<Bytes>> read(uint64_t offset, uint32_t size) override {
    if (!rewinds_ && offset < furthest_) co_return fail(Code::kUnavailable, "cannot go back");
    if (offset > 0) furthest_ = offset;
    co_return bytes_.substr(std::min<size_t>(offset, bytes_.size()), size);
  }

 private:
  Bytes bytes_;
  bool rewinds_;
  uint64_t furthest_ = 0;
};

class BytesSink : public Sink {
 public:
  Task<Status> write(Bytes piece) override {
    bytes += piece;
    co_return Status{};
  }
  Status restart() override {
    bytes.clear();
    return {};
  }
  Bytes bytes;
};

class ClientTest : public testing::Test {
 protected:
  void SetUp() override {
    start("nm");
    for (const char* name : {"ss1", "ss2"}) start(name);
    cluster_.location.set_file_id(7);
    cluster_.location.set_kind(wire::KIND_FILE);
    cluster_.location.set_pair("ss1");
    cluster_.location.set_right(wire::RIGHT_OWN);
    acts("ss1", 1);
    SessionOptions options;
    options.name_nodes = {"nm:7000"};
    options.timeout = 5s;
    session_.emplace(client_.env(), options);
  }
  void TearDown() override { session_.reset(); }

  void start(const std::string& name) {
    FakeCluster* cluster = &cluster_;
    Address address = name + ":7000";
    bool name_node = name == "nm";
    world_.host(name).act_as(name_node ? PeerIdentity::Role::kNameNode : PeerIdentity::Role::kStorageServer, name);
    servers_[name] = &world_.start(world_.host(name), name, [cluster, name, address](Env& env) {
      return FakeServer::serve(env, cluster, name, address);
    });
  }
  void acts(const std::string& name, uint64_t epoch) {
    std::string other = name == "ss1" ? "ss2" : "ss1";
    cluster_.location.set_epoch(epoch);
    cluster_.location.mutable_primary()->set_server(name);
    cluster_.location.mutable_primary()->set_address(name + ":7000");
    cluster_.location.mutable_other()->set_server(other);
    cluster_.location.mutable_other()->set_address(other + ":7000");
  }
  // Something that happens after `delay`, while the client waits.
  void later(Duration delay, std::function<void()> what) {
    world_.schedule(client_, world_.now() + delay, sim::EventKind::kHarness, std::move(what));
  }
  template <class T>
  T await(Task<T> task) {
    Instant begun = world_.now();
    T value = world_.await(client_, std::move(task));
    took_ = world_.now() - begun;
    return value;
  }

  SimWorld world_{1};
  SimProcess& client_ = world_.start(world_.host("client"), "client");
  FakeCluster cluster_;
  std::map<std::string, SimProcess*> servers_;
  std::optional<Session> session_;
  Duration took_{};
};

TEST_F(ClientTest, a_put_goes_on_at_the_successor_of_a_dead_primary) {
  EXPECT_TRUE(await(session_->put("/a", "one", {})));
  world_.kill(*servers_["ss1"]);
  later(300ms, [this] { acts("ss2", 2); });
  auto done = await(session_->put("/a", "two", {}));
  ASSERT_TRUE(done);
  EXPECT_EQ(done->version().epoch(), 2u);
  EXPECT_EQ(cluster_.contents["ss2"], "two");
  EXPECT_LT(took_, 500ms);
}

TEST_F(ClientTest, a_put_leaves_a_primary_that_hangs_with_the_same_request) {
  EXPECT_TRUE(await(session_->put("/a", "one", {})));
  cluster_.mute.insert("ss1");
  later(1s, [this] { acts("ss2", 2); });
  ASSERT_TRUE(await(session_->put("/a", "two", {})));
  EXPECT_LT(took_, 1300ms);
  ASSERT_EQ(cluster_.changes["ss1"].size(), 2u);
  ASSERT_EQ(cluster_.changes["ss2"].size(), 1u);
  EXPECT_EQ(cluster_.changes["ss1"][1].SerializeAsString(), cluster_.changes["ss2"][0].SerializeAsString());
}

TEST_F(ClientTest, a_slow_primary_is_waited_for_and_asked_once) {
  EXPECT_TRUE(await(session_->put("/a", "one", {})));
  world_.pause(*servers_["ss1"]);
  later(2s, [this] { world_.resume(*servers_["ss1"]); });
  ASSERT_TRUE(await(session_->put("/a", "two", {})));
  EXPECT_EQ(cluster_.changes["ss1"].size(), 2u);
}

TEST_F(ClientTest, what_may_have_happened_is_called_unknown) {
  cluster_.mute.insert("ss1");
  later(1s, [this] {
    world_.kill(*servers_["ss1"]);
    cluster_.location.set_epoch(0);
  });
  auto done = await(session_->put("/a", "one", {}));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kUnavailable);
  EXPECT_TRUE(done.error().message.starts_with("outcome unknown")) << done.error().message;
}

TEST_F(ClientTest, what_may_have_happened_is_called_unknown_when_the_name_node_is_gone_too) {
  cluster_.mute.insert("ss1");
  later(1s, [this] {
    world_.kill(*servers_["nm"]);
    world_.kill(*servers_["ss1"]);
  });
  auto done = await(session_->put("/a", "one", {}));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kUnavailable);
  EXPECT_TRUE(done.error().message.starts_with("outcome unknown")) << done.error().message;
}

TEST_F(ClientTest, a_refusal_elsewhere_does_not_undo_what_may_have_happened) {
  cluster_.mute.insert("ss1");
  cluster_.refusals["ss2"] = {Code::kLocked, "file 0000000000000007: bob writes in it; try later"};
  later(1s, [this] { acts("ss2", 2); });
  auto done = await(session_->put("/a", "one", {}));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().to_string(),
            "UNAVAILABLE: outcome unknown: /a: bob writes in it; see whether it happened before you repeat it");
}

TEST_F(ClientTest, a_server_that_handed_over_has_refused) {
  EXPECT_TRUE(await(session_->put("/a", "one", {})));
  cluster_.refusals["ss2"] = {Code::kLocked, "file 0000000000000007: bob writes in it; try later"};
  acts("ss2", 2);
  auto done = await(session_->put("/a", "two", {}));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().to_string(), "LOCKED: /a: bob writes in it; try later");
}

TEST_F(ClientTest, an_upload_whose_commit_may_have_happened_is_called_unknown) {
  cluster_.mute_to.insert({"ss1", wire::COMMIT});
  later(1s, [this] {
    EXPECT_FALSE(cluster_.changes["ss1"].empty());
    acts("ss2", 2);
  });
  BytesSource source(Bytes(20 * kChunkSizeMax, 'x'), false);
  auto done = await(session_->upload("/big", &source, {.append = true}));
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().message.starts_with("outcome unknown")) << done.error().message;
}

TEST_F(ClientTest, a_sentence_that_may_have_been_written_is_called_unknown) {
  cluster_.mute_to.insert({"ss1", wire::EDIT_COMMIT});
  SentenceEdit edit(&*session_, "/a", 0, [](std::string) {});
  ASSERT_TRUE(await(edit.open()));
  later(1s, [this] {
    world_.kill(*servers_["ss1"]);
    cluster_.location.set_epoch(0);
  });
  auto done = await(edit.commit());
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().message.starts_with("outcome unknown")) << done.error().message;
}

TEST_F(ClientTest, a_server_speaks_of_an_id_and_the_user_reads_a_path) {
  cluster_.refusal = Error{Code::kNotFound, "file 0000000000000007: no version 9.9"};
  auto read = await(session_->read("/a", {0, 100, Version{Epoch{9}, 9}}));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message, "/a: no version 9.9");
  auto put = await(session_->put("/a", "one", {}));
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().message, "/a: no version 9.9");
}

TEST_F(ClientTest, what_was_never_sent_is_not) {
  world_.kill(*servers_["ss1"]);
  auto done = await(session_->put("/a", "one", {}));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kUnavailable);
  EXPECT_TRUE(done.error().message.contains("nothing was changed")) << done.error().message;
  EXPECT_LT(took_, 6s);
}

TEST_F(ClientTest, reads_are_hedged_but_never_go_back) {
  EXPECT_TRUE(await(session_->put("/a", "one", {})));
  cluster_.contents["ss2"] = "one";
  cluster_.counters["ss2"] = 1;
  world_.pause(*servers_["ss1"]);
  auto read = await(session_->read("/a", {0, 100, {}}));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->bytes, "one");
  EXPECT_EQ(read->server, "ss2");
  EXPECT_FALSE(read->linearizable);
  EXPECT_LT(took_, 60ms);
  world_.resume(*servers_["ss1"]);
  EXPECT_TRUE(await(session_->put("/a", "two", {})));
  world_.pause(*servers_["ss1"]);
  later(2s, [this] { world_.resume(*servers_["ss1"]); });
  read = await(session_->read("/a", {0, 100, {}}));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->bytes, "two") << "the other half's older version is not for this session";
}

TEST_F(ClientTest, a_damaged_copy_is_read_from_the_other_half) {
  ASSERT_TRUE(await(session_->put("/f", "hello", {})).has_value());
  cluster_.contents["ss2"] = "hello";
  cluster_.counters["ss2"] = 1;
  cluster_.damaged = {"ss1"};
  auto answer = await(session_->read("/f", {.length = 100}));
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_EQ(answer->bytes, "hello");
  EXPECT_EQ(answer->server, "ss2");
  EXPECT_FALSE(answer->linearizable);
  cluster_.damaged = {"ss1", "ss2"};
  auto refused = await(session_->read("/f", {.length = 100}));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
}

TEST_F(ClientTest, an_upload_survives_a_failover_and_a_download_reads_it_back) {
  Bytes content;
  for (int i = 0; content.size() < 20 * kChunkSizeMax + 5; ++i) content += std::to_string(i) + " ";
  later(20ms, [this] {
    EXPECT_FALSE(cluster_.staged["ss1"].empty());
    world_.kill(*servers_["ss1"]);
    acts("ss2", 2);
  });
  BytesSource source(content, true);
  auto done = await(session_->upload("/big", &source, {}));
  ASSERT_TRUE(done) << done.error().to_string();
  EXPECT_EQ(cluster_.contents["ss2"], content);
  BytesSink sink;
  auto read = await(session_->download("/big", {}, &sink));
  ASSERT_TRUE(read);
  EXPECT_EQ(sink.bytes, content);
  BytesSink part;
  DownloadOptions range;
  range.first = kChunkSizeMax - 1;
  range.last = 3 * kChunkSizeMax;
  ASSERT_TRUE(await(session_->download("/big", range, &part)));
  EXPECT_EQ(part.bytes, content.substr(kChunkSizeMax - 1, 2 * kChunkSizeMax + 2));
  range.last = content.size();
  auto beyond = await(session_->download("/big", range, &part));
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code, Code::kOutOfRange);
}

TEST_F(ClientTest, an_upload_that_cannot_rewind_fails_with_nothing_visible) {
  later(20ms, [this] {
    world_.kill(*servers_["ss1"]);
    acts("ss2", 2);
  });
  BytesSource source(Bytes(20 * kChunkSizeMax, 'x'), false);
  auto done = await(session_->upload("/big", &source, {}));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kUnavailable);
  EXPECT_TRUE(cluster_.changes["ss2"].empty());
}

// Standard input that arrives in these pieces.
class PiecesConsole : public Console {
 public:
  explicit PiecesConsole(std::vector<Bytes> pieces) : pieces_(std::move(pieces)) {}
  Task<Result<Bytes>> read(Env&) override {
    if (next_ == pieces_.size()) co_return Bytes{};
    co_return pieces_[next_++];
  }
  bool write(Stream, std::string_view) override { return true; }
  Task<Status> write_result(Env&, Bytes) override { co_return Status{}; }
  bool on_terminal(Stream) const override { return false; }
  Task<Result<std::string>> read_secret(Env&, std::string, std::string) override {
    co_return fail(Code::kInvalid, "nobody to ask");
  }

 private:
  std::vector<Bytes> pieces_;
  size_t next_ = 0;
};

TEST_F(ClientTest, lines_do_not_care_how_they_arrive) {
  PiecesConsole console({"a\nb", "c\n", "\n", "d", "e"});
  StandardInput input(client_.env(), console);
  std::vector<std::string> lines;
  for (;;) {
    auto line = await(input.next_line());
    ASSERT_TRUE(line);
    if (!*line) break;
    lines.push_back(**line);
  }
  EXPECT_EQ(lines, (std::vector<std::string>{"a", "bc", "", "de"}));
  PiecesConsole mixed({"a\nrest ", "of it"});
  StandardInput both(client_.env(), mixed);
  EXPECT_EQ(**await(both.next_line()), "a");
  EXPECT_EQ(await(both.read()), Bytes("rest "));
  EXPECT_EQ(await(both.read()), Bytes("of it"));
  EXPECT_EQ(await(both.read()), Bytes());
}

}  // namespace
}  // namespace understudy::client
