// The segment log on a small disk in memory that forgets what was not synced: group
// commit, torn tails, damage, full and failing disks, cutting and trimming.
#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "common/segment_log/segment_log.h"

namespace understudy {
namespace {

class ReadyQueue : public Executor {
 public:
  void post(Ref<Resumable> ready) override { queue_.push_back(std::move(ready)); }
  bool run_one() {
    if (queue_.empty()) return false;
    auto next = std::move(queue_.front());
    queue_.pop_front();
    next->resume();
    return true;
  }
  void clear() { queue_.clear(); }

 private:
  std::deque<Ref<Resumable>> queue_;
};

struct Unsynced {
  uint64_t offset;
  Bytes bytes;
};

struct MemoryFile {
  Bytes content;  // As programs see it.
  Bytes synced;   // As a power cut may leave it, at the least.
  std::vector<Unsynced> written;
};

// Writes take effect when the test lets them (step()). A power cut keeps what was
// synced and any part of each write that was not.
class MemoryDisk : public Disk {
 public:
  explicit MemoryDisk(Executor& executor) : executor_(executor) {}

  struct Handle : File {
    Handle(MemoryDisk* d, std::string p) : disk(d), path(std::move(p)) {}
    MemoryDisk* disk;
    std::string path;
    Future<Result<Bytes>> read(uint64_t offset, uint32_t size) override {
      auto& content = disk->files_[path].content;
      if (offset < disk->unreadable.second && offset + size > disk->unreadable.first) {
        return ready_future<Result<Bytes>>(disk->executor_, fail(Code::kCorrupt, path + ": reading: EIO"));
      }
      Bytes bytes = offset < content.size() ? content.substr(offset, size) : Bytes();
      return ready_future<Result<Bytes>>(disk->executor_, std::move(bytes));
    }
    Future<Status> write(uint64_t offset, std::vector<Bytes> pieces, Sync sync) override {
      Promise<Status> promise(disk->executor_);
      Bytes all;
      for (auto& piece : pieces) all += piece;
      disk->under_way_.push_back([d = disk, p = path, offset, all, sync, promise] {
        promise.set(d->perform(p, offset, all, sync));
      });
      return promise.future();
    }
    Future<Status> sync() override { return write(0, {}, Sync::kYes); }
    Result<uint64_t> size() const override { return disk->files_[path].content.size(); }
    Status truncate(uint64_t size) override {
      auto& file = disk->files_[path];
      file.content.resize(size);
      file.written.clear();
      file.synced = file.content;
      return {};
    }
  };

  Status perform(const std::string& path, uint64_t offset, const Bytes& bytes, Sync sync) {
    auto& file = files_[path];
    Bytes taken = bytes;
    uint64_t used = 0;
    for (auto& [name, other] : files_) used += other.content.size();
    bool full = used + bytes.size() > capacity;
    if (full) taken.resize(capacity > used ? capacity - used : 0);
    if (file.content.size() < offset + taken.size()) file.content.resize(offset + taken.size());
    file.content.replace(offset, taken.size(), taken);
    file.written.push_back({offset, taken});
    if (full) return fail(Code::kNoSpace, "the disk is full");
    if (sync == Sync::kYes) {
      ++syncs;
      if (fail_sync) return fail(Code::kInternal, "EIO");
      file.synced = file.content;
      file.written.clear();
    }
    return {};
  }
  bool step() {
    if (under_way_.empty()) return false;
    auto next = std::move(under_way_.front());
    under_way_.pop_front();
    next();
    return true;
  }
  // `seed` chooses which part of each write that was not synced is there all the same.
  void power_cut(uint64_t seed) {
    under_way_.clear();
    for (auto& [path, file] : files_) {
      Bytes after = file.synced;
      for (auto& write : file.written) {
        for (uint64_t at = 0; at < write.bytes.size(); at += 16) {
          seed = seed * 6364136223846793005u + 1442695040888963407u;
          if (seed >> 63) continue;
          auto part = write.bytes.substr(at, 16);
          if (after.size() < write.offset + at + part.size()) after.resize(write.offset + at + part.size());
          after.replace(write.offset + at, part.size(), part);
        }
      }
      file = {after, after, {}};
    }
  }

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    if (!files_.contains(path) && mode != OpenMode::kCreate) return fail(Code::kNotFound, path);
    files_[path];
    return std::make_unique<Handle>(this, path);
  }
  Result<std::vector<std::string>> list(const std::string& folder) override {
    std::vector<std::string> names;
    for (auto& [path, file] : files_) names.push_back(path.substr(folder.size() + 1));
    return names;
  }
  Result<FileInfo> info(const std::string&) override { return fail(Code::kNotFound, ""); }
  Status make_folder(const std::string&) override { return {}; }
  Status rename(const std::string&, const std::string&) override { return {}; }
  Status remove(const std::string& path) override {
    files_.erase(path);
    return {};
  }
  Status sync_folder(const std::string&) override { return {}; }
  Status make_link(const std::string&, const std::string&) override { return {}; }
  Status set_attributes(const std::string&, uint32_t, WallTime) override { return {}; }
  Result<std::unique_ptr<FileLock>> lock(const std::string&) override { return fail(Code::kInternal, ""); }
  Result<DiskSpace> space(const std::string&) override { return DiskSpace{1 << 30, 1 << 30}; }

