#include "common/uv/timer_heap.h"

namespace understudy {

TimerId TimerHeap::add(Instant at, std::function<void()> callback) {
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  uint32_t index = free_.back();
  free_.pop_back();
  Slot& slot = slots_[index];
  slot.at = at;
  slot.sequence = next_sequence_++;
  slot.callback = std::move(callback);
  slot.used = true;
  ++slot.generation;
  heap_.push_back(index);
  slot.place = static_cast<uint32_t>(heap_.size() - 1);
  sift_up(slot.place);
  return TimerId{uint64_t{slot.generation} << 32 | index};
}

void TimerHeap::cancel(TimerId timer) {
  auto index = static_cast<uint32_t>(static_cast<uint64_t>(timer));
  auto generation = static_cast<uint32_t>(static_cast<uint64_t>(timer) >> 32);
  if (index >= slots_.size() || !slots_[index].used || slots_[index].generation != generation) return;
  // The callback's captures die only here, when the heap is whole again: they may cancel other timers.
  auto callback = take(index);
}

std::optional<Instant> TimerHeap::next() const {
  if (heap_.empty()) return std::nullopt;
  return slots_[heap_[0]].at;
}

void TimerHeap::run_due(Instant now) {
  uint64_t limit = next_sequence_;
  while (!heap_.empty()) {
    const Slot& first = slots_[heap_[0]];
    if (first.at > now || first.sequence >= limit) return;
    auto callback = take(heap_[0]);
    callback();
  }
}

bool TimerHeap::before(uint32_t a, uint32_t b) const {
  const Slot& x = slots_[a];
  const Slot& y = slots_[b];
  return x.at != y.at ? x.at < y.at : x.sequence < y.sequence;
}

void TimerHeap::put(uint32_t place, uint32_t slot) {
  heap_[place] = slot;
  slots_[slot].place = place;
}

void TimerHeap::sift_up(uint32_t place) {
  uint32_t slot = heap_[place];
  while (place > 0) {
    uint32_t parent = (place - 1) / 2;
    if (!before(slot, heap_[parent])) break;
    put(place, heap_[parent]);
    place = parent;
  }
  put(place, slot);
}

void TimerHeap::sift_down(uint32_t place) {
  uint32_t slot = heap_[place];
  for (;;) {
    size_t child = 2 * size_t{place} + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && before(heap_[child + 1], heap_[child])) ++child;
    if (!before(heap_[child], slot)) break;
    put(place, heap_[child]);
    place = static_cast<uint32_t>(child);
  }
  put(place, slot);
}

std::function<void()> TimerHeap::take(uint32_t index) {
  uint32_t place = slots_[index].place;
  uint32_t last = heap_.back();
  heap_.pop_back();
  if (last != index) {
    put(place, last);
    sift_up(place);
    sift_down(slots_[last].place);
  }
  slots_[index].used = false;
  free_.push_back(index);
  return std::exchange(slots_[index].callback, nullptr);
}

}  // namespace understudy
