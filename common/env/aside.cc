#include "common/env/aside.h"

#include <functional>
#include <memory>

namespace understudy {
namespace {

// The call owns all that it uses: nobody may be waiting any more when it is made.
Task<Status> aside(Env& env, std::function<Status()> call) {
  auto result = std::make_shared<Status>();
  auto done = env.workers.run([result, call = std::move(call)] { *result = call(); });
  co_await done;
  co_return *result;
}

}  // namespace

Task<Status> sync_folder_aside(Env& env, std::string folder) {
  return aside(env, [disk = &env.disk, folder = std::move(folder)] { return disk->sync_folder(folder); });
}

Task<Status> remove_aside(Env& env, std::string path) {
  return aside(env, [disk = &env.disk, path = std::move(path)] { return disk->remove(path); });
}

}  // namespace understudy
