// The catalogue: each command's effect and refusals, first answers, the same database
// from the same log, and what a crash or a full disk leaves.
#include <algorithm>
#include <set>

#include "tests/sim/catalogue_test.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

TEST_F(CatalogueTest, FilesAndFolders) {
  refused(Code::kUnavailable, file("/a"));  // Nobody to hold it.
  done(hello("ss1", kStoreA));
  auto made = done(file("/a"));
  EXPECT_TRUE(made.created());
  EXPECT_EQ(made.pair(), "ss1");
  // Its maker may be gone without a word: only the acting primary knows whether it is taken.
  for (bool exclusive : {false, true}) {
    auto again = done(file("/a", exclusive));
    EXPECT_EQ(again.object_id(), made.object_id());
    EXPECT_FALSE(again.created());
  }
  EXPECT_EQ(catalogue_->find("/a")->state, NodeState::kPending);

  refused(Code::kNotFound, folder("/x/y/z"));
  EXPECT_EQ(done(folder("/x/y/z", true)).count(), 3u);
  refused(Code::kExists, folder("/x/y"));
  refused(Code::kExists, folder("/a"));
  refused(Code::kNotFolder, folder("/a/b", true));
  refused(Code::kNotFolder, file("/a/b"));
  refused(Code::kNotFound, file("/nowhere/b"));
  refused(Code::kIsFolder, file("/x/y", false));
  refused(Code::kInvalid, file("/x/.."));
  refused(Code::kInvalid, file("/x/" + std::string(300, 'n')));
  auto deep = done(file("/x/y/z/f"));
  EXPECT_EQ(path_of(deep.object_id()), "/x/y/z/f");
  EXPECT_EQ(catalogue_->files(), 2u);
  EXPECT_EQ(catalogue_->folders(), 3u);
  EXPECT_EQ(jobs("ss1").size(), 3u);  // The folders' names.
}

TEST_F(CatalogueTest, IdsFillThePartitionsEvenlyAndAreNeverUsedTwice) {
  make_pair();
  std::vector<int> count(kPartitions);
  std::set<uint64_t> ids;
  for (int i = 0; i < 2048; ++i) {
    auto id = done(file("/" + std::to_string(i))).object_id();
    EXPECT_TRUE(ids.insert(id).second);
    ++count[partition_of(FileId{id})];
    if (i < 500) done(removed(id, 0, 0));
  }
  EXPECT_LE(*std::max_element(count.begin(), count.end()), 4);
  EXPECT_GE(*std::min_element(count.begin(), count.end()), 1);
  for (uint32_t p : {0u, 511u, 512u, 1023u}) {
    for (const auto& node : catalogue_->nodes_of_partition(p, kNoFile, 100)) EXPECT_EQ(partition_of(node.id), p);
    EXPECT_FALSE(catalogue_->nodes_of_partition(p, kNoFile, 100).empty());
  }
}

TEST_F(CatalogueTest, Links) {
  make_pair();
  done(folder("/real/deep", true));
  auto f = done(file("/real/deep/f"));
  done(link("/short", "real/deep"));
  done(link("/real/up", "../short/f"));
  done(link("/loop", "loop"));
  done(link("/out", "/etc/passwd"));
  EXPECT_EQ(number(catalogue_->find("/short/f")->id), f.object_id());
  EXPECT_EQ(number(catalogue_->find("/real/up", true)->id), f.object_id());
  EXPECT_EQ(catalogue_->find("/real/up")->kind, NodeKind::kLink);
  EXPECT_EQ(catalogue_->find("/loop/x").error().code, Code::kInvalid);
  EXPECT_EQ(catalogue_->find("/out", true).error().code, Code::kNotFound);
  refused(Code::kExists, link("/short", "x"));
  refused(Code::kInvalid, link("/empty", ""));
  auto replaced = link("/short", "elsewhere");
  replaced.mutable_create_link()->set_replace(true);
  done(replaced);
  EXPECT_EQ(catalogue_->find("/short/f").error().code, Code::kNotFound);
  Command gone;
  gone.mutable_remove_link()->set_path("/loop");
  done(gone);
  refused(Code::kNotFound, gone);
  gone.mutable_remove_link()->set_path("/real");
  refused(Code::kIsFolder, gone);
}

