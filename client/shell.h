// Runs commands: one, those of a script, or those typed at a prompt. Holds what
// they share: the session, the folder, where results and input lines go.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/grammar.h"
#include "client/local_io.h"
#include "client/output.h"
#include "client/session.h"
#include "common/base/path.h"

namespace understudy::client {

class LineEditor;
class Shell;

// A command's coroutine (commands/commands.h).
using CommandFunction = Task<Status> (*)(Shell* shell, Command command);

// 0 done, 1 refused, 2 usage, 3 UNAVAILABLE, 130 interrupted.
inline constexpr int kExitDone = 0;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;
int exit_status(const Error& error);

class Shell {
 public:
  enum class Mode : uint8_t { kOneShot, kScript, kInteractive };

  // All outlive the shell.
  Shell(Env& env, Session* session, Output* output);

  // Each answers with the exit status.
  Task<int> run_one(std::vector<Word> words);
  Task<int> run_script(bool keep_going);
  // `interrupted`: set at the next ^C.
  Task<int> run_interactive(LineEditor* editor, std::function<Future<int>()> interrupted);

  // ---- For commands.
  Env& env;
  Session& session;
  Output& out;
  StandardInput input;
  Mode mode = Mode::kOneShot;
  std::string folder = "/";
  bool exiting = false;

  // What a path typed by the user means.
  Result<std::string> path(const std::string& typed) const { return resolve_path(folder, typed); }
  // The next line between WRITE and ETIRW; nothing at the end of input.
  Task<Result<std::optional<std::string>>> next_line(std::string prompt);
  // In a script: past the rest of a WRITE that was refused, to its ETIRW.
  Task<void> skip_edit_lines();

 private:
  struct Running;
  Task<void> run_into(Running* running, Command command);
  Task<void> watch_interrupt(Running* running, std::function<Future<int>()> interrupted);
  Task<Status> run_interruptible(Command command, std::function<Future<int>()> interrupted);
  Task<std::vector<std::string>> complete(std::string line);

  LineEditor* editor_ = nullptr;
};

}  // namespace understudy::client
