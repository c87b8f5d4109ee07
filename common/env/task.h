// Task<T>: a lazy coroutine with one owner. Awaiting it runs it and gives its
// value; destroying it, at any point where it waits, cancels it and everything
// that it awaits.
//
// TaskGroup owns tasks that nobody awaits: spawn() runs one up to its first wait,
// join() waits until all have ended, cancel() destroys them where they wait.
//
// The rules (docs/hacking.md): no capturing lambda coroutines; no reference
// parameters except Env& and `this` (take values; pointers to what outlives the
// task are named as such); no iterator or pointer into a container across an
// await; resume only from the ready queue.
#pragma once

#include <coroutine>
#include <list>
#include <optional>
#include <utility>

#include "common/env/future.h"

namespace understudy {

template <class T>
class Task;

namespace task_internal {

struct FinalAwaiter {
  bool await_ready() noexcept { return false; }
  template <class PromiseType>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<PromiseType> handle) noexcept {
    auto continuation = handle.promise().continuation;
    return continuation ? continuation : std::noop_coroutine();
  }
  void await_resume() noexcept {}
};

struct PromiseBase {
  std::coroutine_handle<> continuation;
  std::suspend_always initial_suspend() noexcept { return {}; }
  FinalAwaiter final_suspend() noexcept { return {}; }
  void unhandled_exception() { check_failed(__FILE__, __LINE__, "an exception left a coroutine"); }
};

template <class T>
struct TaskPromise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object();
  template <class U>
  void return_value(U&& v) { value.emplace(std::forward<U>(v)); }
  T take() { return *std::move(value); }
};

template <>
struct TaskPromise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() {}
  void take() {}
};

}  // namespace task_internal

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = task_internal::TaskPromise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Task() { if (handle_) handle_.destroy(); }

  struct Awaiter {
    Handle handle;
    bool await_ready() const { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> continuation) {
      handle.promise().continuation = continuation;
      return handle;
    }
    T await_resume() { return handle.promise().take(); }
  };
  Awaiter operator co_await() const& { return Awaiter{handle_}; }
  Awaiter operator co_await() const&& { return Awaiter{handle_}; }

 private:
  Handle handle_;
};

namespace task_internal {
template <class T>
Task<T> TaskPromise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<TaskPromise<T>>::from_promise(*this));
}
inline Task<void> TaskPromise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<TaskPromise<void>>::from_promise(*this));
}
}  // namespace task_internal

class TaskGroup {
 public:
  explicit TaskGroup(Executor& executor) : executor_(&executor) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  // Cancels what still runs.
  ~TaskGroup();

  void spawn(Task<void> task);
  size_t size() const { return running_.size(); }
  // Until every task has ended. One waiter at a time.
  Task<void> join();
  // Destroys every task where it waits. Never call it from one of its own tasks.
  void cancel();

 private:
  struct Runner;
  static Runner run(TaskGroup* group, Task<void> task);
  void ended(std::list<std::coroutine_handle<>>::iterator at);

  Executor* executor_;
  std::list<std::coroutine_handle<>> running_;
  std::optional<Promise<Unit>> all_ended_;
  bool inside_cancel_ = false;
};

}  // namespace understudy
