// The catalogue: each command's effect and refusals, first answers, the same database
// from the same log, and what a crash or a full disk leaves.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "common/wire/commands.pb.h"
#include "nm/catalogue_db.h"
#include "tests/sim/sim_world.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using wire::Command;
using wire::CommandOutcome;

const std::string kStoreA(32, 'a'), kStoreB(32, 'b'), kStoreC(32, 'c');

// Every row but the database's own id, in words.
std::string dump(const std::string& path, const std::string& vfs) {
  auto db = SqliteDb::open(path, {.vfs = vfs}).value();
  std::ostringstream out;
  for (auto [table, columns] : {std::pair{"cluster", 11}, {"nodes", 18}, {"servers", 14}, {"retired_stores", 2}, {"pairs", 8},
                                {"jobs", 13}, {"requests", 5}, {"events", 2}}) {
    auto rows = db->statement(std::string("SELECT * FROM ") + table + " ORDER BY 1, 2");
    while (rows.step().value()) {
      out << table << ":";
      for (int i = 0; i < columns; ++i) {
        if (std::string(table) != "cluster" || i != 1) out << " " << rows.column_bytes(i);
      }
      out << "\n";
    }
  }
  return out.str();
}

class CatalogueTest : public testing::Test {
 protected:
  void SetUp() override {
    host_.disk.put("/nm/here", "");
    open();
  }
  void TearDown() override { catalogue_.reset(); }

  void open(std::string path = "/nm/catalogue.db") {
    catalogue_.reset();
    path_ = path;
    auto opened = Catalogue::open(process_->env(), path, [this](Error error) { fatal_ = error; });
    ASSERT_TRUE(opened) << opened.error().to_string();
    catalogue_ = *std::move(opened);
  }
  std::string content() {
    EXPECT_TRUE(catalogue_->commit());
    catalogue_.reset();
    auto text = dump(path_, process_->env().disk.sqlite_vfs());
    open(path_);
    return text;
  }

  CommandOutcome apply_at(uint64_t index, const Bytes& command) {
    CommandOutcome outcome;
    EXPECT_TRUE(outcome.ParseFromString(catalogue_->apply(index, command)));
    return outcome;
  }
  CommandOutcome apply(Command command) {
    if (command.time_us() == 0) command.set_time_us(now_us_);
    log_.push_back(command.SerializeAsString());
    return apply_at(log_.size() + 1, log_.back());
  }
  // Done, or the test fails.
  CommandOutcome done(const Command& command) {
    auto outcome = apply(command);
    EXPECT_EQ(outcome.code(), 0u) << outcome.message();
    return outcome;
  }
  // Refused with `code`, with everything but the applied index as it was.
  void refused(Code code, const Command& command) {
    auto before = without_index(content());
    auto outcome = apply(command);
    EXPECT_EQ(code_from_number(outcome.code()), code) << outcome.message();
    EXPECT_FALSE(outcome.message().empty());
    EXPECT_EQ(without_index(content()), before) << outcome.message();
  }
  static std::string without_index(std::string text) { return text.substr(text.find("\nnodes:")); }

