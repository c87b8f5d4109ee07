// What somebody on the network can try against a real name node over TLS on libuv, and what they get: the right
// refusal, nothing changed, memory bounded. People's side of it (forged capabilities, tokens) is test_hostile_identity.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "common/base/coding.h"
#include "common/base/log.h"
#include "common/env/env_util.h"
#include "common/tls/join_token.h"
#include "common/tls/tls_net.h"
#include "common/uv/uv_runtime.h"
#include "common/wire/call.h"
#include "common/wire/identity.pb.h"
#include "common/wire/trust.pb.h"
#include "nm/name_node.h"
#include "tests/co_assert.h"
#include "tests/sim/sim_world.h"
#include "tests/tls_fixture.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t pages = 0;
  file >> pages >> pages;
  return pages * 4096;
}

// A process's side of the network, with its own certificate or none.
struct Party {
  Party(Env& plain, TlsMaterial material) : net(plain, &credentials), env(net.env()) { CHECK(credentials.set(std::move(material))); }
  TlsCredentials credentials;
  TlsNet net;
  Env env;
};

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kMemoryIsOurs = false;  // The sanitizers' own is most of it.
#else
constexpr bool kMemoryIsOurs = true;
#endif

class HostileTransport : public ::testing::Test {
 public:
  void SetUp() override {
    (void)log_open({.level = LogLevel::kOff});
    const char* base = getenv("TMPDIR");
    folder_ = std::string(base ? base : "/tmp") + "/understudy-hostile-XXXXXX";
    ASSERT_NE(mkdtemp(folder_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Runs `story` against a name node, and sees at the end that the node is well and knows of no server.
  void run(Task<void> (HostileTransport::*story)()) { runtime_.run(with_name_node(story)); }
  Task<void> with_name_node(Task<void> (HostileTransport::*story)()) {
    TlsCredentials credentials;
    TlsNet tls(runtime_.env(), &credentials);
    Env env = tls.env();
    NameNodeOptions options;
    options.folder = folder_;
    options.listen = "127.0.0.1:0";
    options.tls = &tls;
    NameNode node(env, options);
    Status ended;
    TaskGroup running(env.executor);
    running.spawn(run_node(&node, &ended));
    auto started = node.started();
    co_await started;
    address_ = node.address();
    co_await (this->*story)();
    // An honest client finds everything as it was.
    auto honest = co_await talk(believer());
    CO_ASSERT_OK(honest);
    auto status = co_await call<wire::StatusReply>(honest->peer.get(), wire::STATUS, wire::StatusRequest(), 5s);
    CO_ASSERT_OK(status);
    EXPECT_EQ(status->pairs_size(), servers_expected_);
    EXPECT_EQ(status->files() + status->folders(), 0u);
    honest->peer.reset();
    talking_.cancel();
    parties_.clear();
    node.stop();
    co_await running.join();
    EXPECT_TRUE(ended);
  }
  static Task<void> run_node(NameNode* node, Status* ended) { *ended = co_await node->run(); }

  TlsMaterial believer() {
    std::ifstream file(folder_ + "/ca.pem");
    TlsMaterial material;
    material.authorities = *parse_pem_certificates(std::string(std::istreambuf_iterator<char>(file), {}));
    return material;
  }
  JoinToken token() {
    std::ifstream file(folder_ + "/join-token");
    std::string text;
    std::getline(file, text);
    return *parse_join_token(text);
  }
  Env& party(TlsMaterial material) { return parties_.emplace_back(std::make_unique<Party>(runtime_.env(), std::move(material)))->env; }

  struct Talk {
    std::shared_ptr<Peer> peer;
  };
  static Task<void> run_peer(std::shared_ptr<Peer> peer) { co_await peer->run(); }
  wire::LoginRequest administrator() {
    wire::LoginRequest login;
    std::ifstream(folder_ + "/admin-credentials") >> *login.mutable_user() >> *login.mutable_password();
    return login;
  }
  Task<Result<Talk>> talk(TlsMaterial material, wire::HelloRequest::Role role = wire::HelloRequest::CLIENT, bool log_in = true) {
    Env& env = party(std::move(material));
    auto connection = co_await env.net.connect(address_, 5s);
    if (!connection) co_return std::unexpected(connection.error());
    Talk talk{std::make_shared<Peer>(env, *std::move(connection), nullptr)};
    talking_.spawn(run_peer(talk.peer));
    wire::HelloRequest hello;
    hello.set_protocol_version(1);
    hello.set_role(role);
    hello.set_name("ss1");
    auto greeted = co_await call<wire::HelloReply>(talk.peer.get(), wire::HELLO, hello, 5s);
    if (!greeted) co_return std::unexpected(greeted.error());
    if (role == wire::HelloRequest::CLIENT && log_in) {
      auto entered = co_await call<wire::LoginReply>(talk.peer.get(), wire::LOGIN, administrator(), 5s);
      if (!entered) co_return std::unexpected(entered.error());
    }
    co_return talk;
  }

  Task<Result<wire::EnrollReply>> enroll(TlsMaterial as, std::string server, Bytes key, std::string id, Bytes secret) {
    CO_ASSIGN_OR_RETURN(Talk talking, co_await talk(std::move(as), wire::HelloRequest::STORAGE_SERVER));
    wire::EnrollRequest request;
    request.set_server(server);
    request.set_request(*make_certificate_request(key));
    request.set_token_id(id);
    request.set_token_secret(secret);
    co_return co_await call<wire::EnrollReply>(talking.peer.get(), wire::ENROLL, request, 5s);
  }
  Task<Code> code_of_register(TlsMaterial as, std::string server) {
    auto talking = co_await talk(std::move(as), wire::HelloRequest::STORAGE_SERVER);
    if (!talking) co_return talking.error().code;
    wire::RegisterRequest request;
    request.set_server(server);
    request.set_store_id(std::string(32, 'a'));
    request.set_incarnation(7);
    request.set_empty(true);
    request.set_address("127.0.0.1:1");
    auto reply = co_await call<wire::RegisterReply>(talking->peer.get(), wire::REGISTER, request, 5s);
    co_return reply ? Code{} : reply.error().code;
  }
  static TlsMaterial shown(const Bytes& key, const wire::EnrollReply& reply) {
    TlsMaterial material;
    material.private_key = key;
    material.certificates.assign(reply.certificates().begin(), reply.certificates().end());
    material.authorities.assign(reply.authorities().begin(), reply.authorities().end());
    return material;
  }

  Task<void> outsiders();
  Task<void> joining();
  Task<void> impostors();
  Task<void> hang_up();
  Task<void> bombs();
  Task<void> idle_crowd();

  UvRuntime runtime_;
  std::string folder_;
  Address address_;
  int servers_expected_ = 0;
  std::vector<std::unique_ptr<Party>> parties_;
  TaskGroup talking_{runtime_.env().executor};
};

Task<void> HostileTransport::outsiders() {
  // Plaintext: told, not served.
  auto plain = co_await runtime_.env().net.connect(address_, 5s);
  CO_ASSERT_OK(plain);
  {
    Peer peer(runtime_.env(), *std::move(plain), nullptr);
    TaskGroup running(runtime_.env().executor);
    running.spawn(peer.run());
    auto greeted = co_await call<wire::HelloReply>(&peer, wire::HELLO, wire::HelloRequest(), 5s);
    CO_ASSERT(!greeted);
    EXPECT_EQ(greeted.error().code, Code::kInvalid);
    EXPECT_THAT(greeted.error().message, HasSubstr("TLS"));
    running.cancel();
  }
  // A certificate of another cluster, with the right names in it.
  TestAuthority stranger;
  auto impostor = stranger.storage_server("ss1");
  impostor.authorities = believer().authorities;
  auto refused = co_await code_of_register(impostor, "ss1");
  EXPECT_EQ(refused, Code::kUnauthenticated);
  // None at all.
  EXPECT_EQ(co_await code_of_register(believer(), "ss1"), Code::kDenied);
  auto talking = co_await talk(believer(), wire::HelloRequest::STORAGE_SERVER);
  CO_ASSERT_OK(talking);
  wire::HeartbeatRequest heartbeat;
  heartbeat.set_server("ss1");
  auto beaten = co_await call<wire::HeartbeatReply>(talking->peer.get(), wire::HEARTBEAT, heartbeat, 5s);
  CO_ASSERT(!beaten);
  EXPECT_EQ(beaten.error().code, Code::kDenied);
  // An administrator's session is no server's certificate.
  auto administrator = co_await talk(believer());
  CO_ASSERT_OK(administrator);
  for (auto type : {wire::REGISTER, wire::HEARTBEAT, wire::ANNOUNCE, wire::LEAVE, wire::REPLICATE}) {
    auto reply = co_await administrator->peer->call(type, {}, {}, 5s);
    CO_ASSERT(!reply);
    EXPECT_EQ(reply.error().code, Code::kDenied) << type;
  }
}

Task<void> HostileTransport::joining() {
  JoinToken good = token();
  Bytes key = *make_private_key();
  auto code = [](const Result<wire::EnrollReply>& reply) { return reply ? Code{} : reply.error().code; };
  Bytes wrong = good.secret;
  wrong[0] ^= 1;
  auto without = co_await enroll(believer(), "ss1", key, "", "");
  EXPECT_EQ(code(without), Code::kUnauthenticated);
  auto guessed = co_await enroll(believer(), "ss1", key, good.id, wrong);
  EXPECT_EQ(code(guessed), Code::kUnauthenticated);
  auto empty = co_await enroll(believer(), "ss1", key, good.id, "");
  EXPECT_EQ(code(empty), Code::kUnauthenticated);
  auto evil = co_await enroll(believer(), "ss1,URI:understudy:nm:nm1", key, good.id, good.secret);
  EXPECT_EQ(code(evil), Code::kInvalid);
  auto joined = co_await enroll(believer(), "ss1", key, good.id, good.secret);
  CO_ASSERT_OK(joined);
  // The name has its key now: the same token is of no use for it, not even with a certificate of its own.
  auto taken = co_await enroll(believer(), "ss1", *make_private_key(), good.id, good.secret);
  EXPECT_EQ(code(taken), Code::kUnauthenticated);
  Bytes other_key = *make_private_key();
  auto other = co_await enroll(believer(), "ss2", other_key, good.id, good.secret);
  CO_ASSERT_OK(other);
  auto sideways = co_await enroll(shown(other_key, *other), "ss1", *make_private_key(), good.id, good.secret);
  EXPECT_EQ(code(sideways), Code::kUnauthenticated);
  // Whoever has the key has the name, without any token: an expired certificate is made anew.
  auto again = co_await enroll(believer(), "ss1", key, "", "");
  EXPECT_EQ(code(again), Code{});
  // And may have another key for it.
  Bytes next = *make_private_key();
  auto renewed = co_await enroll(shown(key, *joined), "ss1", next, "", "");
  EXPECT_EQ(code(renewed), Code{});
  // Revoked: it lets nobody in.
  auto talking = co_await talk(believer());
  CO_ASSERT_OK(talking);
  wire::RevokeTokenRequest revoke;
  revoke.set_id(good.id);
  auto revoked = co_await call<wire::Done>(talking->peer.get(), wire::REVOKE_TOKEN, revoke, 5s);
  EXPECT_TRUE(revoked);
  auto late = co_await enroll(believer(), "ss3", *make_private_key(), good.id, good.secret);
  EXPECT_EQ(code(late), Code::kUnauthenticated);
  EXPECT_NE(token().id, good.id) << "the file has a fresh one";
}

Task<void> HostileTransport::impostors() {
  JoinToken good = token();
  Bytes key = *make_private_key();
  auto joined = co_await enroll(believer(), "ss2", key, good.id, good.secret);
  CO_ASSERT_OK(joined);
  TlsMaterial ss2 = shown(key, *joined);
  EXPECT_EQ(co_await code_of_register(ss2, "ss1"), Code::kDenied);
  EXPECT_EQ(co_await code_of_register(ss2, "nm1"), Code::kDenied);
  EXPECT_EQ(co_await code_of_register(ss2, "ss2"), Code{});
  servers_expected_ = 1;
  // It is REPLACEd: its certificate is as well made as before, and counts no more.
  for (int i = 0; i < 200; ++i) {
    auto talking = co_await talk(believer());
    CO_ASSERT_OK(talking);
    wire::ReplaceRequest replace;
    replace.set_server("ss2");
    auto replaced = co_await call<wire::ChangeReply>(talking->peer.get(), wire::REPLACE, replace, 5s);
    if (replaced) break;
    CO_ASSERT(replaced.error().code == Code::kConflict);  // Its connection is not gone yet.
    talking_.cancel();
    co_await sleep_for(runtime_.env(), 10ms);
  }
  EXPECT_EQ(co_await code_of_register(ss2, "ss2"), Code::kDenied);
  auto back = co_await enroll(ss2, "ss2", *make_private_key(), "", "");
  CO_ASSERT(!back);
  EXPECT_EQ(back.error().code, Code::kUnauthenticated);
}

// A frame's header by hand.
Bytes header(uint32_t message_size, uint32_t body_size) {
  Bytes bytes(kFrameHeaderSize, '\0');
  store_fixed<uint32_t>(bytes.data(), kFrameMagic);
  store_fixed<uint32_t>(bytes.data() + 4, message_size);
  store_fixed<uint32_t>(bytes.data() + 8, body_size);
  store_fixed<uint16_t>(bytes.data() + 12, wire::HELLO);
  bytes[14] = 1;
  return bytes;
}

Task<void> HostileTransport::bombs() {
  uint64_t before = resident_bytes();
  // Lengths that nobody can mean, before anybody is known: the connection ends, nothing is taken for them.
  for (auto [message, body] : {std::pair<uint32_t, uint32_t>{UINT32_MAX, 0}, {0, UINT32_MAX}, {16 << 20, 0}, {5000, 0}, {0, 1}}) {
    Env& env = party(believer());
    auto connection = co_await env.net.connect(address_, 5s);
    CO_ASSERT_OK(connection);
    std::vector<Bytes> pieces;
    pieces.push_back(header(message, body));
    (void)co_await (*connection)->write(std::move(pieces));
    auto answer = co_await (*connection)->read();
    EXPECT_TRUE(!answer || answer->empty()) << message << " " << body;
  }
  // Groups within groups, a million deep, as every message there is, and as the answer of none.
  auto talking = co_await talk(believer());
  CO_ASSERT_OK(talking);
  Bytes nested(1 << 20, '\x0b');
  for (uint16_t type = 2; type < 200; ++type) {
    auto reply = co_await talking->peer->call(type, nested, {}, 5s);
    if (reply) continue;  // Some take no message.
    EXPECT_NE(reply.error().code, Code::kInternal) << type;
    EXPECT_NE(reply.error().code, Code::kUnavailable) << type << ": " << reply.error().message;
  }
  if (kMemoryIsOurs) EXPECT_LT(resident_bytes(), before + (64 << 20));
}

// A password is hashed for a while; who asked for that is gone when it is found right. (run() asks for a log-in behind
// it, and they are hashed one at a time.)
Task<void> HostileTransport::hang_up() {
  auto talking = co_await talk(believer(), wire::HelloRequest::CLIENT, /*log_in=*/false);
  CO_ASSERT_OK(talking);
  auto unheard = talking->peer->call(wire::LOGIN, administrator().SerializeAsString(), {}, 5s);
  auto known = co_await talking->peer->call(wire::AUTHORITY, {}, {}, 5s);  // The log-in stands before it.
  talking->peer->close();
}

// As many as a test should open; `understudy-bench --clients 10000 idle` does the rest.
Task<void> HostileTransport::idle_crowd() {
  constexpr int kCrowd = 500;
  Env& env = party(believer());
  std::vector<std::unique_ptr<Connection>> crowd;
  uint64_t before = resident_bytes();
  for (int i = 0; i < kCrowd; ++i) {
    auto connection = co_await env.net.connect(address_, 5s);
    CO_ASSERT_OK(connection);
    crowd.push_back(*std::move(connection));
  }
  uint64_t each = (resident_bytes() - before) / kCrowd;
  if (kMemoryIsOurs) EXPECT_LT(each, 120u << 10) << "bytes for both ends of one";
  auto honest = co_await talk(believer());
  EXPECT_TRUE(honest);
}

TEST_F(HostileTransport, OutsidersAreRefused) { run(&HostileTransport::outsiders); }
TEST_F(HostileTransport, OnlyATokenLetsANameIn) { run(&HostileTransport::joining); }
TEST_F(HostileTransport, NobodyTakesAnothersName) { run(&HostileTransport::impostors); }
TEST_F(HostileTransport, BombsGoOffOutside) { run(&HostileTransport::bombs); }
TEST_F(HostileTransport, WhoHangsUpDuringALogInHurtsNobody) { run(&HostileTransport::hang_up); }
TEST_F(HostileTransport, IdleConnectionsCostLittle) { run(&HostileTransport::idle_crowd); }

// ---- Slow ones, with the simulator's clock: TLS over its network.

Task<void> hold_half_a_hello(Env& env, Bytes begin, bool* closed) {
  auto connection = co_await env.net.connect("server:7000", 5s);
  CO_ASSERT_OK(connection);
  std::vector<Bytes> pieces;
  if (!begin.empty()) pieces.push_back(begin);
  if (!begin.empty()) (void)co_await (*connection)->write(std::move(pieces));
  auto end = co_await (*connection)->read();
  EXPECT_TRUE(!end || end->empty());
  *closed = true;
}

Task<void> accept_all(Env& env, TlsMaterial material) {
  TlsCredentials credentials;
  CHECK(credentials.set(std::move(material)));
  TlsNet tls(env, &credentials);
  auto listener = tls.listen("server:7000");
  CHECK(listener);
  std::vector<std::unique_ptr<Connection>> accepted;
  while (true) {
    auto connection = co_await (*listener)->accept();
    if (!connection) co_return;
    accepted.push_back(*std::move(connection));
  }
}

TEST(SlowTransport, AHandshakeHasTenSeconds) {
  sim::SimWorld world(1);
  TestAuthority authority;
  TlsMaterial server = authority.name_node();
  world.start(world.host("server"), "server", [server](Env& env) { return accept_all(env, server); });
  auto& client = world.start(world.host("client"), "client");
  Bytes hello_of_4000("\x16\x03\x01\x0f\xa0\x01", 6);
  Instant begun = world.now();
  for (const Bytes& begin : {Bytes(), Bytes("\x16", 1), hello_of_4000}) {
    bool closed = false;
    Instant at = world.now();
    client.spawn(hold_half_a_hello(client.env(), begin, &closed));
    ASSERT_TRUE(world.run_until([&] { return closed; }, 30s)) << begin.size();
    EXPECT_GE(world.now() - at, 9s);
    EXPECT_LE(world.now() - at, 11s);
  }
  // What cannot be one of ours is not waited for.
  for (const Bytes& begin : {Bytes("GET / HTTP/1.1\r\n\r\n"), Bytes("\x16\x03\x01\xff\xff\x01", 6)}) {
    bool closed = false;
    Instant at = world.now();
    client.spawn(hold_half_a_hello(client.env(), begin, &closed));
    ASSERT_TRUE(world.run_until([&] { return closed; }, 30s));
    EXPECT_LE(world.now() - at, 1s);
  }
  EXPECT_LT(world.now() - begun, 40s);
}

}  // namespace
}  // namespace understudy
