#include "ss/file_gates.h"

namespace understudy {

// Counts a waiter while its coroutine lives.
class FileGates::Waiting {
 public:
  Waiting(FileGates* gates, FileId file, bool alone) : gates_(gates), file_(file), alone_(alone) {
    auto& gate = gates_->gates_[file_];
    ++gate.waiting;
    if (alone_) ++gate.waiting_alone;
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting() {
    auto& gate = gates_->gates_[file_];
    --gate.waiting;
    if (alone_) --gate.waiting_alone;
    if (gate.changed) gate.changed->notify_all();
    gates_->forget_if_unused(file_);
  }

 private:
  FileGates* gates_;
  FileId file_;
  bool alone_;
};

bool FileGates::try_share(FileId file, Hold& hold) {
  auto& gate = gates_[file];
  if (gate.alone || gate.waiting_alone > 0) return false;
  ++gate.sharing;
  hold = Hold(this, file, false);
  return true;
}

Task<FileGates::Hold> FileGates::share(FileId file) {
  Waiting waiting(this, file, false);
  Hold hold;
  while (!try_share(file, hold)) {
    auto& gate = gates_[file];
    if (!gate.changed) gate.changed = std::make_unique<Notifier>(*executor_);
    auto changed = gate.changed->wait();
    co_await changed;
  }
  co_return hold;
}

Task<FileGates::Hold> FileGates::alone(FileId file) {
  Waiting waiting(this, file, true);
  for (;;) {
    auto& gate = gates_[file];
    if (!gate.alone && gate.sharing == 0) {
      gate.alone = true;
      co_return Hold(this, file, true);
    }
    if (!gate.changed) gate.changed = std::make_unique<Notifier>(*executor_);
    auto changed = gate.changed->wait();
    co_await changed;
  }
}

void FileGates::release(FileId file, bool alone) {
  auto& gate = gates_[file];
  if (alone) gate.alone = false;
  else --gate.sharing;
  if (gate.changed) gate.changed->notify_all();
  forget_if_unused(file);
}

void FileGates::forget_if_unused(FileId file) {
  auto at = gates_.find(file);
  const auto& gate = at->second;
  if (gate.sharing == 0 && gate.waiting == 0 && !gate.alone) gates_.erase(at);
}

}  // namespace understudy
