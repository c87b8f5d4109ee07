// Task, Future, TaskGroup: order of resumption, and cancelling by destruction.
#include <gtest/gtest.h>

#include <deque>

#include "common/env/sync.h"
#include "common/env/task.h"

namespace understudy {
namespace {

class ReadyQueue : public Executor {
 public:
  void post(Ref<Resumable> ready) override { queue_.push_back(std::move(ready)); }
  void run() {
    while (!queue_.empty()) {
      auto next = std::move(queue_.front());
      queue_.pop_front();
      next->resume();
    }
  }

 private:
  std::deque<Ref<Resumable>> queue_;
};

class TaskTest : public testing::Test {
 protected:
  ReadyQueue ready_;
  std::vector<std::string> story_;
};

Task<int> doubled(Future<int> future) {
  int value = co_await future;
  co_return 2 * value;
}

Task<void> tell(std::vector<std::string>* story, Future<int> future) {
  story->push_back("waits");
  int value = co_await doubled(future);
  story->push_back(std::to_string(value));
}

TEST_F(TaskTest, ResumesOnlyFromTheReadyQueue) {
  Promise<int> promise(ready_);
  TaskGroup group(ready_);
  group.spawn(tell(&story_, promise.future()));
  promise.set(21);
  EXPECT_EQ(story_, (std::vector<std::string>{"waits"}));
  ready_.run();
  EXPECT_EQ(story_, (std::vector<std::string>{"waits", "42"}));
  EXPECT_EQ(group.size(), 0u);
}

TEST_F(TaskTest, CancelDestroysWhereItWaits) {
  Promise<int> promise(ready_);
  TaskGroup group(ready_);
  group.spawn(tell(&story_, promise.future()));
  promise.set(21);  // Already in the ready queue when it is destroyed.
  group.cancel();
  ready_.run();
  EXPECT_EQ(story_, (std::vector<std::string>{"waits"}));
}

Task<void> join_then_tell(std::vector<std::string>* story, TaskGroup* group) {
  co_await group->join();
  story->push_back("joined");
}

TEST_F(TaskTest, JoinWaitsForAll) {
  Promise<int> one(ready_), two(ready_);
  TaskGroup group(ready_), outer(ready_);
  group.spawn(tell(&story_, one.future()));
  group.spawn(tell(&story_, two.future()));
  outer.spawn(join_then_tell(&story_, &group));
  one.set(1);
  ready_.run();
  EXPECT_EQ(story_.back(), "2");
  two.set(2);
  ready_.run();
  EXPECT_EQ(story_.back(), "joined");
}

Task<void> pop_and_tell(std::vector<std::string>* story, Queue<std::string>* queue) {
  while (auto item = co_await queue->pop()) story->push_back(*item);
  story->push_back("closed");
}

TEST_F(TaskTest, QueueGivesInOrderAndEnds) {
  Queue<std::string> queue(ready_);
  TaskGroup group(ready_);
  group.spawn(pop_and_tell(&story_, &queue));
  queue.push("a");
  queue.push("b");
  ready_.run();
  queue.close();
  ready_.run();
  EXPECT_EQ(story_, (std::vector<std::string>{"a", "b", "closed"}));
}

}  // namespace
}  // namespace understudy
