#include "ss/change_table.h"

namespace understudy {

Task<Result<VersionInfo>> ChangeTable::run(FileId file, RequestId request, Task<Result<VersionInfo>> change) {
  Promise<Result<VersionInfo>> answer(*executor_);
  if (!request) {
    tasks_.spawn(perform_unnamed(answer, std::move(change)));
  } else {
    Key key(file, request);
    auto [at, begins] = under_way_.try_emplace(key);
    at->second.askers.push_back(answer);
    if (begins) tasks_.spawn(perform(key, std::move(change)));
  }
  co_return co_await answer.future();
}

Task<void> ChangeTable::perform(Key key, Task<Result<VersionInfo>> change) {
  auto result = co_await change;
  auto asking = under_way_.extract(key);
  for (auto& asker : asking.mapped().askers) asker.try_set(result);
  ended_.notify_all();
}

Task<void> ChangeTable::perform_unnamed(Promise<Result<VersionInfo>> asker,
                                        Task<Result<VersionInfo>> change) {
  auto result = co_await change;
  asker.try_set(std::move(result));
  ended_.notify_all();
}

Task<void> ChangeTable::idle() {
  while (tasks_.size() > 0) {
    auto ended = ended_.wait();
    co_await ended;
  }
}

}  // namespace understudy
