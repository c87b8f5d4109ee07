// A store's space: what retention takes, what comes back of deleted files, and what
// compaction gives back, with the power going and calls failing at every point of it.
#include "common/segment_log/log_format.h"
#include "tests/store_fixture.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr Lsn kAll{UINT64_MAX};

class StoreSpaceTest : public testing::Test {
 protected:
  void open(Retention retention) {
    ss_.options.segment_size = 256 << 10;
    ASSERT_TRUE(ss_.open());
    retain(retention);
  }
  void retain(Retention retention) {
    ss_->set_retention(retention);
    ss_->may_trim(kAll, kAll);
  }
  uint64_t stored() {
    world_.run_for(2s);
    return ss_->space().stored();
  }
  // The same index from the log alone.
  void expect_rebuilt() {
    ASSERT_TRUE(ss_.reopen());
    const std::string before = ss_.dump();
    ASSERT_TRUE(ss_.rebuild());
    EXPECT_EQ(ss_.dump(), before);
  }
  // All that the first segment has.
  std::vector<wire::TrimRecord> trims() {
    const Bytes log = *ss_.disk().peek("/data/segments/0000000000000000.log");
    std::vector<wire::TrimRecord> all;
    RecordHeader header;
    for (uint64_t at = kSegmentHeaderSize; at + kRecordHeaderSize <= log.size(); at += record_size(header.payload_size())) {
      if (!decode_record_header(BytesView(log).substr(at, kRecordHeaderSize), Lsn{at}, header)) break;
      if (RecordType{header.type} != RecordType::kTrim) continue;
      CHECK(all.emplace_back().ParseFromString(log.substr(at + kRecordHeaderSize, header.head_size)));
    }
    return all;
  }
  uint64_t entries(uint64_t file) {
    const std::string history = ss_.history(file);
    return 1 + static_cast<uint64_t>(std::ranges::count(history, ','));
  }

  sim::SimWorld world_{1};
  StoreOnHost ss_{world_, "ss1"};
};

