// Makes a returning or new half equal to the acting primary: compares digests of
// partitions, then of files, sets aside what diverged, and queues the rest as jobs.
// Costs what differs. A failure anywhere only means starting it again.
//
// What only the returning half has goes to the acting primary before it is set aside (nm/rescue.h).
#pragma once

#include <map>
#include <optional>
#include <string>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/understudy.pb.h"
#include "nm/proposer.h"
#include "nm/rescue.h"
#include "nm/server_calls.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;
class ReplicationWorker;
struct Node;

struct ResyncProgress {
  uint64_t files_total = 0;  // Jobs queued by the comparison and before it.
  uint64_t files_left = 0;
  uint64_t bytes_total = 0;  // About: of a file that only the comparison found, all of it.
  uint64_t bytes_left = 0;
  Instant began{};           // When the jobs' turn came.
  // At the pace of files or of bytes since it began, whichever says more; nothing before either moved.
  std::optional<Duration> time_left(Instant now) const;
};

class Resync {
 public:
  // All pointers outlive it.
  Resync(Env& env, std::string target, Catalogue* catalogue, Proposer* proposer, ServerLinks* links,
         Rescue::WorkerOf worker_of);

  // OK: every version announced when the comparison ended is confirmed by the target.
  Task<Status> run();
  const ResyncProgress& progress() const { return progress_; }

 private:
  Task<Status> compare(std::string source);
  Task<Status> compare_partitions(std::string source, std::vector<uint32_t> partitions);
  Task<Result<std::map<uint64_t, wire::FileDigest>>> list(std::string server, std::vector<uint32_t> partitions);
  Task<Status> settle(wire::SetAsideRequest aside, std::map<uint64_t, wire::SetAsideDone> diverged,
                      wire::Command jobs);
  Task<Status> until_jobs_done(uint64_t last_sequence);

  Env& env_;
  std::string target_;
  Incarnation incarnation_ = 0;  // Of the target, when the comparison began.
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  ReplicationWorker* worker_;
  ResyncProgress progress_;
  Rescue rescue_;
};

}  // namespace understudy
