#include "tests/sim/script.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

namespace understudy::sim {
namespace {

constexpr std::string_view kSeparator = "----";
constexpr uint64_t kFirstSeed = 1;

uint64_t number_from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t") == std::string_view::npos; }

// Ends in a newline, and has no blank line inside.
std::string as_block_lines(std::string_view output) {
  std::string lines;
  std::istringstream in{std::string(output)};
  for (std::string line; std::getline(in, line);) lines += (is_blank(line) ? "~" : line) + "\n";
  return lines;
}

std::string read_text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

Result<Script> parse_script(std::string_view text) {
  Script script;
  ScriptBlock block;
  bool in_output = false;
  int line_number = 0;
  std::istringstream in{std::string(text)};
  for (std::string line; std::getline(in, line);) {
    ++line_number;
    if (in_output) {
      if (!is_blank(line)) {
        block.expected += line + "\n";
        continue;
      }
      script.blocks.push_back(std::exchange(block, {}));
      in_output = false;
    } else if (line == kSeparator) {
      if (block.commands.empty()) {
        return fail(Code::kInvalid, "line " + std::to_string(line_number) + ": ---- without a command");
      }
      in_output = true;
    } else if (is_blank(line) || line.starts_with('#')) {
      if (!block.commands.empty()) {
        return fail(Code::kInvalid, "line " + std::to_string(line_number) + ": ---- is missing behind a command");
      }
      block.before += line + "\n";
    } else {
      block.commands.push_back(line);
    }
  }
  if (!block.commands.empty()) {
    if (!in_output) return fail(Code::kInvalid, "---- is missing behind the last command");
    script.blocks.push_back(std::exchange(block, {}));
  }
  script.after = block.before;
  return script;
}

std::string render_script(const Script& script) {
  std::string text;
  for (size_t i = 0; i < script.blocks.size(); ++i) {
    const ScriptBlock& block = script.blocks[i];
    text += block.before;
    for (auto& command : block.commands) text += command + "\n";
    text += std::string(kSeparator) + "\n" + block.expected;
    if (i + 1 < script.blocks.size() || !script.after.empty()) text += "\n";
  }
  return text + script.after;
}

ScriptCommand parse_command(std::string_view line) {
  ScriptCommand command;
  size_t end = std::min(line.find(' '), line.size());
  command.verb = line.substr(0, end);
  size_t start = std::min(line.find_first_not_of(' ', end), line.size());
  command.rest = line.substr(start);
  bool quoted = false, open = false;
  std::string word;
  for (char c : command.rest + " ") {
    if (c == '"') {
      quoted = !quoted;
      open = true;
    } else if (c == ' ' && !quoted) {
      if (open) command.words.push_back(std::exchange(word, {}));
      open = false;
    } else {
      word += c;
      open = true;
    }
  }
  return command;
}

Result<Duration> parse_duration(std::string_view text) {
  int64_t count = 0;
  auto [unit, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  std::string_view rest(unit, text.data() + text.size());
  if (error == std::errc() && count >= 0) {
    if (rest == "us") return std::chrono::microseconds(count);
    if (rest == "ms") return std::chrono::milliseconds(count);
    if (rest == "s") return std::chrono::seconds(count);
    if (rest == "m") return std::chrono::minutes(count);
    if (rest == "h") return std::chrono::hours(count);
  }
  return fail(Code::kInvalid, std::string(text) + ": not a time; 5s, 100ms, 2m are");
}

void ScriptRunner::add_verb(std::string verb, std::string usage, size_t words_min, Handler handler) {
  bool fresh = verbs_.emplace(std::move(verb), Verb{std::move(usage), words_min, std::move(handler)}).second;
  CHECK(fresh);
}

std::string ScriptRunner::execute(std::string_view line) const {
  ScriptCommand command = parse_command(line);
  auto verb = verbs_.find(command.verb);
  if (verb == verbs_.end()) return "error: no such verb: " + command.verb + "\n";
  if (command.words.size() < verb->second.words_min) return "usage: " + verb->second.usage + "\n";
  auto output = verb->second.handler(command);
  return as_block_lines(output ? *output : "error: " + output.error().to_string());
}

Script ScriptRunner::play(const Script& script) const {
  Script played = script;
  for (ScriptBlock& block : played.blocks) {
    block.expected.clear();
    for (auto& command : block.commands) block.expected += execute(command);
    if (block.expected.empty()) block.expected = "ok\n";
  }
  return played;
}

void check_script(const std::string& path, const StageFactory& make_stage) {
  std::string text = read_text(path);
  auto script = parse_script(text);
  ASSERT_TRUE(script.has_value()) << path << ": " << script.error().message;
  uint64_t first = number_from_environment("SEED", kFirstSeed);
  bool rewrite = number_from_environment("REWRITE", 0) != 0;
  uint64_t seeds = std::getenv("SEED") != nullptr || rewrite ? 1 : number_from_environment("SEEDS", 3);
  uint64_t trace = 0;
  for (uint64_t run = 0; run <= seeds; ++run) {
    // The first seed twice.
    uint64_t seed = first + (run == 0 ? 0 : run - 1);
    SCOPED_TRACE(path + " with SEED=" + std::to_string(seed));
    auto stage = make_stage(seed);
    Script played = stage->runner().play(*script);
    if (run == 0) trace = stage->trace_hash();
    if (run == 1) ASSERT_EQ(trace, stage->trace_hash()) << "one seed, two traces: something else than the seed decides";
    if (rewrite && run == 0) {
      if (std::string rendered = render_script(played); rendered != text) {
        std::ofstream(path) << rendered;
        std::fprintf(stderr, "rewritten: %s\n", path.c_str());
      }
      script = played;
    }
    for (size_t i = 0; i < played.blocks.size(); ++i) {
      const ScriptBlock& expected = script->blocks[i];
      std::string commands;
      for (auto& command : expected.commands) commands += command + "\n";
      ASSERT_EQ(commands + expected.expected, commands + played.blocks[i].expected);
    }
  }
}

std::vector<std::string> scripts_in(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code none;
  for (auto& entry : std::filesystem::directory_iterator(folder, none)) {
    if (entry.path().extension() == ".script") paths.push_back(entry.path().string());
  }
  std::ranges::sort(paths);
  return paths;
}

}  // namespace understudy::sim
