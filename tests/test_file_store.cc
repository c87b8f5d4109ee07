// The storage server's engine on the simulated disk: files, versions, uploads,
// restarts, retries, damage and full disks. Replication is in test_store_replica.cc.
#include "tests/store_fixture.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

class FileStoreTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(ss_.open()); }
  // The index holds exactly what the log says.
  void expect_rebuilt_equal() {
    std::string before = ss_.dump();
    ASSERT_TRUE(ss_.rebuild());
    EXPECT_EQ(ss_.dump(), before);
  }

  sim::SimWorld world_{11};
  StoreOnHost ss_{world_, "ss1"};
};

TEST_F(FileStoreTest, FilesAreVersions) {
  EXPECT_TRUE(ss_->empty());
  EXPECT_EQ(ss_.get(1), "NOT_FOUND");
  EXPECT_EQ(ss_.put(1, ""), "3.1");
  EXPECT_EQ(ss_.put(1, "mouse"), "3.2");
  EXPECT_EQ(ss_.append(1, " hole"), "3.3");
  ss_.epoch = 9;
  EXPECT_EQ(ss_.append(1, "."), "9.1");
  EXPECT_EQ(ss_.get(1), "mouse hole.");
  EXPECT_EQ(ss_.get(1, {Epoch{3}, 2}), "mouse");
  EXPECT_EQ(ss_.get(1, {Epoch{3}, 1}), "");
  EXPECT_EQ(ss_.range(1, 6, 3), "hol");
  EXPECT_EQ(ss_.range(1, 11, 5), "");
  EXPECT_EQ(ss_.range(1, 12, 5), "OUT_OF_RANGE");
  auto info = ss_->info(FileId{1}, {}).value();
  EXPECT_EQ(info.parent, (Version{Epoch{3}, 3}));
  EXPECT_EQ(info.versions, 4u);
  EXPECT_EQ(info.size_bytes, 11u);
  EXPECT_EQ(ss_->file_count(), 1u);
  EXPECT_EQ(ss_->byte_count(), 11u);
  EXPECT_EQ(ss_.remove(1), "9.2");
  EXPECT_EQ(ss_.get(1), "NOT_FOUND");
  EXPECT_EQ(ss_.get(1, {Epoch{3}, 2}), "mouse");
  EXPECT_EQ(ss_.put(1, "again"), "NOT_FOUND");
  EXPECT_EQ(ss_.append(1, "again"), "NOT_FOUND");
  EXPECT_EQ(ss_.append(2, "never put"), "NOT_FOUND");
  EXPECT_EQ(ss_.remove(1), "9.2") << "one tombstone answers all who ask for it";
  EXPECT_EQ(ss_->file_count(), 0u);
  expect_rebuilt_equal();
}

TEST_F(FileStoreTest, ConditionsAndTheFenceRefuse) {
  ss_.put(1, "one");
  Change create = ss_.change(1);
  create.exclusive = true;
  EXPECT_EQ(ss_.told(ss_.await(ss_->put(create, "x"))), "EXISTS");
  Change expecting = ss_.change(1);
  expecting.expected = {Epoch{3}, 7};
  EXPECT_EQ(ss_.told(ss_.await(ss_->put(expecting, "x"))), "CONFLICT");
  ss_.epoch = 2;
  EXPECT_EQ(ss_.put(1, "x"), "STALE_EPOCH");
  EXPECT_EQ(ss_.get(1), "one");
}

