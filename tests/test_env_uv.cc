// libuv's Env under the conformance suite, and what only a real machine has: processes, signals.
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/uv/uv_runtime.h"
#include "tests/env_conformance.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

bool no_room_to_sync = false;

class UvWorld : public EnvWorld {
 public:
  UvWorld() {
    const char* base = getenv("TMPDIR");
    std::string name = std::string(base ? base : "/tmp") + "/understudy-env-XXXXXX";
    CHECK(mkdtemp(name.data()) != nullptr);
    folder_ = name;
  }
  ~UvWorld() override {
    std::filesystem::remove_all(folder_);
    for (int socket : sockets_) close(socket);
  }
  Env& env(int) override { return runtime_.env(); }
  void run(Task<void> task) override { runtime_.run(std::move(task)); }
  std::string folder() override { return folder_; }
  Address listen_address(int) override { return "127.0.0.1:0"; }

  // A listening socket with a full backlog: the kernel answers no further caller.
  Address silent_address() override {
    int listening = open_socket();
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(listening, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
    CHECK(listen(listening, 0) == 0);
    socklen_t size = sizeof name;
    CHECK(getsockname(listening, reinterpret_cast<sockaddr*>(&name), &size) == 0);
    for (int i = 0; i < 4; ++i) (void)connect(open_socket(), reinterpret_cast<sockaddr*>(&name), sizeof name);
    usleep(10'000);
    return "127.0.0.1:" + std::to_string(ntohs(name.sin_port));
  }

 private:
  int open_socket() {
    sockets_.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    return sockets_.back();
  }

  UvRuntime runtime_;
  std::string folder_;
  std::vector<int> sockets_;
};

std::unique_ptr<EnvWorld> make_uv_world() { return std::make_unique<UvWorld>(); }

INSTANTIATE_TEST_SUITE_P(Uv, EnvConformance, testing::Values(&make_uv_world));

pid_t start_child() {
  pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  return child;
}

uint64_t child_start_time(pid_t child) {
  std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
  std::string word;
  for (int i = 0; i < 22; ++i) stat >> word;
  return std::stoull(word);
}

Task<void> note_death(Env& env, ProcessIdentity process, std::string* story) {
  auto status = co_await env.processes.died(process);
  *story = status ? "dead" : std::string(code_name(status.error().code));
}

Task<void> child_dies(Env& env, pid_t child) {
  ProcessIdentity process = env.processes.self();
  EXPECT_FALSE(process.machine.empty());
  EXPECT_EQ(static_cast<uint64_t>(getpid()), process.pid);
  process.pid = static_cast<uint64_t>(child);
  process.start_time = child_start_time(child);
  std::string death = "waits";
  std::string other_start;
  std::string elsewhere;
  TaskGroup group(env.executor);
  group.spawn(note_death(env, process, &death));
  ++process.start_time;
  group.spawn(note_death(env, process, &other_start));
  --process.start_time;
  process.machine += "x";
  group.spawn(note_death(env, process, &elsewhere));
  co_await sleep_for(env, 20ms);
  EXPECT_EQ("waits", death);
  EXPECT_EQ("dead", other_start);  // The pid belongs to another process by now.
  EXPECT_EQ("UNAVAILABLE", elsewhere);
  kill(child, SIGKILL);  // Not reaped: a zombie is dead all the same.
  co_await group.join();
  EXPECT_EQ("dead", death);
  waitpid(child, nullptr, 0);
  process.machine = env.processes.self().machine;
  death = "waits";
  co_await note_death(env, process, &death);
  EXPECT_EQ("dead", death);
}

TEST(UvRuntimeTest, ProvesADeathAndNothingElse) {
  pid_t child = start_child();
  ASSERT_GT(child, 0);
  UvRuntime runtime;
  runtime.run(child_dies(runtime.env(), child));
}

Task<void> catch_signal(UvRuntime* runtime) {
  auto waiting = runtime->signal({SIGTERM, SIGUSR1});
  kill(getpid(), SIGUSR1);
  EXPECT_EQ(SIGUSR1, co_await waiting);
}

TEST(UvRuntimeTest, AwaitsSignals) {
  UvRuntime runtime;
  runtime.run(catch_signal(&runtime));
}

Task<void> stop_soon(UvRuntime* runtime) {
  co_await sleep_for(runtime->env(), 5ms);
  runtime->stop();
  co_await sleep_for(runtime->env(), 1h);
  ADD_FAILURE();
}

TEST(UvRuntimeTest, StopEndsRun) {
  UvRuntime runtime;
  runtime.run(stop_soon(&runtime));
}

Task<void> resolve(Env& env) {
  auto listener = env.net.listen("localhost:0");
  CO_ASSERT_OK(listener);
  std::string port = (*listener)->local().substr((*listener)->local().rfind(':'));
  auto connection = co_await env.net.connect("localhost" + port, 5s);
  CO_ASSERT_OK(connection);
}

TEST(UvRuntimeTest, ResolvesNames) {
  if (access("/etc/hosts", R_OK) != 0) GTEST_SKIP() << "a bare machine: not even localhost has a name";
  UvRuntime runtime;
  runtime.run(resolve(runtime.env()));
}

// The libuv timer is set for one that is cancelled, and due before the loop polls again: what comes
// behind it must be armed then, or nothing but input would ever wake the loop.
Task<void> sleep_behind_a_cancelled_timer(Env& env) {
  TimerId early = env.clock.schedule(env.clock.now() + 20ms, [] {});
  auto poll_once = env.workers.run([] {});
  co_await poll_once;
  env.clock.cancel(early);
  usleep(30'000);
  co_await sleep_for(env, 20ms);
}

TEST(UvRuntimeTest, ATimerBehindACancelledOneFires) {
  UvRuntime runtime;
  runtime.run(sleep_behind_a_cancelled_timer(runtime.env()));
}

// Destroyed with everything under way: the runtime waits for it and leaks nothing (asan).
Task<void> write_and_sync(Env& env, std::string path, Status* written) {
  auto file = env.disk.open(path, OpenMode::kCreate);
  auto write = (*file)->write(0, {"bytes"}, Sync::kYes);
  *written = co_await write;
}

// The bytes may be lost then, whatever the reason was: nobody may take it for a refusal.
TEST(UvRuntimeTest, ASyncThatFindsNoRoomIsNoFullDisk) {
  UvWorld world;
  Status written;
  no_room_to_sync = true;
  world.run(write_and_sync(world.env(0), world.folder() + "/file", &written));
  no_room_to_sync = false;
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::kInternal) << written.error().to_string();
}

Task<void> leave_all_open(Env& env, Address silent, std::string folder) {
  TaskGroup group(env.executor);
  group.spawn(env_conformance::wait_for(env.net.connect(silent, 1h)));
  group.spawn(env_conformance::wait_for(env.net.connect("localhost:1", 1h)));
  group.spawn(env_conformance::wait_for(env.workers.run([] { usleep(20'000); })));
  group.spawn(env_conformance::wait_for(env.processes.died(env.processes.self())));
  co_await sleep_for(env, 1ms);
}

TEST(UvRuntimeTest, EndsCleanlyInTheMiddle) {
  UvWorld world;
  world.run(leave_all_open(world.env(0), world.silent_address(), world.folder()));
}

}  // namespace
}  // namespace understudy

// In the place of the C library's.
extern "C" int fdatasync(int file) {
  if (!understudy::no_room_to_sync) return static_cast<int>(syscall(SYS_fdatasync, file));
  errno = ENOSPC;
  return -1;
}
