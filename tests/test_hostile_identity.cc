// What somebody with a connection, but without the right, can try with sessions, capabilities, repeats and names, against
// a whole cluster on the simulator: the right refusal, nothing changed, memory bounded. The transport's side of it is
// test_hostile_transport.
#include <gmock/gmock.h>

#include <malloc.h>

#include "client/session.h"
#include "common/crypto/key_ring.h"
#include "common/wire/call.h"
#include "common/wire/identity.pb.h"
#include "nm/catalogue_db.h"
#include "ss/storage_server.h"
#include "tests/sim/cluster.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class HostileIdentity : public ::testing::Test {
 protected:
  void start(std::vector<std::string> name_node_arguments = {}) {
    cluster_.start("nm", name_node_arguments);
    cluster_.start("ss1");
    cluster_.start("ss1_backup");
    ASSERT_TRUE(world_.run_until([this] { return cluster_.catalogue() && in_sync(); }, 60s));
    ASSERT_TRUE(cluster_.add_users({"ann", "ben"}));
    cluster_.client("ann");
    cluster_.client("ben");
    ASSERT_TRUE(run("ann", "APPEND /a.txt text", "CREATE /a.txt"));
    world_.run_for(2s);
  }
  bool in_sync() {
    int count = 0;
    for (const auto& [id, server] : cluster_.catalogue()->servers()) count += server.in_sync;
    return count == 2;
  }
  // Both commands, the second one first.
  bool run(const std::string& user, const std::string& line, const std::string& before = {}) {
    for (const std::string& command : {before, line}) {
      if (command.empty()) continue;
      auto& done = cluster_.client(user).begin(command);
      world_.run_until([&] { return done.ended(); }, 60s);
      if (!done.ended() || done.status() != 0) {
        said_ = done.output();
        return false;
      }
      said_ = done.output();
    }
    return true;
  }
  uint64_t applied() const { return cluster_.catalogue()->applied_index(); }
  Lsn stored() const { return cluster_.server("ss1")->state()->store->durable_lsn(); }
  Bytes token_of(const std::string& user) { return cluster_.client(user).session().options().token; }

  struct Talk {
    Talk() = default;
    Talk(Talk&&) = default;
    ~Talk() {
      if (peer) peer->close();
    }
    std::shared_ptr<Peer> peer;  // Its own task has it too.
    SimProcess* process = nullptr;
    wire::HelloReply hello;
  };
  static Task<void> run_peer(std::shared_ptr<Peer> peer) { co_await peer->run(); }
  static Task<Result<Unit>> dial(Talk* talk, Address address, wire::HelloRequest hello) {
    auto connection = co_await talk->process->env().net.connect(address, 2s);
    if (!connection) co_return std::unexpected(connection.error());
    talk->peer = std::make_shared<Peer>(talk->process->env(), std::move(*connection), nullptr);
    talk->process->spawn(run_peer(talk->peer));
    auto reply = co_await call<wire::HelloReply>(talk->peer.get(), wire::HELLO, hello, 2s);
    if (!reply) co_return std::unexpected(reply.error());
    talk->hello = *reply;
    co_return Unit{};
  }
  Talk connect(const Address& address, Bytes token = {}, wire::HelloRequest::Role role = wire::HelloRequest::CLIENT) {
    Talk talk;
    talk.process = &world_.start(world_.host("mallory"), "mallory");
    wire::HelloRequest hello;
    hello.set_protocol_version(1);
    hello.set_role(role);
    hello.set_name("ann");
    hello.set_token(std::move(token));
    auto dialled = world_.await(*talk.process, dial(&talk, address, hello));
    EXPECT_TRUE(dialled) << dialled.error().to_string();
    return talk;
  }
  static Task<Result<Reply>> wait(Future<Result<Reply>> answer) { co_return co_await answer; }
  Result<Reply> ask(Talk& talk, uint16_t type, const google::protobuf::MessageLite& request, Bytes body = {}) {
    return world_.await(*talk.process, wait(talk.peer->call(type, request.SerializeAsString(), std::move(body), 20s)));
  }
  static std::string word(const Result<Reply>& reply) { return reply ? "done" : std::string(code_name(reply.error().code)); }

  // What a session may do at all, tried by that token: to look, to change.
  std::string tried(Bytes token) {
    Talk talk = connect("nm:7400", std::move(token));
    EXPECT_EQ(talk.hello.user(), "") << "HELLO must not take it for a session";
    const uint64_t before = applied();
    std::string looked = word(ask(talk, wire::WHO_AM_I, wire::WhoAmIRequest()));
    wire::CreateFolderRequest folder;
    folder.set_path("/by-mallory");
    folder.mutable_request()->set_client(666);
    folder.mutable_request()->set_sequence(++sequence_);
    std::string changed = word(ask(talk, wire::CREATE_FOLDER, folder));
    wire::LocateRequest locate;
    locate.set_path("/a.txt");
    std::string located = word(ask(talk, wire::LOCATE, locate));
    wire::LoginRequest renewal;
    renewal.set_user("ann");
    renewal.set_token(talk.hello.token_left_ms() > 0 ? "" : last_token_);
    std::string renewed = renewal.token().empty() ? looked : word(ask(talk, wire::LOGIN, renewal));
    EXPECT_EQ(applied(), before) << "something was changed";
    EXPECT_EQ(looked, changed);
    EXPECT_EQ(looked, located);
    EXPECT_EQ(looked, renewed);
    return looked;
  }
  std::string refused_token(Bytes token) {
    last_token_ = token;
    return tried(std::move(token));
  }

  SimWorld world_{5};
  Cluster cluster_{world_};
  std::string said_;
  Bytes last_token_;
  uint64_t sequence_ = 0;
};

