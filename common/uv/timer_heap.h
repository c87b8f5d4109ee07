// Timers in order of their instants, those of one instant in order of scheduling.
// A binary heap over slots that know their place, so that cancelling (which most
// timeouts end in) costs no search.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "common/env/env.h"

namespace understudy {

class TimerHeap {
 public:
  TimerId add(Instant at, std::function<void()> callback);
  void cancel(TimerId timer);
  std::optional<Instant> next() const;
  // Runs what is due at `now` and was there when the call began.
  void run_due(Instant now);

 private:
  struct Slot {
    Instant at{};
    uint64_t sequence = 0;
    uint32_t generation = 0;  // Tells a timer from an earlier one in its slot.
    uint32_t place = 0;       // In heap_.
    bool used = false;
    std::function<void()> callback;
  };

  bool before(uint32_t a, uint32_t b) const;
  void put(uint32_t place, uint32_t slot);
  void sift_up(uint32_t place);
  void sift_down(uint32_t place);
  std::function<void()> take(uint32_t slot);

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> heap_;  // Slots; heap_[0] is the earliest.
  uint64_t next_sequence_ = 0;
};

}  // namespace understudy