TEST_F(FileStoreTest, BigContents) {
  const Bytes big = some_bytes(1, (3 << 20) + 500'000);
  EXPECT_EQ(ss_.upload(1, big), "3.1");
  EXPECT_TRUE(ss_.get(1) == big);
  EXPECT_EQ(ss_.range(1, (1 << 20) - 10, 20), big.substr((1 << 20) - 10, 20));
  // Behind chunks that are full nothing is written again.
  const Bytes more = some_bytes(2, 900'000);
  EXPECT_EQ(ss_.append(1, more), "3.2");
  EXPECT_TRUE(ss_.get(1) == big + more);
  EXPECT_TRUE(ss_.get(1, {Epoch{3}, 1}) == big);
  auto chunks = ss_.await(ss_->chunks(FileId{1}, {})).value();
  uint64_t size = 0;
  for (size_t i = 0; i < chunks.size(); size += chunks[i++].size) {
    if (i < 3) EXPECT_EQ(chunks[i].size, kChunkSizeMax);
  }
  EXPECT_EQ(size, big.size() + more.size());
  EXPECT_EQ(ss_.upload(1, big, /*append=*/true), "3.3");
  EXPECT_TRUE(ss_.get(1) == big + more + big);
  // Small ones grow out of their record, and an upload goes behind one.
  EXPECT_EQ(ss_.put(2, Bytes(60'000, 'a')), "3.1");
  EXPECT_EQ(ss_.append(2, Bytes(60'000, 'b')), "3.2");
  EXPECT_TRUE(ss_.get(2) == Bytes(60'000, 'a') + Bytes(60'000, 'b'));
  EXPECT_EQ(ss_.put(3, "head "), "3.1");
  EXPECT_EQ(ss_.upload(3, big, /*append=*/true), "3.2");
  EXPECT_TRUE(ss_.get(3) == "head " + big);
  EXPECT_EQ(ss_.told(ss_.await(ss_->commit(ss_.change(4), {{chunk_hash("x"), 1}}, false))), "NOT_FOUND");
  expect_rebuilt_equal();
  EXPECT_TRUE(ss_.get(1) == big + more + big);
}

TEST_F(FileStoreTest, AChangeOfABigFileWritesWhatChanged) {
  Bytes content = some_bytes(1, 12 << 20);
  EXPECT_EQ(ss_.upload(1, content, false, /*by_content=*/true), "3.1");
  auto written = [&, before = uint64_t{0}]() mutable {
    const uint64_t now = number(ss_->durable_lsn());
    return now - std::exchange(before, now);
  };
  written();
  // All sent again with one byte more in the middle.
  content.insert(5'000'000, "x");
  EXPECT_EQ(ss_.upload(1, content, false, /*by_content=*/true), "3.2");
  EXPECT_LT(written(), 2u << 20);
  EXPECT_TRUE(ss_.get(1) == content);
  // A byte behind it, and many: the chunks at the end stay few.
  EXPECT_EQ(ss_.append(1, "y"), "3.3");
  written();
  EXPECT_EQ(ss_.append(1, "z"), "3.4");
  EXPECT_LT(written(), 8u << 10);
  content += "yz";
  const size_t chunks = ss_.await(ss_->chunks(FileId{1}, {})).value().size();
  for (int i = 0; i < 200; ++i) {
    const Bytes line = some_bytes(i, 1000);
    ASSERT_NE(ss_.append(1, line), "CORRUPT");
    content += line;
  }
  EXPECT_LT(ss_.await(ss_->chunks(FileId{1}, {})).value().size(), chunks + 12);
  EXPECT_TRUE(ss_.get(1) == content);
  expect_rebuilt_equal();
  EXPECT_TRUE(ss_.get(1) == content);
}

TEST_F(FileStoreTest, AFileOfManyChunks) {
  // The list takes two levels.
  constexpr int kChunks = 20'000;
  ChunkRefs chunks;
  Bytes content;
  auto stage = [&](int i) {
    const Bytes bytes = "chunk " + std::to_string(i) + "\n";
    content += bytes;
    chunks.push_back(ss_.await(ss_->stage(FileId{1}, bytes)).value());
  };
  for (int i = 0; i < kChunks; ++i) stage(i);
  EXPECT_EQ(ss_.told(ss_.await(ss_->commit(ss_.change(1), chunks, false))), "3.1");
  ss_->unpin(FileId{1}, chunks);
  EXPECT_TRUE(ss_.get(1) == content);
  const Bytes first = content;
  EXPECT_EQ(ss_.range(1, 123'456, 5000), content.substr(123'456, 5000));
  // Behind it, and in the middle: the lists are shared, so is their room.
  const uint64_t before = number(ss_->durable_lsn());
  EXPECT_EQ(ss_.append(1, "more\n"), "3.2");
  content += "more\n";
  EXPECT_LT(number(ss_->durable_lsn()) - before, 40u << 10);
  EXPECT_TRUE(ss_.get(1) == content);
  chunks.erase(chunks.begin() + 7000);
  const uint64_t now = number(ss_->durable_lsn());
  EXPECT_EQ(ss_.told(ss_.await(ss_->commit(ss_.change(1), chunks, false))), "3.3");
  EXPECT_LT(number(ss_->durable_lsn()) - now, 60u << 10);
  EXPECT_TRUE(ss_.await(ss_->chunks(FileId{1}, {})).value() == chunks);
  EXPECT_EQ(ss_.undo(1), "3.4");
  EXPECT_TRUE(ss_.get(1) == content);
  EXPECT_TRUE(ss_.get(1, {Epoch{3}, 1}) == first);
  expect_rebuilt_equal();
  EXPECT_TRUE(ss_.get(1) == content);
}

TEST_F(FileStoreTest, KilledAndReopenedItHasWhatItAcknowledged) {
  for (int round = 0; round < 5; ++round) {
    for (uint64_t file = 1; file <= 30; ++file) ss_.put(file, "round " + std::to_string(round));
    world_.run_for(round * 60ms);
    ASSERT_TRUE(ss_.reopen());
    for (uint64_t file = 1; file <= 30; ++file) ASSERT_EQ(ss_.get(file), "round " + std::to_string(round));
  }
  ASSERT_TRUE(ss_.await(ss_->close()));
  expect_rebuilt_equal();
}

TEST_F(FileStoreTest, IdentityAndEpochsStay) {
  ASSERT_TRUE(ss_.await(ss_->set_identity("cluster", "ss1")));
  ASSERT_TRUE(ss_.await(ss_->begin_epoch(Epoch{7})));
  StoreId id = ss_->store_id();
  ASSERT_TRUE(ss_.rebuild());
  EXPECT_EQ(ss_->store_id(), id);
  EXPECT_EQ(ss_->cluster_id(), "cluster");
  EXPECT_EQ(ss_->server_name(), "ss1");
  EXPECT_EQ(ss_->served_epoch(), Epoch{7});
}

TEST_F(FileStoreTest, AnotherProcessOrAnotherProgramsFolderIsRefused) {
  StoreOnHost second(world_, "ss1");
  EXPECT_EQ(second.open().error().code, Code::kLocked);
  sim::SimHost& other = world_.host("other");
  other.disk.put("/data/store", "something else");
  StoreOnHost third(world_, "other");
  EXPECT_EQ(third.open().error().code, Code::kInvalid);
}

TEST_F(FileStoreTest, ARetryIsAnsweredOnce) {
  EXPECT_EQ(ss_.put(1, "x", 1), "3.1");
  EXPECT_EQ(ss_.put(1, "x", 1), "3.1");
  EXPECT_EQ(ss_.append(1, "y", 2), "3.2");
  EXPECT_EQ(ss_.append(1, "y", 2), "3.2");
  EXPECT_EQ(ss_.remove(1, 3), "3.3");
  EXPECT_EQ(ss_.append(1, "y", 2), "3.2");
  EXPECT_EQ(ss_.remove(1, 3), "3.3");
  ASSERT_TRUE(ss_.reopen());
  EXPECT_EQ(ss_.put(1, "x", 1), "3.1");
  EXPECT_EQ(ss_->answered(FileId{1}, {77, 2})->version, (Version{Epoch{3}, 2}));
  EXPECT_FALSE(ss_->answered(FileId{2}, {77, 2}));
}

TEST_F(FileStoreTest, AFailedCommitOfTheIndexLeavesNoGap) {
  EXPECT_EQ(ss_.put(1, "one"), "3.1");
  world_.run_for(1s);
  // The log takes the change, the index loses it; what is said to be covered at the end
  // must not be more than it has.
  ss_.disk().fail_call(sim::DiskCall::kWrite, 2);
  EXPECT_EQ(ss_.put(2, "two"), "3.1");
  world_.run_for(1s);
  EXPECT_EQ(ss_.put(3, "three"), "UNAVAILABLE");
  EXPECT_FALSE(ss_.await(ss_->close()));
  ASSERT_TRUE(ss_.reopen());
  EXPECT_EQ(ss_.get(2), "two");
}

Task<void> note(Task<Result<VersionInfo>> change, std::vector<std::string>* story) {
  auto info = co_await change;
  story->push_back(StoreOnHost::told(info));
}

TEST_F(FileStoreTest, ManyAtOnceShareOneSyncAndOneAnswer) {
  std::vector<std::string> story;
  ASSERT_EQ(ss_.put(1, ""), "3.1");
  uint64_t before = ss_.disk().crash_points();
  for (int i = 0; i < 50; ++i) {
    ss_.spawn(note(ss_->append(ss_.change(1, 100 + i), "x"), &story));
    ss_.spawn(note(ss_->append(ss_.change(1, 100 + i), "x"), &story));  // Sent twice.
  }
  world_.run_for(50ms);
  ASSERT_EQ(story.size(), 100u);
  EXPECT_EQ(ss_.get(1), Bytes(50, 'x'));
  EXPECT_LE(ss_.disk().crash_points() - before, 8u) << "a write and a sync have two crash points each";
}

Task<void> keep_reading(FileStore* store, Env* env, bool* bad, int* reads) {
  while (true) {
    auto info = store->info(FileId{1}, {});
    if (info) {
      auto bytes = co_await store->read(FileId{1}, info->version, 0, kChunkSizeMax);
      // A content is one letter, as often as its version says.
      if (!bytes || bytes->size() != info->size_bytes || *bytes != Bytes(bytes->size(), (*bytes)[0]))
        *bad = true;
      ++*reads;
    }
    auto turn = sleep_for(*env, 20us);
    co_await turn;
  }
}

TEST_F(FileStoreTest, AReaderSeesTheOldOrTheNewWhole) {
  bool bad = false;
  int reads = 0;
  sim::SimProcess* process = world_.find_process("store");
  ss_.spawn(keep_reading(ss_.operator->(), &process->env(), &bad, &reads));
  for (int i = 0; i < 60; ++i) ss_.put(1, Bytes(1 + i * 5000 % 300'000, static_cast<char>('a' + i % 26)));
  EXPECT_FALSE(bad);
  EXPECT_GT(reads, 100);
}

TEST_F(FileStoreTest, ADamagedChunkSpoilsItsFileOnly) {
  const Bytes one = some_bytes(1, 200'000), two = some_bytes(2, 200'000);
  ss_.put(1, one);
  ss_.put(2, two);
  ss_.put(3, "small");
  const std::string log = "/data/segments/0000000000000000.log";
  auto at = ss_.disk().peek(log)->find(one.substr(100'000, 50));
  ASSERT_NE(at, Bytes::npos);
  ASSERT_TRUE(ss_.await(ss_->close()));
  ASSERT_TRUE(ss_.disk().flip_bit(log, at));
  ASSERT_TRUE(ss_.reopen());
  EXPECT_EQ(ss_.get(1), "CORRUPT");
  EXPECT_TRUE(ss_.get(2) == two);
  EXPECT_EQ(ss_.get(3), "small");
  EXPECT_EQ(ss_.put(1, "written again"), "3.2");
  EXPECT_EQ(ss_.get(1), "written again");
}

// One step of it is one look at the index, wherever in a long past it is.
TEST_F(FileStoreTest, HistoryGoesOnWhereItWasAsked) {
  for (int i = 0; i < 5000; ++i) ss_.put(1, std::to_string(i));
  ASSERT_TRUE(ss_.await(ss_->close()));
  ASSERT_TRUE(ss_.reopen());  // It remembers no page of its index.
  const uint64_t before = ss_.disk().calls();
  EXPECT_EQ(ss_.history(1, {Epoch{3}, 20}, 1), "put 3.19, ...");
  EXPECT_LT(ss_.disk().calls() - before, 15u);
}

// The lists of a file's chunks are read for each of its versions, and cost the disk as much as anything else.
TEST_F(FileStoreTest, TheScrubberKeepsItsPaceWithListsToo) {
  ChunkRefs chunks;
  for (int i = 0; i < 3000; ++i) chunks.push_back(ss_.await(ss_->stage(FileId{1}, Bytes(40, '.') + std::to_string(i))).value());
  ss_.await(ss_->commit(ss_.change(1), chunks, false)).value();
  for (int i = 0; i < 100; ++i) ss_.append(1, "more");
  const Instant before = world_.now();
  ss_.spawn(ss_->scrub({.bytes_per_second = 1 << 20}));
  world_.run_until([&] { return ss_->scrub_status().last_end_us() != 0; }, 1h);
  EXPECT_LT(ss_->scrub_status().last_bytes(), 3u << 20) << "what the pass came through";
  EXPECT_GT(world_.now() - before, 12s) << "what was read";
}

// The index is gone too, so nobody knows what stood there; what is before and behind it is there.
TEST_F(FileStoreTest, ADamagedRecordInTheMiddleIsSteppedOverAtTheStart) {
  for (uint64_t file = 1; file <= 5; ++file) ss_.put(file, "the content of file " + std::to_string(file));
  const std::string log = "/data/segments/0000000000000000.log";
  auto at = ss_.disk().peek(log)->find("the content of file 3");
  ASSERT_NE(at, Bytes::npos);
  ASSERT_TRUE(ss_.await(ss_->close()));
  EXPECT_FALSE(ss_->damaged_at_start());
  ASSERT_TRUE(ss_.disk().flip_bit(log, at));
  ASSERT_TRUE(ss_.rebuild());
  EXPECT_TRUE(ss_->damaged_at_start());
  EXPECT_EQ(ss_.get(2), "the content of file 2");
  EXPECT_EQ(ss_.get(3), "NOT_FOUND");
  EXPECT_EQ(ss_.get(5), "the content of file 5");
  ss_.epoch = 4;
  EXPECT_EQ(ss_.put(6, "after"), "4.1");
  ASSERT_TRUE(ss_.reopen());
  EXPECT_EQ(ss_.get(6), "after");
}

TEST_F(FileStoreTest, AFullDiskRefusesChangesAndServesReads) {
  std::map<uint64_t, Bytes> have;
  ss_.put(1, "before");
  ss_.disk().set_quota(16 << 20);
  uint64_t file = 2;
  for (; file < 200; ++file) {
    std::string answer = ss_.put(file, Bytes(300'000, 'x'));
    if (answer == "NO_SPACE") break;
    ASSERT_EQ(answer, "3.1");
  }
  ASSERT_LT(file, 200u);
  EXPECT_EQ(ss_.upload(500, some_bytes(1, 5 << 20)), "NO_SPACE");
  EXPECT_EQ(ss_.get(1), "before");
  EXPECT_EQ(ss_.get(file), "NOT_FOUND");
  // Not a byte is left, not even for the index.
  ss_.disk().set_quota(1 << 20);
  world_.run_for(2s);
  EXPECT_EQ(ss_.put(1, "no"), "NO_SPACE");
  EXPECT_EQ(ss_.get(file - 1), Bytes(300'000, 'x'));
  ss_.disk().set_quota(std::nullopt);
  world_.run_for(2s);
  EXPECT_EQ(ss_.put(file, "after"), "3.1");
  expect_rebuilt_equal();
  EXPECT_EQ(ss_.get(1), "before");
  EXPECT_EQ(ss_.get(file), "after");
}

Task<void> note_failure(FileStore* store, std::string* story) {
  auto failed = store->failed();
  Error error = co_await failed;
  *story = error.to_string();
}

TEST_F(FileStoreTest, AFailedSyncAcknowledgesNothingAndIsTold) {
  std::string story;
  ss_.spawn(note_failure(ss_.operator->(), &story));
  ss_.put(1, "before");
  ss_.disk().fail_call(sim::DiskCall::kSync, 1);
  EXPECT_EQ(ss_.put(1, "lost"), "UNAVAILABLE");
  world_.run_for(1s);
  EXPECT_NE(story, "");
  EXPECT_EQ(ss_.get(1), "before");
  EXPECT_EQ(ss_.put(2, "no"), "UNAVAILABLE");
}

TEST_F(FileStoreTest, AnnouncesWhatItMade) {
  ss_.put(1, "one");
  auto first = ss_->announceable(kNoLsn, 10);
  ASSERT_EQ(first.items.size(), 1u);
  EXPECT_EQ(first.items[0].size_bytes(), 3u);
  EXPECT_EQ(first.to, ss_->durable_lsn());
  EXPECT_EQ(ss_->announceable(first.to, 10).items.size(), 0u);
  ss_.append(1, "two");
  ss_.put(2, "three");
  auto next = ss_->announceable(first.to, 1);
  ASSERT_EQ(next.items.size(), 1u);
  EXPECT_EQ(next.items[0].file_id(), 1u);
  next = ss_->announceable(next.to, 1);
  ASSERT_EQ(next.items.size(), 1u);
  EXPECT_EQ(next.items[0].file_id(), 2u);
  EXPECT_EQ(ss_->announceable(next.to, 1).items.size(), 0u);
}

// A little history with every kind of change. `acknowledged`: what must be there
// afterwards; of a file with a change under way both contents may.
struct History {
  std::map<uint64_t, Bytes> acknowledged;
  std::optional<std::pair<uint64_t, Bytes>> under_way;
  bool ended = false;
};

void write_history(StoreOnHost& ss, History& history) {
  auto change = [&](uint64_t file, Bytes after, auto perform) {
    if (!ss.alive() || history.ended) return;
    history.under_way = {file, after};
    std::string answer = perform();
    if (answer == "UNAVAILABLE") history.ended = true;  // The server would end itself here.
    if (history.ended) return;
    history.under_way.reset();
    if (answer.find('.') != std::string::npos) history.acknowledged[file] = after;
  };
  for (int round = 0; round < 3 && ss.alive(); ++round) {
    const Bytes small = "small " + std::to_string(round), medium = some_bytes(round, 100'000);
    const Bytes big = some_bytes(round, (1 << 20) + 1000);
    change(1, small, [&] { return ss.put(1, small); });
    change(2, history.acknowledged[2] + small, [&] { return round == 0 ? ss.put(2, small) : ss.append(2, small); });
    change(3, medium, [&] { return ss.put(3, medium); });
    if (round == 1) change(4, big, [&] { return ss.upload(4, big); });
    change(10 + round, "", [&] { return ss.put(10 + round, ""); });
    if (round == 2) change(10, "NOT_FOUND", [&] { return ss.remove(10); });
  }
}

// Opens again and compares.
void check_history(StoreOnHost& ss, const History& history, uint64_t n) {
  auto opened = ss.reopen();
  ASSERT_TRUE(opened) << n << " " << opened.error().to_string();
  for (auto& [file, content] : history.acknowledged) {
    if (content.empty() && file < 10) continue;
    Bytes now = ss.get(file);
    bool fine = now == content ||
                (history.under_way && history.under_way->first == file && now == history.under_way->second);
    ASSERT_TRUE(fine) << n << " file " << file << ": " << now.substr(0, 40);
  }
  std::string before = ss.dump();
  ASSERT_TRUE(ss.rebuild()) << n;
  ASSERT_EQ(ss.dump(), before) << n;
  ASSERT_EQ(ss.put(99, "after"), "3.1") << n;
}

TEST(FileStorePowerTest, CutAtEveryWriteAndSync) {
  uint64_t cuts = 0;
  for (uint64_t n = 1;; ++n) {
    sim::SimWorld world(n);
    StoreOnHost ss(world, "ss1");
    History history;
    ss.disk().cut_power_at(n);
    if (ss.open()) write_history(ss, history);
    if (ss.alive()) break;  // The history ended before the n-th write.
    ++cuts;
    world.power_on(ss.host());
    ASSERT_NO_FATAL_FAILURE(check_history(ss, history, n));
  }
  EXPECT_GT(cuts, 50u);
}

class FileStoreErrorTest : public testing::TestWithParam<Code> {};

TEST_P(FileStoreErrorTest, EveryDiskCallFailsOnce) {
  uint64_t n = 1;
  for (;; ++n) {
    sim::SimWorld world(n);
    StoreOnHost ss(world, "ss1");
    History history;
    ss.disk().fail_any_call(n, GetParam());
    if (ss.open()) write_history(ss, history);
    world.run_for(1s);
    if (ss.disk().failure_pending()) break;  // The history has fewer calls.
    ASSERT_NO_FATAL_FAILURE(check_history(ss, history, n));
  }
  EXPECT_GT(n, 100u);
}

INSTANTIATE_TEST_SUITE_P(Codes, FileStoreErrorTest, testing::Values(Code::kInternal, Code::kNoSpace),
                         [](const auto& code) { return std::string(code_name(code.param)); });

}  // namespace
}  // namespace understudy