TEST_F(HostileIdentity, TokensThatAreNotOurs) {
  start();
  const Bytes good = token_of("ann");
  ASSERT_GT(good.size(), 40u);
  Talk honest = connect("nm:7400", good);
  EXPECT_EQ(honest.hello.user(), "ann");
  EXPECT_EQ(refused_token("x"), "UNAUTHENTICATED");
  EXPECT_EQ(refused_token(Bytes(100, 'z')), "UNAUTHENTICATED");
  EXPECT_EQ(refused_token(Bytes(3000, '\0')), "UNAUTHENTICATED");
  for (size_t size : {size_t{1}, size_t{4}, size_t{20}, size_t{36}, good.size() - 1}) {
    EXPECT_EQ(refused_token(good.substr(0, size)), "UNAUTHENTICATED") << "truncated to " << size;
  }
  for (size_t at : {size_t{0}, size_t{5}, size_t{35}, size_t{38}, good.size() - 1}) {
    Bytes bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    EXPECT_EQ(refused_token(bad), "UNAUTHENTICATED") << "a bit of byte " << at;
  }
  EXPECT_EQ(refused_token(good + "more"), "UNAUTHENTICATED");
  // As another user, by the same signature; and by keys that sign something else, or nowhere.
  wire::SessionToken session;
  ASSERT_TRUE(session.ParseFromString(good.substr(36)));
  session.set_user("admin");
  EXPECT_EQ(refused_token(good.substr(0, 36) + session.SerializeAsString()), "UNAUTHENTICATED");
  auto& catalogue = const_cast<Catalogue&>(*cluster_.catalogue());
  for (const auto& [label, keys] : std::vector<std::pair<std::string, std::vector<KeyRow>>>{
           {"understudy session", catalogue.keys("ss1")}, {"understudy capability", catalogue.keys("")},
           {"understudy session", {{1, Bytes(32, 'k'), 0}}}}) {
    KeyRing ring(label);
    ring.set({{keys.front().id, keys.front().secret}});
    EXPECT_EQ(refused_token(ring.sign(keys.front().id, session.SerializeAsString())), "UNAUTHENTICATED") << label;
  }
  // Another cluster's, whose keys have the same numbers.
  SimWorld other_world(6);
  Cluster other(other_world);
  other.start("nm");
  ASSERT_TRUE(other_world.run_until([&] { return other.catalogue() != nullptr; }, 60s));
  other_world.run_for(1s);
  ASSERT_TRUE(other.add_users({"ann"}));
  other.status();
  auto& there = other.client("ann");
  auto asked = there.await(there.session().ask<wire::WhoAmIReply>(wire::WHO_AM_I, {}), 10s);
  ASSERT_TRUE(asked && *asked);
  EXPECT_EQ(refused_token(there.session().options().token), "UNAUTHENTICATED");
}

