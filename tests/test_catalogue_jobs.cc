// Jobs of the catalogue: how announcements become them, coalesce, end, and are looked through.
#include "tests/sim/catalogue_test.h"

namespace understudy {
namespace {

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

}  // namespace
}  // namespace understudy
