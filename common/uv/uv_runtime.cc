#include "common/uv/uv_runtime.h"

#include <signal.h>

#include "common/uv/loop.h"

namespace understudy {

struct UvRuntime::Parts {
  UvLoop loop;
  std::unique_ptr<Clock> clock = make_clock(loop);
  std::unique_ptr<Net> net = make_net(loop, *clock);
  std::unique_ptr<Disk> disk = make_disk(loop);
  std::unique_ptr<Random> random = make_random();
  std::unique_ptr<Workers> workers = make_workers(loop);
  std::unique_ptr<Processes> processes = make_processes(loop);
  Env env{*clock, *net, *disk, *random, loop, *workers, *processes};
  bool stopped = false;

  ~Parts() { loop.shut_down(); }
};

UvRuntime::UvRuntime() : parts_(std::make_unique<Parts>()) { ::signal(SIGPIPE, SIG_IGN); }

UvRuntime::~UvRuntime() = default;

Env& UvRuntime::env() { return parts_->env; }

void UvRuntime::run(Task<void> main) {
  parts_->stopped = false;
  TaskGroup group(parts_->loop);
  group.spawn(std::move(main));
  parts_->loop.drain();
  while (group.size() > 0 && !parts_->stopped) {
    parts_->loop.poll();
    parts_->loop.drain();
  }
}

void UvRuntime::stop() { parts_->stopped = true; }

Future<int> UvRuntime::signal(std::vector<int> signals) { return wait_for_signal(parts_->loop, signals); }

}  // namespace understudy
