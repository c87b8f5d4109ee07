// The prompt: line editing, history and completion. libedit lives here alone, on a
// thread of its own, because it blocks; the loop only ever waits for its events.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"

namespace understudy::client {

class LineEditor {
 public:
  // `history_file`: empty for none.
  LineEditor(Env& env, std::string history_file);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  struct Event {
    enum class Kind : uint8_t { kLine, kInterrupted, kEnd, kComplete };
    Kind kind = Kind::kEnd;
    std::string text;  // The line; for kComplete what stands before the cursor.
  };

  // Asks for a line, and waits for the next event of it.
  Task<Event> read(std::string prompt);
  // The answer to kComplete: what the word before the cursor may become, whole. Then
  // the next event.
  Task<Event> complete(std::vector<std::string> candidates);

 private:
  struct Thread;
  Task<Event> next_event();

  Env& env_;
  std::shared_ptr<Thread> thread_;
};

}  // namespace understudy::client
