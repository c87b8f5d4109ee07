// Randomness, worker threads, signals, and what is known of other processes.
#include <errno.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>

#include "common/uv/loop.h"

namespace understudy {
namespace {

// The kernel's own generator, a buffer at a time: ids must not be guessable.
class UvRandom final : public Random {
 public:
  uint64_t next() override {
    if (next_ == buffer_.size()) {
      size_t filled = 0;
      auto* to = reinterpret_cast<char*>(buffer_.data());
      while (filled < sizeof buffer_) {
        ssize_t count = getrandom(to + filled, sizeof buffer_ - filled, 0);
        CHECK(count > 0 || errno == EINTR);
        if (count > 0) filled += static_cast<size_t>(count);
      }
      next_ = 0;
    }
    return std::exchange(buffer_[next_++], 0);
  }

 private:
  std::array<uint64_t, 32> buffer_;  // One getrandom of 256 bytes is never interrupted.
  size_t next_ = 32;
};

class WorkItem final : public PoolItem {
 public:
  WorkItem(std::function<void()> work, Promise<Unit> promise) : work_(std::move(work)), promise_(std::move(promise)) {}
  void work() override { work_(); }
  void done() override { promise_.try_set({}); }

 private:
  std::function<void()> work_;
  Promise<Unit> promise_;
};

class UvWorkers final : public Workers {
 public:
  explicit UvWorkers(UvLoop& loop) : loop_(loop) {}
  Future<Unit> run(std::function<void()> work) override {
    Promise<Unit> promise(loop_);
    loop_.submit(std::make_unique<WorkItem>(std::move(work), promise));
    return promise.future();
  }

 private:
  UvLoop& loop_;
};

// A small file of /proc; empty if it cannot be read.
std::string read_proc(const std::string& path) {
  std::unique_ptr<FILE, int (*)(FILE*)> file(fopen(path.c_str(), "re"), fclose);
  if (!file) return {};
  char buffer[4096];
  return {buffer, fread(buffer, 1, sizeof buffer, file.get())};
}

// Field 22 of /proc/PID/stat, counted behind the command, which may hold anything; 0 if unknown.
uint64_t start_time(const std::string& pid) {
  std::string stat = read_proc("/proc/" + pid + "/stat");
  size_t at = stat.rfind(')');
  if (at == std::string::npos) return 0;
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  if (at == std::string::npos) return 0;
  uint64_t value = 0;
  std::from_chars(stat.data() + at + 1, stat.data() + stat.size(), value);
  return value;
}

ProcessIdentity identity_of_self() {
  ProcessIdentity self;
  std::string boot = read_proc("/proc/sys/kernel/random/boot_id");
  struct stat space;
  self.pid = static_cast<uint64_t>(getpid());
  self.start_time = start_time("self");
  if (boot.size() < 36 || stat("/proc/self/ns/pid", &space) != 0 || self.start_time == 0) return self;
  self.machine = boot.substr(0, 36) + "/" + std::to_string(space.st_ino);
  return self;
}

// Waits for a pidfd to become readable: then that very process is dead.
class Deathwatch final : public HandleOwner {
 public:
  Deathwatch(UvLoop& loop, int pidfd) : pidfd_(pidfd), promise_(loop) {
    CHECK(uv_poll_init(loop.uv(), &poll_, pidfd) == 0);
    poll_.data = static_cast<HandleOwner*>(this);
    CHECK(uv_poll_start(&poll_, UV_READABLE, [](uv_poll_t* poll, int status, int) {
            auto* self = static_cast<Deathwatch*>(static_cast<HandleOwner*>(poll->data));
            if (status == 0) {
              self->promise_.try_set({});
            } else {
              self->promise_.try_set(fail(Code::kUnavailable, "lost sight of the process: " + uv_words(status)));
            }
            self->shutdown();
          }) == 0);
  }
  Future<Status> future() const { return promise_.future(); }

