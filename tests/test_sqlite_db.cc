// SqliteDb on SQLite's own file layer: values, errors as codes, transactions.
#include <gtest/gtest.h>

#include <filesystem>

#include "common/sqlite/sqlite_db.h"

namespace understudy {
namespace {

class SqliteDbTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "sqlite_db.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    reopen();
    ASSERT_TRUE(db_->execute("CREATE TABLE pairs(key INTEGER PRIMARY KEY, value BLOB)"));
  }
  void TearDown() override {
    db_.reset();
    std::filesystem::remove_all(folder_);
  }
  void reopen() {
    db_.reset();
    auto db = SqliteDb::open(folder_ + "/index.db", {});
    ASSERT_TRUE(db) << db.error().to_string();
    db_ = *std::move(db);
  }
  Status put(uint64_t key, BytesView value) {
    return db_->statement("INSERT INTO pairs VALUES(?1, ?2)").bind(key).bind_blob(value).run();
  }
  std::string get(uint64_t key) {
    auto select = db_->statement("SELECT value FROM pairs WHERE key = ?1");
    auto found = select.bind(key).step();
    return !found ? found.error().to_string() : *found ? std::string(select.column_bytes(0)) : "nothing";
  }
  std::string folder_;
  std::unique_ptr<SqliteDb> db_;
};

TEST_F(SqliteDbTest, ValuesComeBack) {
  ASSERT_TRUE(put(UINT64_MAX, BytesView("a\0b", 3)));
  ASSERT_TRUE(put(2, ""));
  EXPECT_EQ(get(UINT64_MAX), std::string("a\0b", 3));
  EXPECT_EQ(get(2), "");
  EXPECT_EQ(get(3), "nothing");
}

TEST_F(SqliteDbTest, ErrorsBecomeCodes) {
  ASSERT_TRUE(put(1, "x"));
  auto again = put(1, "y");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kExists);
  EXPECT_EQ(get(1), "x");
  EXPECT_EQ(db_->statement("SELECT nonsense FROM nowhere").run().error().code, Code::kInternal);
}

TEST_F(SqliteDbTest, RollbackLeavesNothingAndCommitStays) {
  ASSERT_TRUE(db_->begin());
  ASSERT_TRUE(put(1, "x"));
  db_->rollback();
  EXPECT_EQ(get(1), "nothing");
  ASSERT_TRUE(db_->begin());
  ASSERT_TRUE(put(1, "y"));
  ASSERT_TRUE(db_->commit());
  ASSERT_TRUE(db_->checkpoint_here());
  reopen();
  EXPECT_EQ(get(1), "y");
}

TEST_F(SqliteDbTest, OneTextMayRunTwiceAtOnce) {
  ASSERT_TRUE(put(1, "x"));
  ASSERT_TRUE(put(2, "y"));
  constexpr auto kSql = "SELECT key FROM pairs ORDER BY key";
  auto outer = db_->statement(kSql);
  ASSERT_TRUE(outer.step().value());
  auto inner = db_->statement(kSql);
  ASSERT_TRUE(inner.step().value());
  ASSERT_TRUE(outer.step().value());
  EXPECT_EQ(outer.column_uint64(0), 2u);
  EXPECT_EQ(inner.column_uint64(0), 1u);
}

}  // namespace
}  // namespace understudy
