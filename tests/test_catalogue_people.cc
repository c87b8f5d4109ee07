// Who may do what, as the catalogue decides it; access lists, requests, users, keys.
#include <gtest/gtest.h>

#include "common/wire/commands.pb.h"
#include "nm/catalogue_db.h"
#include "nm/server_calls.h"
#include "tests/sim/sim_world.h"

namespace understudy {
namespace {

using wire::Command;
using wire::CommandOutcome;

class CataloguePeopleTest : public testing::Test {
 protected:
  void SetUp() override {
    host_.disk.put("/nm/here", "");
    open();
    for (const char* name : {"admin", "ann", "ben", "carl"}) do_as("", add_user(name));
    Command server;
    auto* registering = server.mutable_register_server()->mutable_request();
    registering->set_server("ss1");
    registering->set_store_id(std::string(32, 'a'));
    registering->set_empty(true);
    do_as("", server);
    do_as("ann", folder("/ann"));
    do_as("ann", file("/ann/f"));
  }
  void TearDown() override { catalogue_.reset(); }
  void open() {
    catalogue_.reset();
    auto opened = Catalogue::open(process_->env(), "/nm/catalogue.db", [](Error) { FAIL(); });
    ASSERT_TRUE(opened) << opened.error().to_string();
    catalogue_ = *std::move(opened);
  }

  CommandOutcome apply(const std::string& user, Command command) {
    command.set_user(user);
    command.set_time_us(1'000'000 + static_cast<int64_t>(index_));
    CommandOutcome outcome;
    EXPECT_TRUE(outcome.ParseFromString(catalogue_->apply(++index_, command.SerializeAsString())));
    return outcome;
  }
  CommandOutcome do_as(const std::string& user, const Command& command) {
    auto outcome = apply(user, command);
    EXPECT_EQ(outcome.code(), 0u) << user << ": " << outcome.message();
    return outcome;
  }
  // The code of the refusal, or "done".
  std::string as(const std::string& user, const Command& command) {
    auto outcome = apply(user, command);
    return outcome.code() == 0 ? "done" : std::string(code_name(code_from_number(outcome.code())));
  }

  static Command add_user(const std::string& name, bool administrator = false) {
    Command c;
    c.mutable_add_user()->set_name(name);
    c.mutable_add_user()->set_administrator(administrator);
    c.mutable_add_user()->mutable_password()->set_hash("as if by scrypt");
    return c;
  }
  static Command file(const std::string& path) {
    Command c;
    c.mutable_create_file()->set_path(path);
    c.mutable_create_file()->set_exclusive(true);
    return c;
  }
  static Command folder(const std::string& path) {
    Command c;
    c.mutable_create_folder()->set_path(path);
    return c;
  }
  static Command move(const std::string& from, const std::string& to) {
    Command c;
    c.mutable_move()->set_from(from);
    c.mutable_move()->set_to(to);
    return c;
  }
  static Command remove(const std::string& path) {
    Command c;
    c.mutable_remove_intent()->set_path(path);
    return c;
  }
  static Command remove_folder(const std::string& path) {
    Command c;
    c.mutable_remove_folder()->set_path(path);
    c.mutable_remove_folder()->set_recursive(true);
    return c;
  }
  static Command mode(const std::string& path) {
    Command c;
    c.mutable_set_attributes()->set_path(path);
    c.mutable_set_attributes()->set_mode(0600);
    return c;
  }
  static Command access(const std::string& path, const std::string& user, wire::Right right) {
    Command c;
    c.mutable_set_access()->set_path(path);
    c.mutable_set_access()->set_user(user);
    c.mutable_set_access()->set_right(right);
    return c;
  }
  static Command ask(const std::string& path, wire::Right right) {
    Command c;
    c.mutable_ask_access()->set_path(path);
    c.mutable_ask_access()->set_right(right);
    return c;
  }
  static Command answer(uint64_t id, bool approve) {
    Command c;
    c.mutable_answer_access()->set_id(id);
    c.mutable_answer_access()->set_approve(approve);
    return c;
  }
  static Command keys(const std::string& pair, const std::string& secret) {
    Command c;
    auto* key = c.mutable_add_keys()->add_keys();
    key->set_pair(pair);
    key->set_secret(secret);
    return c;
  }

