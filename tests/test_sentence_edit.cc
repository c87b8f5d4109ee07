// WRITE as many people do at once, on a whole cluster of the simulator: nothing that was
// answered is lost or there twice, whatever dies meanwhile.
#include <gtest/gtest.h>

#include <set>

#include "client/sentence_edit.h"
#include "ss/storage_server.h"
#include "tests/sim/cluster.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;
using client::SentenceEdit;

class SentenceEditTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"nm", "ss1", "ss1_backup"}) cluster_.start(name);
    ASSERT_TRUE(world_.run_until([&] { return in_sync(); }, 1min));
  }
  bool in_sync() {
    auto status = cluster_.status();
    if (!status || status->pairs_size() == 0 || !status->pairs(0).serving()) return false;
    int members = 0;
    for (const auto& member : status->pairs(0).members()) members += member.in_sync();
    return members == 2;
  }
  void put(Bytes content) {
    auto done = user("owner").await(user("owner").session().put("/doc", std::move(content), {}), 1min);
    ASSERT_TRUE(done && *done);
  }
  Bytes read() {
    auto answer = user("owner").await(user("owner").session().read("/doc", {.length = 1 << 20}), 2min);
    return answer && *answer ? (*answer)->bytes : "(not read)";
  }
  SimClient& user(const std::string& name) { return cluster_.client(name); }

  // One writer's whole WRITE: a word of its own in front of its sentence, and one behind the first.
  struct Writer {
    uint64_t sentence = 0;
    std::string word;
    Status status = fail(Code::kUnavailable, "not ended");
    uint64_t epoch = 0;  // That it was answered under.
    bool ended = false;
  };
  static Task<void> write(Env& env, client::Session* session, Writer* writer, Duration think) {
    SentenceEdit edit(session, "/doc", writer->sentence, [](std::string) {});
    TaskGroup keeping(env.executor);
    auto writing = write_lines(env, &edit, &keeping, writer, think);
    writer->status = co_await writing;
    writer->ended = true;
  }
  static Task<Status> write_lines(Env& env, SentenceEdit* edit, TaskGroup* keeping, Writer* writer, Duration think) {
    auto opening = edit->open();
    CO_RETURN_IF_ERROR(co_await opening);
    keeping->spawn(edit->keep());
    for (std::string end : {"a", "b."}) {
      auto thinking = sleep_for(env, think);
      co_await thinking;
      auto inserting = edit->insert({end == "a" ? 0u : 1u, writer->word + end});
      CO_RETURN_IF_ERROR(co_await inserting);
    }
    auto thinking = sleep_for(env, think);
    co_await thinking;
    auto committing = edit->commit();
    CO_ASSIGN_OR_RETURN(auto committed, co_await committing);
    writer->epoch = committed.version().epoch();
    co_return Status{};
  }
  void begin(Writer* writer, Duration think) {
    SimClient& who = user("writer" + std::to_string(writer->sentence));
    who.spawn(write(who.env(), &who.session(), writer, think));
  }

  static constexpr int kWriters = 50;
  static std::string sentence(int i) { return "Sentence " + std::to_string(i) + (i % 3 == 0 ? "... " : i % 3 == 1 ? "?!\r\n\t" : ".\n\n "); }
  // Every other line ends its own sentence in the middle: the numbers of all behind it move.
  void check_text(const std::vector<Writer>& writers) {
    std::string expected;
    for (const Writer& writer : writers) {
      ASSERT_TRUE(writer.status) << writer.word << writer.status.error().to_string();
      expected += writer.word + "a " + writer.word + "b. " + sentence(static_cast<int>(writer.sentence));
    }
    EXPECT_EQ(read(), expected);
  }
  // What ss1 answered right before it died may be on its disk only (asynchronous durability): then it is set aside.
  // All that was answered behind that is there, once, and nothing else has changed.
  void check_text_without(const std::vector<Writer>& writers, const std::set<uint64_t>& maybe_absent) {
    const std::string text = read();
    std::string expected;
    for (const Writer& writer : writers) {
      ASSERT_TRUE(writer.status) << writer.word << writer.status.error().to_string();
      const std::string words = writer.word + "a " + writer.word + "b. ";
      if (!maybe_absent.contains(writer.sentence) || text.find(words) != text.npos) expected += words;
      expected += sentence(static_cast<int>(writer.sentence));
    }
    EXPECT_EQ(text, expected);
  }
  std::vector<Writer> fifty() {
    std::string text;
    for (int i = 0; i < kWriters; ++i) text += sentence(i);
    put(text);
    std::vector<Writer> writers;
    for (int i = 0; i < kWriters; ++i) writers.push_back({.sentence = static_cast<uint64_t>(i), .word = "w" + std::to_string(i)});
    return writers;
  }
  bool run(std::vector<Writer>& writers) {
    return world_.run_until([&] { return std::ranges::all_of(writers, [](const Writer& w) { return w.ended; }); }, 3min);
  }

  SimWorld world_{7};
  Cluster cluster_{world_};
};