  Command file(const std::string& path, bool exclusive = true) {
    Command c;
    c.mutable_create_file()->set_path(path);
    c.mutable_create_file()->set_exclusive(exclusive);
    return c;
  }
  Command folder(const std::string& path, bool parents = false) {
    Command c;
    c.mutable_create_folder()->set_path(path);
    c.mutable_create_folder()->set_parents(parents);
    return c;
  }
  Command link(const std::string& path, const std::string& target) {
    Command c;
    c.mutable_create_link()->set_path(path);
    c.mutable_create_link()->set_target(target);
    return c;
  }
  Command move(const std::string& from, const std::string& to) {
    Command c;
    c.mutable_move()->set_from(from);
    c.mutable_move()->set_to(to);
    return c;
  }
  Command intent(const std::string& path) {
    Command c;
    c.mutable_remove_intent()->set_path(path);
    return c;
  }
  Command removed(uint64_t id, uint64_t epoch, uint64_t counter) {
    Command c;
    auto* f = c.mutable_remove_done()->add_files();
    f->set_object_id(id);
    f->set_epoch(epoch);
    f->mutable_version()->set_epoch(epoch);
    f->mutable_version()->set_counter(counter);
    return c;
  }
  Command remove_folder(const std::string& path, bool recursive) {
    Command c;
    c.mutable_remove_folder()->set_path(path);
    c.mutable_remove_folder()->set_recursive(recursive);
    return c;
  }
  Command hello(const std::string& server, const std::string& store, bool empty = true, uint64_t end = 0) {
    Command c;
    auto* r = c.mutable_register_server()->mutable_request();
    r->set_server(server);
    r->set_store_id(store);
    r->set_incarnation(++incarnation_);
    r->set_empty(empty);
    r->set_log_end_lsn(end);
    return c;
  }
  Command epoch(const std::string& server, bool other_failed = false, bool forced = false) {
    Command c;
    c.mutable_begin_epoch()->set_pair("ss1");
    c.mutable_begin_epoch()->set_server(server);
    c.mutable_begin_epoch()->set_other_failed(other_failed);
    c.mutable_begin_epoch()->set_forced(forced);
    return c;
  }
  Command in_sync(const std::string& server) {
    Command c;
    c.mutable_member_in_sync()->set_server(server);
    return c;
  }
  Command failed(const std::string& server) {
    Command c;
    c.mutable_member_failed()->set_server(server);
    return c;
  }
  Command announce(const std::string& server, uint64_t epoch, uint64_t from, uint64_t to) {
    Command c;
    auto* a = c.mutable_announced();
    a->set_server(server);
    a->set_store_id(catalogue_->server(server)->store_id);
    a->set_epoch(epoch);
    a->set_from_lsn(from);
    a->set_to_lsn(to);
    return c;
  }
  void add_item(Command& c, uint64_t id, uint64_t counter, uint64_t parent, uint64_t lsn,
                wire::ChangeKind kind = wire::CHANGE_PUT) {
    auto* item = c.mutable_announced()->add_items();
    item->set_file_id(id);
    item->mutable_version()->set_epoch(c.announced().epoch());
    item->mutable_version()->set_counter(counter);
    if (parent) item->mutable_parent()->set_epoch(c.announced().epoch());
    item->mutable_parent()->set_counter(parent);
    item->set_lsn(lsn);
    item->set_bytes(100);
    item->set_size_bytes(10 * counter);
    item->set_kind(kind);
  }
  Command asked(Command command, uint64_t sequence) {
    command.mutable_request()->set_client(77);
    command.mutable_request()->set_sequence(sequence);
    return command;
  }
  // A pair in sync; returns its epoch.
  uint64_t make_pair() {
    done(hello("ss1", kStoreA));
    done(hello("ss1_backup", kStoreB));
    done(in_sync("ss1_backup"));
    return done(epoch("ss1")).epoch();
  }
  const Server& server(const std::string& name) { return *catalogue_->server(name); }
  std::vector<Job> jobs(const std::string& target) { return catalogue_->jobs(server(target).id, 0, 100); }
  std::string path_of(uint64_t id) {
    auto path = catalogue_->path_of(FileId{id});
    return path ? *path : path.error().to_string();
  }

  sim::SimWorld world_{3};
  sim::SimHost& host_ = world_.host("nm");
  sim::SimProcess* process_ = &world_.start(host_, "nm");
  std::unique_ptr<Catalogue> catalogue_;
  std::string path_;
  std::optional<Error> fatal_;
  std::vector<Bytes> log_;
  int64_t now_us_ = 1'000'000;
  uint64_t incarnation_ = 100;
};

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

