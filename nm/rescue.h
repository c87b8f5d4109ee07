// Brings what only a returning half has to the acting primary: as the newest versions
// of a file that stood still there meanwhile, else beside its line, as checkpoints with
// a name of their own. Nothing of the returning half changes before.
//
// A part of Resync (nm/resync.h). Cut short anywhere, it is begun again, and finds by the
// requests that made the versions what came already.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/understudy.pb.h"
#include "nm/core/rescue_plan.h"
#include "nm/server_calls.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;
class ReplicationWorker;
struct Node;

class Rescue {
 public:
  using WorkerOf = std::function<ReplicationWorker*(const std::string& server)>;

  // All pointers outlive it. `target`: the returning half.
  Rescue(std::string target, Catalogue* catalogue, ServerLinks* links, WorkerOf worker_of)
      : target_(std::move(target)), catalogue_(catalogue), links_(links), worker_of_(std::move(worker_of)) {}

  struct Ahead {
    FileId file = kNoFile;
    Version common;  // The newest that both have; none: nothing.
    Version newest;  // Of the target.
    Version head;    // Of the acting primary; `common` if it has nothing behind it.
  };
  // OK: all of it is durably at `source`, the acting primary, and fates() tells how. UNAVAILABLE: to be begun
  // again later. Anything else: something stayed where it is.
  Task<Status> bring_back(std::string source, Ahead ahead);
  // Versions that are set aside on one half only, to the other one too.
  Task<Status> even_out(std::string source);

  const Fates& fates() const { return fates_; }

 private:
  using Records = std::vector<wire::VersionRecord>;
  using AsideFiles = std::map<uint64_t, std::vector<Version>>;

  // (from, to] of a file, oldest first, without their inline contents.
  Task<Result<Records>> headers(std::string server, FileId file, Version from, Version to);
  Task<Result<wire::VersionRecord>> record(std::string server, FileId file, Version version);
  // CONFLICT: the file changed at the source meanwhile.
  Task<Status> bring(std::string source, Node node, Version head, Records versions, RescuePlan plan);
  Task<Result<Version>> bring_version(std::string source, Node node, Version expected, wire::VersionRecord record,
                                      bool more_follow);
  Task<Result<Version>> bring_checkpoint(std::string source, Node node, Version expected, wire::VersionRecord record);
  // One version beside the line of `to`, with its chunks.
  Task<Status> keep_beside(std::string from, std::string to, wire::VersionRecord record);
  Task<Result<AsideFiles>> list_aside(std::string server);
  Task<Status> copy_aside(std::string from, std::string to, AsideFiles has, AsideFiles known);
  Result<uint64_t> epoch() const;

  std::string target_;
  Catalogue* catalogue_;
  ServerLinks* links_;
  WorkerOf worker_of_;
  Fates fates_;
};

}  // namespace understudy
