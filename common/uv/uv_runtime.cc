#include "common/uv/uv_runtime.h"

#include <malloc.h>
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

UvRuntime::UvRuntime() : parts_(std::make_unique<Parts>()) {
  ::signal(SIGPIPE, SIG_IGN);
  // Buffers of a chunk's size come and go all the time. Left alone, glibc gives their
  // pages back and faults them in again, which costs more than all the copying: half of
  // the processor time of a stream of 1 MiB answers.
  mallopt(M_MMAP_THRESHOLD, 8 << 20);
  mallopt(M_TRIM_THRESHOLD, 32 << 20);
  mallopt(M_TOP_PAD, 1 << 20);
}

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
