// The audit trail of a Peer: who, what, what came of it; never a secret.
#include "common/wire/audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/log.h"
#include "common/env/env_util.h"
#include "common/uv/uv_runtime.h"
#include "common/wire/call.h"
#include "common/wire/identity.pb.h"
#include "common/wire/understudy.pb.h"
#include "tests/co_assert.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class Lines final : public LineSink {
 public:
  void line(std::string_view text) override { waiting_ += std::string(text) + "\n"; }
  void flush() override { text += std::exchange(waiting_, ""); }
  std::string text;

 private:
  std::string waiting_;
};

// Takes every PUT, refuses everything else behind a LOGIN.
class Server final : public PeerHandler {
 public:
  Task<Result<Reply>> handle(Peer* peer, uint16_t type, Bytes message, Bytes body) override {
    if (type == wire::LOGIN) peer->set_caller("ann lee");
    if (type == wire::HELLO || type == wire::LOGIN) co_return Reply{};
    if (type != wire::PUT) co_return fail(Code::kDenied, "no right to write /a b: ask \"ann\"\nfor it");
    wire::VersionReply reply;
    reply.mutable_version()->set_epoch(12);
    reply.mutable_version()->set_counter(3);
    co_return make_reply(reply);
  }
};

Task<void> ask(Env* env, Lines* lines, bool json) {
  Audit audit(*env, lines, json);
  Server server;
  auto listener = env->net.listen("127.0.0.1:0");
  CO_ASSERT_OK(listener);
  auto accepting = (*listener)->accept();
  auto near = co_await env->net.connect((*listener)->local(), 5s);
  auto far = co_await accepting;
  CO_ASSERT_OK(near);
  CO_ASSERT_OK(far);
  Peer at_server(*env, *std::move(far), &server, {.observer = &audit});
  Peer at_client(*env, *std::move(near), nullptr);
  TaskGroup reading(env->executor);
  reading.spawn(at_server.run());
  reading.spawn(at_client.run());

  wire::HelloRequest hello;
  hello.set_token("hunter2");
  (void)co_await at_client.call(wire::HELLO, hello.SerializeAsString(), {}, 5s);
  wire::LoginRequest login;
  login.set_user("ann");
  login.set_password("hunter2");
  login.set_token("hunter2");
  (void)co_await at_client.call(wire::LOGIN, login.SerializeAsString(), {}, 5s);
  wire::PutRequest put;
  put.set_file_id(77);
  put.set_capability("hunter2");
  put.mutable_name()->set_name("report.txt");
  put.mutable_request()->set_client(0xabc);
  put.mutable_request()->set_sequence(4);
  (void)co_await at_client.call(wire::PUT, put.SerializeAsString(), "the content", 5s);
  wire::LocateRequest locate;
  locate.set_path("/a b\x1b[2J");
  locate.set_right(wire::RIGHT_WRITE);
  (void)co_await at_client.call(wire::LOCATE, locate.SerializeAsString(), {}, 5s);
  (void)co_await at_client.call(wire::LOCATE, "\xff\xff", {}, 5s);
  (void)co_await at_client.call(9999, "x", {}, 5s);
  at_client.close();
  co_await reading.join();
  co_await at_server.join_handlers();
}

// Answers nothing.
class Silent final : public PeerHandler {
 public:
  explicit Silent(Env* env) : never_(env->executor) {}
  Task<Result<Reply>> handle(Peer*, uint16_t type, Bytes, Bytes) override {
    if (type == wire::HELLO) co_return Reply{};
    auto never = never_.future();
    co_await never;
    co_return Reply{};
  }

 private:
  Promise<Unit> never_;
};

Task<void> ask_and_stop(Env* env, Lines* lines) {
  Audit audit(*env, lines, false);
  Silent server(env);
  auto listener = env->net.listen("127.0.0.1:0");
  CO_ASSERT_OK(listener);
  auto accepting = (*listener)->accept();
  auto near = co_await env->net.connect((*listener)->local(), 5s);
  auto far = co_await accepting;
  CO_ASSERT_OK(near);
  CO_ASSERT_OK(far);
  TaskGroup reading(env->executor);
  Peer at_client(*env, *std::move(near), nullptr);
  auto at_server = std::make_unique<Peer>(*env, *std::move(far), &server, PeerOptions{.observer = &audit});
  reading.spawn(at_server->run());
  reading.spawn(at_client.run());
  (void)co_await at_client.call(wire::HELLO, {}, {}, 5s);
  auto asked = at_client.call(wire::LOCATE, {}, {}, 5s);
  while (at_server->handled_requests() == 0) co_await yield_now(*env);
  reading.cancel();
  at_server.reset();
}

TEST(Audit, what_is_never_answered_is_told_too) {
  UvRuntime runtime;
  Lines lines;
  runtime.run(ask_and_stop(&runtime.env(), &lines));
  EXPECT_THAT(lines.text, HasSubstr(" LOCATE: UNAVAILABLE "));
}

std::string trail(bool json) {
  UvRuntime runtime;
  Lines lines;
  runtime.run(ask(&runtime.env(), &lines, json));
  return lines.text;
}

TEST(Audit, tells_who_asked_for_what_and_what_came_of_it) {
  std::string text = trail(false);
  EXPECT_THAT(text, ContainsRegex("^20..-..-..T..:..:..\\.......Z 127.0.0.1:[0-9]+ user=- HELLO: done in [0-9]+ us\n"));
  EXPECT_THAT(text, HasSubstr(" LOGIN user=ann: done in "));
  EXPECT_THAT(text, HasSubstr(" user=\"ann lee\" PUT file_id=77 request=abc.4"));
  EXPECT_THAT(text, ContainsRegex(" name=report.txt bytes=11: done version=12.3 in [0-9]+ us\n"));
  EXPECT_THAT(text, HasSubstr(R"( LOCATE path="/a b\\x1b[2J" right=2: DENIED "no right to write /a b: ask \"ann\"\\x0afor it" in )"));
  EXPECT_THAT(text, HasSubstr(" LOCATE (damaged): DENIED "));
  EXPECT_THAT(text, HasSubstr(" TYPE_9999: DENIED "));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 6);
}

TEST(Audit, json_has_one_object_a_line) {
  std::string text = trail(true);
  EXPECT_THAT(text, HasSubstr(R"(,"user":"ann lee","operation":"PUT","asked":"file_id=77 request=abc.4)"));
  EXPECT_THAT(text, HasSubstr(R"("result":"done","answer":"version=12.3","took_us":)"));
  EXPECT_THAT(text, HasSubstr(R"("result":"DENIED","message":"no right to write /a b: ask \"ann\"\\x0afor it","took_us":)"));
}

TEST(Audit, a_secret_is_never_shown) {
  EXPECT_THAT(trail(false) + trail(true), Not(HasSubstr("hunter2")));
  EXPECT_THAT(trail(false), Not(HasSubstr("the content")));
}

// A new message whose name does not follow its type's would be audited without its fields.
TEST(Audit, every_request_is_known_by_its_type) {
  UvRuntime runtime;
  Lines lines;
  Audit audit(runtime.env(), &lines, false);
  const auto* types = wire::MessageType_descriptor();
  for (int i = 0; i < types->value_count(); ++i) {
    auto type = static_cast<uint16_t>(types->value(i)->number());
    if (type == 0 || type == wire::PING) continue;  // PING has no fields.
    EXPECT_EQ(audit.describe(type, "\xff\xff"), " (damaged)") << types->value(i)->name();
  }
}

}  // namespace
}  // namespace understudy