TEST_F(CatalogueTest, Moves) {
  make_pair();
  done(folder("/a/b/c", true));
  done(folder("/d"));
  auto f = done(file("/a/b/f"));
  EXPECT_TRUE(catalogue_->find("/a/b/f"));  // Puts the folder into the cache.
  done(move("/a/b", "/d"));
  EXPECT_EQ(path_of(f.object_id()), "/d/b/f");
  EXPECT_EQ(catalogue_->find("/a/b/f").error().code, Code::kNotFound);
  done(move("/d/b/f", "/g"));
  EXPECT_EQ(path_of(f.object_id()), "/g");
  refused(Code::kInvalid, move("/d", "/d/b"));
  refused(Code::kInvalid, move("/d", "/d/b/new"));
  refused(Code::kInvalid, move("/", "/d"));
  refused(Code::kNotFound, move("/nothing", "/d"));
  refused(Code::kNotFound, move("/g", "/no/where"));
  done(file("/h"));
  refused(Code::kExists, move("/g", "/h"));
  done(file("/d/g"));
  refused(Code::kExists, move("/g", "/d"));
  done(move("/d", "/d"));  // Where it is.
  EXPECT_TRUE(catalogue_->find("/d"));
}

TEST_F(CatalogueTest, AttributesAreJobsForThePairOrForAll) {
  make_pair();
  auto f = done(file("/f"));
  Command c;
  c.mutable_set_attributes()->set_path("/f");
  c.mutable_set_attributes()->set_mode(0640);
  auto changed = done(c);
  EXPECT_EQ(catalogue_->find("/f")->mode, 0640u);
  EXPECT_EQ(catalogue_->find("/f")->meta_version, changed.raft_index());
  for (auto target : {"ss1", "ss1_backup"}) {
    auto waiting = jobs(target);
    ASSERT_EQ(waiting.size(), 1u);
    EXPECT_EQ(waiting[0].kind, JobKind::kMetadata);
    EXPECT_EQ(number(waiting[0].object), f.object_id());
    EXPECT_EQ(waiting[0].meta_version, changed.raft_index());
  }
  c.mutable_set_attributes()->set_path("/no");
  refused(Code::kNotFound, c);
}

TEST_F(CatalogueTest, RemovingAFile) {
  uint64_t e = make_pair();
  auto f = done(file("/f")).object_id();
  auto a = announce("ss1", e, 0, 100);
  add_item(a, f, 1, 0, 50);
  done(a);
  refused(Code::kNotFound, intent("/nothing"));
  auto begun = done(asked(intent("/f"), 1));
  EXPECT_EQ(begun.object_id(), f);
  EXPECT_EQ(begun.access_generation(), 1u);
  EXPECT_EQ(catalogue_->find("/f")->state, NodeState::kDeleting);
  refused(Code::kUnavailable, file("/f", false));
  refused(Code::kUnavailable, move("/f", "/g"));
  EXPECT_TRUE(done(asked(intent("/f"), 1)).repeat());
  Command cancel;
  cancel.mutable_remove_cancel()->set_object_id(f);
  done(cancel);
  EXPECT_EQ(catalogue_->find("/f")->state, NodeState::kLive);
  done(asked(intent("/f"), 2));
  refused(Code::kStaleEpoch, removed(f, e + 1, 2));
  EXPECT_EQ(done(removed(f, e, 2)).count(), 1u);
  EXPECT_EQ(catalogue_->find("/f").error().code, Code::kNotFound);
  auto left = jobs("ss1_backup");
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].kind, JobKind::kDelete);
  EXPECT_EQ(left[0].from, Version{});
  EXPECT_EQ(left[0].to, (Version{Epoch{e}, 2}));
  EXPECT_TRUE(done(asked(intent("/f"), 2)).repeat());
  EXPECT_EQ(catalogue_->pair("ss1")->files, 0u);
  EXPECT_EQ(catalogue_->pair("ss1")->bytes, 0u);

  // A tombstone that is announced first does the same, and done finds nothing left to do.
  auto g = done(file("/g")).object_id();
  auto tomb = announce("ss1", e, 100, 200);
  add_item(tomb, g, 1, 0, 120);
  add_item(tomb, g, 2, 1, 150, wire::CHANGE_DELETE);
  done(tomb);
  EXPECT_FALSE(catalogue_->find("/g"));
  EXPECT_EQ(done(removed(g, e, 2)).count(), 0u);
  EXPECT_EQ(catalogue_->job(server("ss1_backup").id, FileId{g})->kind, JobKind::kDelete);
}

