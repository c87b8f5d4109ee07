// How the parts of the name node change its state: a command through the Raft log.
#pragma once

#include <string>

#include "common/base/result.h"
#include "common/env/task.h"
#include "common/wire/commands.pb.h"

namespace understudy {

class Proposer {
 public:
  virtual ~Proposer() = default;
  // After the command is committed and applied: its outcome, or its refusal as an
  // error. Sets the command's time. UNAVAILABLE: outcome unknown (shutting down).
  virtual Task<Result<wire::CommandOutcome>> propose(wire::Command command) = 0;
};

}  // namespace understudy
