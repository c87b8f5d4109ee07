// Private to common/uv: the libuv loop, the ready queue and what hangs on them.
//
// A turn: poll, run timers, run what is ready, send what that wrote (one system call
// a connection). libuv's callbacks never resume a coroutine: they
// set promises, and the ready queue runs between polls.
#pragma once

#include <uv.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/uv/timer_heap.h"

namespace understudy {

// The `data` of every handle; shutdown() closes the handle and lets its owner go.
class HandleOwner {
 public:
  virtual ~HandleOwner() = default;
  virtual void shutdown() = 0;
};

// Something with bytes to send at the end of a drain of the ready queue.
class Flushable {
 public:
  virtual ~Flushable() = default;
  virtual void flush() = 0;
};

// work() runs on a pool thread and touches only the item's own plain data; done()
// runs on the loop, and the item is destroyed after it.
class PoolItem {
 public:
  virtual ~PoolItem() = default;
  virtual void work() = 0;
  virtual void done() = 0;

 private:
  friend class UvLoop;
  uv_work_t request_;
};

class UvLoop final : public Executor {
 public:
  UvLoop();
  ~UvLoop() override;

  void post(Ref<Resumable> ready) override { ready_.push_back(std::move(ready)); }
  // Waits for the world, unless something is ready already, and takes in what it says.
  void poll();
  // Runs what is ready and sends what it wrote.
  void drain();
  // Sends what was written since the last drain.
  void flush();
  // The last call: every handle's shutdown(), then polls until nothing is left of them.
  void shut_down();
  bool shutting_down() const { return shutting_down_; }

  uv_loop_t* uv() { return &loop_; }
  TimerHeap& timers() { return timers_; }
  // Once for each drain; `what` must live until its flush().
  void flush_later(Flushable* what) { dirty_.push_back(what); }
  void submit(std::unique_ptr<PoolItem> item);

 private:
  void arm_timer();

  uv_loop_t loop_;
  uv_async_t keep_alive_;  // A loop without active handles would not wait in a poll.
  uv_timer_t timer_;
  std::optional<Instant> armed_;
  Instant turn_began_{};
  TimerHeap timers_;
  std::deque<Ref<Resumable>> ready_;
  std::vector<Flushable*> dirty_;
  bool shutting_down_ = false;
};

// CLOCK_BOOTTIME.
Instant boot_time();

// "what: the system's words"
Error system_error(Code code, const std::string& what, int error_number);
std::string uv_words(int status);

std::unique_ptr<Clock> make_clock(UvLoop& loop);
std::unique_ptr<Net> make_net(UvLoop& loop, Clock& clock);
std::unique_ptr<Disk> make_disk(UvLoop& loop);
std::unique_ptr<Random> make_random();
std::unique_ptr<Workers> make_workers(UvLoop& loop);
std::unique_ptr<Processes> make_processes(UvLoop& loop);
Future<int> wait_for_signal(UvLoop& loop, const std::vector<int>& signals);

}  // namespace understudy