TEST_F(CatalogueTest, AnnouncementsBecomeJobsAndCoalesce) {
  uint64_t e = make_pair();
  auto f = done(file("/f")).object_id();
  auto g = done(file("/g")).object_id();
  auto first = announce("ss1", e, 0, 100);
  add_item(first, f, 1, 0, 50);
  add_item(first, g, 1, 0, 80);
  EXPECT_EQ(done(first).announced_lsn(), 100u);
  EXPECT_EQ(catalogue_->find("/f")->state, NodeState::kLive);
  refused(Code::kExists, file("/f"));
  EXPECT_EQ(catalogue_->pair("ss1")->files, 2u);
  refused(Code::kConflict, first);  // Announced already.
  auto stale = announce("ss1", e + 1, 100, 200);
  refused(Code::kStaleEpoch, stale);
  refused(Code::kStaleEpoch, announce("ss1_backup", e, 0, 200));

  auto taken = jobs("ss1_backup");
  ASSERT_EQ(taken.size(), 2u);
  EXPECT_EQ(taken[0].kind, JobKind::kCreate);
  auto second = announce("ss1", e, 100, 200);
  add_item(second, f, 2, 1, 150);
  add_item(second, f, 3, 2, 180);
  done(second);
  Command attributes;
  attributes.mutable_set_attributes()->set_path("/f");
  attributes.mutable_set_attributes()->set_mode(0600);
  done(attributes);
  auto job = *catalogue_->job(server("ss1_backup").id, FileId{f});
  EXPECT_EQ(job.from, Version{});
  EXPECT_EQ(job.to, (Version{Epoch{e}, 3}));
  EXPECT_EQ(job.announce_lsn, Lsn{50});
  EXPECT_EQ(job.newest_lsn, Lsn{180});
  EXPECT_EQ(job.bytes, 300u);
  EXPECT_NE(job.meta_version, 0u);
  EXPECT_EQ(jobs("ss1_backup").size(), 2u);
  EXPECT_EQ(catalogue_->lag(server("ss1_backup").id).bytes, 400u);
  EXPECT_EQ(catalogue_->lag(server("ss1_backup").id).oldest_us, now_us_);

  // What was taken before is done; what came since stays, and WAIT knows it.
  Command jobs_done;
  jobs_done.mutable_jobs_done()->set_target("ss1_backup");
  for (const auto& t : taken) {
    auto* item = jobs_done.mutable_jobs_done()->add_items();
    item->set_object_id(number(t.object));
    item->mutable_to()->set_epoch(e);
    item->mutable_to()->set_counter(t.to.counter);
    item->set_newest_lsn(number(t.newest_lsn));
    item->set_bytes(t.bytes);
  }
  EXPECT_EQ(done(jobs_done).count(), 1u);
  job = *catalogue_->job(server("ss1_backup").id, FileId{f});
  EXPECT_EQ(job.from, (Version{Epoch{e}, 1}));
  EXPECT_EQ(job.kind, JobKind::kWrite);
  auto backup = server("ss1_backup").id;
  EXPECT_EQ(catalogue_->jobs_left(backup, Lsn{50}, kRootFolder).jobs, 0u);
  EXPECT_EQ(catalogue_->jobs_left(backup, Lsn{150}, kRootFolder).jobs, 1u);
  EXPECT_EQ(catalogue_->jobs_left(backup, Lsn{150}, FileId{f}).jobs, 1u);
  EXPECT_EQ(catalogue_->jobs_left(backup, Lsn{150}, FileId{g}).jobs, 0u);
  auto before = catalogue_->lag(backup);
  content();  // Counted anew from the database.
  EXPECT_EQ(catalogue_->lag(backup).bytes, before.bytes);
  EXPECT_EQ(catalogue_->lag(backup).jobs, before.jobs);
  EXPECT_EQ(catalogue_->lag(backup).files, before.files);
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

TEST_F(CatalogueTest, TheRestOfALongJobKeepsItsPlace) {
  uint64_t e = make_pair();
  auto f = done(file("/f")).object_id();
  auto a = announce("ss1", e, 0, 100);
  add_item(a, f, 1, 0, 50);
  add_item(a, f, 2, 1, 60);
  done(a);
  uint64_t place = jobs("ss1_backup").front().sequence;
  Command part;
  part.mutable_jobs_done()->set_target("ss1_backup");
  auto* item = part.mutable_jobs_done()->add_items();
  item->set_object_id(f);
  item->mutable_to()->set_epoch(e);
  item->mutable_to()->set_counter(1);
  item->set_partial(true);
  done(part);
  auto rest = jobs("ss1_backup");
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest.front().from, (Version{Epoch{e}, 1}));
  EXPECT_EQ(rest.front().sequence, place);  // A resync waits for all that was queued up to its end.
}

