// The changes under way. Each runs as a task of its own, so that it ends whatever
// becomes of the connection that asked; a repeat of a request that is still under
// way waits for the first one's answer instead of beginning again. What is done
// and durable is found in the version records, not here.
#pragma once

#include <map>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "ss/file_store.h"

namespace understudy {

class ChangeTable {
 public:
  explicit ChangeTable(Executor& executor) : executor_(&executor), ended_(executor), tasks_(executor) {}

  // A request without id always begins.
  Task<Result<VersionInfo>> run(FileId file, RequestId request, Task<Result<VersionInfo>> change);

  // Until none is under way.
  Task<void> idle();
  size_t size() const { return tasks_.size(); }
  // Drops all that run. Only when nothing is acknowledged any more.
  void cancel() { tasks_.cancel(); }

 private:
  // Most requests come once: the first asker's promise stands alone.
  struct Asking {
    std::vector<Promise<Result<VersionInfo>>> askers;
  };
  using Key = std::pair<FileId, RequestId>;
  Task<void> perform(Key key, Task<Result<VersionInfo>> change);
  Task<void> perform_unnamed(Promise<Result<VersionInfo>> asker, Task<Result<VersionInfo>> change);

  Executor* executor_;
  std::map<Key, Asking> under_way_;
  Notifier ended_;
  TaskGroup tasks_;  // Last: it is cancelled before the rest goes.
};

}  // namespace understudy
