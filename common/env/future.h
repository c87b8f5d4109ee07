// Promise<T> and Future<T>: one value, set once, awaited by at most one coroutine.
//
// This is how the outside world (common/uv, tests/sim) hands results to
// coroutines. Setting a promise never runs the waiter: it puts it into the
// executor's ready queue, and it resumes from there. One thread only.
//
// Cancelling is destroying: a coroutine frame may be destroyed while it waits on
// a Future; the awaiter's destructor lets go, and a value that is set later goes
// nowhere. So an operation in flight must own its buffers, never borrow them
// from the waiting frame.
#pragma once

#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

#include "common/base/result.h"

namespace understudy {

struct Unit {};

// What waits in a ready queue: a coroutine, until its awaiter is destroyed.
// Counted without atomics: it never leaves its thread.
class Resumable {
 public:
  virtual ~Resumable() = default;
  void set_waiter(std::coroutine_handle<> handle) { handle_ = handle; }
  void drop_waiter() { handle_ = nullptr; }
  bool has_waiter() const { return handle_ != nullptr; }
  // For the executor: runs the waiter, if there still is one.
  void resume() {
    if (handle_) std::exchange(handle_, nullptr).resume();
  }

 private:
  template <class>
  friend class Ref;
  std::coroutine_handle<> handle_;
  uint32_t references_ = 0;
};

template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* target) : target_(target) { if (target_) ++target_->references_; }
  Ref(const Ref& other) : Ref(other.target_) {}
  Ref(Ref&& other) noexcept : target_(std::exchange(other.target_, nullptr)) {}
  template <class U>
  Ref(const Ref<U>& other) : Ref(other.get()) {}
  Ref& operator=(Ref other) noexcept { std::swap(target_, other.target_); return *this; }
  ~Ref() { if (target_ && --target_->references_ == 0) delete target_; }
  T* get() const { return target_; }
  T* operator->() const { return target_; }
  explicit operator bool() const { return target_ != nullptr; }

 private:
  T* target_ = nullptr;
};

// Where coroutines resume: a first-in, first-out ready queue on one thread.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void post(Ref<Resumable> ready) = 0;
};

template <class T>
class FutureState : public Resumable {
 public:
  explicit FutureState(Executor& executor) : executor_(&executor) {}
  bool try_set(T value) {
    if (value_ || taken_) return false;
    value_.emplace(std::move(value));
    if (has_waiter()) executor_->post(Ref<Resumable>(this));
    return true;
  }
  bool ready() const { return value_.has_value(); }
  T take() {
    CHECK(value_.has_value());
    taken_ = true;
    T value = *std::move(value_);
    value_.reset();
    return value;
  }

 private:
  Executor* executor_;
  std::optional<T> value_;
  bool taken_ = false;
};

template <class T>
class [[nodiscard]] Future {
 public:
  explicit Future(Ref<FutureState<T>> state) : state_(std::move(state)) {}
  bool ready() const { return state_->ready(); }

  struct Awaiter {
    Ref<FutureState<T>> state;
    explicit Awaiter(Ref<FutureState<T>> s) : state(std::move(s)) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    ~Awaiter() { if (state) state->drop_waiter(); }
    bool await_ready() const { return state->ready(); }
    void await_suspend(std::coroutine_handle<> handle) {
      CHECK(!state->has_waiter());
      state->set_waiter(handle);
    }
    T await_resume() { return state->take(); }
  };
  Awaiter operator co_await() const { return Awaiter(state_); }

 private:
  Ref<FutureState<T>> state_;
};

// Copies share one state: whoever sets first wins (an answer or its timeout).
template <class T>
class Promise {
 public:
  explicit Promise(Executor& executor) : state_(new FutureState<T>(executor)) {}
  Future<T> future() const { return Future<T>(state_); }
  // False, and nothing happens, if it was set before.
  bool try_set(T value) const { return state_->try_set(std::move(value)); }
  void set(T value) const { CHECK(state_->try_set(std::move(value))); }
  bool is_set() const { return state_->ready(); }

 private:
  Ref<FutureState<T>> state_;
};

template <class T>
Future<T> ready_future(Executor& executor, T value) {
  Promise<T> promise(executor);
  promise.set(std::move(value));
  return promise.future();
}

}  // namespace understudy