  Right right(const std::string& path, const std::string& user) { return catalogue_->right_of(*catalogue_->find(path), user); }
  uint64_t generation(const std::string& path) { return catalogue_->find(path)->access_generation; }

  sim::SimWorld world_{1};
  sim::SimHost& host_ = world_.host("nm");
  sim::SimProcess* process_ = &world_.start(host_, "nm");
  std::unique_ptr<Catalogue> catalogue_;
  uint64_t index_ = 1;
};

TEST_F(CataloguePeopleTest, WhatIsAnothersIsRefused) {
  EXPECT_EQ(right("/ann/f", "ann"), Right::kOwn);
  EXPECT_EQ(right("/ann/f", "ben"), Right::kNone);
  EXPECT_EQ(right("/ann/f", "admin"), Right::kOwn);
  EXPECT_EQ(as("ben", file("/ann/b")), "DENIED");
  EXPECT_EQ(as("ben", folder("/ann/b")), "DENIED");
  EXPECT_EQ(as("ben", move("/ann/f", "/f")), "DENIED");
  EXPECT_EQ(as("ben", remove("/ann/f")), "DENIED");
  EXPECT_EQ(as("ben", remove_folder("/ann")), "DENIED");
  EXPECT_EQ(as("ben", mode("/ann/f")), "DENIED");
  EXPECT_EQ(as("ben", access("/ann/f", "carl", wire::RIGHT_READ)), "DENIED");
  EXPECT_EQ(as("ben", add_user("dora")), "DENIED");
  EXPECT_EQ(as("ben", keys("", "k")), "DENIED");
  // In the root everybody begins.
  EXPECT_EQ(as("ben", file("/b")), "done");
  EXPECT_EQ(as("ben", move("/b", "/ann/b")), "DENIED");
  EXPECT_EQ(as("admin", move("/b", "/ann/b")), "done");
}

TEST_F(CataloguePeopleTest, ToWriteIsNotToOwn) {
  EXPECT_EQ(as("ann", access("/ann/f", "ben", wire::RIGHT_WRITE)), "done");
  EXPECT_EQ(right("/ann/f", "ben"), Right::kWrite);
  EXPECT_EQ(as("ben", mode("/ann/f")), "done");
  EXPECT_EQ(as("ben", remove("/ann/f")), "DENIED");
  EXPECT_EQ(as("ben", access("/ann/f", "carl", wire::RIGHT_READ)), "DENIED");
  EXPECT_EQ(as("ann", access("/ann/f", "ann", wire::RIGHT_READ)), "INVALID");
  EXPECT_EQ(as("ann", access("/ann/f", "nobody", wire::RIGHT_READ)), "NOT_FOUND");
  EXPECT_EQ(as("ann", access("/ann/f", "carl", wire::RIGHT_NONE)), "NOT_FOUND");
  EXPECT_EQ(as("ann", access("/ann/f", "carl", wire::RIGHT_OWN)), "INVALID");
}

TEST_F(CataloguePeopleTest, OnlyTakingAwayRaisesTheGeneration) {
  auto before = generation("/ann/f");
  EXPECT_EQ(do_as("ann", access("/ann/f", "ben", wire::RIGHT_READ)).count(), 0u);
  EXPECT_EQ(do_as("ann", access("/ann/f", "ben", wire::RIGHT_WRITE)).count(), 0u);
  EXPECT_EQ(generation("/ann/f"), before);
  auto less = do_as("ann", access("/ann/f", "ben", wire::RIGHT_READ));
  EXPECT_EQ(less.count(), 1u);
  EXPECT_EQ(less.access_generation(), before + 1);
  EXPECT_EQ(do_as("ann", access("/ann/f", "ben", wire::RIGHT_NONE)).access_generation(), before + 2);
}

TEST_F(CataloguePeopleTest, WhatIsMadeInAFolderTakesItsList) {
  do_as("ann", access("/ann", "ben", wire::RIGHT_WRITE));
  do_as("ann", access("/ann", "carl", wire::RIGHT_READ));
  do_as("ben", folder("/ann/sub"));
  do_as("ben", file("/ann/sub/g"));
  EXPECT_EQ(catalogue_->find("/ann/sub/g")->owner, "ben");
  EXPECT_EQ(right("/ann/sub/g", "ann"), Right::kWrite);
  EXPECT_EQ(right("/ann/sub/g", "carl"), Right::kRead);
  // What was there before, and later changes of the list, are apart.
  EXPECT_EQ(right("/ann/f", "ben"), Right::kNone);
  do_as("ann", access("/ann", "carl", wire::RIGHT_NONE));
  EXPECT_EQ(right("/ann/sub/g", "carl"), Right::kRead);
  // The servers' copy says the same.
  auto record = name_record(*catalogue_, *catalogue_->find("/ann/sub/g"));
  EXPECT_EQ(record.owner(), "ben");
  ASSERT_EQ(record.writers_size(), 1);
  EXPECT_EQ(record.writers(0), "ann");
  ASSERT_EQ(record.readers_size(), 1);
  EXPECT_EQ(record.readers(0), "carl");
}

TEST_F(CataloguePeopleTest, RequestsAreTheOwnersToAnswer) {
  uint64_t bens = do_as("ben", ask("/ann/f", wire::RIGHT_READ)).count();
  EXPECT_EQ(do_as("ben", ask("/ann/f", wire::RIGHT_WRITE)).count(), bens) << "one a file and user";
  uint64_t carls = do_as("carl", ask("/ann/f", wire::RIGHT_READ)).count();
  EXPECT_EQ(as("ann", ask("/ann/f", wire::RIGHT_READ)), "EXISTS");
  EXPECT_EQ(as("carl", answer(bens, true)), "NOT_FOUND");
  EXPECT_EQ(catalogue_->access_requests("ann", 0, 10).size(), 2u);
  EXPECT_EQ(catalogue_->access_requests("carl", 0, 10).size(), 1u);
  EXPECT_EQ(as("ann", answer(bens, true)), "done");
  EXPECT_EQ(right("/ann/f", "ben"), Right::kWrite);
  EXPECT_EQ(as("ann", answer(bens, true)), "NOT_FOUND");
  EXPECT_EQ(as("ann", answer(carls, false)), "done");
  EXPECT_EQ(right("/ann/f", "carl"), Right::kNone);
  // Given without being answered: nothing waits any more.
  do_as("carl", ask("/ann/f", wire::RIGHT_READ));
  do_as("ann", access("/ann/f", "carl", wire::RIGHT_WRITE));
  EXPECT_TRUE(catalogue_->access_requests("", 0, 10).empty());
}

TEST_F(CataloguePeopleTest, WhatIsGoneTakesItsListAlong) {
  do_as("ann", access("/ann/f", "ben", wire::RIGHT_WRITE));
  do_as("carl", ask("/ann/f", wire::RIGHT_READ));
  FileId id = catalogue_->find("/ann/f")->id;
  do_as("ann", remove("/ann/f"));
  Command done;
  done.mutable_remove_done()->add_files()->set_object_id(number(id));
  do_as("ann", done);
  EXPECT_TRUE(catalogue_->access_list(id, "", 10).empty());
  EXPECT_TRUE(catalogue_->access_requests("", 0, 10).empty());
}

TEST_F(CataloguePeopleTest, AnotherUsersRequestNumberGivesNothing) {
  Command made = file("/r");
  made.mutable_request()->set_client(5);
  made.mutable_request()->set_sequence(1);
  auto first = do_as("ann", made);
  EXPECT_TRUE(do_as("ann", made).repeat());
  auto stolen = apply("ben", made);
  EXPECT_EQ(code_from_number(stolen.code()), Code::kDenied);
  EXPECT_EQ(stolen.object_id(), 0u);
}

TEST_F(CataloguePeopleTest, NamesOfUsersArePlain) {
  for (const char* bad : {"", ".x", "a b", "a/b", "-x", "\xc3\xa4", "a\nb"}) EXPECT_EQ(as("admin", add_user(bad)), "INVALID") << bad;
  EXPECT_EQ(as("admin", add_user(std::string(65, 'a'))), "INVALID");
  EXPECT_EQ(as("admin", add_user("ann")), "EXISTS");
  EXPECT_EQ(as("admin", add_user("Dora.2-x_")), "done");
}

TEST_F(CataloguePeopleTest, TheNewestTwoKeysStay) {
  for (const char* secret : {"a", "b", "c"}) do_as("admin", keys("ss1", secret));
  do_as("admin", keys("", "s"));
  auto kept = catalogue_->keys("ss1");
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0].secret, "c");
  EXPECT_EQ(kept[0].id, 3u);
  EXPECT_EQ(kept[1].secret, "b");
  EXPECT_EQ(catalogue_->keys("").size(), 1u);
}