TEST_F(SentenceEditTest, FiftyWritersOfOneFileLoseNothing) {
  auto writers = fifty();
  for (auto& writer : writers) begin(&writer, 20ms);
  ASSERT_TRUE(run(writers));
  check_text(writers);
  EXPECT_TRUE(cluster_.server("ss1")->state()->edits.none());
}

TEST_F(SentenceEditTest, FiftyWritersGoOnBehindAFailover) {
  // At any time of their writing: while they open, type, or wait for the answer to ETIRW.
  for (Duration until_kill : {3ms, 45ms, 62ms, 64ms, 70ms}) {
    SCOPED_TRACE(until_kill.count());
    auto writers = fifty();
    const uint64_t epoch = cluster_.status()->pairs(0).epoch();
    for (auto& writer : writers) begin(&writer, 20ms);
    world_.run_for(until_kill);
    world_.kill(*world_.find_process("ss1"));
    ASSERT_TRUE(run(writers));
    std::set<uint64_t> early;
    for (const auto& writer : writers) {
      if (writer.epoch <= epoch) early.insert(writer.sentence);
    }
    check_text_without(writers, early);
    cluster_.start("ss1");
    ASSERT_TRUE(world_.run_until([&] { return in_sync() && cluster_.status()->pairs(0).acting_primary() == "ss1"; }, 2min));
    world_.run_for(1s);
  }
}

TEST_F(SentenceEditTest, AStoppedWriterLosesTheSentenceAndTakesItAgain) {
  put("One here. Two here.");
  Writer writer{.sentence = 1, .word = "w"};
  begin(&writer, 60s);
  world_.run_for(1s);
  world_.pause(user("writer1").process());
  EXPECT_FALSE(cluster_.server("ss1")->state()->edits.none());
  world_.run_for(25s);
  EXPECT_TRUE(cluster_.server("ss1")->state()->edits.none()) << "nobody can hold a sentence without a sign of life";
  world_.resume(user("writer1").process());
  ASSERT_TRUE(world_.run_until([&] { return writer.ended; }, 10min));
  EXPECT_TRUE(writer.status);
  EXPECT_EQ(read(), "One here. wa wb. Two here.");
}

TEST_F(SentenceEditTest, AStreamGoesOnFromTheOtherHalf) {
  // Three pieces, of which the last two are read when ss1 is no more.
  Bytes content;
  for (int i = 0; content.size() < 3'000'000; ++i) content += Bytes(50'000, static_cast<char>('a' + i % 26)) + (i % 2 == 0 ? " \t\n" : "  ");
  world_.host("owner").disk.put("local", content);
  CommandRun& put = user("owner").begin("PUT local /long");
  ASSERT_TRUE(world_.run_until([&] { return put.ended() && in_sync(); }, 1min)) << put.output();
  CommandRun& wait = user("owner").begin("WAIT");
  ASSERT_TRUE(world_.run_until([&] { return wait.ended(); }, 1min));
  const auto began = world_.now();
  CommandRun& stream = user("owner").begin("STREAM /long");
  world_.run_for(1s);
  EXPECT_LT(stream.output().size(), 600'000u) << "ten words a second";
  EXPECT_GT(stream.output().size(), 400'000u);
  world_.kill(*world_.find_process("ss1"));
  ASSERT_TRUE(world_.run_until([&] { return stream.ended(); }, 1min));
  EXPECT_TRUE(stream.output() == content) << stream.output().size() << " of " << content.size();
  EXPECT_GT(world_.now() - began, 5s);
}

}  // namespace
}  // namespace understudy::sim
