// Who may change a file side by side: whole-content changes (PUT, APPEND, COMMIT,
// DELETE) share a file's gate, for the engine orders them; opening a sentence and
// committing one hold it alone, because they look at the newest version first and
// act on what they saw.
//
// A hold is given back by its destructor, also when its coroutine is cancelled.
#pragma once

#include <memory>
#include <unordered_map>
#include <utility>

#include "common/base/types.h"
#include "common/env/sync.h"
#include "common/env/task.h"

namespace understudy {

class FileGates {
 public:
  explicit FileGates(Executor& executor) : executor_(&executor) {}

  class Hold {
   public:
    Hold() = default;
    Hold(Hold&& other) noexcept
        : gates_(std::exchange(other.gates_, nullptr)), file_(other.file_), alone_(other.alone_) {}
    Hold& operator=(Hold&& other) noexcept {
      std::swap(gates_, other.gates_);
      std::swap(file_, other.file_);
      std::swap(alone_, other.alone_);
      return *this;
    }
    ~Hold() { if (gates_) gates_->release(file_, alone_); }

   private:
    friend class FileGates;
    Hold(FileGates* gates, FileId file, bool alone) : gates_(gates), file_(file), alone_(alone) {}
    FileGates* gates_ = nullptr;
    FileId file_ = kNoFile;
    bool alone_ = false;
  };

  // The usual case, without a coroutine: false if somebody holds or awaits it alone.
  [[nodiscard]] bool try_share(FileId file, Hold& hold);
  Task<Hold> share(FileId file);
  Task<Hold> alone(FileId file);
  size_t open() const { return gates_.size(); }

 private:
  struct Gate {
    uint32_t sharing = 0;
    uint32_t waiting = 0;        // For either; keeps the gate in the table.
    uint32_t waiting_alone = 0;  // New sharers stand behind these.
    bool alone = false;
    std::unique_ptr<Notifier> changed;  // Made when somebody waits.
  };
  class Waiting;
  void release(FileId file, bool alone);
  void forget_if_unused(FileId file);

  Executor* executor_;
  std::unordered_map<FileId, Gate> gates_;  // Never iterated.
};

}  // namespace understudy
