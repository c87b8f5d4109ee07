// Data-driven tests: a .script file is a story, blocks of commands with what they
// answer (in the style of etcd-io/raft's datadriven tests).
//
//   # Lines that begin with # are comments, kept as they are.
//   start nm
//   as client1: READ a.txt
//   ----
//   hello
//
// Behind ---- stands the output of the block's commands, one after the other, up to a
// blank line; "ok" if there is none. An empty line of output is written as ~. A refused
// command's output is its error line, and the story goes on.
//
// With REWRITE=1 in the environment, check_script writes the real output into the file.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy::sim {

struct ScriptBlock {
  std::string before;  // Comments and blank lines in front, as they stand.
  std::vector<std::string> commands;
  std::string expected;  // Lines, each with its newline.
};

struct Script {
  std::vector<ScriptBlock> blocks;
  std::string after;
};

Result<Script> parse_script(std::string_view text);
std::string render_script(const Script& script);

// One command: "partition ss1 nm" has the verb "partition", the rest "ss1 nm", two words.
struct ScriptCommand {
  std::string verb;
  std::string rest;
  std::vector<std::string> words;  // Of the rest; double quotes keep blanks.
};
ScriptCommand parse_command(std::string_view line);

// "250us", "100ms", "5s", "2m", "1h"
Result<Duration> parse_duration(std::string_view text);

class ScriptRunner {
 public:
  // Gives the command's output, with or without its last newline; empty is fine.
  using Handler = std::function<Result<std::string>(const ScriptCommand&)>;

  // `words_min` arguments at least, else the usage is the answer.
  void add_verb(std::string verb, std::string usage, size_t words_min, Handler handler);
  std::string execute(std::string_view line) const;
  // The script with what every block really answers.
  Script play(const Script& script) const;

 private:
  struct Verb {
    std::string usage;
    size_t words_min;
    Handler handler;
  };
  std::map<std::string, Verb> verbs_;
};

// A story's world, made anew for every run of it.
class Stage {
 public:
  virtual ~Stage() = default;
  virtual const ScriptRunner& runner() const = 0;
  virtual uint64_t trace_hash() const = 0;
};
using StageFactory = std::function<std::unique_ptr<Stage>(uint64_t seed)>;

// A GoogleTest check: plays the file at `path` with one seed twice (the traces must be
// the same), then with SEEDS - 1 others (default 3 in all), and every time the
// answers must be the file's. SEED=n plays that one only.
void check_script(const std::string& path, const StageFactory& make_stage);
// All *.script files in a folder, sorted.
std::vector<std::string> scripts_in(const std::string& folder);

}  // namespace understudy::sim