TEST_F(StoreSpaceTest, AFileOverwrittenManyTimesStaysSmall) {
  open({.versions = 5});
  for (uint64_t n = 1; n <= 600; ++n) {
    ASSERT_EQ(ss_.put(1, some_bytes(n, 10'000), n), "3." + std::to_string(n));
    if (n == 300) EXPECT_EQ(ss_.checkpoint(1, "mark"), "3.300");
    if (n == 300) ++n;
  }
  world_.run_for(10s);
  EXPECT_EQ(ss_.history(1).substr(0, 60), "put 3.600, put 3.599, put 3.598, put 3.597, put 3.596, put 3");
  EXPECT_LE(entries(1), 8u);
  EXPECT_EQ(ss_.get(1), some_bytes(600, 10'000));
  EXPECT_EQ(ss_.get(1, {Epoch{3}, 300}), some_bytes(300, 10'000));
  EXPECT_EQ(ss_.get(1, {Epoch{3}, 100}), "NOT_FOUND");
  EXPECT_LT(stored(), 1500'000u);  // Of 6 MB, with an unfinished segment and a record for each request.
  // A request is answered as it was, although its version is gone.
  EXPECT_EQ(ss_.put(1, "again", 17), "3.17");
  EXPECT_EQ(ss_.revert(1, "mark"), "3.601");
  EXPECT_EQ(ss_.get(1), some_bytes(300, 10'000));
  expect_rebuilt();
  EXPECT_EQ(ss_.get(1), some_bytes(300, 10'000));
  EXPECT_EQ(ss_.tags(1), "mark 3.300");
  // The records go too, when nobody repeats their requests any more.
  retain({.versions = 5});
  world_.run_for(40min);
  EXPECT_LT(stored(), 400'000u);
  EXPECT_LT(ss_.engine().index().totals().versions, 20u);
  expect_rebuilt();
  EXPECT_EQ(ss_.tags(1), "mark 3.300");
}

// Nobody to ask, who keeps what he is told.
class Listener final : public Partner {
 public:
  Task<Result<Bytes>> chunk(FileId, ChunkHash, Version) override { co_return away(); }
  Task<Result<wire::VersionRecord>> version(FileId, Version, Version) override { co_return away(); }
  Task<Result<wire::NameRecord>> name(FileId) override { co_return away(); }
  void report(wire::Event event) override { told.push_back(event.kind() + ": " + event.text()); }
  std::vector<std::string> told;

 private:
  static std::unexpected<Error> away() { return fail(Code::kUnavailable, "away"); }
};

TEST_F(StoreSpaceTest, EventsTellOfCompactionSeldom) {
  Listener listener;
  open({.versions = 1});
  ss_->set_partner(&listener);
  auto overwrite = [this] {
    for (int n = 0; n < 20; ++n) ASSERT_EQ(ss_.upload(1, some_bytes(n, 300'000)).substr(0, 2), "3.");
    world_.run_for(20s);
  };
  overwrite();
  ASSERT_EQ(listener.told.size(), 1u);
  EXPECT_EQ(listener.told[0].substr(0, 11), "compacted: ");
  overwrite();
  EXPECT_EQ(listener.told.size(), 1u);
  world_.run_for(10min);
  ASSERT_EQ(listener.told.size(), 2u);
  const uint64_t told = std::stoull(listener.told[0].substr(11)) + std::stoull(listener.told[1].substr(11));
  EXPECT_GT(told, 5u);
  EXPECT_LE(told, ss_->space().compacted() >> 20);
  ss_->set_partner(nullptr);
}

TEST_F(StoreSpaceTest, UndoEndsWhereRetentionDoes) {
  open({.versions = 2});
  for (int n = 1; n <= 20; ++n) ss_.put(1, std::to_string(n));
  world_.run_for(30min);
  EXPECT_EQ(ss_.history(1), "put 3.20, put 3.19, put 3.18");
  EXPECT_EQ(ss_.undo(1), "3.21");
  EXPECT_EQ(ss_.undo(1), "3.22");
  EXPECT_EQ(ss_.get(1), "18");
  EXPECT_EQ(ss_.undo(1), "CONFLICT");
}

TEST_F(StoreSpaceTest, WhatTheOtherHalfMayLackStays) {
  open({.versions = 1});
  ss_->may_trim(kNoLsn, kNoLsn);
  for (int n = 1; n <= 20; ++n) ss_.put(1, std::to_string(n));
  world_.run_for(30min);
  EXPECT_EQ(entries(1), 20u);
  EXPECT_GT(ss_->space().unreplicated(), 0u);
  ss_->may_trim(kAll, kAll);
  world_.run_for(30min);
  EXPECT_EQ(entries(1), 2u);
}

TEST_F(StoreSpaceTest, ADeletedFileComesBackUntilItsTimeIsOver) {
  open({.deleted = 1h});
  const Bytes big = some_bytes(1, 3'000'000);
  EXPECT_EQ(ss_.upload(1, big), "3.1");
  ss_.put(2, "small");
  ss_.remove(1);
  ss_.remove(2);
  world_.run_for(20min);
  EXPECT_EQ(ss_.undelete(1), "3.3");
  EXPECT_EQ(ss_.undelete(1), "3.3");  // It is there.
  EXPECT_EQ(ss_.get(1), big);
  EXPECT_EQ(ss_.get(2), "NOT_FOUND");
  EXPECT_GT(stored(), 3'000'000u);
  EXPECT_EQ(ss_->space().deleted_files(), 1u);
  ss_.remove(1);
  world_.run_for(2h);
  EXPECT_EQ(ss_.undelete(1), "NOT_FOUND");
  EXPECT_EQ(ss_.undelete(2), "NOT_FOUND");
  EXPECT_LT(stored(), 600'000u);
  expect_rebuilt();
  EXPECT_EQ(ss_.get(1), "NOT_FOUND");
}

TEST_F(StoreSpaceTest, ADeletionThatTheNameNodeHasNotHeardOfTakesNothing) {
  open({.deleted = 0s});
  ss_.put(1, "one");
  ss_->may_trim(kNoLsn, kNoLsn);
  ss_.remove(1);
  world_.run_for(1h);
  EXPECT_EQ(ss_.undelete(1), "3.3");
  EXPECT_EQ(ss_.get(1), "one");
}

TEST_F(StoreSpaceTest, ChunksOfUploadsThatCameToNothingGo) {
  open({});
  const Bytes big = some_bytes(1, 2'000'000);
  EXPECT_EQ(ss_.upload(1, big), "3.1");
  for (uint64_t n = 0; n < 4; ++n) {
    auto chunk = ss_.await(ss_->stage(FileId{1}, some_bytes(10 + n, 1 << 20)));
    ASSERT_TRUE(chunk);
    if (n < 2) ss_->unpin(FileId{1}, {*chunk});
  }
  world_.run_for(1h);
  EXPECT_GT(stored(), 6'000'000u);  // Somebody may yet commit it.
  ASSERT_TRUE(ss_.reopen());        // Not any more.
  retain({});
  world_.run_for(1h);
  EXPECT_LT(stored(), 2'800'000u);
  EXPECT_EQ(ss_.get(1), big);
  expect_rebuilt();
  EXPECT_EQ(ss_.upload(1, some_bytes(10, 1 << 20)), "3.2");
  EXPECT_EQ(ss_.get(1), some_bytes(10, 1 << 20));
}

// Nobody can repair it here. The best one to be packed is the damaged one, and the one beside it has its turn.
TEST_F(StoreSpaceTest, ADamagedSegmentHoldsUpNoOther) {
  open({.versions = 1});
  ss_.put(50, "stays in the first");
  for (int n = 0; n < 4; ++n) ss_.put(1, some_bytes(n, 60'000));
  for (int n = 0; n < 3; ++n) ss_.put(2, some_bytes(10 + n, 60'000));
  ss_.put(51, some_bytes(51, 20'000));
  ss_.put(2, some_bytes(20, 60'000));
  for (uint64_t file : {1, 2}) {
    for (int n = 0; n < 2; ++n) ss_.put(file, some_bytes(30 + n, 60'000));
  }
  const std::string first = "/data/segments/0000000000000000.log";
  const size_t at = ss_.disk().peek(first)->find("stays in the first");
  ASSERT_NE(at, Bytes::npos);
  ASSERT_TRUE(ss_.disk().flip_bit(first, at));
  world_.run_for(3min);
  EXPECT_GT(ss_->space().compacted(), 100'000u);
  EXPECT_TRUE(ss_.disk().peek(first)) << "what is damaged stays as it is";
  EXPECT_EQ(ss_.get(51), some_bytes(51, 20'000));
  EXPECT_EQ(ss_.get(1), some_bytes(31, 60'000));
}

// What a record names goes through the index in one go: each names little, and the next one waits for it.
TEST_F(StoreSpaceTest, MuchIsTrimmedInSmallSteps) {
  ss_.options.segment_size = 64 << 20;
  ASSERT_TRUE(ss_.open());
  for (uint64_t n = 1; n <= 700; ++n) ss_.put(1, std::to_string(n));
  ChunkRefs chunks;
  for (int i = 0; i < 2500; ++i) chunks.push_back(ss_.await(ss_->stage(FileId{2}, "chunk " + std::to_string(i))).value());
  ss_.await(ss_->commit(ss_.change(2), chunks, false)).value();
  ss_->unpin(FileId{2}, chunks);
  ss_.remove(2);
  retain({.versions = 2, .deleted = 0s});
  world_.run_for(30s);
  EXPECT_EQ(entries(1), 3u);
  EXPECT_EQ(ss_.get(1), "700");
  int versions = 0, chunks_freed = 0;
  for (const auto& trim : trims()) {
    EXPECT_LE(trim.versions_size(), 256);
    EXPECT_LE(trim.chunks_size(), 1000);
    versions += trim.versions_size();
    chunks_freed += trim.chunks_size();
  }
  EXPECT_GE(versions, 697);
  EXPECT_GE(chunks_freed, 2500);
  expect_rebuilt();
}

// What nothing needs becomes a gap, however long: the log is whole again for whoever reads it.
TEST_F(StoreSpaceTest, MuchDamageThatNothingNeedsIsMended) {
  ss_.options.segment_size = 64 << 20;
  ASSERT_TRUE(ss_.open());
  ss_.put(1, "before");
  ss_.upload(2, some_bytes(2, 20 << 20));
  ss_.put(3, "behind");
  ss_.remove(2);
  retain({.deleted = 0s});
  world_.run_for(5s);
  const std::string log = "/data/segments/0000000000000000.log";
  for (uint64_t at = 1 << 19; at < 20 << 20; at += 1 << 19) ASSERT_TRUE(ss_.disk().flip_bit(log, at));
  ss_.spawn(ss_->scrub({.bytes_per_second = 64 << 20}));
  world_.run_until([&] { return ss_->scrub_status().last_end_us() != 0; }, 1h);
  EXPECT_EQ(ss_->scrub_status().damaged(), 0u);
  ASSERT_TRUE(ss_.await(ss_->close()));
  ASSERT_TRUE(ss_.rebuild());
  EXPECT_FALSE(ss_->damaged_at_start());
  EXPECT_EQ(ss_.get(1), "before");
  EXPECT_EQ(ss_.get(2), "NOT_FOUND");
  EXPECT_EQ(ss_.get(3), "behind");
}

TEST_F(StoreSpaceTest, WhoReadsAVersionPieceByPieceComesToItsEnd) {
  open({.versions = 1});
  const Bytes big = some_bytes(1, 3'000'000);
  ss_.upload(1, big);
  Bytes got = *ss_.await(ss_->read(FileId{1}, {Epoch{3}, 1}, 0, 1 << 20));
  for (int n = 0; n < 20; ++n) ss_.put(1, std::to_string(n));
  while (got.size() < big.size()) {
    world_.run_for(60s);
    got += *ss_.await(ss_->read(FileId{1}, {Epoch{3}, 1}, got.size(), 500'000));
  }
  EXPECT_EQ(got, big);
  world_.run_for(1h);
  EXPECT_EQ(ss_.get(1, {Epoch{3}, 1}), "NOT_FOUND");
  EXPECT_LT(stored(), 600'000u);
}

TEST_F(StoreSpaceTest, AFullDiskGetsRoomByDeleting) {
  ss_.disk().set_quota(60 << 20);
  ss_.options.segment_size = 4 << 20;
  ASSERT_TRUE(ss_.open());
  retain({.deleted = 0s});
  uint64_t files = 0;
  while (ss_.upload(1 + files, some_bytes(files, 1 << 20)) == "3.1") ++files;
  ASSERT_GT(files, 30u);
  for (uint64_t n = 1; n <= files; n += 2) ASSERT_EQ(ss_.remove(n).substr(0, 2), "3.");
  world_.run_for(1min);
  EXPECT_EQ(ss_.upload(1000, some_bytes(1000, 10 << 20)), "3.1");
  for (uint64_t n = 2; n <= files; n += 2) ASSERT_EQ(ss_.get(n), some_bytes(n - 1, 1 << 20));
}

// ---- The power, and failing calls, at every point.

struct Seen {
  std::map<uint64_t, std::string> contents;  // As acknowledged.
  std::optional<std::pair<uint64_t, std::string>> under_way;
};

// Overwrites, named versions, undoing, deleting, coming back, big and small, while
// retention and compaction go on all the time.
void live(sim::SimWorld& world, StoreOnHost& ss, Seen& seen) {
  bool over = false;
  std::vector<Bytes> second;  // The contents of file 2.
  auto change = [&](uint64_t file, Bytes content, auto act) {
    if (!ss.alive() || over) return;
    seen.under_way = {file, content};
    const std::string told = act();
    // Nobody knows what became of it.
    over = !ss.alive() || (!told.starts_with("3.") && told != "NO_SPACE" && told != "NOT_FOUND" && told != "CONFLICT");
    if (over) return;
    if (told.starts_with("3.")) seen.contents[file] = content;
    if (told.starts_with("3.") && file == 2) second.push_back(content);
    seen.under_way.reset();
  };
  ss->set_retention({.versions = 2, .deleted = 3s});
  ss->may_trim(kAll, kAll);
  for (uint64_t round = 0; round < 6 && ss.alive() && !over; ++round) {
    for (uint64_t n = 0; n < 6; ++n) {
      const Bytes content = some_bytes(round * 100 + n, 9'000);
      change(1, content, [&] { return ss.put(1, content); });
    }
    if (round == 1 && ss.alive() && !over) ss.checkpoint(1, "mark");
    const Bytes big = some_bytes(round, 90'000);
    change(2, big, [&] { return ss.put(2, big); });
    if (round == 2 && second.size() > 1) change(2, second[second.size() - 2], [&] { return ss.undo(2); });
    change(10 + round, big, [&] { return ss.put(10 + round, big); });
    if (round > 1) change(8 + round, "NOT_FOUND", [&] { return ss.remove(8 + round); });
    if (round > 3) change(8 + round, some_bytes(round - 2, 90'000), [&] { return ss.undelete(8 + round); });
    if (ss.alive()) world.run_for(1500ms);
  }
  if (ss.alive()) world.run_for(3s);
}

void check(sim::SimWorld& world, StoreOnHost& ss, Seen& seen) {
  auto opened = ss.reopen();
  ASSERT_TRUE(opened) << opened.error().to_string();
  for (const auto& [file, content] : seen.contents) {
    const Bytes now = ss.get(file);
    const bool fine = now == content || (seen.under_way && seen.under_way->first == file && now == seen.under_way->second);
    ASSERT_TRUE(fine) << "file " << file << ": " << now.size() << " bytes " << now.substr(0, 20);
  }
  if (ss.tags(1) == "mark 3.12") ASSERT_EQ(ss.get(1, {Epoch{3}, 12}), some_bytes(105, 9'000));
  const std::string before = ss.dump();
  ASSERT_TRUE(ss.rebuild());
  ASSERT_EQ(ss.dump(), before);
  ASSERT_EQ(ss.put(99, "after").substr(0, 2), "3.");
  ss->set_retention({.versions = 2, .deleted = 3s});
  ss->may_trim(kAll, kAll);
  world.run_for(3s);
  ASSERT_TRUE(ss.alive());
  for (const auto& [file, content] : seen.contents) {
    if (!seen.under_way || seen.under_way->first != file) ASSERT_EQ(ss.get(file), content) << file;
  }
}

TEST(StoreSpacePowerTest, CutAtEveryWriteAndSync) {
  uint64_t n = 1, compacted = 0;
  for (;; ++n) {
    SCOPED_TRACE("cut " + std::to_string(n));
    sim::SimWorld world(n);
    StoreOnHost ss(world, "ss1");
    ss.options.segment_size = 64 << 10;
    Seen seen;
    ss.disk().cut_power_at(n);
    if (ss.open()) live(world, ss, seen);
    if (ss.alive()) {
      compacted = ss->space().compacted();
      break;
    }
    world.power_on(ss.host());
    ASSERT_NO_FATAL_FAILURE(check(world, ss, seen));
  }
  EXPECT_GT(n, 150u);
  EXPECT_GT(compacted, 200'000u);
}

class StoreSpaceErrorTest : public testing::TestWithParam<Code> {};

TEST_P(StoreSpaceErrorTest, EveryCallFailsOnce) {
  uint64_t n = 1;
  for (;; ++n) {
    SCOPED_TRACE("call " + std::to_string(n));
    sim::SimWorld world(n);
    StoreOnHost ss(world, "ss1");
    ss.options.segment_size = 64 << 10;
    Seen seen;
    ss.disk().fail_any_call(n, GetParam());
    if (ss.open()) live(world, ss, seen);
    if (ss.disk().failure_pending()) break;
    ASSERT_NO_FATAL_FAILURE(check(world, ss, seen));
  }
  EXPECT_GT(n, 200u);
}

INSTANTIATE_TEST_SUITE_P(Codes, StoreSpaceErrorTest, testing::Values(Code::kInternal, Code::kNoSpace),
                         [](const auto& code) { return std::string(code_name(code.param)); });

}  // namespace
}  // namespace understudy
