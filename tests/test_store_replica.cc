// Two engines side by side, with the test in the name node's place: versions and
// chunks handed over, digests compared, a diverged branch set aside.
#include "tests/store_fixture.h"

namespace understudy {
namespace {

class StoreReplicaTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(one_.open());
    ASSERT_TRUE(two_.open());
  }

  static wire::FetchRequest wanted(uint64_t file, Version from, uint64_t bytes_max = UINT64_MAX) {
    wire::FetchRequest request;
    request.set_bytes_max(bytes_max);
    auto* item = request.add_items();
    item->set_file_id(file);
    *item->mutable_from() = version_to_wire(from);
    return request;
  }
  wire::FetchedFile fetch(StoreOnHost& from, uint64_t file, Version behind = {},
                          uint64_t bytes_max = UINT64_MAX) {
    return from.await(from->fetch(wanted(file, behind, bytes_max))).value().files(0);
  }
  // "APPLIED", ... or the code of the error.
  std::string apply(StoreOnHost& to, const wire::VersionRecord& version) {
    wire::ApplyRequest request;
    request.set_epoch(number(Epoch{version.version().epoch()}));
    *request.add_items()->mutable_version() = version;
    auto reply = to.await(to->apply(request));
    return reply ? wire::ApplyOutcome::Outcome_Name(reply->outcomes(0).outcome())
                 : std::string(code_name(reply.error().code));
  }
  // What a worker does for one job. The number of chunks that travelled.
  int replicate(StoreOnHost& from, StoreOnHost& to, uint64_t file, Version behind = {}) {
    int chunks = 0;
    for (const auto& version : fetch(from, file, behind).versions()) {
      ChunkRefs top(version.chunks_size());
      for (size_t i = 0; i < top.size(); ++i) {
        CHECK(chunk_ref_from_wire(version.chunks(static_cast<int>(i)), version.list_level(), top[i]));
      }
      chunks += carry(from, to, file, top, version.list_level());
      EXPECT_EQ(apply(to, version), "APPLIED");
    }
    return chunks;
  }
  int carry(StoreOnHost& from, StoreOnHost& to, uint64_t file, const ChunkRefs& list, uint32_t level) {
    int chunks = 0;
    wire::MissingChunksRequest ask;
    ask.set_file_id(file);
    for (const auto& ref : list) ask.add_hashes(Bytes(ref.hash.view()));
    const auto missing = to.await(to->missing_chunks(ask)).value();
    for (uint32_t index : missing.missing()) {
      wire::FetchChunkRequest chunk;
      chunk.set_file_id(file);
      chunk.set_hash(ask.hashes(static_cast<int>(index)));
      Bytes bytes = from.await(from->fetch_chunk(chunk)).value();
      if (level > 0) chunks += carry(from, to, file, *parse_list(bytes, level - 1), level - 1);
      EXPECT_TRUE(to.await(to->store_chunk(FileId{file}, list[index].hash, bytes)));
      ++chunks;
    }
    return chunks;
  }
  std::vector<uint64_t> digests(StoreOnHost& store) {
    auto reply = store.await(store->digest()).value();
    return {reply.partitions().begin(), reply.partitions().end()};
  }
  std::string set_aside(StoreOnHost& store, uint64_t file, Version keep) {
    wire::SetAsideRequest request;
    auto* item = request.add_items();
    item->set_file_id(file);
    *item->mutable_keep() = version_to_wire(keep);
    auto reply = store.await(store->set_aside(request));
    if (!reply) return std::string(code_name(reply.error().code));
    std::string story = reply->files(0).name();
    for (const auto& version : reply->files(0).versions())
      story += " " + version_from_wire(version).to_string();
    return story;
  }

  sim::SimWorld world_{5};
  StoreOnHost one_{world_, "ss1"};
  StoreOnHost two_{world_, "ss2"};
};