TEST_F(HostileIdentity, TokensThatAreOver) {
  start({"--session-life", "1h"});
  // By time.
  const Bytes early = token_of("ann");
  world_.run_for(2h);
  EXPECT_EQ(refused_token(early), "UNAUTHENTICATED");
  // By LOGOUT, at every connection that showed it.
  ASSERT_TRUE(run("ann", "READ /a.txt"));
  const Bytes copied = token_of("ann");
  Talk elsewhere = connect("nm:7400", copied);
  EXPECT_EQ(elsewhere.hello.user(), "ann");
  wire::LoginRequest renew;
  renew.set_token(copied);
  auto renewed = ask(elsewhere, wire::LOGIN, renew);
  ASSERT_TRUE(renewed);
  wire::LoginReply renewal;
  ASSERT_TRUE(renewal.ParseFromString(renewed->message));
  ASSERT_TRUE(run("ann", "LOGOUT"));
  EXPECT_EQ(word(ask(elsewhere, wire::WHO_AM_I, wire::WhoAmIRequest())), "UNAUTHENTICATED");
  EXPECT_EQ(refused_token(copied), "UNAUTHENTICATED");
  EXPECT_EQ(refused_token(renewal.token()), "UNAUTHENTICATED") << "a renewal is the same session";
  EXPECT_FALSE(run("ann", "READ /a.txt"));
  EXPECT_THAT(said_, HasSubstr("UNAUTHENTICATED"));
  // By LOGOUT --all, from another session.
  ASSERT_TRUE(run("ben", "WHOAMI"));
  Talk first = connect("nm:7400", token_of("ben"));
  wire::LoginRequest login;
  login.set_user("ben");
  login.set_password(Cluster::password_of("ben"));
  Talk second = connect("nm:7400");
  ASSERT_TRUE(ask(second, wire::LOGIN, login));
  wire::LogoutRequest all;
  all.set_all(true);
  ASSERT_TRUE(ask(second, wire::LOGOUT, all));
  EXPECT_EQ(word(ask(first, wire::WHO_AM_I, wire::WhoAmIRequest())), "UNAUTHENTICATED");
  EXPECT_EQ(word(ask(second, wire::WHO_AM_I, wire::WhoAmIRequest())), "UNAUTHENTICATED");
  // By the removal of its user, also for whoever gets that name next.
  Talk third = connect("nm:7400");
  ASSERT_TRUE(ask(third, wire::LOGIN, login));
  ASSERT_TRUE(run("observer", "DELUSER ben"));
  EXPECT_EQ(word(ask(third, wire::WHO_AM_I, wire::WhoAmIRequest())), "UNAUTHENTICATED");
  ASSERT_TRUE(cluster_.add_users({"ben"}));
  EXPECT_EQ(word(ask(third, wire::WHO_AM_I, wire::WhoAmIRequest())), "UNAUTHENTICATED");
}

