#include "common/env/env.h"

namespace understudy {

Future<Unit> sleep_for(Env& env, Duration duration) {
  Promise<Unit> promise(env.executor);
  env.clock.schedule(env.clock.now() + duration, [promise] { promise.try_set({}); });
  return promise.future();
}

Future<Unit> yield_now(Env& env) {
  Promise<Unit> promise(env.executor);
  env.clock.schedule(env.clock.now(), [promise] { promise.try_set({}); });
  return promise.future();
}

}  // namespace understudy
