// The simulator's event queue: what happens when, in one total order of (virtual
// time, sequence).
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy::sim {

// What an event is, for the trace.
enum class EventKind : uint8_t {
  kTimer,
  kConnect,
  kAccept,
  kArrival,
  kNetTimeout,
  kDisk,
  kSqlite,
  kWorker,
  kDeath,
  kHarness,
};

struct EventId {
  Instant at{};
  uint64_t sequence = 0;  // 0 is no event.
  auto operator<=>(const EventId&) const = default;
  explicit operator bool() const { return sequence != 0; }
};

class EventQueue {
 public:
  struct Event {
    EventKind kind;
    uint64_t subject;  // Whose event, for the trace: a process, socket or disk number.
    std::move_only_function<void()> action;
  };

  EventId add(Instant at, EventKind kind, uint64_t subject, std::move_only_function<void()> action) {
    EventId id{at, next_sequence_++};
    events_.emplace(id, Event{kind, subject, std::move(action)});
    return id;
  }
  // Nothing happens if it happened already. Clears `id`.
  void cancel(EventId& id) {
    if (id) events_.erase(id);
    id = EventId{};
  }
  bool empty() const { return events_.empty(); }
  Instant next_at() const { return events_.begin()->first.at; }
  std::pair<EventId, Event> pop() {
    auto node = events_.extract(events_.begin());
    return {node.key(), std::move(node.mapped())};
  }
  void clear() { events_.clear(); }

 private:
  std::map<EventId, Event> events_;
  uint64_t next_sequence_ = 1;
};

}  // namespace understudy::sim