TEST_F(HostileIdentity, AUsersTokenIsNoServersAndNoCapability) {
  start();
  const Bytes token = token_of("ann");
  const uint64_t before = applied();
  Talk talk = connect("nm:7400", token, wire::HelloRequest::STORAGE_SERVER);
  EXPECT_EQ(talk.hello.user(), "");
  wire::RegisterRequest registration;
  registration.set_server("ss1");
  registration.set_store_id(std::string(32, 'a'));
  registration.set_incarnation(7);
  EXPECT_EQ(word(ask(talk, wire::REGISTER, registration)), "DENIED");
  registration.set_server("ss9");
  EXPECT_EQ(word(ask(talk, wire::REGISTER, registration)), "DENIED");
  wire::HeartbeatRequest heartbeat;
  heartbeat.set_server("ss1");
  EXPECT_EQ(word(ask(talk, wire::HEARTBEAT, heartbeat)), "DENIED");
  wire::AnnounceRequest announce;
  announce.set_server("ss1");
  EXPECT_EQ(word(ask(talk, wire::ANNOUNCE, announce)), "DENIED");
  EXPECT_EQ(word(ask(talk, wire::WHO_AM_I, wire::WhoAmIRequest())), "DENIED") << "who says that it is a server is no user";
  EXPECT_EQ(applied(), before);

  // At a storage server: neither as a capability nor as the other half.
  const Lsn stored_before = stored();
  const wire::Location location = *cluster_.client("ann").await(cluster_.client("ann").session().look_up("/a.txt", true), 10s).value();
  Talk server = connect(location.primary().address());
  wire::PutRequest put;
  put.set_file_id(location.file_id());
  put.set_epoch(location.epoch());
  put.mutable_request()->set_client(666);
  put.mutable_request()->set_sequence(1);
  put.set_user("ann");
  for (const Bytes& shown : {Bytes(), token}) {
    put.set_capability(shown);
    EXPECT_EQ(word(ask(server, wire::PUT, put, "mallory's")), "UNAUTHENTICATED");
  }
  for (auto type : {wire::FETCH, wire::FETCH_CHUNK, wire::MISSING_CHUNKS, wire::STORE_CHUNK, wire::APPLY}) {
    EXPECT_EQ(word(ask(server, type, wire::Done())), "DENIED") << type;
  }
  for (auto type : {wire::SERVE, wire::DRAIN, wire::DELETE_FILE, wire::SET_ASIDE, wire::RAISE_ACCESS, wire::LIST_OBJECTS}) {
    EXPECT_EQ(word(ask(server, type, wire::Done())), "INVALID") << type;
  }
  EXPECT_EQ(stored(), stored_before);
  EXPECT_TRUE(run("ann", "READ /a.txt"));
  EXPECT_EQ(said_, "text");
}

