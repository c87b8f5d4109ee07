// TLS over libuv: the conformance suite that every Env's connections pass, who is believed and who is
// not, and what somebody who speaks something else is told.
#include <gmock/gmock.h>

#include <filesystem>

#include "common/tls/tls_net.h"
#include "common/uv/uv_runtime.h"
#include "common/wire/peer.h"
#include "tests/env_conformance.h"
#include "tests/tls_fixture.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Role = PeerIdentity::Role;

// A process's Env with TLS in front of its network.
struct SecuredEnv {
  SecuredEnv(Env& plain, TlsMaterial material) : net(plain, &credentials), env(net.env()) {
    CHECK(credentials.set(std::move(material)));
  }
  TlsCredentials credentials;
  TlsNet net;
  Env env;
};

class TlsWorld : public EnvWorld {
 public:
  TlsWorld() : server_(runtime_.env(), authority_.name_node()), client_(runtime_.env(), authority_.client()) {
    const char* base = getenv("TMPDIR");
    std::string name = std::string(base ? base : "/tmp") + "/understudy-tls-XXXXXX";
    CHECK(mkdtemp(name.data()) != nullptr);
    folder_ = name;
  }
  ~TlsWorld() override { std::filesystem::remove_all(folder_); }
  Env& env(int host) override { return host == 0 ? client_.env : server_.env; }
  void run(Task<void> task) override { runtime_.run(std::move(task)); }
  std::string folder() override { return folder_; }
  Address listen_address(int) override { return "127.0.0.1:0"; }
  // Somebody listens, and never says a word.
  Address silent_address() override {
    silent_ = *runtime_.env().net.listen("127.0.0.1:0");
    return silent_->local();
  }

 private:
  TestAuthority authority_;
  UvRuntime runtime_;
  std::unique_ptr<Listener> silent_;
  SecuredEnv server_;
  SecuredEnv client_;
  std::string folder_;
};

std::unique_ptr<EnvWorld> make_tls_world() { return std::make_unique<TlsWorld>(); }
INSTANTIATE_TEST_SUITE_P(Tls, EnvConformance, testing::Values(&make_tls_world));

class Echo : public PeerHandler {
 public:
  Task<Result<Reply>> handle(Peer* peer, uint16_t, Bytes message, Bytes) override {
    last = peer->identity();
    co_return Reply{std::move(message), {}};
  }
  PeerIdentity last;
};

class TlsTest : public ::testing::Test {
 protected:
  // One call from a process with `client` to one with `server`: the answer, or what the caller is told.
  Result<Bytes> exchange(TlsMaterial server, TlsMaterial client) {
    SecuredEnv at(runtime_.env(), std::move(server));
    SecuredEnv from(runtime_.env(), std::move(client));
    return exchange_between(&at.env, &from.env);
  }
  Result<Bytes> exchange_between(Env* server, Env* client) {
    Result<Bytes> answer = fail(Code::kInternal, "not asked");
    runtime_.run(call(server, client, &answer));
    return answer;
  }
  Task<void> serve(Env* env, Listener* listener) {
    auto connection = co_await listener->accept();
    if (!connection) co_return;
    Peer peer(*env, *std::move(connection), &echo_);
    co_await peer.run();
    co_await peer.join_handlers();
  }
  Task<void> call(Env* server, Env* client, Result<Bytes>* answer) {
    auto listener = server->net.listen("127.0.0.1:0");
    CHECK(listener);
    TaskGroup serving(server->executor);
    serving.spawn(serve(server, listener->get()));
    auto connection = co_await client->net.connect((*listener)->local(), 5s);
    if (!connection) {
      *answer = std::unexpected(connection.error());
      co_return;
    }
    met_ = (*connection)->identity();
    Peer peer(*client, *std::move(connection), nullptr);
    serving.spawn(peer.run());
    auto reply = co_await peer.call(Peer::kHelloType, "hello", {}, 5s);
    *answer = reply ? Result<Bytes>(reply->message) : std::unexpected(reply.error());
    peer.close();
    co_await yield_now(*client);
  }
  void expect_refused(TlsMaterial server, TlsMaterial client, const std::string& words, Code code = Code::kUnauthenticated) {
    auto answer = exchange(std::move(server), std::move(client));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, code);
    EXPECT_THAT(answer.error().message, HasSubstr(words));
    EXPECT_EQ(echo_.last.role, Role::kNone) << "and the server heard nothing of it";
  }

  UvRuntime runtime_;
  TestAuthority authority_;
  TestAuthority stranger_;  // Of another cluster, with the same name.
  Echo echo_;
  PeerIdentity met_;
};

TEST_F(TlsTest, BothEndsKnowWhoIsThere) {
  auto answer = exchange(authority_.name_node(), authority_.storage_server("ss1_backup"));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(*answer, "hello");
  EXPECT_TRUE(met_.may_be(Role::kNameNode, "nm1"));
  EXPECT_TRUE(echo_.last.may_be(Role::kStorageServer, "ss1_backup"));
  EXPECT_EQ(echo_.last.key.size(), 32u);
}

TEST_F(TlsTest, AClientHasNoIdentityAndIsServed) {
  ASSERT_TRUE(exchange(authority_.name_node(), authority_.client()));
  EXPECT_TRUE(echo_.last.secured);
  EXPECT_EQ(echo_.last.role, Role::kNone);
}