TEST_F(CatalogueTest, RemovingFolders) {
  make_pair();
  done(folder("/a/b", true));
  auto f = done(file("/a/b/f")).object_id();
  done(link("/a/l", "b"));
  done(file("/file"));
  refused(Code::kNotEmpty, remove_folder("/a", false));
  refused(Code::kNotFolder, remove_folder("/file", true));
  refused(Code::kNotFound, remove_folder("/no", true));
  refused(Code::kInvalid, remove_folder("/", true));
  done(remove_folder("/a", true));
  EXPECT_FALSE(catalogue_->find("/a"));
  EXPECT_FALSE(catalogue_->find("/a/b/f"));
  EXPECT_EQ(catalogue_->path_of(FileId{f}).error().code, Code::kNotFound);
  EXPECT_TRUE(done(folder("/a")).created());  // The name is free at once.
  int rounds = 0;
  for (auto left = catalogue_->trash(2); !left.empty() && rounds < 10; left = catalogue_->trash(2), ++rounds) {
    Command purge;
    Command gone;
    purge.mutable_purge_nodes();
    gone.mutable_remove_done();
    for (const auto& node : left) {
      if (node.kind == NodeKind::kFile) gone.mutable_remove_done()->add_files()->set_object_id(number(node.id));
      else purge.mutable_purge_nodes()->add_object_ids(number(node.id));
    }
    done(gone);
    done(purge);
  }
  EXPECT_TRUE(catalogue_->trash(100).empty());
  EXPECT_EQ(catalogue_->files(), 1u);
  EXPECT_EQ(catalogue_->folders(), 1u);
  // Nothing that still has a path can be purged.
  Command purge;
  purge.mutable_purge_nodes()->add_object_ids(number(catalogue_->find("/a")->id));
  EXPECT_EQ(done(purge).count(), 0u);
  done(remove_folder("/a", false));
  EXPECT_FALSE(catalogue_->find("/a"));
}

TEST_F(CatalogueTest, PendingFilesAreFoundByTheirAge) {
  make_pair();
  auto f = done(file("/f")).object_id();
  EXPECT_EQ(catalogue_->pending_files(now_us_, 10).size(), 0u);
  EXPECT_EQ(catalogue_->pending_files(now_us_ + 1, 10).size(), 1u);
  done(removed(f, 0, 1));
  EXPECT_EQ(catalogue_->pending_files(INT64_MAX, 10).size(), 0u);
}

