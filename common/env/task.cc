#include "common/env/task.h"

namespace understudy {

// The top of each spawned chain: it owns the task, and takes itself off the
// group's list when the task ends.
struct TaskGroup::Runner {
  struct promise_type {
    TaskGroup* group = nullptr;
    std::list<std::coroutine_handle<>>::iterator at;

    promise_type(TaskGroup* g, Task<void>&) : group(g) {}
    Runner get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct Final {
      bool await_ready() noexcept { return false; }
      void await_suspend(std::coroutine_handle<promise_type> handle) noexcept {
        TaskGroup* group = handle.promise().group;
        auto at = handle.promise().at;
        handle.destroy();
        group->ended(at);
      }
      void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { check_failed(__FILE__, __LINE__, "an exception left a coroutine"); }
  };
  std::coroutine_handle<promise_type> handle;
};

TaskGroup::Runner TaskGroup::run(TaskGroup*, Task<void> task) { co_await task; }

void TaskGroup::spawn(Task<void> task) {
  CHECK(!inside_cancel_);
  Runner runner = run(this, std::move(task));
  running_.push_front(runner.handle);
  runner.handle.promise().at = running_.begin();
  runner.handle.resume();
}

void TaskGroup::ended(std::list<std::coroutine_handle<>>::iterator at) {
  running_.erase(at);
  if (running_.empty() && all_ended_) {
    all_ended_->try_set({});
    all_ended_.reset();
  }
}

Task<void> TaskGroup::join() {
  while (!running_.empty()) {
    if (!all_ended_) all_ended_.emplace(*executor_);
    auto future = all_ended_->future();
    co_await future;
  }
}

void TaskGroup::cancel() {
  inside_cancel_ = true;
  while (!running_.empty()) {
    auto handle = running_.front();
    running_.pop_front();
    handle.destroy();
  }
  inside_cancel_ = false;
  if (all_ended_) {
    all_ended_->try_set({});
    all_ended_.reset();
  }
}

TaskGroup::~TaskGroup() { cancel(); }

}  // namespace understudy
