// Small conveniences over Env that every server needs.
#pragma once

#include <string>

#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy {

// The folder that `path` stands in.
std::string folder_of(const std::string& path);

// Whether only this machine reaches that address: 127.0.0.0/8, [::1], localhost.
bool is_loopback(const Address& address);

// A small whole file (a descriptor, a configuration). `size_max` bounds it: a longer one is CORRUPT.
Task<Result<Bytes>> read_small_file(Env& env, std::string path, uint32_t size_max);

// Write-then-rename: whatever fails, `path` holds the old or the new content, whole;
// on success the new one is durable, the folder's entry included. Uses `path`.new.
// `mode`: permission bits that it has before any content is in it (0600 for secrets); 0: the system's.
Task<Status> replace_small_file(Env& env, std::string path, Bytes content, uint32_t mode = 0);

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

// Makes the folder and its parents if they are not there, and their names durable: else
// a power cut may take away a folder with everything that was synced in it. Parents of
// its parent that may not be opened are left to the system.
[[nodiscard]] Status make_folder_durably(Env& env, const std::string& path);

}  // namespace understudy
