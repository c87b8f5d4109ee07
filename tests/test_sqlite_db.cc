// SqliteDb on SQLite's own file layer: values, errors as codes, transactions.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

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

// One bit, wherever it is in the file, is never taken for data.
TEST_F(SqliteDbTest, AFlippedBitIsSaid) {
  for (uint64_t key = 0; key < 400; ++key) ASSERT_TRUE(put(key, Bytes(300 + key % 9000, static_cast<char>('a' + key % 26))));
  ASSERT_TRUE(db_->checkpoint_here());
  db_.reset();
  const std::string path = folder_ + "/index.db";
  const uint64_t size = std::filesystem::file_size(path);
  auto flip = [&](uint64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char before = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(before ^ 4));
  };
  for (uint64_t at = 4096 + 77; at < size; at += 4096 * 3 + 501) {
    flip(at);
    reopen();
    bool said = false;
    for (uint64_t key = 0; key < 400; ++key) {
      auto select = db_->statement("SELECT value FROM pairs WHERE key = ?1");
      auto found = select.bind(key).step();
      if (!found) {
        said = true;
        EXPECT_EQ(found.error().code, Code::kCorrupt) << found.error().to_string();
      } else if (*found) {
        EXPECT_TRUE(select.column_bytes(0) == Bytes(300 + key % 9000, static_cast<char>('a' + key % 26))) << key;
      }
    }
    EXPECT_TRUE(said) << at;
    flip(at);
  }
  reopen();
  EXPECT_EQ(get(399), Bytes(699, static_cast<char>('a' + 399 % 26)));
}

}  // namespace
}  // namespace understudy
