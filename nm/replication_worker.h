// Brings one server's jobs to it: versions fetched from the acting primary, names
// from the catalogue, many small jobs in one call, big versions chunk by chunk.
//
// One worker for each server of the cluster. It takes jobs in order of queueing;
// jobs of different objects are independent, so a few batches are under way at
// once. A job ends by JobsDone in the log; until then it is done again after any
// failure, which its target answers with "already".
#pragma once

#include <set>
#include <string>
#include <vector>

#include "common/base/chunk_list.h"
#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "nm/proposer.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;
class HandOff;
struct Job;

class ReplicationWorker {
 public:
  // All pointers outlive the worker.
  ReplicationWorker(Env& env, std::string target, Catalogue* catalogue, Proposer* proposer, ServerLinks* links,
                    HandOff* hand_off, bool direct);

  // Until destroyed.
  Task<void> run();
  // Jobs were queued, a server came or went, an epoch began.
  void wake();
  // Paused while a resync sets the target's heads: no batch starts; idle() says that none is under way.
  void pause(bool paused);
  Task<void> idle();
  // A target that is not in sync gets no versions before its heads were compared: what
  // only it has would be in their way.
  void set_compared(bool compared) { compared_ = compared; }
  // Why bytes go through here although the path is direct; empty: they do not.
  const std::string& relayed_why() const { return relayed_why_; }
  // Chunks that the target got of jobs that are yet to end.
  uint64_t carried_bytes() const { return carried_bytes_; }
  // While the target is not in sync, it gets so many bytes a second; 0: as many as it takes.
  void set_resync_rate(uint64_t bytes_per_s) { resync_rate_ = bytes_per_s; }
  // The chunks of a version that the target lacks, from the source.
  Task<Status> carry_big(std::string source, wire::VersionRecord version);

 private:
  std::vector<Job> take_batch();
  std::string acting_half() const;
  Task<void> carry(std::vector<Job> jobs);
  Task<bool> carry_versions(std::string source, std::vector<Job> jobs);
  Task<bool> pull_versions(std::string source, std::vector<Job> jobs, bool* unreachable);
  Task<Result<std::vector<Job>>> carry_hinted(std::vector<Job> jobs);
  Task<Status> carry_names(std::vector<Job> jobs);
  Task<Status> carry_list(std::string source, wire::FetchChunkRequest about, ChunkRefs list, uint32_t level);
  // With all under it, if it is a list chunk.
  Task<Status> carry_chunk(std::string source, wire::FetchChunkRequest about, ChunkRefInfo ref, uint32_t level);
  Task<Status> remove_at_primary(Job job);
  Task<void> repair(std::string source, Job job);
  static wire::JobDone as_done(const Job& job);
  void done(const Job& job, bool partial = false);
  Task<void> commit_done();
  // Waits until `bytes` more may go to a target that is not in sync.
  Task<void> pace(uint64_t bytes);

  Env& env_;
  std::string target_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  HandOff* hand_off_;
  bool direct_;              // The target fetches from the source itself,
  Instant relay_until_{};    // unless it could not a moment ago.
  std::string relayed_why_;
  Notifier changed_;
  Notifier finished_;
  bool woken_ = false;
  int paused_ = 0;  // By so many.
  bool compared_ = false;
  uint64_t carried_bytes_ = 0;
  uint64_t resync_rate_ = 0;
  Instant next_bytes_at_{};
  std::set<FileId> under_way_;   // Objects in a batch, until their JobsDone is committed.
  size_t batches_ = 0;
  std::vector<wire::JobDone> done_;
  uint64_t confirmed_lsn_ = 0;  // How far the target's log was durable at its last answer.
  TaskGroup tasks_;
};

}  // namespace understudy
