#include "common/uv/loop.h"

#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>

#include "common/base/log.h"

namespace understudy {
namespace {

// So many resumptions at most between two polls: a busy queue must not starve the sockets.
constexpr int kResumptionsMax = 2000;
constexpr Duration kHeldUp = std::chrono::seconds(1);

void start_shutdown(uv_handle_t* handle, void*) {
  if (!uv_is_closing(handle) && handle->data) static_cast<HandleOwner*>(handle->data)->shutdown();
}

}  // namespace

UvLoop::UvLoop() {
  // Disk writes, slow reads, look-ups of names and Workers share these threads.
  setenv("UV_THREADPOOL_SIZE", "4", 0);
  CHECK(uv_loop_init(&loop_) == 0);
  uv_loop_set_data(&loop_, this);
  CHECK(uv_async_init(&loop_, &keep_alive_, nullptr) == 0);
  CHECK(uv_timer_init(&loop_, &timer_) == 0);
  keep_alive_.data = nullptr;
  timer_.data = nullptr;
}

UvLoop::~UvLoop() { CHECK(shutting_down_); }

void UvLoop::shut_down() {
  shutting_down_ = true;
  flush();
  uv_walk(&loop_, start_shutdown, nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&keep_alive_), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
  uv_run(&loop_, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop_) == 0);
}

void UvLoop::poll() {
  bool more = !ready_.empty();
  if (auto next = timers_.next(); !more && next) {
    if (*next <= boot_time()) {
      more = true;
    } else {
      arm_timer();
    }
  }
  uv_run(&loop_, more ? UV_RUN_NOWAIT : UV_RUN_ONCE);
  turn_began_ = boot_time();
  if (timers_.next()) timers_.run_due(turn_began_);
}

void UvLoop::drain() {
  int budget = kResumptionsMax;
  while (budget > 0 && !(ready_.empty() && dirty_.empty())) {
    for (; !ready_.empty() && budget > 0; --budget) {
      auto next = std::move(ready_.front());
      ready_.pop_front();
      next->resume();
    }
    // What a flush completes is ready at once and may write again: go round before polling.
    flush();
  }
  // Whoever reads the log after heartbeats were missed is to know where to look.
  const Duration held_up = boot_time() - turn_began_;
  if (held_up >= kHeldUp && turn_began_ != Instant{}) {
    log_warning("one turn of the server took " +
                std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(held_up).count()) +
                " ms: its processor or its disk is overloaded, or the process was stopped");
  }
}

void UvLoop::flush() {
  auto dirty = std::exchange(dirty_, {});
  for (Flushable* what : dirty) what->flush();
}

void UvLoop::arm_timer() {
  Instant next = *timers_.next();
  // Armed for something earlier that was cancelled since: it wakes us once for nothing.
  if (armed_ && *armed_ <= next) return;
  armed_ = next;
  // libuv counts whole milliseconds from when it last looked at its clock; waking early
  // would cost another turn, so look afresh and round up.
  uv_update_time(&loop_);
  auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - boot_time());
  // libuv runs this before it polls, too, and would then poll without an end: what is next must be armed again.
  auto fired = [](uv_timer_t* timer) {
    auto* loop = static_cast<UvLoop*>(uv_loop_get_data(timer->loop));
    loop->armed_.reset();
    if (loop->timers_.next()) loop->arm_timer();
  };
  // Never 0: what is due already must not be armed over and over within one turn.
  uv_timer_start(&timer_, fired, static_cast<uint64_t>(std::max<int64_t>(wait.count(), 1)), 0);
}

void UvLoop::submit(std::unique_ptr<PoolItem> item) {
  PoolItem* raw = item.release();
  raw->request_.data = raw;
  auto work = [](uv_work_t* request) { static_cast<PoolItem*>(request->data)->work(); };
  auto done = [](uv_work_t* request, int) {
    std::unique_ptr<PoolItem> owned(static_cast<PoolItem*>(request->data));
    owned->done();
  };
  CHECK(uv_queue_work(&loop_, &raw->request_, work, done) == 0);
}

Instant boot_time() {
  timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return Instant(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

Error system_error(Code code, const std::string& what, int error_number) {
  return Error{code, what + ": " + std::generic_category().message(error_number)};
}

std::string uv_words(int status) { return uv_strerror(status); }

namespace {

class UvClock final : public Clock {
 public:
  explicit UvClock(UvLoop& loop) : loop_(loop) {}
  Instant now() const override { return boot_time(); }
  WallTime wall() const override {
    return std::chrono::time_point_cast<WallTime::duration>(std::chrono::system_clock::now());
  }
  TimerId schedule(Instant at, std::function<void()> callback) override {
    return loop_.timers().add(at, std::move(callback));
  }
  void cancel(TimerId timer) override { loop_.timers().cancel(timer); }

 private:
  UvLoop& loop_;
};

}  // namespace

std::unique_ptr<Clock> make_clock(UvLoop& loop) { return std::make_unique<UvClock>(loop); }

}  // namespace understudy
