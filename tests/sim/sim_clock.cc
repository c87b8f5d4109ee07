#include "tests/sim/sim_clock.h"

#include "tests/sim/sim_world.h"

namespace understudy::sim {
namespace {

// 2026-01-01T00:00:00Z: when every simulation begins.
constexpr WallTime kWallStart{std::chrono::microseconds(1'767'225'600'000'000)};

int64_t scale(int64_t value, int64_t multiplier, int64_t divisor, bool up) {
  __int128 product = static_cast<__int128>(value) * multiplier;
  return static_cast<int64_t>((product + (up ? divisor - 1 : 0)) / divisor);
}

}  // namespace

SimHostClock::SimHostClock(Instant true_now, Duration offset)
    : true_anchor_(true_now), local_anchor_(true_now + offset) {}

Instant SimHostClock::local(Instant true_time) const {
  return local_anchor_ + Duration(scale((true_time - true_anchor_).count(), rate_ppm_, 1'000'000, false));
}

Instant SimHostClock::when(Instant at) const {
  if (at <= local_anchor_) return true_anchor_;
  return true_anchor_ + Duration(scale((at - local_anchor_).count(), 1'000'000, rate_ppm_, true));
}

WallTime SimHostClock::wall(Instant true_time) const {
  return kWallStart + std::chrono::duration_cast<std::chrono::microseconds>(true_time.time_since_epoch() + wall_offset_);
}

void SimHostClock::set_rate(Instant true_now, int64_t parts_per_million) {
  local_anchor_ = local(true_now);
  true_anchor_ = true_now;
  rate_ppm_ = parts_per_million;
}

void SimHostClock::jump(Instant true_now, Duration forward) {
  CHECK(forward >= Duration::zero());
  local_anchor_ = local(true_now) + forward;
  true_anchor_ = true_now;
}

Instant SimClock::now() const { return process_.host().clock.local(world_.now()); }

WallTime SimClock::wall() const { return process_.host().clock.wall(world_.now()); }

TimerId SimClock::schedule(Instant at, std::function<void()> callback) {
  uint64_t id = next_id_++;
  if (!process_.alive()) return TimerId{id};
  timers_.emplace(Key{at, id}, std::move(callback));
  due_.emplace(id, at);
  if (timers_.begin()->first.second == id) rearm();
  return TimerId{id};
}

void SimClock::cancel(TimerId timer) {
  auto due = due_.find(static_cast<uint64_t>(timer));
  if (due == due_.end()) return;
  auto node = timers_.extract(Key{due->second, due->first});
  due_.erase(due);
  // The callback is destroyed last: what it owns may call here again.
}

void SimClock::rearm() {
  world_.events().cancel(armed_);
  if (timers_.empty() || !process_.alive()) return;
  Instant at = std::max(world_.now(), process_.host().clock.when(timers_.begin()->first.first));
  // An event that was held back while the process was paused may have been replaced meanwhile.
  armed_ = world_.schedule(process_, at, EventKind::kTimer, [this, arming = ++armings_] {
    if (arming == armings_) fire();
  });
}

void SimClock::fire() {
  armed_ = EventId{};
  // One callback an event: it may schedule, cancel, or kill.
  if (!timers_.empty() && timers_.begin()->first.first <= now()) {
    auto node = timers_.extract(timers_.begin());
    due_.erase(node.key().second);
    node.mapped()();
  }
  rearm();
}

void SimClock::drop_all() {
  world_.events().cancel(armed_);
  due_.clear();
  auto dropped = std::exchange(timers_, {});
}

}  // namespace understudy::sim
