// The script runner, and the world's verbs, on a toy server: one number, kept in a file.
#include <gtest/gtest.h>

#include "common/env/env_util.h"
#include "tests/sim/sim_verbs.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kNumberSizeMax = 100;

// A line, its newline included; what came before the end if there is none.
Task<Result<Bytes>> read_line(Connection* connection) {
  Bytes line;
  while (!line.ends_with('\n')) {
    auto bytes = co_await connection->read();
    if (!bytes) co_return std::unexpected(bytes.error());
    if (bytes->empty()) break;
    line += *bytes;
  }
  co_return line;
}

Task<Status> write_line(Connection* connection, Bytes line) {
  std::vector<Bytes> pieces;
  pieces.push_back(line + "\n");
  co_return co_await connection->write(std::move(pieces));
}

// "get" answers the number, "set N" keeps N durably and answers it.
Task<void> serve_connection(Env& env, std::unique_ptr<Connection> connection) {
  while (true) {
    auto question = co_await read_line(connection.get());
    if (!question || question->empty()) co_return;
    question->pop_back();
    if (question->starts_with("set ")) {
      auto kept = co_await replace_small_file(env, "/data/number", question->substr(4));
      if (!kept) co_return;
    }
    auto number = co_await read_small_file(env, "/data/number", kNumberSizeMax);
    auto sent = co_await write_line(connection.get(), number ? *std::move(number) : "none");
    if (!sent) co_return;
  }
}

Task<void> number_server(Env& env) {
  if (!env.disk.make_folder("/data") || !env.disk.sync_folder("/")) co_return;
  auto listener = env.net.listen("0.0.0.0:7000");
  if (!listener) co_return;
  TaskGroup connections(env.executor);
  while (true) {
    auto connection = co_await (*listener)->accept();
    if (!connection) co_return;
    connections.spawn(serve_connection(env, *std::move(connection)));
  }
}

Task<Result<Bytes>> ask(Env& env, Address server, Bytes question) {
  auto connection = co_await env.net.connect(server, 1s);
  if (!connection) co_return std::unexpected(connection.error());
  CO_RETURN_IF_ERROR(co_await write_line(connection->get(), std::move(question)));
  co_return co_await read_line(connection->get());
}

class ToyStage final : public Stage {
 public:
  explicit ToyStage(uint64_t seed) : world_(seed) {
    add_sim_verbs(runner_, &world_, [](const std::string&, const std::vector<std::string>&) -> Result<SimMain> {
      return SimMain([](Env& env) { return number_server(env); });
    });
    runner_.add_verb("ask", "ask SERVER QUESTION", 2, [this](const ScriptCommand& command) -> Result<std::string> {
      auto answer = world_.try_await(
          client_, ask(client_.env(), world_.host(command.words[0]).address(7000), command.words[1]), 5s);
      if (!answer) return "no answer";
      if (!*answer) return std::unexpected(answer->error());
      return answer->value().empty() ? "hung up" : answer->value();
    });
  }
  const ScriptRunner& runner() const override { return runner_; }
  uint64_t trace_hash() const override { return world_.trace_hash(); }

 private:
  SimWorld world_;
  SimProcess& client_ = world_.start(world_.host("client"), "client");
  ScriptRunner runner_;
};

std::unique_ptr<Stage> make_toy(uint64_t seed) { return std::make_unique<ToyStage>(seed); }

TEST(ScriptTest, ToyStories) {
  auto paths = scripts_in("tests/scripts/sim");
  ASSERT_FALSE(paths.empty()) << "run from the top of the tree";
  for (auto& path : paths) check_script(path, make_toy);
}

TEST(ScriptTest, RenderingGivesTheTextBack) {
  std::string text = "# a story\n\nstart nm\nrun 1s\n----\nok\n\n# more\nalive\n----\nnm\n~\nclient\n\n# the end\n";
  auto script = parse_script(text);
  ASSERT_TRUE(script.has_value());
  EXPECT_EQ(script->blocks.size(), 2u);
  EXPECT_EQ(render_script(*script), text);
  EXPECT_FALSE(parse_script("run 1s\n").has_value());
  EXPECT_FALSE(parse_script("----\nok\n").has_value());
}

TEST(ScriptTest, AWrongAnswerShows) {
  ScriptRunner runner;
  runner.add_verb("say", "say WORD", 1, [](const ScriptCommand& command) -> Result<std::string> {
    return command.words[0] == "no" ? Result<std::string>(fail(Code::kDenied, "never")) : command.words[0] + "\n\nend";
  });
  EXPECT_EQ(runner.execute("say \"a b\""), "a b\n~\nend\n");
  EXPECT_EQ(runner.execute("say no"), "error: DENIED: never\n");
  EXPECT_EQ(runner.execute("say"), "usage: say WORD\n");
  EXPECT_EQ(runner.execute("sing"), "error: no such verb: sing\n");
}

}  // namespace
}  // namespace understudy::sim
