// The standard streams of whoever runs commands: the process's own, or a test's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/types.h"
#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy::client {

class Console {
 public:
  enum class Stream : uint8_t { kInput, kOutput, kError };

  virtual ~Console() = default;
  // Of the input: what is there, at least one byte; empty at its end.
  virtual Task<Result<Bytes>> read(Env& env) = 0;
  // A few lines. False once the stream takes nothing more.
  virtual bool write(Stream stream, std::string_view text) = 0;
  // To the output, of any size.
  virtual Task<Status> write_result(Env& env, Bytes bytes) = 0;
  virtual bool on_terminal(Stream stream) const = 0;
  // What nobody may read over a shoulder, in a process list or in a history: from the
  // environment variable, or typed at a terminal without echo. INVALID with neither.
  virtual Task<Result<std::string>> read_secret(Env& env, std::string prompt, std::string variable) = 0;
};

// Blocking reads, and writes of results, run on a worker.
Console& process_console();
// A prompt for a secret that is left unanswered leaves the terminal as it was: for
// whoever ends the process.
void restore_terminal();

}  // namespace understudy::client