// What was recorded and is sent again, by whoever: never a second effect, and another's answer for nobody.
TEST_F(HostileIdentity, ReplayedRequests) {
  start({"--capability-life", "5s"});
  auto& ann = cluster_.client("ann");
  const wire::Location location = *ann.await(ann.session().look_up("/a.txt", true), 10s).value();
  wire::AppendRequest append;
  append.set_file_id(location.file_id());
  append.set_epoch(location.epoch());
  append.set_capability(location.capability());
  append.mutable_request()->set_client(77);
  append.mutable_request()->set_sequence(1);
  Talk first = connect(location.primary().address());
  ASSERT_EQ(word(ask(first, wire::APPEND, append, "once")), "done");
  const Lsn after = stored();
  for (int i = 0; i < 3; ++i) {
    Talk again = connect(location.primary().address());
    EXPECT_EQ(word(ask(again, wire::APPEND, append, "once")), "done");
  }
  EXPECT_EQ(stored(), after) << "a repeat is answered, and does nothing";
  // By another user who may write the file too: the answer is not theirs.
  ASSERT_TRUE(run("ann", "ADDACCESS -W /a.txt ben"));
  world_.run_for(1s);
  const Lsn then = stored();  // The list went to the storage servers.
  auto& ben = cluster_.client("ben");
  const wire::Location of_ben = *ben.await(ben.session().look_up("/a.txt", true), 10s).value();
  auto by_ben = append;
  by_ben.set_capability(of_ben.capability());
  Talk third = connect(location.primary().address());
  EXPECT_EQ(word(ask(third, wire::APPEND, by_ben, "once")), "DENIED");
  // At the other half, which does not act; and later, when the capability is over.
  Talk other = connect(location.other().address());
  EXPECT_THAT(word(ask(other, wire::APPEND, append, "once")), AnyOf("STALE_EPOCH", "MOVED", "UNAUTHENTICATED"));
  world_.run_for(10s);
  EXPECT_EQ(word(ask(third, wire::APPEND, append, "once")), "UNAUTHENTICATED");
  EXPECT_EQ(stored(), then);
  EXPECT_TRUE(run("ann", "READ /a.txt"));
  EXPECT_EQ(said_, "textonce");

  // At the name node: the same request number is the first answer, whatever it asks for now.
  wire::CreateFolderRequest folder;
  folder.set_path("/plans");
  folder.mutable_request()->set_client(77);
  folder.mutable_request()->set_sequence(2);
  Talk name_node = connect("nm:7400", token_of("ann"));
  ASSERT_EQ(word(ask(name_node, wire::CREATE_FOLDER, folder)), "done");
  const uint64_t folders = cluster_.catalogue()->folders();
  EXPECT_EQ(word(ask(name_node, wire::CREATE_FOLDER, folder)), "done");
  Talk as_ben = connect("nm:7400", token_of("ben"));
  EXPECT_EQ(word(ask(as_ben, wire::CREATE_FOLDER, folder)), "DENIED") << "the answer is another user's";
  EXPECT_EQ(cluster_.catalogue()->folders(), folders);
}

TEST_F(HostileIdentity, NamesThatLeadElsewhere) {
  start();
  auto& catalogue = const_cast<Catalogue&>(*cluster_.catalogue());
  ASSERT_TRUE(run("ann", "CREATEFOLDER /in"));
  Talk talk = connect("nm:7400", token_of("ann"));
  const uint64_t files = catalogue.files(), folders = catalogue.folders();
  std::vector<std::string> paths = {"..", "/..", "/../etc/passwd", "/in/../../x", "/in/./x", "/in/..", "x", "in/x", "", "/.",
                                    std::string("/a\0b", 4), "/\x01", "/line\nbreak", "/tab\tin", "/\x7f", "/" + std::string(256, 'x'),
                                    "/" + std::string(9000, 'x')};
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "/d";
  paths.push_back(deep);
  paths.push_back("/\xff\xfe");
  auto with_request = [this](auto request) {
    request.mutable_request()->set_client(666);
    request.mutable_request()->set_sequence(++sequence_);
    return request;
  };
  for (const std::string& path : paths) {
    const std::string shown = path.substr(0, 40);
    wire::LocateRequest create;
    create.set_path(path);
    create.set_create(wire::LocateRequest::EXCLUSIVE);
    EXPECT_EQ(word(ask(talk, wire::LOCATE, with_request(create))), "INVALID") << shown;
    wire::CreateFolderRequest folder;
    folder.set_path(path);
    folder.set_parents(true);
    EXPECT_EQ(word(ask(talk, wire::CREATE_FOLDER, with_request(folder))), "INVALID") << shown;
    wire::CreateLinkRequest link;
    link.set_path(path);
    link.set_target("/etc");
    EXPECT_EQ(word(ask(talk, wire::CREATE_LINK, with_request(link))), "INVALID") << shown;
    wire::MoveRequest move;
    move.set_from("/a.txt");
    move.set_to(path);
    EXPECT_EQ(word(ask(talk, wire::MOVE, with_request(move))), "INVALID") << shown;
    wire::RemoveRequest remove;
    remove.set_path(path);
    EXPECT_NE(word(ask(talk, wire::REMOVE, with_request(remove))), "done") << shown;
    wire::SetAccessRequest access;
    access.set_path(path);
    access.set_user("ben");
    access.set_right(wire::RIGHT_WRITE);
    EXPECT_EQ(word(ask(talk, wire::SET_ACCESS, with_request(access))), "INVALID") << shown;
    wire::UndeleteRequest undelete;
    undelete.set_path(path);
    EXPECT_NE(word(ask(talk, wire::UNDELETE, with_request(undelete))), "done") << shown;
  }
  EXPECT_EQ(catalogue.files(), files);
  EXPECT_EQ(catalogue.folders(), folders);
  EXPECT_TRUE(catalogue.find("/a.txt"));
  // A link leads only to where paths lead anyway, never out.
  wire::CreateLinkRequest out;
  out.set_path("/out");
  out.set_target("../../../../etc");
  ASSERT_EQ(word(ask(talk, wire::CREATE_LINK, with_request(out))), "done");
  wire::LocateRequest through;
  through.set_path("/out/passwd");
  EXPECT_NE(word(ask(talk, wire::LOCATE, through)), "done");
  // Names of servers are paths to nowhere either.
  world_.host("mallory").act_as(PeerIdentity::Role::kStorageServer, "../ss2");
  Talk server = connect("nm:7400", {}, wire::HelloRequest::STORAGE_SERVER);
  wire::RegisterRequest registration;
  registration.set_server("../ss2");
  registration.set_store_id(std::string(32, 'a'));
  registration.set_incarnation(7);
  registration.set_empty(true);
  registration.set_address("mallory:1");
  EXPECT_EQ(word(ask(server, wire::REGISTER, registration)), "INVALID");
  EXPECT_EQ(catalogue.servers().size(), 2u);
}

