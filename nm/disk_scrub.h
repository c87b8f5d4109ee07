// The name node verifies its own disk, over and over at a gentle rate: its Raft log, what stands of hints,
// and every page of the catalogue.
//
// A damaged Raft log is made whole by a snapshot: all its entries are in the catalogue by then. What is
// damaged elsewhere is told, once, by an event that says what it means.
#pragma once

#include <set>
#include <string>

#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy {

class HintStore;
class Proposer;
class RaftBridge;

struct DiskScrubOptions {
  Duration interval = std::chrono::hours(24);  // From the end of a pass to the next.
  uint64_t bytes_per_second = 8 << 20;         // 0: never.
};

class DiskScrub {
 public:
  // All outlive it.
  DiskScrub(Env& env, DiskScrubOptions options, std::string catalogue_path, RaftBridge* raft, HintStore* hints, Proposer* proposer)
      : env_(env), options_(options), catalogue_path_(std::move(catalogue_path)), raft_(raft), hints_(hints), proposer_(proposer) {}

  Task<void> run();

 private:
  Task<Status> pass();
  Task<Status> look_at_raft();
  Task<Status> look_at_hints(bool sync);
  Task<Status> look_at_catalogue();
  Task<void> tell(std::string kind, std::string text);

  Env& env_;
  DiskScrubOptions options_;
  std::string catalogue_path_;
  RaftBridge* raft_;
  HintStore* hints_;
  Proposer* proposer_;
  std::set<std::string> told_;
};

}  // namespace understudy
