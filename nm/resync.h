// Makes a returning or new half equal to the acting primary: compares digests of
// partitions, then of files, sets aside what diverged, and queues the rest as jobs.
// Costs what differs. A failure anywhere only means starting it again.
//
// What only the returning half has, of a file that did not change meanwhile, comes
// back as the acting primary's newest version before it is set aside (a rescue).
#pragma once

#include <map>
#include <optional>
#include <string>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/understudy.pb.h"
#include "nm/proposer.h"
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
  // All pointers outlive it; `worker` is the target's.
  Resync(Env& env, std::string target, Catalogue* catalogue, Proposer* proposer, ServerLinks* links,
         ReplicationWorker* worker);

  // OK: every version announced when the comparison ended is confirmed by the target.
  Task<Status> run();
  const ResyncProgress& progress() const { return progress_; }

 private:
  Task<Status> compare(std::string source);
  Task<Status> compare_partitions(std::string source, std::vector<uint32_t> partitions);
  Task<Result<std::map<uint64_t, wire::FileDigest>>> list(std::string server, std::vector<uint32_t> partitions);
  Task<Status> settle(wire::SetAsideRequest aside, std::map<uint64_t, wire::SetAsideDone> diverged,
                      wire::Command jobs, std::map<uint64_t, Version> rescued);
  // (keep, newest] of the target, behind `head` of the source: `keep`, or checkpoints of it.
  Task<Result<Version>> rescue(std::string source, FileId file, Version keep, Version newest, Version head);
  // What `server` has of the file in (keep, newest] changed no content.
  Task<Result<bool>> only_checkpoints(std::string server, FileId file, Version keep, Version newest);
  // One version's content to the acting primary, behind `expected`.
  Task<Result<Version>> bring_checkpoint(std::string source, Node node, Version expected, wire::VersionRecord record);
  Task<Result<Version>> bring(std::string source, Node node, Version expected, wire::VersionRecord record,
                              bool more_follow);
  Task<Result<uint64_t>> stage_chunks(std::string source, wire::StageRequest stage, wire::VersionNumber version,
                                      Bytes hash, uint32_t level);
  // The chunks of a version that only the target has, to the acting primary, as an upload.
  Task<Result<uint64_t>> stage_all(std::string source, FileId file, uint64_t epoch, uint64_t upload_id, wire::VersionRecord record);
  // (keep, newest] of the target also at the acting primary, beside the line, as named checkpoints.
  Task<Status> keep_at(std::string source, FileId file, Version keep, Version newest);
  Task<Status> end_waiting(std::string source);
  Task<Result<bool>> holds(std::string server, FileId file, Version version);
  Task<Status> until_jobs_done(uint64_t last_sequence);

  Env& env_;
  std::string target_;
  Incarnation incarnation_ = 0;  // Of the target, when the comparison began.
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  ReplicationWorker* worker_;
  ResyncProgress progress_;
  KeptAs kept_as_;
};

}  // namespace understudy
