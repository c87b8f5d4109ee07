// What every Env must do, as one test suite. A world says how to make two hosts and
// run a task on them; a test file instantiates the suite with it:
//
//   INSTANTIATE_TEST_SUITE_P(Uv, EnvConformance, testing::Values(&make_uv_world));
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "tests/co_assert.h"

namespace understudy {

class EnvWorld {
 public:
  virtual ~EnvWorld() = default;
  virtual Env& env(int host) = 0;  // Hosts 0 and 1.
  virtual void run(Task<void> task) = 0;
  virtual std::string folder() = 0;  // An empty folder on the disk of host 0.
  virtual Address listen_address(int host) = 0;  // With port 0.
  virtual Address silent_address() = 0;          // Nobody answers there, not even with a refusal.
};

using EnvWorldFactory = std::unique_ptr<EnvWorld> (*)();

namespace env_conformance {

using namespace std::chrono_literals;

inline std::vector<Bytes> pieces(Bytes a, Bytes b = {}, Bytes c = {}) {
  std::vector<Bytes> all;
  all.push_back(std::move(a));
  if (!b.empty()) all.push_back(std::move(b));
  if (!c.empty()) all.push_back(std::move(c));
  return all;
}

// Bytes that differ from place to place, so that a shift or a swap shows.
inline Bytes pattern(uint64_t from, size_t size) {
  Bytes bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    uint64_t at = from + i;
    bytes[i] = static_cast<char>(at ^ (at >> 8) * 31 ^ (at >> 16) * 7);
  }
  return bytes;
}

// Two ends of one connection.
struct Pair {
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Connection> near;  // Host 0.
  std::unique_ptr<Connection> far;   // Host 1.
};

inline Task<Pair> connected(EnvWorld* world) {
  Pair pair;
  auto listener = world->env(1).net.listen(world->listen_address(1));
  if (!listener) {
    ADD_FAILURE() << listener.error().to_string();
    co_return pair;
  }
  pair.listener = *std::move(listener);
  auto accepted = pair.listener->accept();
  auto near = co_await world->env(0).net.connect(pair.listener->local(), 5s);
  auto far = co_await accepted;
  if (!near || !far) {
    ADD_FAILURE() << "no connection";
    co_return pair;
  }
  pair.near = *std::move(near);
  pair.far = *std::move(far);
  co_return pair;
}

// At least `size` bytes, or what came before the end.
inline Task<Bytes> read_bytes(Connection* connection, size_t size) {
  Bytes all;
  while (all.size() < size) {
    auto bytes = co_await connection->read();
    if (!bytes || bytes->empty()) break;
    all += *bytes;
  }
  co_return all;
}

inline Task<void> clock_order(EnvWorld* world) {
  Env& env = world->env(0);
  std::string story;
  Instant start = env.clock.now();
  EXPECT_GT(env.clock.wall().time_since_epoch().count(), 0);
  env.clock.schedule(start + 30ms, [&] { story += "d"; });
  env.clock.schedule(start + 10ms, [&] { story += "b"; });
  env.clock.schedule(start + 10ms, [&] { story += "c"; });
  auto cancelled = env.clock.schedule(start + 20ms, [&] { story += "x"; });
  env.clock.schedule(start - 10ms, [&] { story += "a"; });
  EXPECT_EQ("", story);  // Never from within schedule().
  env.clock.cancel(cancelled);
  co_await sleep_for(env, 40ms);
  EXPECT_EQ("abcd", story);
  EXPECT_GE(env.clock.now() - start, 40ms);
  EXPECT_LT(env.clock.now() - start, 4s);
  env.clock.cancel(cancelled);
  // A timer may cancel one of the same instant.
  Instant at = env.clock.now() + 5ms;
  TimerId second{};
  env.clock.schedule(at, [&] { env.clock.cancel(second); });
  second = env.clock.schedule(at, [&] { story += "y"; });
  co_await sleep_for(env, 10ms);
  EXPECT_EQ("abcd", story);
}

inline Task<void> many_timers(EnvWorld* world) {
  Env& env = world->env(0);
  Instant start = env.clock.now();
  int64_t last = -1;
  int ran = 0;
  std::vector<TimerId> to_cancel;
  for (int64_t i = 0; i < 1000; ++i) {
    int64_t at = i * 7919 % 1000;
    auto timer = env.clock.schedule(start + at * 10us, [&last, &ran, at] {
      EXPECT_LE(last, at);
      last = at;
      ++ran;
    });
    if (i % 3 == 0) to_cancel.push_back(timer);
  }
  for (TimerId timer : to_cancel) env.clock.cancel(timer);
  co_await sleep_for(env, 15ms);
  EXPECT_EQ(666, ran);
}

inline Task<void> stream_order(EnvWorld* world) {
  Pair pair = co_await connected(world);
  CO_ASSERT(pair.near && pair.far);
  Bytes want;
  for (int i = 0; i < 3000; ++i) {  // More pieces than one system call takes.
    Bytes one = std::to_string(i) + ",";
    want += one;
    (void)pair.near->write(pieces(std::move(one), ";", "-"));
    want += ";-";
  }
  CO_ASSERT_OK(co_await pair.near->write({}));
  Bytes got = co_await read_bytes(pair.far.get(), want.size());
  EXPECT_TRUE(got == want);
  CO_ASSERT_OK(co_await pair.far->write(pieces("answer")));
  EXPECT_EQ("answer", co_await read_bytes(pair.near.get(), 6));
}

inline Task<void> write_much(Connection* connection, uint64_t total, uint64_t* written) {
  constexpr uint64_t kPiece = 100'000;
  for (uint64_t at = 0; at < total; at += kPiece) {
    CO_ASSERT_OK(co_await connection->write(pieces(pattern(at, kPiece / 2), pattern(at + kPiece / 2, kPiece / 2))));
    *written = at + kPiece;
  }
}

inline Task<void> slow_reader(EnvWorld* world) {
  Pair pair = co_await connected(world);
  CO_ASSERT(pair.near && pair.far);
  constexpr uint64_t kTotal = 40'000'000;
  uint64_t written = 0;
  TaskGroup group(world->env(0).executor);
  group.spawn(write_much(pair.near.get(), kTotal, &written));
  co_await sleep_for(world->env(0), 200ms);
  EXPECT_LT(written, kTotal / 2) << "nobody reads: somebody holds it all in memory";
  uint64_t at = 0;
  while (at < kTotal) {
    auto bytes = co_await pair.far->read();
    CO_ASSERT_OK(bytes);
    CO_ASSERT(!bytes->empty() && bytes->size() <= 256 << 10);
    CO_ASSERT(*bytes == pattern(at, bytes->size()));
    at += bytes->size();
  }
  co_await group.join();
  EXPECT_EQ(kTotal, written);
}

inline Task<void> end_of_stream(EnvWorld* world) {
  Pair pair = co_await connected(world);
  CO_ASSERT(pair.near && pair.far);
  CO_ASSERT_OK(co_await pair.near->write(pieces("last words")));
  pair.near.reset();
  EXPECT_EQ("last words", co_await read_bytes(pair.far.get(), 100));
  auto end = co_await pair.far->read();
  EXPECT_TRUE(!end || end->empty());
}

inline Task<void> note_read(Connection* connection, std::string* story) {
  auto bytes = co_await connection->read();
  *story = bytes ? "read " + *bytes : std::string(code_name(bytes.error().code));
}

inline Task<void> close_breaks(EnvWorld* world) {
  Env& env = world->env(0);
  Pair pair = co_await connected(world);
  CO_ASSERT(pair.near && pair.far);
  std::string near;
  std::string far = "waits";
  TaskGroup group(env.executor);
  group.spawn(note_read(pair.near.get(), &near));
  group.spawn(note_read(pair.far.get(), &far));
  pair.near->close();
  co_await group.join();
  EXPECT_EQ("UNAVAILABLE", near);
  EXPECT_TRUE(far == "read " || far == "UNAVAILABLE") << far;
  auto written = co_await pair.near->write(pieces("x"));
  EXPECT_TRUE(!written && written.error().code == Code::kUnavailable);
  auto read = co_await pair.near->read();
  EXPECT_TRUE(!read && read.error().code == Code::kUnavailable);
  // The far side learns it at the latest when what it sends finds no taker.
  for (int i = 0; i < 100; ++i) {
    auto status = co_await pair.far->write(pieces("x"));
    if (!status) {
      EXPECT_EQ(Code::kUnavailable, status.error().code);
      break;
    }
    EXPECT_LT(i, 99);
    co_await sleep_for(env, 10ms);
  }
}

inline Task<void> connecting_fails(EnvWorld* world) {
  Env& env = world->env(0);
  Address nobody;
  {
    auto listener = world->env(1).net.listen(world->listen_address(1));
    CO_ASSERT_OK(listener);
    nobody = (*listener)->local();
    EXPECT_FALSE(nobody.ends_with(":0"));
    auto again = world->env(1).net.listen(nobody);
    EXPECT_TRUE(!again && again.error().code == Code::kUnavailable);
  }
  co_await sleep_for(env, 1ms);
  Instant start = env.clock.now();
  auto refused = co_await env.net.connect(nobody, 20s);
  EXPECT_TRUE(!refused && refused.error().code == Code::kUnavailable);
  EXPECT_LT(env.clock.now() - start, 10s);

  start = env.clock.now();
  auto silent = co_await env.net.connect(world->silent_address(), 150ms);
  EXPECT_TRUE(!silent && silent.error().code == Code::kUnavailable);
  EXPECT_GE(env.clock.now() - start, 150ms);
  EXPECT_LT(env.clock.now() - start, 5s);

  for (const char* bad : {"", "here", "127.0.0.1:", ":80", "127.0.0.1:99999", "::1:80", "127.0.0.1:8x"}) {
    auto connection = co_await env.net.connect(bad, 1s);
    EXPECT_TRUE(!connection && connection.error().code == Code::kInvalid) << bad;
    auto listener = env.net.listen(bad);
    EXPECT_TRUE(!listener && listener.error().code == Code::kInvalid) << bad;
  }
}

inline Task<void> listener_closed(EnvWorld* world) {
  auto listener = world->env(1).net.listen(world->listen_address(1));
  CO_ASSERT_OK(listener);
  auto waiting = (*listener)->accept();
  (*listener)->close();
  auto accepted = co_await waiting;
  EXPECT_TRUE(!accepted && accepted.error().code == Code::kUnavailable);
  auto later = co_await (*listener)->accept();
  EXPECT_TRUE(!later && later.error().code == Code::kUnavailable);
}

inline Task<void> file_positions(EnvWorld* world) {
  Disk& disk = world->env(0).disk;
  std::string path = world->folder() + "/file";
  auto missing = disk.open(path, OpenMode::kReadWrite);
  EXPECT_TRUE(!missing && missing.error().code == Code::kNotFound);
  auto opened = disk.open(path, OpenMode::kCreateExclusive);
  CO_ASSERT_OK(opened);
  auto exists = disk.open(path, OpenMode::kCreateExclusive);
  EXPECT_TRUE(!exists && exists.error().code == Code::kExists);
  auto file = *std::move(opened);

  CO_ASSERT_OK(co_await file->write(0, pieces("abc", "def", "ghi"), Sync::kNo));
  CO_ASSERT_OK(co_await file->write(3, pieces("DEF"), Sync::kYes));
  auto whole = co_await file->read(0, 9);
  CO_ASSERT_OK(whole);
  EXPECT_EQ("abcDEFghi", *whole);
  auto part = co_await file->read(7, 100);  // Short at the end.
  CO_ASSERT_OK(part);
  EXPECT_EQ("hi", *part);
  auto behind = co_await file->read(1000, 10);
  CO_ASSERT_OK(behind);
  EXPECT_EQ("", *behind);
  CO_ASSERT_OK(co_await file->write(20, pieces("far"), Sync::kNo));  // A hole reads as zeros.
  CO_ASSERT_OK(co_await file->sync());
  EXPECT_EQ(23u, file->size().value_or(0));
  auto hole = co_await file->read(8, 15);
  CO_ASSERT_OK(hole);
  EXPECT_EQ("i" + Bytes(11, '\0') + "far", *hole);
  CO_ASSERT_OK(file->truncate(4));
  auto cut = co_await file->read(0, 100);
  CO_ASSERT_OK(cut);
  EXPECT_EQ("abcD", *cut);

  auto reader = disk.open(path, OpenMode::kRead);
  CO_ASSERT_OK(reader);
  auto refused = co_await (*reader)->write(0, pieces("x"), Sync::kNo);
  EXPECT_FALSE(refused);
  auto same = co_await (*reader)->read(0, 4);
  CO_ASSERT_OK(same);
  EXPECT_EQ("abcD", *same);
}

inline Task<void> file_large(EnvWorld* world) {
  Disk& disk = world->env(0).disk;
  auto opened = disk.open(world->folder() + "/large", OpenMode::kCreate);
  CO_ASSERT_OK(opened);
  auto file = *std::move(opened);
  std::vector<Bytes> many;  // More pieces than one system call takes.
  Bytes want;
  for (int i = 0; i < 5000; ++i) {
    many.push_back(pattern(i * 1000, i % 7 == 0 ? 0 : 301));
    want += many.back();
  }
  CO_ASSERT_OK(co_await file->write(5, std::move(many), Sync::kYes));
  auto got = co_await file->read(5, static_cast<uint32_t>(want.size()));
  CO_ASSERT_OK(got);
  EXPECT_TRUE(*got == want);
  // Several at once, at places of their own.
  auto first = file->write(0, pieces(Bytes(100'000, '1')), Sync::kNo);
  auto second = file->write(100'000, pieces(Bytes(100'000, '2')), Sync::kYes);
  auto reading = file->read(500'000, 1000);
  CO_ASSERT_OK(co_await first);
  CO_ASSERT_OK(co_await second);
  CO_ASSERT_OK(co_await reading);
  auto both = co_await file->read(99'999, 2);
  CO_ASSERT_OK(both);
  EXPECT_EQ("12", *both);
}

inline Task<void> folders(EnvWorld* world) {
  Disk& disk = world->env(0).disk;
  std::string root = world->folder();
  CO_ASSERT_OK(disk.make_folder(root + "/a/b/c"));
  CO_ASSERT_OK(disk.make_folder(root + "/a/b/c"));
  CO_ASSERT_OK(disk.open(root + "/a/zeta", OpenMode::kCreate));
  CO_ASSERT_OK(disk.open(root + "/a/alpha", OpenMode::kCreate));
  CO_ASSERT_OK(disk.make_link("zeta", root + "/a/link"));
  auto names = disk.list(root + "/a");
  CO_ASSERT_OK(names);
  EXPECT_EQ((std::vector<std::string>{"alpha", "b", "link", "zeta"}), *names);
  EXPECT_EQ(Code::kNotFound, disk.list(root + "/none").error().code);

  auto link = disk.info(root + "/a/link");
  CO_ASSERT_OK(link);
  EXPECT_EQ(FileInfo::Kind::kLink, link->kind);
  EXPECT_EQ("zeta", link->link_target);
  CO_ASSERT(disk.info(root + "/a")->kind == FileInfo::Kind::kFolder);
  EXPECT_EQ(Code::kNotFound, disk.info(root + "/none").error().code);
  WallTime then{std::chrono::microseconds(1'234'567'890'123'456)};
  CO_ASSERT_OK(disk.set_attributes(root + "/a/zeta", 0640, then));
  auto attributes = disk.info(root + "/a/zeta");
  CO_ASSERT_OK(attributes);
  EXPECT_EQ(0640u, attributes->mode);
  EXPECT_EQ(then, attributes->modified);

  {
    auto file = disk.open(root + "/a/zeta", OpenMode::kReadWrite);
    CO_ASSERT_OK(file);
    CO_ASSERT_OK(co_await (*file)->write(0, pieces("new"), Sync::kYes));
  }
  CO_ASSERT_OK(disk.rename(root + "/a/zeta", root + "/a/alpha"));  // Replaces.
  CO_ASSERT_OK(disk.sync_folder(root + "/a"));
  auto alpha = disk.info(root + "/a/alpha");
  CO_ASSERT_OK(alpha);
  EXPECT_EQ(3u, alpha->size_bytes);
  EXPECT_EQ(Code::kNotFound, disk.rename(root + "/a/zeta", root + "/a/x").error().code);
  EXPECT_EQ(Code::kNotEmpty, disk.remove(root + "/a").error().code);
  CO_ASSERT_OK(disk.remove(root + "/a/link"));
  CO_ASSERT_OK(disk.remove(root + "/a/b/c"));
  EXPECT_EQ(Code::kNotFound, disk.remove(root + "/a/b/c").error().code);
  auto space = disk.space(root);
  CO_ASSERT_OK(space);
  EXPECT_GT(space->total_bytes, 0u);
  EXPECT_LE(space->free_bytes, space->total_bytes);
}

inline Task<void> locks(EnvWorld* world) {
  Disk& disk = world->env(0).disk;
  std::string path = world->folder() + "/lock";
  auto held = disk.lock(path);
  CO_ASSERT_OK(held);
  auto refused = disk.lock(path);
  CO_ASSERT(!refused);
  EXPECT_EQ(Code::kLocked, refused.error().code);
  held->reset();
  auto again = disk.lock(path);
  CO_ASSERT_OK(again);
  co_return;
}

inline Task<void> workers(EnvWorld* world) {
  Env& env = world->env(0);
  int sum = 0;
  co_await env.workers.run([&sum] { sum = 42; });
  EXPECT_EQ(42, sum);
  std::vector<Future<Unit>> futures;
  std::vector<int> done(20, 0);
  for (int& one : done) futures.push_back(env.workers.run([at = &one] { *at = 1; }));
  for (auto& future : futures) co_await future;
  EXPECT_EQ(std::vector<int>(20, 1), done);
  EXPECT_NE(env.random.next(), env.random.next());
}

template <class T>
Task<void> wait_for(Future<T> future) {
  auto value = co_await future;
  (void)value;
}

inline Task<void> sleep_long(EnvWorld* world, std::shared_ptr<bool> woke) {
  co_await sleep_for(world->env(0), 20ms);
  *woke = true;
}

// Destroying the waiter of any operation leaves nobody to be woken and no memory to be touched.
inline Task<void> cancelling(EnvWorld* world) {
  Env& env = world->env(0);
  Pair pair = co_await connected(world);
  CO_ASSERT(pair.near && pair.far);
  auto opened = env.disk.open(world->folder() + "/file", OpenMode::kCreate);
  CO_ASSERT_OK(opened);
  auto file = *std::move(opened);
  auto woke = std::make_shared<bool>(false);
  auto worked = std::make_shared<int>(0);
  {
    TaskGroup group(env.executor);
    group.spawn(sleep_long(world, woke));
    group.spawn(wait_for(pair.near->read()));
    group.spawn(wait_for(pair.near->write(pieces(Bytes(8 << 20, 'x')))));
    group.spawn(wait_for(pair.listener->accept()));
    group.spawn(wait_for(file->write(0, pieces(Bytes(1 << 20, 'y')), Sync::kYes)));
    group.spawn(wait_for(file->read(0, 1 << 20)));
    group.spawn(wait_for(file->sync()));
    group.spawn(wait_for(env.workers.run([worked] { *worked = 1; })));
    group.spawn(wait_for(env.net.connect(world->silent_address(), 30ms)));
    group.spawn(wait_for(env.net.connect(pair.listener->local(), 5s)));
    group.spawn(wait_for(env.processes.died(env.processes.self())));
  }  // All destroyed here.
  co_await sleep_for(env, 100ms);
  EXPECT_FALSE(*woke);
  // What was begun goes on to its end, and the objects are as good as before.
  CO_ASSERT_OK(co_await file->sync());
  auto bytes = co_await file->read(0, 2);
  CO_ASSERT_OK(bytes);
  EXPECT_EQ("yy", *bytes);
  co_await env.workers.run([] {});
  CO_ASSERT_OK(co_await pair.far->write(pieces("hello")));
  // The destroyed read may have taken bytes with it; a fresh one works none the less.
  CO_ASSERT_OK(co_await pair.far->write(pieces("hello")));
  auto read = co_await pair.near->read();
  CO_ASSERT_OK(read);

  // Objects go while operations of theirs are under way.
  TaskGroup group(env.executor);
  std::string story;
  group.spawn(note_read(pair.far.get(), &story));
  group.spawn(wait_for(file->write(0, pieces(Bytes(1 << 20, 'z')), Sync::kYes)));
  file.reset();
  pair.listener.reset();
  group.cancel();
  pair.far.reset();
  pair.near.reset();
  co_await sleep_for(env, 50ms);
}

inline Task<void> yielder(EnvWorld* world, std::string* story, char name) {
  for (int i = 0; i < 3; ++i) {
    *story += name;
    co_await yield_now(world->env(0));
  }
}

inline Task<void> ready_order(EnvWorld* world) {
  std::string story;
  TaskGroup group(world->env(0).executor);
  group.spawn(yielder(world, &story, 'a'));
  group.spawn(yielder(world, &story, 'b'));
  co_await group.join();
  EXPECT_EQ("ababab", story);
}

}  // namespace env_conformance

class EnvConformance : public testing::TestWithParam<EnvWorldFactory> {
 protected:
  void run(Task<void> (*story)(EnvWorld*)) {
    auto world = GetParam()();
    world->run(story(world.get()));
  }
};

TEST_P(EnvConformance, TimersRunInOrder) { run(env_conformance::clock_order); }
TEST_P(EnvConformance, ManyTimersSomeCancelled) { run(env_conformance::many_timers); }
TEST_P(EnvConformance, ReadyQueueIsFirstInFirstOut) { run(env_conformance::ready_order); }
TEST_P(EnvConformance, StreamKeepsOrder) { run(env_conformance::stream_order); }
TEST_P(EnvConformance, SlowReaderHoldsTheWriterBack) { run(env_conformance::slow_reader); }
TEST_P(EnvConformance, EndOfStreamFollowsTheLastByte) { run(env_conformance::end_of_stream); }
TEST_P(EnvConformance, CloseBreaksBothSides) { run(env_conformance::close_breaks); }
TEST_P(EnvConformance, ConnectingFailsInTimeAndInWords) { run(env_conformance::connecting_fails); }
TEST_P(EnvConformance, ClosingAListenerEndsItsWaiter) { run(env_conformance::listener_closed); }
TEST_P(EnvConformance, FilesAreReadAndWrittenAtPositions) { run(env_conformance::file_positions); }
TEST_P(EnvConformance, FilesTakeManyPieces) { run(env_conformance::file_large); }
TEST_P(EnvConformance, FoldersListRenameRemove) { run(env_conformance::folders); }
TEST_P(EnvConformance, OneHolderForALock) { run(env_conformance::locks); }
TEST_P(EnvConformance, WorkersRunAndAnswer) { run(env_conformance::workers); }
TEST_P(EnvConformance, DestroyedWaitersAreNotWoken) { run(env_conformance::cancelling); }

}  // namespace understudy
