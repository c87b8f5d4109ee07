// SQLite on the simulated disk, used directly: connections share a WAL database, and
// whatever happens to the power, the transactions that it acknowledged are there.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "tests/sim/sim_world.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

class Database {
 public:
  Database(Env& env, const std::string& path) {
    open_ = sqlite3_open_v2(path.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                            env.disk.sqlite_vfs().c_str()) == SQLITE_OK &&
            run("PRAGMA journal_mode=WAL") && run("PRAGMA synchronous=FULL") && run("PRAGMA wal_autocheckpoint=5");
  }
  ~Database() { sqlite3_close(db_); }
  Database(const Database&) = delete;
  bool open() const { return open_; }
  bool run(const std::string& sql) { return sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK; }
  int64_t number(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) return -1;
    int64_t value = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    sqlite3_finalize(statement);
    return value;
  }

 private:
  sqlite3* db_ = nullptr;
  bool open_ = false;
};

constexpr int kTransactions = 12;

// Each transaction adds two rows; `committed` counts those that were acknowledged.
Task<void> write_transactions(Env& env, int* committed) {
  Database db(env, "/data/db");
  if (!db.open() || !db.run("CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, filler BLOB)")) co_return;
  Database reader(env, "/data/db");
  for (int i = 1; i <= kTransactions; ++i) {
    std::string n = std::to_string(i);
    bool done = db.run("BEGIN") && db.run("INSERT INTO t VALUES(" + n + ", randomblob(1500))") &&
                db.run("INSERT INTO t VALUES(-" + n + ", randomblob(1500))") && db.run("COMMIT");
    if (!done) co_return;
    *committed = i;
    // A second connection sees it at once; it fails only if the power went in a checkpoint.
    int64_t seen = reader.number("SELECT max(n) FROM t");
    if (seen == -1) co_return;
    CHECK(seen == i);
    auto nap = sleep_for(env, 1ms);
    co_await nap;
  }
}

TEST(SimSqlite, ACommittedPrefixSurvivesAPowerCutAtEveryPoint) {
  uint64_t points = 0;
  for (uint64_t cut = 0; cut <= points; ++cut) {
    SimWorld world(cut);
    SimHost& host = world.host("ss1");
    host.disk.put("/data/placeholder", "");
    host.disk.cut_power_at(cut);
    int committed = 0;
    int* committed_at = &committed;
    world.start(host, "writer", [committed_at](Env& env) { return write_transactions(env, committed_at); });
    world.run_for(1s);
    if (cut == 0) {
      points = host.disk.crash_points();
      ASSERT_EQ(committed, kTransactions);
      ASSERT_GT(points, 50u);
      continue;
    }
    ASSERT_FALSE(host.powered) << cut;
    SimProcess& process = world.start(host, "reader");
    Database db(process.env(), "/data/db");
    ASSERT_TRUE(db.open()) << cut;
    EXPECT_EQ(db.number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0) << cut;
    int64_t found = std::max<int64_t>(0, db.number("SELECT max(n) FROM t"));
    EXPECT_GE(found, committed) << cut;
    EXPECT_LE(found, committed + 1) << cut;
    EXPECT_EQ(std::max<int64_t>(0, db.number("SELECT count(*) FROM t")), found * 2) << cut;
  }
}

TEST(SimSqlite, KillLosesNothingCommittedAndItsHandlesAreDead) {
  SimWorld world(5);
  SimHost& host = world.host("ss1");
  host.disk.put("/data/placeholder", "");
  int committed = 0;
  int* committed_at = &committed;
  SimProcess& writer =
      world.start(host, "writer", [committed_at](Env& env) { return write_transactions(env, committed_at); });
  world.run_until([&] { return committed == 6; }, 1s);
  uint64_t before = host.disk.crash_points();
  world.kill(writer);
  EXPECT_EQ(host.disk.crash_points(), before);
  SimProcess& process = world.start(host, "reader");
  Database db(process.env(), "/data/db");
  EXPECT_EQ(db.number("SELECT max(n) FROM t"), 6);
}

}  // namespace
}  // namespace understudy::sim
