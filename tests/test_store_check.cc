// --check of a storage server's folder, well and damaged.
#include "ss/store_check.h"

#include "tests/store_fixture.h"

namespace understudy {
namespace {

const std::string kLog = "/data/segments/0000000000000000.log";

class StoreCheckTest : public testing::Test {
 protected:
  struct Said {
    Result<StoreCheck> result = fail(Code::kInternal, "not run");
    std::string text;
    bool done = false;
  };
  static Task<void> run_check(Env& env, Said* said) {
    said->result = co_await check_store(env, "/data", [said](std::string line) { said->text += line + "\n"; });
    said->done = true;
  }
  Said check() {
    Said said;
    auto& process = world_.start(ss_.host(), "check");
    process.spawn(run_check(process.env(), &said));
    world_.run_until([&] { return said.done; }, std::chrono::minutes(1));
    world_.kill(process);
    return said;
  }
  void SetUp() override {
    ASSERT_TRUE(ss_.open());
    for (uint64_t file = 1; file <= 4; ++file) ss_.put(file, "the content of file " + std::to_string(file));
    ss_.upload(5, big_);
    ss_.checkpoint(1, "draft");
    ss_.undo(2);
    ss_.remove(3);
  }
  void rot(std::string_view text) {
    auto at = ss_.disk().peek(kLog)->find(text);
    ASSERT_NE(at, Bytes::npos);
    ASSERT_TRUE(ss_.disk().flip_bit(kLog, at));
  }

  sim::SimWorld world_{1};
  StoreOnHost ss_{world_, "ss1"};
  const Bytes big_ = some_bytes(1, 300'000);
};

TEST_F(StoreCheckTest, AWholeFolderIsWell) {
  Said running = check();
  ASSERT_FALSE(running.result);
  EXPECT_EQ(running.result.error().code, Code::kLocked);
  ASSERT_TRUE(ss_.await(ss_->close()));
  ss_.kill();
  Said said = check();
  ASSERT_TRUE(said.result) << said.result.error().to_string();
  EXPECT_EQ(said.result->damages, 0u) << said.text;
  EXPECT_TRUE(said.result->index_checked);
  EXPECT_GE(said.result->records, 8u);
  // A server that was killed left a folder that is as well.
  ASSERT_TRUE(ss_.open());
  ss_.put(7, "not in a checkpoint of the index");
  ss_.kill();
  said = check();
  ASSERT_TRUE(said.result);
  EXPECT_EQ(said.result->damages, 0u) << said.text;
}

TEST_F(StoreCheckTest, DamageIsFoundWhereverItIs) {
  ASSERT_TRUE(ss_.await(ss_->close()));
  ss_.kill();
  rot("the content of file 4");
  Said said = check();
  ASSERT_TRUE(said.result);
  EXPECT_NE(said.text.find("DAMAGED: " + kLog), std::string::npos) << said.text;
  const uint64_t so_far = said.result->damages;
  rot(big_.substr(100'000, 40));
  said = check();
  ASSERT_TRUE(said.result);
  EXPECT_GT(said.result->damages, so_far) << said.text;
}

TEST_F(StoreCheckTest, AnIndexThatDoesNotFitIsToldAndMadeAnew) {
  ASSERT_TRUE(ss_.await(ss_->close()));
  ss_.kill();
  auto index = *ss_.disk().peek("/data/index.db");
  ASSERT_TRUE(ss_.disk().flip_bit("/data/index.db", index.size() / 2));
  ASSERT_TRUE(ss_.rebuild());
  ASSERT_TRUE(ss_.await(ss_->close()));
  ss_.kill();
  Said said = check();
  ASSERT_TRUE(said.result);
  EXPECT_EQ(said.result->damages, 0u) << said.text;
}

// A file of so many chunks that its lists are chunks themselves: one that only a list names.
TEST_F(StoreCheckTest, ListsAreFollowedToTheChunks) {
  ChunkRefs chunks;
  for (uint64_t n = 0; n < 300; ++n) {
    auto chunk = ss_.await(ss_->stage(FileId{9}, some_bytes(n, 2000)));
    ASSERT_TRUE(chunk);
    chunks.push_back(*chunk);
  }
  ASSERT_TRUE(ss_.await(ss_->commit(ss_.change(9), chunks, false)));
  ASSERT_TRUE(ss_.await(ss_->close()));
  ss_.kill();
  EXPECT_EQ(check().result->damages, 0u);
  rot(some_bytes(123, 2000).substr(500, 40));
  Said said = check();
  ASSERT_TRUE(said.result);
  EXPECT_NE(said.text.find("file 0000000000000009, version 3.1: its chunk " + chunks[123].hash.to_hex().substr(0, 16)), std::string::npos)
      << said.text;
}

}  // namespace
}  // namespace understudy