TEST_F(CatalogueTest, WhatTakesAJobsPlaceStandsInIt) {
  uint64_t e = make_pair();
  auto f = done(file("/f")).object_id();
  auto a = announce("ss1", e, 0, 100);
  add_item(a, f, 1, 0, 50);
  done(a);
  uint64_t place = jobs("ss1_backup").front().sequence;
  done(folder("/later"));
  Command anew;
  anew.mutable_add_jobs()->set_target("ss1_backup");
  auto* ended = anew.mutable_add_jobs()->add_done();
  auto* item = anew.mutable_add_jobs()->add_items();
  ended->set_object_id(f);
  item->set_object_id(f);
  for (auto* to : {ended->mutable_to(), item->mutable_to()}) {
    to->set_epoch(e);
    to->set_counter(1);
  }
  item->set_kind(wire::JOB_SYNC);
  done(anew);
  EXPECT_EQ(jobs("ss1_backup").front().sequence, place);
  EXPECT_EQ(jobs("ss1_backup").front().kind, JobKind::kSync);
}

TEST_F(CatalogueTest, WhatIsNotLookedAtIsNotSaidToBeGone) {
  uint64_t e = make_pair();
  auto folder_b = done(folder("/b")).object_id();
  Command names;
  names.mutable_jobs_done()->set_target("ss1_backup");
  names.mutable_jobs_done()->add_items()->set_object_id(folder_b);
  names.mutable_jobs_done()->mutable_items(0)->set_meta_version(UINT64_MAX);
  done(names);
  Command many;
  many.mutable_add_jobs()->set_target("ss1_backup");
  for (uint64_t i = 0; i < 20'600; ++i) {
    auto* item = many.mutable_add_jobs()->add_items();
    item->set_object_id(1'000'000 + i);
    item->set_kind(wire::JOB_DELETE);
    item->set_lsn(1000);  // Behind the mark below: none of those that count.
  }
  done(many);
  auto f = done(file("/b/x")).object_id();
  auto a = announce("ss1", e, 0, 100);
  add_item(a, f, 1, 0, 50);
  done(a);
  Lag left = catalogue_->jobs_left(server("ss1_backup").id, Lsn{100}, FileId{folder_b});
  EXPECT_EQ(left.jobs, 0u);
  EXPECT_TRUE(left.cut_short);
  EXPECT_FALSE(catalogue_->jobs_left(server("ss1").id, Lsn{100}, FileId{folder_b}).cut_short);
}

TEST_F(CatalogueTest, JobsOfNamesAloneAreFoundAmongAnyNumberOfVersions) {
  uint64_t e = make_pair();
  auto f = done(file("/f")).object_id();
  auto g = done(file("/g")).object_id();
  auto a = announce("ss1", e, 0, 100);
  add_item(a, f, 1, 0, 50);
  add_item(a, g, 1, 0, 60);
  done(a);
  done(folder("/d"));
  done(move("/g", "/d/g"));  // Its version's job brings the name too.
  const ServerId target = server("ss1_backup").id;
  EXPECT_EQ(catalogue_->jobs(target, 0, 10).size(), 3u);
  auto found = catalogue_->jobs_of_names(target, 0, 10);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].object, FileId{g});
  EXPECT_FALSE(found[1].to);
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
