// What keeps a server's ready loop free: calls of the disk that may take long, and turns in long walks.
#pragma once

#include <string>

#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy {

// The same as the disk's, but away from the ready loop, which a busy disk would hold up.
Task<Status> sync_folder_aside(Env& env, std::string folder);
Task<Status> remove_aside(Env& env, std::string path);

// For whatever goes through many things in one go: counts steps, and says when it is the others' turn, for whom
// `auto turn = turns.others(); co_await turn;` waits. What is read may all be in memory, so that nothing else
// ever waits, and heartbeats may not stand behind work of a length that nobody knows.
class Turns {
 public:
  explicit Turns(Env& env, uint32_t steps_in_turn = 64) : env_(env), steps_in_turn_(steps_in_turn) {}
  // `steps`: what it counts for.
  bool is_over(uint32_t steps = 1) {
    taken_ += steps;
    if (taken_ < steps_in_turn_) return false;
    taken_ = 0;
    return true;
  }
  Future<Unit> others() { return yield_now(env_); }

 private:
  Env& env_;
  uint32_t steps_in_turn_;
  uint32_t taken_ = 0;
};

}  // namespace understudy