TEST_F(StoreReplicaTest, HalvesBecomeEqual) {
  const Bytes big = some_bytes(1, (2 << 20) + 1000);
  one_.put(1, "small");
  one_.append(1, "er");
  one_.upload(2, big);
  one_.put(3, "");
  one_.remove(3);
  EXPECT_EQ(replicate(one_, two_, 1), 0);
  EXPECT_EQ(replicate(one_, two_, 2), 3);
  EXPECT_NE(digests(one_), digests(two_));
  replicate(one_, two_, 3);
  EXPECT_EQ(digests(one_), digests(two_));
  EXPECT_EQ(two_.get(1), "smaller");
  EXPECT_TRUE(two_.get(2) == big);
  EXPECT_EQ(two_.get(3), "NOT_FOUND");
  EXPECT_EQ(two_->announceable(kNoLsn, 100).items.size(), 0u)
      << "what was replicated is not its own to announce";
  // Only what differs travels.
  one_.append(2, "tail");
  EXPECT_EQ(replicate(one_, two_, 2, {Epoch{3}, 1}), 1);
  EXPECT_TRUE(two_.get(2) == big + "tail");
  ASSERT_TRUE(two_.rebuild());
  EXPECT_EQ(digests(one_), digests(two_));
  EXPECT_TRUE(two_.get(2) == big + "tail");
}

TEST_F(StoreReplicaTest, AFileOfManyChunksTravelsWithItsLists) {
  ChunkRefs chunks;
  for (int i = 0; i < 3000; ++i) {
    chunks.push_back(one_.await(one_->stage(FileId{1}, "chunk " + std::to_string(i))).value());
  }
  EXPECT_EQ(one_.told(one_.await(one_->commit(one_.change(1), chunks, false))), "3.1");
  EXPECT_GT(replicate(one_, two_, 1), 3000);
  EXPECT_TRUE(two_.get(1) == one_.get(1));
  EXPECT_EQ(one_.append(1, "more"), "3.2");
  EXPECT_LE(replicate(one_, two_, 1, {Epoch{3}, 1}), 3);
  EXPECT_TRUE(two_.get(1) == one_.get(1));
  ASSERT_TRUE(two_.rebuild());
  EXPECT_TRUE(two_.get(1) == one_.get(1));
}

TEST_F(StoreReplicaTest, WhatWasUndoneComesBackWithoutItsChunks) {
  const Bytes big = some_bytes(1, 3 << 20);
  one_.upload(1, big);
  one_.upload(1, some_bytes(2, 2 << 20));
  EXPECT_EQ(replicate(one_, two_, 1), 5);
  ASSERT_TRUE(two_.reopen());  // It remembers no chunk on its way.
  one_.undo(1);
  EXPECT_EQ(replicate(one_, two_, 1, {Epoch{3}, 2}), 0);
  EXPECT_TRUE(two_.get(1) == big);
  EXPECT_EQ(two_.history(1), one_.history(1));
  EXPECT_EQ(two_.undo(1), "CONFLICT");
}

TEST_F(StoreReplicaTest, TagsAreReplicatedComparedAndSetAside) {
  const Bytes big = some_bytes(1, 2 << 20);
  one_.upload(1, big);
  replicate(one_, two_, 1);
  EXPECT_EQ(one_.checkpoint(1, "kept"), "3.1");
  EXPECT_NE(digests(one_), digests(two_)) << "a half that lacks a tag lacks something";
  EXPECT_EQ(replicate(one_, two_, 1, {Epoch{3}, 1}), 0);
  EXPECT_EQ(digests(one_), digests(two_));
  EXPECT_EQ(two_.tags(1), "kept 3.1");
  // The tag of a branch that is set aside is free again, and a rebuilt index agrees.
  two_.epoch = 4;
  two_.put(1, "x");
  EXPECT_EQ(two_.checkpoint(1, "lost"), "4.1");
  EXPECT_EQ(set_aside(two_, 1, {Epoch{3}, 2}), "f1 4.2 4.1");
  EXPECT_EQ(two_.tags(1), "kept 3.1, recovered-2026-01-01-4.1 4.1, recovered-2026-01-01-4.2 4.2");
  EXPECT_EQ(two_->info(FileId{1}, {}).value().versions, 1u);
  const std::string before = two_.dump();
  ASSERT_TRUE(two_.rebuild());
  EXPECT_EQ(two_.dump(), before);
  EXPECT_EQ(digests(one_), digests(two_));
  two_.epoch = 5;
  EXPECT_EQ(two_.checkpoint(1, "lost"), "3.1");
}