TEST_F(CatalogueTest, Registration) {
  Command init;
  init.mutable_init_cluster()->set_cluster_id("cluster-1");
  done(init);
  refused(Code::kExists, init);
  refused(Code::kConflict, hello("ss1", kStoreA, false));  // Unknown, with files in it.
  refused(Code::kInvalid, hello("ss 1", kStoreA));
  refused(Code::kInvalid, hello("ss1", "short"));
  EXPECT_TRUE(done(hello("ss1_backup", kStoreB)).new_store());  // May come first.
  EXPECT_FALSE(server("ss1_backup").in_sync);
  EXPECT_EQ(done(hello("ss1", kStoreA)).pair(), "ss1");
  EXPECT_TRUE(server("ss1").in_sync);
  auto other = hello("ss9", kStoreC);
  other.mutable_register_server()->mutable_request()->set_backup_of("ss1");
  refused(Code::kExists, other);
  auto foreign = hello("ss1", kStoreA, false, 10);
  foreign.mutable_register_server()->mutable_request()->set_cluster_id("cluster-2");
  refused(Code::kInvalid, foreign);
  refused(Code::kConflict, hello("ss1", kStoreB));         // The other's folder.
  refused(Code::kConflict, hello("ss1", kStoreC, false));  // Another folder with files in it.
  auto role = hello("ss1", kStoreA, false, 10);
  role.mutable_register_server()->mutable_request()->set_backup_of("ss2");
  refused(Code::kConflict, role);

  uint64_t e = done(epoch("ss1")).epoch();
  auto a = announce("ss1", e, 0, 100);
  done(a);
  EXPECT_EQ(done(hello("ss1", kStoreA, false, 100)).announced_lsn(), 100u);
  EXPECT_TRUE(server("ss1").in_sync);
  // What it only holds for its partner counts too: a folder that lost that is no whole one.
  wire::Command confirmed;
  confirmed.mutable_jobs_done()->set_target("ss1");
  confirmed.mutable_jobs_done()->set_confirmed_lsn(150);
  done(confirmed);
  EXPECT_FALSE(done(hello("ss1", kStoreA, false, 150)).rolled_back());
  EXPECT_TRUE(done(hello("ss1", kStoreA, false, 149)).rolled_back());
  EXPECT_FALSE(server("ss1").in_sync);
  EXPECT_EQ(server("ss1").announced_lsn, Lsn{100});
  // Empty under a known name while nobody else holds all: refused until it is given up.
  refused(Code::kConflict, hello("ss1", kStoreC));
  auto back = done(hello("ss1", kStoreA, false, 60));
  EXPECT_TRUE(back.rolled_back());
  EXPECT_FALSE(server("ss1").in_sync);
  Command replace;
  replace.mutable_replace_server()->set_server("ss1");
  done(replace);
  EXPECT_TRUE(done(hello("ss1", kStoreC)).new_store());
  EXPECT_FALSE(server("ss1").in_sync);
  EXPECT_EQ(server("ss1").announced_lsn, kNoLsn);
  EXPECT_EQ(catalogue_->pair("ss1")->acting, kNoServer);
  refused(Code::kConflict, hello("ss1", kStoreA, false, 200));  // Retired.
  refused(Code::kUnavailable, epoch("ss1"));
}

TEST_F(CatalogueTest, FailureAndPromotion) {
  uint64_t e = make_pair();
  auto f = done(file("/f")).object_id();
  done(failed("ss1"));
  EXPECT_TRUE(server("ss1").in_sync);  // It holds everything until another one acts.
  EXPECT_TRUE(server("ss1").failed);
  auto late = epoch("ss1_backup", true);
  late.mutable_begin_epoch()->set_expected_epoch(e + 100);
  refused(Code::kConflict, late);
  late.mutable_begin_epoch()->set_expected_epoch(e);
  uint64_t e2 = done(late).epoch();
  EXPECT_EQ(e2, log_.size() + 1);  // The epoch is the command's index.
  EXPECT_EQ(catalogue_->pair("ss1")->acting, server("ss1_backup").id);
  EXPECT_FALSE(server("ss1").in_sync);
  refused(Code::kUnavailable, epoch("ss1"));
  done(failed("ss1_backup"));
  EXPECT_TRUE(server("ss1_backup").in_sync);  // The last one that holds everything.
  // Forced all the same: what waits for ss1 tells what it lacks.
  auto a = announce("ss1_backup", e2, 0, 10);
  add_item(a, f, 1, 0, 5);
  done(a);
  EXPECT_EQ(jobs("ss1").size(), 1u);
  done(epoch("ss1", true, true));
  EXPECT_EQ(jobs("ss1").size(), 1u);
  EXPECT_FALSE(server("ss1_backup").in_sync);
}

