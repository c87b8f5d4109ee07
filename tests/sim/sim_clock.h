// The clocks of the simulated machines. A host's clock runs at its own rate and
// may jump; the timers of a process follow its host's clock, whatever it does.
#pragma once

#include <functional>
#include <map>
#include <utility>

#include "common/env/env.h"
#include "tests/sim/sim_events.h"

namespace understudy::sim {

class SimProcess;
class SimWorld;

// How a host's boot-time clock and wall clock follow from true (virtual) time.
class SimHostClock {
 public:
  SimHostClock(Instant true_now, Duration offset);
  Instant local(Instant true_time) const;
  // The first true time at which local() has reached `at`.
  Instant when(Instant at) const;
  WallTime wall(Instant true_time) const;

  // 1'000'000 is true; 1'050'000 gains 5 %.
  void set_rate(Instant true_now, int64_t parts_per_million);
  void jump(Instant true_now, Duration forward);
  void jump_wall(Duration by) { wall_offset_ += by; }

 private:
  Instant true_anchor_;
  Instant local_anchor_;
  int64_t rate_ppm_ = 1'000'000;
  Duration wall_offset_{};
};

// One process's view: Env's clock.
class SimClock final : public Clock {
 public:
  SimClock(SimWorld& world, SimProcess& process) : world_(world), process_(process) {}
  Instant now() const override;
  WallTime wall() const override;
  TimerId schedule(Instant at, std::function<void()> callback) override;
  void cancel(TimerId timer) override;

  // The host's clock has changed, or the process runs again: look at the timers anew.
  void rearm();
  void drop_all();

 private:
  void fire();

  using Key = std::pair<Instant, uint64_t>;  // Local time, then order of scheduling.
  SimWorld& world_;
  SimProcess& process_;
  std::map<Key, std::function<void()>> timers_;
  std::map<uint64_t, Instant> due_;  // By timer id, for cancel().
  uint64_t next_id_ = 1;
  EventId armed_;
  uint64_t armings_ = 0;
};

}  // namespace understudy::sim