TEST_F(StoreReplicaTest, OutOfOrderIsRefused) {
  one_.put(1, "a");
  one_.put(1, "b");
  one_.put(1, "c");
  auto versions = fetch(one_, 1).versions();
  ASSERT_EQ(versions.size(), 3);
  EXPECT_EQ(apply(two_, versions[1]), "NOT_ON_HEAD");
  EXPECT_EQ(apply(two_, versions[0]), "APPLIED");
  EXPECT_EQ(apply(two_, versions[2]), "NOT_ON_HEAD");
  EXPECT_EQ(apply(two_, versions[1]), "APPLIED");
  EXPECT_EQ(apply(two_, versions[0]), "ALREADY");
  EXPECT_EQ(two_.get(1), "b");
  one_.put(2, Bytes(100'000, 'x'));
  EXPECT_EQ(apply(two_, fetch(one_, 2).versions(0)), "CHUNK_MISSING");
  EXPECT_EQ(two_->greatest_epoch(), Epoch{3});
}

TEST_F(StoreReplicaTest, AChunkThatIsNotWhatItsNameSaysIsRefused) {
  EXPECT_EQ(two_.await([](FileStore* store) -> Task<Result<int>> {
                  CO_RETURN_IF_ERROR(co_await store->store_chunk(FileId{1}, chunk_hash("this"), "that"));
                  co_return 1;
                }(two_.operator->()))
                .error()
                .code,
            Code::kCorrupt);
}

// Whatever was refused while the rest waited for room: nothing of it may be told as done.
TEST_F(StoreReplicaTest, AFullDiskAppliesNothing) {
  for (uint64_t file = 1; file <= 290; ++file) one_.put(file, Bytes(60'000, 'x'));
  ASSERT_TRUE(two_.await(two_->begin_epoch(Epoch{3})));  // No record of its own then.
  // So many that the last one is the first to wait.
  for (uint64_t last = 270; last <= 290; ++last) {
    wire::ApplyRequest request;
    request.set_epoch(3);
    for (uint64_t file = 1; file <= last; ++file) *request.add_items()->mutable_version() = fetch(one_, file).versions(0);
    two_.put(1000 + last, "looks at the disk, which is remembered for a moment");
    two_.disk().set_quota(1 << 20);
    auto reply = two_.await(two_->apply(request));
    ASSERT_FALSE(reply) << last << " applied: " << reply->outcomes(0).ShortDebugString();
    EXPECT_EQ(reply.error().code, Code::kNoSpace);
    EXPECT_EQ(two_.get(1), "NOT_FOUND");
    two_.disk().set_quota(std::nullopt);
    world_.run_for(std::chrono::seconds(1));
  }
  EXPECT_EQ(replicate(one_, two_, 1), 0);
  EXPECT_EQ(two_.get(1), one_.get(1));
}

TEST_F(StoreReplicaTest, FetchTellsWhatItCannotGive) {
  one_.put(1, "a");
  one_.put(1, "b");
  EXPECT_EQ(fetch(one_, 2).outcome(), wire::FetchedFile::GONE);
  EXPECT_EQ(fetch(one_, 1, {Epoch{2}, 9}).outcome(), wire::FetchedFile::NOT_A_DESCENDANT);
  auto part = fetch(one_, 1, {}, 1);
  EXPECT_EQ(part.outcome(), wire::FetchedFile::NOT_YET);
  EXPECT_EQ(part.versions_size(), 1);
  EXPECT_EQ(fetch(one_, 1, {Epoch{3}, 2}).versions_size(), 0);
}

TEST_F(StoreReplicaTest, ALongLineOfVersionsTravelsInParts) {
  for (int i = 0; i < 120; ++i) one_.put(1, Bytes(60'000, static_cast<char>('a' + i % 26)));
  Version have;
  int parts = 0;
  for (bool more = true; more && parts < 10; ++parts) {
    auto part = fetch(one_, 1, have, 0);
    for (const auto& version : part.versions()) ASSERT_EQ(apply(two_, version), "APPLIED");
    have = two_->info(FileId{1}, {})->version;
    more = part.outcome() == wire::FetchedFile::NOT_YET;
  }
  EXPECT_EQ(parts, 2);
  EXPECT_EQ(digests(one_), digests(two_));
}

// A half that was away for long asks page by page: what lies ahead is not gone through for each.
TEST_F(StoreReplicaTest, APageOfALongLineCostsWhatIsInIt) {
  for (int i = 0; i < 5000; ++i) one_.put(1, std::to_string(i));
  ASSERT_TRUE(one_.await(one_->close()));
  ASSERT_TRUE(one_.reopen());  // It remembers no page of its index.
  const uint64_t before = one_.disk().calls();
  auto part = fetch(one_, 1, {Epoch{3}, 10}, 1);
  EXPECT_EQ(part.outcome(), wire::FetchedFile::NOT_YET);
  ASSERT_EQ(part.versions_size(), 1);
  EXPECT_EQ(part.versions(0).inline_content(), "10");
  EXPECT_LT(one_.disk().calls() - before, 50u);
  EXPECT_EQ(fetch(one_, 1, {Epoch{3}, 4990}).versions_size(), 10);
  EXPECT_GT(fetch(one_, 1).versions_size(), 300) << "more than is looked up at once";
}

TEST_F(StoreReplicaTest, ARetryAfterFailoverIsAnsweredOnce) {
  one_.put(1, "a");
  one_.append(1, "x", 1);
  replicate(one_, two_, 1);
  two_.epoch = 8;
  EXPECT_EQ(two_.append(1, "x", 1), "3.2");
  EXPECT_EQ(two_.get(1), "ax");
}

TEST_F(StoreReplicaTest, WhatDivergedIsSetAsideAndStays) {
  one_.put(1, "common");
  replicate(one_, two_, 1);
  one_.put(1, "only here", 1);
  one_.put(1, "only here too");
  one_.put(9, "never replicated");
  two_.epoch = 8;
  EXPECT_EQ(two_.put(1, "went on", 1), "8.1");
  // The first half returns.
  auto theirs = fetch(two_, 1, {Epoch{3}, 1}).versions(0);
  EXPECT_EQ(apply(one_, theirs), "NOT_ON_HEAD");
  EXPECT_EQ(set_aside(one_, 1, {Epoch{7}, 7}), "NOT_FOUND");
  EXPECT_EQ(set_aside(one_, 1, {Epoch{3}, 1}), "f1 3.3 3.2");
  EXPECT_EQ(set_aside(one_, 1, {Epoch{3}, 1}), "f1");
  EXPECT_EQ(set_aside(one_, 9, {}), "f9 3.1");
  EXPECT_EQ(one_.get(1), "common");
  EXPECT_EQ(one_.get(9), "NOT_FOUND");
  EXPECT_EQ(apply(one_, theirs), "APPLIED");
  for (int opened = 0; opened < 3; ++opened) {
    EXPECT_EQ(one_.get(1), "went on");
    EXPECT_EQ(one_.get(1, {Epoch{3}, 2}), "only here");
    EXPECT_EQ(one_.get(1, {Epoch{3}, 3}), "only here too");
    EXPECT_EQ(one_.get(9, {Epoch{3}, 1}), "never replicated");
    EXPECT_EQ(one_->divergent(FileId{1}), (std::vector<Version>{{Epoch{3}, 2}, {Epoch{3}, 3}}));
    EXPECT_EQ(one_->divergent_count(), 3u);
    EXPECT_EQ(one_->member_stat(FileId{1}).value().divergent_size(), 2);
    EXPECT_EQ(digests(one_), digests(two_));
    // The request counts where it went on, not where it was set aside.
    EXPECT_EQ(one_->answered(FileId{1}, {77, 1})->version, (Version{Epoch{8}, 1}));
    EXPECT_EQ(one_->announceable(kNoLsn, 100).items.size(), 1u);
    std::string before = one_.dump();
    ASSERT_TRUE(opened == 0 ? one_.reopen() : one_.rebuild());
    EXPECT_EQ(one_.dump(), before);
  }
}

// The index is gone too: of what was set aside nobody knows anything, and that holds nobody up.
TEST_F(StoreReplicaTest, WhatWasSetAsideAndIsDamagedKeepsNoStartFromComing) {
  one_.put(1, "stays");
  one_.put(9, "never replicated");
  EXPECT_EQ(set_aside(one_, 9, {}), "f9 3.1");
  one_.put(2, "later");
  const std::string log = "/data/segments/0000000000000000.log";
  const size_t at = one_.disk().peek(log)->find("never replicated");
  ASSERT_TRUE(one_.await(one_->close()));
  ASSERT_TRUE(one_.disk().flip_bit(log, at));
  auto opened = one_.rebuild();
  ASSERT_TRUE(opened) << opened.error().to_string();
  EXPECT_EQ(one_.get(1), "stays");
  EXPECT_EQ(one_.get(2), "later");
  EXPECT_EQ(one_.get(9), "NOT_FOUND");
}

TEST_F(StoreReplicaTest, WhatDivergedElsewhereIsKeptBesideTheLine) {
  one_.put(1, "common");
  replicate(one_, two_, 1);
  one_.put(1, "only there", 1);
  one_.put(9, "a file of its own");
  two_.epoch = 8;
  two_.put(1, "went on", 1);
  for (int again = 0; again < 2; ++again) {
    wire::KeepAsideRequest request;
    *request.add_versions() = fetch(one_, 1, {Epoch{3}, 1}).versions(0);
    *request.add_versions() = fetch(one_, 9, {}).versions(0);
    ASSERT_TRUE(two_.await(two_->keep_aside(request)));
  }
  for (int opened = 0; opened < 2; ++opened) {
    EXPECT_EQ(two_.get(1), "went on");
    EXPECT_EQ(two_.get(9), "NOT_FOUND");
    EXPECT_EQ(two_.get(1, {Epoch{3}, 2}), "only there");
    auto named = two_->checkpoints(FileId{1}, "").value();
    ASSERT_EQ(named.size(), 1u);
    EXPECT_TRUE(named[0].tag().starts_with("recovered-") && named[0].tag().ends_with("-3.2")) << named[0].tag();
    EXPECT_EQ(two_->divergent_count(), 2u);
    EXPECT_EQ(two_->announceable(kNoLsn, 100).items.size(), 1u);
    EXPECT_EQ(two_->answered(FileId{1}, {77, 1})->version, (Version{Epoch{8}, 1}));
    std::string before = two_.dump();
    ASSERT_TRUE(two_.rebuild());
    EXPECT_EQ(two_.dump(), before);
  }
}

TEST_F(StoreReplicaTest, PartitionsAreListedInPages) {
  for (uint64_t i = 1; i <= 7; ++i) one_.put((uint64_t{600} << 54) + i, "x");
  one_.put((uint64_t{3} << 54) + 1, "x");
  one_.put((uint64_t{3} << 54) + 1, "y");
  wire::ListPartitionRequest request;
  request.add_partitions(600);
  request.add_partitions(3);
  request.set_limit(3);
  std::vector<uint64_t> ids;
  for (bool more = true; more;) {
    auto reply = one_.await(one_->list_partition(request)).value();
    for (const auto& file : reply.files()) ids.push_back(file.file_id());
    EXPECT_LE(reply.files_size(), 3);
    if (ids.size() == 3u) EXPECT_EQ(reply.files(0).recent_size(), 1);
    more = reply.more();
    request.set_after_file_id(ids.back());
  }
  ASSERT_EQ(ids.size(), 8u);
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
}

TEST_F(StoreReplicaTest, ALongLineIsNamedByItsEpochs) {
  one_.epoch = 3;
  for (int i = 0; i < 100; ++i) one_.put(1, "x");
  one_.epoch = 5;
  for (int i = 0; i < 2; ++i) one_.put(1, "y");
  one_.epoch = 8;
  for (int i = 0; i < 100; ++i) one_.put(1, "z");
  auto stat = one_->member_stat(FileId{1}).value();
  ASSERT_EQ(stat.recent_size(), 66);
  auto at = [&](int i) { return std::pair(stat.recent(i).epoch(), stat.recent(i).counter()); };
  EXPECT_EQ(at(0), std::pair(uint64_t{8}, uint64_t{99}));
  EXPECT_EQ(at(63), std::pair(uint64_t{8}, uint64_t{36}));
  EXPECT_EQ(at(64), std::pair(uint64_t{5}, uint64_t{2}));
  EXPECT_EQ(at(65), std::pair(uint64_t{3}, uint64_t{100}));
}

TEST_F(StoreReplicaTest, NewerNamesWin) {
  auto name = [&](uint64_t id, uint64_t meta_version, std::string text) {
    wire::ApplyRequest request;
    auto* record = request.add_items()->mutable_name();
    record->set_object_id(id);
    record->set_kind(wire::KIND_FOLDER);
    record->set_meta_version(meta_version);
    record->set_name(text);
    return one_.await(one_->apply(request)).has_value();
  };
  EXPECT_TRUE(name(5, 10, "ten"));
  EXPECT_TRUE(name(5, 9, "nine"));
  EXPECT_EQ(one_->member_stat(FileId{5}).value().meta_version(), 10u);
  EXPECT_NE(digests(one_)[0], 0u);
  ASSERT_TRUE(one_.rebuild());
  EXPECT_EQ(one_->member_stat(FileId{5}).value().meta_version(), 10u);
}

}  // namespace
}  // namespace understudy