TEST_F(CatalogueTest, WhoIsAwayIsNotInSyncForLong) {
  make_pair();
  // Found failed while the last step of its resync was on its way.
  done(failed("ss1_backup"));
  refused(Code::kUnavailable, in_sync("ss1_backup"));
  EXPECT_FALSE(server("ss1_backup").in_sync);
  done(hello("ss1_backup", kStoreB, false));
  done(in_sync("ss1_backup"));
  // Drained for the other one, and gone before the next epoch begins.
  done(failed("ss1"));
  done(epoch("ss1_backup"));
  EXPECT_FALSE(server("ss1").in_sync);
}

TEST_F(CatalogueTest, APrimaryThatLacksSomethingIsNotAway) {
  uint64_t e = make_pair();
  done(announce("ss1", e, 0, 10));
  done(hello("ss1", kStoreA, false, 5));  // An older copy of its folder.
  EXPECT_FALSE(server("ss1").in_sync);
  done(epoch("ss1_backup", true));
  EXPECT_FALSE(server("ss1").failed);
}

TEST_F(CatalogueTest, NobodyKnowsWhatADamagedHalfHolds) {
  make_pair();
  auto back = hello("ss1_backup", kStoreB, false);
  back.mutable_register_server()->mutable_request()->set_damaged(true);
  EXPECT_TRUE(catalogue_->contents_known(server("ss1_backup").id));
  done(back);
  EXPECT_FALSE(server("ss1_backup").in_sync);
  EXPECT_FALSE(catalogue_->contents_known(server("ss1_backup").id)) << "no hints, and no lack of jobs, make it whole";
  done(in_sync("ss1_backup"));
  EXPECT_TRUE(catalogue_->contents_known(server("ss1_backup").id));
}

TEST_F(CatalogueTest, ALateBackupIsToldAllNames) {
  done(hello("ss1", kStoreA));
  done(folder("/a/b", true));
  done(link("/l", "a"));
  done(file("/f"));
  done(hello("ss1_backup", kStoreB));
  EXPECT_EQ(jobs("ss1_backup").size(), 3u);
}

TEST_F(CatalogueTest, ARepeatedRequestGetsItsFirstAnswer) {
  make_pair();
  auto first = done(asked(file("/f"), 5));
  done(removed(first.object_id(), 0, 0));
  auto repeat = done(asked(file("/f"), 5));
  EXPECT_TRUE(repeat.repeat());
  EXPECT_EQ(repeat.object_id(), first.object_id());
  EXPECT_EQ(repeat.raft_index(), first.raft_index());
  EXPECT_FALSE(catalogue_->find("/f"));
  // A refusal changed nothing, and is no answer to keep.
  apply(asked(file("/no/f"), 6));
  done(folder("/no"));
  EXPECT_FALSE(done(asked(file("/no/f"), 6)).repeat());
  // After an hour of its time the name node forgets.
  now_us_ += int64_t{3600} * 1'000'000 + 1;
  while ((log_.size() + 1) % 512 != 0) done(Command(failed("ss1")));
  EXPECT_FALSE(done(asked(file("/f"), 5)).repeat());
}