// Of a million groups within groups nothing is left in memory, and a storage server goes on.
TEST_F(HostileIdentity, NestingAtAStorageServer) {
  start();
  const wire::Location location =
      *cluster_.client("ann").await(cluster_.client("ann").session().look_up("/a.txt", true), 10s).value();
  Talk talk = connect(location.primary().address());
  const Bytes groups(1 << 20, '\x0b');
  // And messages within messages, as deep as they fit: each level one longer.
  Bytes messages;
  for (int i = 0; i < 2000; ++i) {
    Bytes head("\x62", 1);
    for (size_t size = messages.size();;) {
      head += static_cast<char>((size & 127) | (size > 127 ? 128 : 0));
      if ((size >>= 7) == 0) break;
    }
    messages = head + messages;
  }
  const Lsn before = stored();
  for (uint16_t type = 2; type < 200; ++type) {
    for (const Bytes* bomb : {&groups, static_cast<const Bytes*>(&messages)}) {
      auto reply = world_.await(*talk.process, wait(talk.peer->call(type, *bomb, {}, 20s)));
      // Fields that nobody knows are no damage; what is left of it is of a session that is not there.
      if ((type == wire::EDIT_ABORT || type == wire::EDIT_INSERT) && bomb == &messages) continue;
      EXPECT_FALSE(reply) << type;
      if (!reply) EXPECT_THAT(code_name(reply.error().code), AnyOf("INVALID", "DENIED", "UNAUTHENTICATED")) << type;
    }
  }
  EXPECT_EQ(stored(), before);
  EXPECT_TRUE(run("ann", "READ /a.txt"));
}

