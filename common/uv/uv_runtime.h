// The production Env, on libuv: the machine's own clock, network, disk and processes.
//
// One UvRuntime a process, made and used on one thread. Everything obtained from
// env() (connections, files, futures, tasks that wait) must be destroyed before it.
// uv.h stays inside this folder, behind loop.h.
#pragma once

#include <memory>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy {

class UvRuntime {
 public:
  // For the whole process: ignores SIGPIPE and tells malloc to keep what is freed.
  UvRuntime();
  UvRuntime(const UvRuntime&) = delete;
  UvRuntime& operator=(const UvRuntime&) = delete;
  // Closes every handle and waits for what the thread pool still does.
  ~UvRuntime();

  Env& env();

  // Runs the loop until `main` has ended, or until stop(), which destroys `main`
  // where it waits. May be called again afterwards.
  void run(Task<void> main);
  // From within the loop.
  void stop();

  // The next of these signals that arrives. Between the last waiting call and the
  // next a signal has its default effect: a second ^C ends a server that hangs.
  Future<int> signal(std::vector<int> signals);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace understudy