TEST_F(CatalogueTest, PagesOfTheTree) {
  make_pair();
  for (auto path : {"/b", "/b/a", "/b/a/x"}) done(folder(path));
  for (auto path : {"/a.txt", "/b/a/x/deep.txt", "/b/a.txt", "/b.txt", "/c.txt"}) done(file(path));
  std::vector<std::string> seen;
  std::string after;
  for (int i = 0; i < 20; ++i) {
    auto page = catalogue_->view(after, 1, "");
    for (auto& found : page.found) seen.push_back(found.path);
    after = page.next_after;
    if (!page.more) break;
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"/a.txt", "/b/a/x/deep.txt", "/b/a.txt", "/b.txt", "/c.txt"}));
  auto found = catalogue_->search("deep", "", 10);
  ASSERT_EQ(found.found.size(), 1u);
  EXPECT_EQ(found.found[0].path, "/b/a/x/deep.txt");
  EXPECT_EQ(catalogue_->search("x", "/b/a/x", 10).found.size(), 4u);  // Behind /b/a/x: all *.txt but /a.txt.
  auto list = catalogue_->list_folder("/b", "a", 10);
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ(list->front().name, "a.txt");
  EXPECT_EQ(catalogue_->list_folder("/c.txt", "", 10).error().code, Code::kNotFolder);
}

TEST_F(CatalogueTest, EventsAreAddedWithWhatHappened) {
  auto c = hello("ss1", kStoreA);
  c.add_events()->set_text("ss1 came");
  done(c);
  c = hello("ss1", kStoreB, false);
  c.add_events()->set_text("never");
  apply(c);
  auto events = catalogue_->events(0, 10);
  ASSERT_EQ(events.size(), 1u);
  wire::Event event;
  ASSERT_TRUE(event.ParseFromString(events[0].content));
  EXPECT_EQ(event.text(), "ss1 came");
  EXPECT_EQ(event.id(), 1u);
  EXPECT_EQ(event.time_us(), now_us_);
  EXPECT_EQ(catalogue_->last_event(), 1u);
}

class CatalogueReplayTest : public CatalogueTest {
 protected:
  // Something of everything.
  void make_history() {
    uint64_t e = make_pair();
    uint64_t lsn = 0;
    std::vector<uint64_t> files;
    for (int i = 0; i < 60; ++i) {
      auto n = std::to_string(i);
      done(asked(folder("/d" + n, true), 1000 + i));
      files.push_back(done(asked(file("/d" + n + "/f"), 2000 + i)).object_id());
      auto a = announce("ss1", e, lsn, lsn + 100);
      add_item(a, files.back(), 1, 0, lsn + 50);
      add_item(a, files[files.size() / 2], i + 2, i + 1, lsn + 60);
      lsn += 100;
      done(a);
      if (i % 7 == 3) apply(move("/d" + n, "/d0"));
      if (i % 5 == 2) done(removed(files[i], e, 5));
      if (i % 11 == 4) apply(remove_folder("/d0", true));
      if (i == 30) {
        done(failed("ss1_backup"));
        done(hello("ss1_backup", kStoreB, false));
        done(in_sync("ss1_backup"));
      }
      now_us_ += 1000;
    }
  }
};

TEST_F(CatalogueReplayTest, TheSameLogGivesTheSameDatabase) {
  make_history();
  auto first = content();
  open("/nm/second.db");
  for (size_t i = 0; i < log_.size(); ++i) apply_at(i + 2, log_[i]);
  EXPECT_EQ(content(), first);
}

TEST_F(CatalogueReplayTest, ACrashBetweenBatchesConverges) {
  make_history();
  auto first = content();
  for (size_t crash_after : {1u, 50u, 97u, 150u}) {
    open("/nm/crash" + std::to_string(crash_after) + ".db");
    for (size_t i = 0; i < crash_after; ++i) apply_at(i + 2, log_[i]);
    if (crash_after % 2 == 0) EXPECT_TRUE(catalogue_->commit());
    if (crash_after == 50) EXPECT_TRUE(world_.await(*process_, catalogue_->make_durable()));
    world_.power_cut(host_);
    catalogue_.reset();
    world_.power_on(host_);
    process_ = &world_.start(host_, "nm");
    open(path_);
    EXPECT_LE(catalogue_->applied_index(), crash_after + 1);
    if (crash_after == 50) EXPECT_EQ(catalogue_->applied_index(), 51u);
    for (size_t i = 0; i < log_.size(); ++i) {
      // The log is applied from the last snapshot on, which may be before what is applied.
      (void)catalogue_->apply(i + 2, log_[i]);
    }
    EXPECT_EQ(content(), first);
  }
}