TEST_F(CataloguePeopleTest, ALongListIsShortenedBesideVersionsOnly) {
  for (int i = 0; i < 100; ++i) {
    do_as("", add_user("u" + std::to_string(i)));
    do_as("ann", access("/ann/f", "u" + std::to_string(i), wire::RIGHT_READ));
  }
  Node node = *catalogue_->find("/ann/f");
  auto whole = name_record(*catalogue_, node);
  auto shorter = short_name_record(*catalogue_, node);
  EXPECT_EQ(whole.readers_size(), 100);
  EXPECT_FALSE(whole.shortened());
  EXPECT_EQ(shorter.readers_size(), static_cast<int>(kNameRecordListMax));
  EXPECT_TRUE(shorter.shortened());
  EXPECT_LT(shorter.meta_version(), whole.meta_version()) << "or the whole one would count for nothing";
}

// A look-up is one step into one table: its time is printed, for whoever wants to see that it does not grow.
TEST_F(CataloguePeopleTest, LooksUpAmongAHundredThousandEntries) {
  auto time_of = [&](const std::string& path, const std::string& user) {
    Node node = *catalogue_->find(path);
    auto begun = std::chrono::steady_clock::now();
    for (int i = 0; i < 10'000; ++i) EXPECT_EQ(catalogue_->right_of(node, user), Right::kRead);
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begun).count() / 10'000;
  };
  do_as("ann", access("/ann/f", "ben", wire::RIGHT_READ));
  double few = time_of("/ann/f", "ben");
  for (int user = 0; user < 1000; ++user) do_as("", add_user("u" + std::to_string(user)));
  do_as("ann", folder("/ann/many"));
  for (int user = 0; user < 1000; ++user) do_as("ann", access("/ann/many", "u" + std::to_string(user), wire::RIGHT_READ));
  for (int i = 0; i < 100; ++i) do_as("ann", file("/ann/many/" + std::to_string(i)));
  double many = time_of("/ann/many/50", "u500");
  std::printf("a look-up among 1 entry: %.2f us, among 100,000: %.2f us\n", few, many);
  EXPECT_TRUE(catalogue_->commit());
  open();
  EXPECT_EQ(right("/ann/many/99", "u999"), Right::kRead);
  EXPECT_EQ(right("/ann/many/99", "ben"), Right::kNone);
}

}  // namespace
}  // namespace understudy
