// A storage server's engine alone, in this process and without the network, beside what the disk does raw.
#pragma once

#include <memory>
#include <string>

#include "bench/workloads.h"
#include "common/env/env.h"
#include "common/env/task.h"
#include "ss/file_store.h"

namespace understudy::bench {

class EngineBench {
 public:
  // `folder`: for the store's data and the baselines' files; made if missing, and left.
  EngineBench(Env& env, Options options, std::string folder);

  // `clients` writers make new small files as fast as they are durable; then as many threads append as much to one raw
  // file, each with its own fdatasync, and one thread that many at once with one (what group commit could be).
  Task<Status> small();
  // `source` in, cut and staged as a client does it, and out again, beside `cp` + fsync and `cat` of it.
  Task<Status> big(std::string source);
  // `files` more small files in the store, each with a name; the folder is left as a kill -9 would leave it, and the process ends.
  Task<Status> fill();
  // How long the store takes to open, and what it holds.
  Task<Status> open_only();

 private:
  Task<Status> open();
  Task<void> writer(Recorder* recorder);
  Task<Result<VersionInfo>> put_one(uint64_t id);
  Task<Status> stage_source(std::string path, ChunkRefs* chunks);

  Env& env_;
  Options options_;
  std::string folder_;
  std::unique_ptr<FileStore> store_;
  Bytes content_;
  SteadyTime until_{};
  uint64_t next_ = 1;
  uint64_t stop_at_ = UINT64_MAX;
};

}  // namespace understudy::bench