TEST_F(CatalogueReplayTest, AFullDiskLosesNothing) {
  make_history();
  auto first = content();
  open("/nm/full.db");
  for (size_t i = 0; i < 20; ++i) apply_at(i + 2, log_[i]);
  ASSERT_TRUE(catalogue_->commit());
  host_.disk.set_quota(1);
  for (size_t i = 20; i < log_.size(); ++i) {
    apply_at(i + 2, log_[i]);
    if (i % 50 == 0) world_.run_for(300ms);
  }
  EXPECT_EQ(catalogue_->accepts_changes().error().code, Code::kNoSpace);
  EXPECT_FALSE(world_.await(*process_, catalogue_->make_durable()));
  EXPECT_TRUE(catalogue_->find("/d58"));  // Reading goes on.
  host_.disk.set_quota(std::nullopt);
  world_.run_for(3s);
  EXPECT_TRUE(catalogue_->accepts_changes());
  EXPECT_FALSE(fatal_);
  EXPECT_EQ(content(), first);
}

// ---- Durability and hints --------------------------------------------------------------------

TEST_F(CatalogueTest, DurabilityIsThatOfTheNearestFolderThatSaysSo) {
  make_pair();
  done(folder("/d/e/f", true));
  done(file("/d/e/f/x"));
  auto set = [](const std::string& path, wire::Durability durability) {
    Command c;
    c.mutable_set_durability()->set_path(path);
    c.mutable_set_durability()->set_durability(durability);
    return c;
  };
  auto of_x = [this](const std::string& path) { return catalogue_->durability_of(*catalogue_->find(path)); };
  EXPECT_EQ(of_x("/d/e/f/x").durability, 0);
  done(set("/d", wire::DURABILITY_SYNC));
  EXPECT_EQ(of_x("/d/e/f/x").durability, wire::DURABILITY_SYNC);
  EXPECT_EQ(of_x("/d/e/f/x").folder, catalogue_->find("/d")->id);
  done(set("/d/e", wire::DURABILITY_ASYNC));
  EXPECT_EQ(of_x("/d/e/f/x").durability, wire::DURABILITY_ASYNC);
  EXPECT_EQ(of_x("/d").durability, wire::DURABILITY_SYNC);
  done(set("/", wire::DURABILITY_SYNC));
  done(move("/d/e/f", "/g"));
  EXPECT_EQ(of_x("/g/x").durability, wire::DURABILITY_SYNC);
  refused(Code::kNotFolder, set("/g/x", wire::DURABILITY_SYNC));
  refused(Code::kNotFound, set("/nothing", wire::DURABILITY_SYNC));
  refused(Code::kInvalid, set("/d", wire::DURABILITY_UNSET));
  // It goes with its folder, and stays over a restart.
  done(remove_folder("/d", true));
  (void)content();
  EXPECT_EQ(of_x("/g/x").folder, kRootFolder);
}

