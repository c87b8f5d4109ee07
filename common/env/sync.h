// Waiting between coroutines of one process: Notifier, Queue and Semaphore.
// All resume their waiters through the ready queue.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "common/env/future.h"
#include "common/env/task.h"

namespace understudy {

// "Something changed, look again": notify_all() wakes everyone who waits now.
// Waiters re-check their condition in a loop.
class Notifier {
 public:
  explicit Notifier(Executor& executor) : executor_(&executor) {}
  Future<Unit> wait() {
    if (!next_) next_.emplace();
    next_->emplace_back(*executor_);
    return next_->back().future();
  }
  void notify_all() {
    if (!next_) return;
    auto waiting = std::move(*next_);
    next_.reset();
    for (auto& promise : waiting) promise.try_set({});
  }

 private:
  Executor* executor_;
  std::optional<std::vector<Promise<Unit>>> next_;
};

// First in, first out; pop() waits while it is empty. Closed: pop() gives what is
// left, then nothing.
template <class T>
class Queue {
 public:
  explicit Queue(Executor& executor) : changed_(executor) {}
  void push(T item) {
    if (closed_) return;
    items_.push_back(std::move(item));
    changed_.notify_all();
  }
  Task<std::optional<T>> pop() {
    while (items_.empty() && !closed_) {
      auto changed = changed_.wait();
      co_await changed;
    }
    if (items_.empty()) co_return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    co_return item;
  }
  // All that is queued, at least one; empty only when closed.
  Task<std::vector<T>> pop_all() {
    while (items_.empty() && !closed_) {
      auto changed = changed_.wait();
      co_await changed;
    }
    std::vector<T> all(std::make_move_iterator(items_.begin()), std::make_move_iterator(items_.end()));
    items_.clear();
    co_return all;
  }
  void close() {
    closed_ = true;
    changed_.notify_all();
  }
  size_t size() const { return items_.size(); }
  bool closed() const { return closed_; }

 private:
  std::deque<T> items_;
  Notifier changed_;
  bool closed_ = false;
};

// Counts units of something bounded (bytes in flight, requests at once). A request
// for more than the whole is let in when nothing else is.
class Semaphore {
 public:
  Semaphore(Executor& executor, uint64_t units) : changed_(executor), units_(units), free_(units) {}
  Task<void> acquire(uint64_t units) {
    units = units < units_ ? units : units_;
    while (free_ < units) {
      auto changed = changed_.wait();
      co_await changed;
    }
    free_ -= units;
  }
  void release(uint64_t units) {
    units = units < units_ ? units : units_;
    free_ += units;
    changed_.notify_all();
  }
  uint64_t used() const { return units_ - free_; }

 private:
  Notifier changed_;
  uint64_t units_;
  uint64_t free_;
};

}  // namespace understudy