  std::map<std::string, MemoryFile> files_;
  uint64_t capacity = UINT64_MAX;
  int syncs = 0;
  bool fail_sync = false;
  std::pair<uint64_t, uint64_t> unreadable;  // Of each file, from there to there.

 private:
  Executor& executor_;
  std::deque<std::function<void()>> under_way_;
};

class NowWorkers : public Workers {
 public:
  explicit NowWorkers(Executor& executor) : executor_(executor) {}
  Future<Unit> run(std::function<void()> work) override {
    work();
    return ready_future(executor_, Unit{});
  }

 private:
  Executor& executor_;
};

template <class T>
Task<void> keep(Task<T> task, std::optional<T>* result) {
  result->emplace(co_await task);
}

class SegmentLogTest : public testing::Test {
 protected:
  // The log touches none of the other parts of an Env.
  SegmentLogTest()
      : env_{*static_cast<Clock*>(untouched_),
             *static_cast<Net*>(untouched_),
             disk_,
             *static_cast<Random*>(untouched_),
             ready_,
             workers_,
             *static_cast<Processes*>(untouched_)} {}

  void drain() {
    while (ready_.run_one() || disk_.step()) {
    }
  }
  template <class T>
  T await(Task<T> task) {
    std::optional<T> result;
    TaskGroup group(ready_);
    group.spawn(keep(std::move(task), &result));
    drain();
    CHECK(result.has_value());
    return *std::move(result);
  }

  Status open(Lsn from = kNoLsn) {
    log_.reset();
    replayed_.clear();
    auto log = await(SegmentLog::open(env_, {"log", "0123456789abcdef0123456789abcdef", segment_size_, 0, LogWriterOptions().write_ahead_min, damaged_},
                                      from, [this](LogRecord record) {
                                        replayed_.push_back(record.head + record.body);
                                        return Status();
                                      }));
    if (!log) return std::unexpected(log.error());
    log_ = *std::move(log);
    return {};
  }
  // Appends without waiting.
  Lsn append(std::string head, Bytes body = {}) {
    return log_->append({7, head, std::move(body), {}}, [this, head](const Status& status) {
      answers_.push_back(head + (status ? "" : " " + std::string(code_name(status.error().code))));
    });
  }
  Lsn put(std::string head, Bytes body = {}) {
    Lsn lsn = append(std::move(head), std::move(body));
    drain();
    return lsn;
  }
  std::string read(Lsn lsn) {
    auto record = await(log_->read(lsn, 16));
    return record ? record->head + record->body : std::string(code_name(record.error().code));
  }
  void crash(uint64_t seed) {
    log_.reset();
    ready_.clear();
    disk_.power_cut(seed);
  }
  using Story = std::vector<std::string>;