TEST_F(CatalogueTest, HintsStandBehindWhatTheTargetConfirmed) {
  const uint64_t e = make_pair();
  const uint64_t f = done(file("/f")).object_id();
  auto a = announce("ss1", e, 0, 10);
  add_item(a, f, 1, 0, 10);
  done(a);
  Command confirmed;
  confirmed.mutable_jobs_done()->set_target("ss1_backup");
  auto* item = confirmed.mutable_jobs_done()->add_items();
  item->set_object_id(f);
  item->mutable_to()->set_epoch(e);
  item->mutable_to()->set_counter(1);
  done(confirmed);

  auto hint = [&](uint64_t counter, bool sync) {
    Command c;
    auto* h = c.mutable_add_hints();
    h->set_target("ss1_backup");
    h->set_server("ss1");
    h->set_epoch(e);
    h->set_name_node(1);
    h->set_sync(sync);
    auto* one = h->add_items();
    one->set_object_id(f);
    one->mutable_version()->set_epoch(e);
    one->mutable_version()->set_counter(counter);
    one->mutable_parent()->set_epoch(e);
    one->mutable_parent()->set_counter(counter - 1);
    one->set_hint_lsn(counter * 100);
    one->set_first_lsn(counter * 100);
    one->set_bytes(7);
    one->set_size_bytes(3);
    return c;
  };
  const ServerId backup = server("ss1_backup").id;
  // Nothing is promised without a half that is in sync, nor under another epoch.
  refused(Code::kConflict, hint(2, true));
  done(failed("ss1_backup"));
  auto other_epoch = hint(2, true);
  other_epoch.mutable_add_hints()->set_epoch(e + 1);
  refused(Code::kStaleEpoch, other_epoch);
  // Behind a gap it helps nobody.
  EXPECT_EQ(done(hint(3, true)).count(), 0u);
  EXPECT_EQ(done(hint(2, true)).count(), 1u);
  EXPECT_EQ(done(hint(3, true)).count(), 1u);
  EXPECT_EQ(done(hint(3, true)).count(), 1u);  // It is there.
  EXPECT_EQ(catalogue_->hint_totals(backup).sync_hints, 2u);
  EXPECT_EQ(catalogue_->hint_totals(backup).bytes, 14u);
  EXPECT_EQ(catalogue_->find("/f")->announced, (Version{Epoch{e}, 3}));
  ASSERT_EQ(jobs("ss1_backup").size(), 1u);
  EXPECT_EQ(jobs("ss1_backup")[0].from, (Version{Epoch{e}, 1}));
  EXPECT_EQ(jobs("ss1_backup")[0].to, (Version{Epoch{e}, 3}));
  // Who lacks what was promised is not in sync.
  Command again = hello("ss1_backup", kStoreB, false, 10);
  done(again);
  refused(Code::kUnavailable, in_sync("ss1_backup"));
  // Those that are not promised expire; the promised ones and the job stay.
  auto b = announce("ss1", e, 10, 40);
  add_item(b, f, 4, 3, 40);
  done(b);
  EXPECT_EQ(done(hint(4, false)).count(), 1u);
  EXPECT_EQ(catalogue_->hint_totals(backup).hints, 3u);
  Command drop;
  drop.mutable_drop_hints()->set_target("ss1_backup");
  drop.mutable_drop_hints()->set_created_before_us(INT64_MAX);
  EXPECT_EQ(done(drop).count(), 1u);
  EXPECT_EQ(catalogue_->hint_totals(backup).hints, 2u);
  EXPECT_EQ(jobs("ss1_backup")[0].to, (Version{Epoch{e}, 4}));
  // What the target has by now needs none.
  item->mutable_to()->set_counter(3);
  item->set_partial(true);
  done(confirmed);
  EXPECT_EQ(catalogue_->hint_totals(backup).hints, 0u);
  EXPECT_EQ(jobs("ss1_backup")[0].from, (Version{Epoch{e}, 3}));
  done(in_sync("ss1_backup"));
}

TEST_F(CatalogueTest, WhatTheOtherHalfHoldsAlreadyIsNoJob) {
  const uint64_t e = make_pair();
  const uint64_t f = done(file("/f")).object_id();
  auto a = announce("ss1", e, 0, 10);
  add_item(a, f, 1, 0, 10);
  done(a);
  ASSERT_EQ(jobs("ss1_backup").size(), 1u);
  auto b = announce("ss1", e, 10, 20);
  add_item(b, f, 2, 1, 20);
  b.mutable_announced()->mutable_items(0)->set_held(true);
  done(b);
  EXPECT_EQ(jobs("ss1_backup").size(), 0u);
  EXPECT_EQ(catalogue_->find("/f")->announced, (Version{Epoch{e}, 2}));
}

}  // namespace
}  // namespace understudy