// Ten thousand who say hello and nothing more, at the name node and at a storage server: whoever works goes on.
TEST_F(HostileIdentity, TenThousandIdleConnections) {
  start();
  struct Crowd {
    static Task<void> one(Env& env, Address address, std::vector<std::unique_ptr<Connection>>* all) {
      auto connection = co_await env.net.connect(address, 10s);
      if (!connection) co_return;
      wire::HelloRequest hello;
      hello.set_protocol_version(1);
      hello.set_role(wire::HelloRequest::CLIENT);
      FrameWriter writer;
      writer.add({FrameKind::kRequest, wire::HELLO, 1, hello.SerializeAsString(), {}});
      (void)co_await (*connection)->write(writer.take());
      all->push_back(*std::move(connection));
    }
  };
  const wire::Location location =
      *cluster_.client("ann").await(cluster_.client("ann").session().look_up("/a.txt", true), 10s).value();
  auto& process = world_.start(world_.host("mallory"), "mallory");
  std::vector<std::unique_ptr<Connection>> idle;
  const size_t before = mallinfo2().uordblks;
  for (int i = 0; i < 10'000; ++i) {
    process.spawn(Crowd::one(process.env(), i % 2 == 0 ? "nm:7400" : location.primary().address(), &idle));
    if (i % 500 == 0) world_.run_for(50ms);
  }
  world_.run_for(20s);
  EXPECT_EQ(idle.size(), 10'000u);
  EXPECT_LT((mallinfo2().uordblks - before) / 10'000, 40u << 10) << "bytes for both ends of one";
  EXPECT_TRUE(run("ann", "APPEND /a.txt more"));
  EXPECT_TRUE(run("ben", "WHOAMI"));
  EXPECT_TRUE(in_sync());
  idle.clear();
}

// ---- A name node that is somebody else's, and who fetches a tree from it.

class EvilNameNode : public PeerHandler {
 public:
  explicit EvilNameNode(std::string name) : name_(std::move(name)) {}
  Task<Result<Reply>> handle(Peer*, uint16_t type, Bytes, Bytes) override {
    if (type == wire::HELLO) co_return make_reply(wire::HelloReply());
    if (type == wire::LOCATE) {
      wire::LocateReply reply;
      reply.mutable_location()->set_kind(wire::KIND_FOLDER);
      co_return make_reply(reply);
    }
    if (type != wire::LIST_FOLDER) co_return make_reply(wire::LoginReply());
    wire::EntriesReply reply;
    auto* entry = reply.add_entries();
    entry->set_kind(wire::KIND_LINK);
    entry->set_name(name_);
    entry->set_link_target("/etc/shadow");
    co_return make_reply(reply);
  }
  static Task<void> serve(Env& env, std::string name) {
    EvilNameNode self(name);
    auto listener = env.net.listen("evil:7400");
    CHECK(listener.has_value());
    std::vector<std::unique_ptr<Peer>> peers;
    TaskGroup tasks(env.executor);
    for (;;) {
      auto connection = co_await (*listener)->accept();
      if (!connection) co_return;
      peers.push_back(std::make_unique<Peer>(env, *std::move(connection), &self));
      tasks.spawn(peers.back()->run());
    }
  }

 private:
  std::string name_;
};

TEST(HostileTree, NothingIsWrittenOutsideItsFolder) {
  for (std::string name : {"../evil", "..", ".", "/etc/cron.d/evil", "a/b", "", "a\nb", "fine"}) {
    SimWorld world(3);
    world.host("evil").act_as(PeerIdentity::Role::kNameNode, "nm1");
    world.start(world.host("evil"), "evil", [name](Env& env) { return EvilNameNode::serve(env, name); });
    client::SessionOptions options{.name_nodes = {"evil:7400"}, .user = "ann", .token = "x"};
    SimClient victim(world, "victim", options);
    world.host("victim").disk.put("/home/keep", "kept");
    auto& got = victim.begin("GET -r /tree /home/target");
    ASSERT_TRUE(world.run_until([&] { return got.ended(); }, 60s)) << name;
    EXPECT_EQ(got.status() == 0, name == "fine") << name << ": " << got.output();
    if (name != "fine") EXPECT_THAT(got.output(), HasSubstr("INVALID")) << name;
    auto there = victim.env().disk.list("/home");
    ASSERT_TRUE(there);
    EXPECT_THAT(*there, ::testing::UnorderedElementsAre("keep", "target")) << name;
    EXPECT_FALSE(victim.env().disk.info("/etc"));
    for (auto& process : world.processes()) world.kill(*process);
  }
}

}  // namespace
}  // namespace understudy::sim