TEST_F(TlsTest, AnotherClustersServerIsNotBelieved) {
  expect_refused(stranger_.name_node(), authority_.client(), "authority that is not this cluster's");
}
TEST_F(TlsTest, AnotherClustersStorageServerIsNotLetIn) {
  auto impostor = stranger_.storage_server("ss1");
  impostor.authorities = {authority_.signer.certificate};
  expect_refused(authority_.name_node(), impostor, "refuses our certificate");
}
TEST_F(TlsTest, AnExpiredCertificateIsNotBelieved) {
  expect_refused(authority_.server(Role::kNameNode, "nm1", TestAuthority::past()), authority_.client(), "has expired");
}
TEST_F(TlsTest, AnExpiredStorageServerIsNotLetIn) {
  expect_refused(authority_.name_node(), authority_.server(Role::kStorageServer, "ss1", TestAuthority::past()), "expired");
}
// Whoever holds a server's certificate is no authority by it.
TEST_F(TlsTest, AServerCannotMakeCertificates) {
  auto ss1 = authority_.storage_server("ss1");
  TlsMaterial forged;
  forged.private_key = *make_private_key();
  auto request = make_certificate_request(forged.private_key);
  auto made = issue_certificate({ss1.private_key, ss1.certificates[0]}, *request, Role::kNameNode, "nm1", TestAuthority::around_now());
  ASSERT_TRUE(made);
  forged.certificates = {*made, ss1.certificates[0], authority_.signer.certificate};
  expect_refused(forged, authority_.client(), "");
}

TEST_F(TlsTest, AFingerprintIsEnoughToBelieve) {
  TlsMaterial client;
  client.fingerprints = {authority_.fingerprint()};
  EXPECT_TRUE(exchange(authority_.name_node(), client));
  client.fingerprints = {stranger_.fingerprint()};
  EXPECT_FALSE(exchange(authority_.name_node(), client));
}

TEST_F(TlsTest, TheFirstAuthorityIsBelievedOnlyOnce) {
  SecuredEnv client(runtime_.env(), {.believe_first = true});
  SecuredEnv ours(runtime_.env(), authority_.name_node());
  SecuredEnv other(runtime_.env(), stranger_.name_node());
  EXPECT_TRUE(exchange_between(&ours.env, &client.env));
  EXPECT_EQ(client.credentials.material().fingerprints, std::vector{authority_.fingerprint()});
  EXPECT_FALSE(exchange_between(&other.env, &client.env));
  EXPECT_TRUE(exchange_between(&ours.env, &client.env));
}

TEST_F(TlsTest, WhoBelievesNobodyConnectsToNobody) {
  auto answer = exchange(authority_.name_node(), {});
  ASSERT_FALSE(answer);
}

// The new authority is signed by the old one too: whoever knows only that one believes it.
TEST_F(TlsTest, ARolloverNeedsNoFlagDay) {
  TestAuthority next("the next");
  auto crossed = cross_sign(authority_.signer, next.signer.certificate);
  ASSERT_TRUE(crossed);
  auto server = next.name_node();
  server.certificates.insert(server.certificates.end(), {*crossed, authority_.signer.certificate});
  server.authorities.push_back(authority_.signer.certificate);
  EXPECT_TRUE(exchange(server, authority_.client()));
  EXPECT_TRUE(exchange(server, next.client()));
  EXPECT_TRUE(exchange(server, authority_.storage_server("ss1")));
  TlsMaterial pinned{.fingerprints = {authority_.fingerprint()}};
  EXPECT_TRUE(exchange(server, pinned));
  // It is over.
  server.authorities.pop_back();
  EXPECT_FALSE(exchange(server, authority_.storage_server("ss1")));
}

TEST_F(TlsTest, APlaintextClientIsToldSo) {
  SecuredEnv server(runtime_.env(), authority_.name_node());
  auto answer = exchange_between(&server.env, &runtime_.env());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kInvalid);
  EXPECT_THAT(answer.error().message, HasSubstr("speaks TLS"));
}

TEST_F(TlsTest, ATlsClientOfAPlaintextServerIsToldSo) {
  SecuredEnv client(runtime_.env(), authority_.client());
  auto answer = exchange_between(&runtime_.env(), &client.env);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kInvalid);
  EXPECT_THAT(answer.error().message, HasSubstr("--insecure"));
}

// A serial number is random; DER takes no zero byte at its beginning.
TEST(Certificates, EveryOneCanBeReadAgain) {
  TestAuthority authority;
  Bytes request = *make_certificate_request(*make_private_key());
  for (int i = 0; i < 1500; ++i) {
    auto issued = issue_certificate(authority.signer, request, Role::kStorageServer, "ss1", TestAuthority::around_now());
    ASSERT_TRUE(issued && read_certificate(*issued)) << i;
  }
}

TEST(Certificates, NamesAndRequestsAreChecked) {
  TestAuthority authority;
  Bytes key = *make_private_key();
  Bytes request = *make_certificate_request(key);
  EXPECT_EQ(check_certificate_request(request), fingerprint_of_key(key));
  for (const std::string& name : std::vector<std::string>{"", "a b", "../nm1", "ss1,DNS:x", "ss1\n", std::string(101, 'a')}) {
    EXPECT_FALSE(issue_certificate(authority.signer, request, Role::kStorageServer, name, TestAuthority::around_now())) << name;
  }
  for (size_t i = 0; i < request.size(); ++i) {
    Bytes damaged = request;
    damaged[i] ^= 1;
    EXPECT_FALSE(check_certificate_request(damaged)) << i;
  }
  EXPECT_FALSE(check_certificate_request(request + "x"));
  EXPECT_FALSE(check_certificate_request({}));
  EXPECT_FALSE(parse_pem("nonsense"));
  auto blocks = parse_pem(to_pem(kPemPrivateKey, key) + to_pem(kPemCertificate, authority.signer.certificate));
  ASSERT_TRUE(blocks);
  EXPECT_EQ(blocks->at(0).content, key);
  EXPECT_EQ(blocks->at(1).label, kPemCertificate);
}

}  // namespace
}  // namespace understudy