  void shutdown() override {
    uv_poll_stop(&poll_);
    uv_close(reinterpret_cast<uv_handle_t*>(&poll_), [](uv_handle_t* handle) {
      auto* self = static_cast<Deathwatch*>(static_cast<HandleOwner*>(handle->data));
      close(self->pidfd_);
      delete self;
    });
  }

 private:
  int pidfd_;
  uv_poll_t poll_;
  Promise<Status> promise_;
};

class UvProcesses final : public Processes {
 public:
  explicit UvProcesses(UvLoop& loop) : loop_(loop), self_(identity_of_self()) {}

  ProcessIdentity self() const override { return self_; }

  Future<Status> died(ProcessIdentity process) override {
    auto answer = [&](Status status) { return ready_future<Status>(loop_, std::move(status)); };
    if (self_.machine.empty() || process.machine != self_.machine || process.pid == 0 || process.start_time == 0) {
      return answer(fail(Code::kUnavailable, "that process is not on this machine"));
    }
    std::string pid = std::to_string(process.pid);
    int pidfd = static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(process.pid), 0));
    if (pidfd < 0) {
      if (errno == ESRCH) return answer({});
      return answer(std::unexpected(system_error(Code::kUnavailable, "cannot watch process " + pid, errno)));
    }
    // The pidfd names whoever has the pid now, for good; its start time, read after
    // that, says whether it is the process that was meant.
    uint64_t started = start_time(pid);
    pollfd now{pidfd, POLLIN, 0};
    if (poll(&now, 1, 0) == 1 || (started != 0 && started != process.start_time)) {
      close(pidfd);
      return answer({});
    }
    if (started == 0) {
      close(pidfd);
      return answer(fail(Code::kUnavailable, "cannot see when process " + pid + " started"));
    }
    return (new Deathwatch(loop_, pidfd))->future();
  }

 private:
  UvLoop& loop_;
  ProcessIdentity self_;
};

// One uv_signal_t for each signal; the first to arrive closes them all.
class SignalWait {
 public:
  SignalWait(UvLoop& loop, const std::vector<int>& signals) : promise_(loop) {
    for (int number : signals) watches_.push_back(new Watch(loop, this, number));
  }
  Future<int> future() const { return promise_.future(); }

 private:
  struct Watch final : HandleOwner {
    Watch(UvLoop& loop, SignalWait* w, int number) : wait(w) {
      CHECK(uv_signal_init(loop.uv(), &handle) == 0);
      handle.data = static_cast<HandleOwner*>(this);
      CHECK(uv_signal_start(&handle, [](uv_signal_t* signal, int number) {
              static_cast<Watch*>(static_cast<HandleOwner*>(signal->data))->wait->arrived(number);
            }, number) == 0);
    }
    void shutdown() override {
      if (uv_is_closing(reinterpret_cast<uv_handle_t*>(&handle))) return;
      uv_close(reinterpret_cast<uv_handle_t*>(&handle), [](uv_handle_t* closed) {
        auto* self = static_cast<Watch*>(static_cast<HandleOwner*>(closed->data));
        self->wait->closed();
        delete self;
      });
    }
    uv_signal_t handle;
    SignalWait* wait;
  };

  void arrived(int number) {
    promise_.try_set(number);
    for (Watch* watch : watches_) watch->shutdown();
  }
  void closed() {
    if (++closed_ == watches_.size()) delete this;
  }

  Promise<int> promise_;
  std::vector<Watch*> watches_;
  size_t closed_ = 0;
};

}  // namespace

std::unique_ptr<Random> make_random() { return std::make_unique<UvRandom>(); }
std::unique_ptr<Workers> make_workers(UvLoop& loop) { return std::make_unique<UvWorkers>(loop); }
std::unique_ptr<Processes> make_processes(UvLoop& loop) { return std::make_unique<UvProcesses>(loop); }

Future<int> wait_for_signal(UvLoop& loop, const std::vector<int>& signals) {
  CHECK(!signals.empty());
  return (new SignalWait(loop, signals))->future();
}

}  // namespace understudy