  void* untouched_ = &ready_;
  ReadyQueue ready_;
  MemoryDisk disk_{ready_};
  NowWorkers workers_{ready_};
  Env env_;
  uint64_t segment_size_ = 64 << 20;
  std::function<void(Lsn from, Lsn to)> damaged_;
  std::unique_ptr<SegmentLog> log_;
  Story replayed_, answers_;
};

TEST_F(SegmentLogTest, WhatWasAppendedComesBack) {
  ASSERT_TRUE(open());
  Lsn one = put("one"), two = put("two", Bytes(200'000, 'x')), three = put("three");
  EXPECT_EQ(read(one), "one");
  EXPECT_EQ(read(two), "two" + Bytes(200'000, 'x'));
  EXPECT_EQ(read(three), "three");
  EXPECT_EQ(read(Lsn{number(one) + 8}), "CORRUPT");
  ASSERT_TRUE(open());
  EXPECT_EQ(replayed_, (Story{"one", "two" + Bytes(200'000, 'x'), "three"}));
  ASSERT_TRUE(open(three));
  EXPECT_EQ(replayed_, (Story{"three"}));
  EXPECT_EQ(put("four"), Lsn{number(three) + record_size(5)});
}

TEST_F(SegmentLogTest, OneSyncServesAllWhoWait) {
  ASSERT_TRUE(open());
  int before = disk_.syncs;
  append("first");
  while (ready_.run_one()) {
  }
  for (int i = 0; i < 100; ++i) append(std::to_string(i));
  drain();
  EXPECT_EQ(disk_.syncs - before, 2);
  EXPECT_EQ(answers_.size(), 101u);
}

TEST_F(SegmentLogTest, SegmentsFollowEachOther) {
  segment_size_ = 1000;
  ASSERT_TRUE(open());
  Story all;
  std::vector<Lsn> lsns;
  for (int i = 0; i < 40; ++i) {
    all.push_back("record " + std::to_string(i) + Bytes(i * 10, '.'));
    lsns.push_back(append(all.back()));
  }
  lsns.push_back(append("larger than a segment", Bytes(5000, '-')));
  all.push_back("larger than a segment" + Bytes(5000, '-'));
  drain();
  EXPECT_GT(disk_.files_.size(), 5u);
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(read(lsns[i]), all[i]);
  ASSERT_TRUE(open());
  EXPECT_EQ(replayed_, all);
  ASSERT_TRUE(open(lsns[20]));
  EXPECT_EQ(replayed_, Story(all.begin() + 20, all.end()));
}

TEST_F(SegmentLogTest, PowerCutKeepsWhatWasAcknowledgedAndInventsNothing) {
  segment_size_ = 600;
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    disk_.files_.clear();
    answers_.clear();
    ASSERT_TRUE(open());
    Story all;
    for (int round = 0; round < 3; ++round) {
      for (uint64_t i = 0; i < 2 + seed % 4; ++i) {
        all.push_back(std::to_string(round) + "/" + std::to_string(i) + Bytes(seed * 7 % 200, 'a'));
        append(all.back());
      }
      // Power goes after any number of steps.
      for (uint64_t i = 0; i < seed % 9; ++i) {
        if (!ready_.run_one()) disk_.step();
      }
    }
    // A write without its sync, as a power cut in between leaves it.
    disk_.fail_sync = seed % 2;
    while (ready_.run_one()) {
    }
    disk_.step();
    disk_.fail_sync = false;
    Story acknowledged;
    for (auto& answer : answers_) {
      if (!answer.ends_with("UNAVAILABLE")) acknowledged.push_back(answer);
    }
    crash(seed);
    auto opened = open();
    ASSERT_TRUE(opened) << seed << " " << opened.error().to_string();
    ASSERT_GE(replayed_.size(), acknowledged.size()) << seed;
    ASSERT_EQ(replayed_, Story(all.begin(), all.begin() + replayed_.size())) << seed;
    Lsn after = put("after");
    ASSERT_EQ(read(after), "after");
    all = replayed_;
    all.push_back("after");
    ASSERT_TRUE(open()) << seed;
    ASSERT_EQ(replayed_, all) << seed;
  }
}

TEST_F(SegmentLogTest, DamageBeforeTheTailIsNamed) {
  ASSERT_TRUE(open());
  Lsn one = put("one");
  put("two");
  Lsn three = put("three");
  auto& file = disk_.files_.begin()->second;
  Bytes good = file.content;
  file.content[number(one) + kRecordHeaderSize] ^= 1;
  EXPECT_EQ(read(one), "CORRUPT");
  EXPECT_EQ(read(three), "three");
  auto opened = open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kCorrupt);
  EXPECT_NE(opened.error().message.find("0000000000000000.log: offset 64:"), std::string::npos);
  EXPECT_EQ(file.content.size(), good.size()) << "nothing is cut off a damaged log";

  // The same damage at the very end is a torn tail.
  file.content = good;
  file.content[number(three) + kRecordHeaderSize] ^= 1;
  ASSERT_TRUE(open());
  EXPECT_EQ(replayed_, (Story{"one", "two"}));
  EXPECT_EQ(put("again"), three);
}

TEST_F(SegmentLogTest, WhatTheDiskCannotReadIsDamage) {
  ASSERT_TRUE(open());
  put("one");
  const Lsn two = put("two", Bytes(20'000, 'x')), three = put("three");
  const Bytes before = disk_.files_.begin()->second.content;
  disk_.unreadable = {8192, 12288};
  EXPECT_EQ(open().error().code, Code::kCorrupt);
  std::vector<std::pair<Lsn, Lsn>> damage;
  damaged_ = [&](Lsn from, Lsn to) { damage.emplace_back(from, to); };
  ASSERT_TRUE(open());
  EXPECT_EQ(replayed_, (Story{"one", "three"}));
  EXPECT_EQ(damage, (std::vector<std::pair<Lsn, Lsn>>{{two, three}}));
  EXPECT_EQ(read(two), "CORRUPT");
  EXPECT_EQ(read(three), "three");
  // At the very end it is no torn tail: what cannot be read may have been acknowledged.
  disk_.unreadable = {number(three), number(three) + 8};
  EXPECT_EQ(open().error().code, Code::kCorrupt);
  EXPECT_TRUE(disk_.files_.begin()->second.content == before) << "nothing is cut off";
}

TEST_F(SegmentLogTest, MissingLogIsNoEmptyLog) {
  ASSERT_TRUE(open());
  put("one");
  Lsn two = put("two");
  disk_.files_.begin()->second.content.resize(number(two) - 8);
  EXPECT_EQ(open(two).error().code, Code::kCorrupt);
  disk_.files_.clear();
  EXPECT_EQ(open(two).error().code, Code::kCorrupt);
}

TEST_F(SegmentLogTest, FullDiskRefusesAndRecovers) {
  segment_size_ = 600;
  for (uint64_t room : {0, 30, 100, 400, 700, 1300}) {
    disk_.files_.clear();
    answers_.clear();
    disk_.capacity = UINT64_MAX;
    ASSERT_TRUE(open());
    Lsn one = put("one");
    disk_.capacity = disk_.files_.begin()->second.content.size() + room;
    for (int i = 0; i < 10; ++i) append("refused" + std::to_string(i), Bytes(100 + i * 50, 'r'));
    drain();
    Story kept = {"one"};
    for (auto& answer : answers_) {
      if (answer != "one" && !answer.ends_with("NO_SPACE")) kept.push_back(answer);
    }
    EXPECT_FALSE(log_->failure());
    EXPECT_EQ(answers_.size(), 11u);
    EXPECT_LT(kept.size(), 11u);
    EXPECT_EQ(read(one), "one");
    disk_.capacity = UINT64_MAX;
    put("two");
    EXPECT_EQ(answers_.back(), "two");
    ASSERT_TRUE(open()) << room;
    ASSERT_EQ(replayed_.size(), kept.size() + 1) << room;
    EXPECT_EQ(replayed_.back(), "two");
  }
}

TEST_F(SegmentLogTest, FailedSyncIsFinal) {
  ASSERT_TRUE(open());
  put("one");
  disk_.fail_sync = true;
  put("two");
  disk_.fail_sync = false;
  put("three");
  EXPECT_EQ(answers_, (Story{"one", "two UNAVAILABLE", "three UNAVAILABLE"}));
  EXPECT_TRUE(log_->failure());
}

TEST_F(SegmentLogTest, CutsAndTrims) {
  segment_size_ = 300;
  ASSERT_TRUE(open());
  std::vector<Lsn> lsns;
  Story all;
  for (int i = 0; i < 20; ++i) {
    all.push_back("record " + std::to_string(i) + Bytes(50, '.'));
    lsns.push_back(put(all.back()));
  }
  ASSERT_TRUE(await(log_->truncate_from(lsns[15])));
  EXPECT_EQ(put("new 15" + Bytes(52, '.')), lsns[15]);
  all.resize(15);
  all.push_back("new 15" + Bytes(52, '.'));
  ASSERT_TRUE(log_->trim_before(lsns[7]));
  EXPECT_GT(log_->begin(), lsns[0]);
  EXPECT_EQ(read(lsns[7]), all[7]);
  ASSERT_TRUE(open(lsns[7]));
  EXPECT_EQ(replayed_, Story(all.begin() + 7, all.end()));
  for (int i = 15; i >= 7; --i) {
    ASSERT_TRUE(await(log_->truncate_from(lsns[i])));
    ASSERT_TRUE(open(log_->begin()));
    // A segment that lost all its records is gone with its header.
    ASSERT_TRUE(log_->end() == lsns[i] || number(log_->end()) == number(lsns[i]) - kSegmentHeaderSize) << i;
  }
}

}  // namespace
}  // namespace understudy
