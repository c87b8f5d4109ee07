// The one grammar of commands: for the shell, for scripts and for one-shot use. A
// table of commands drives parsing, HELP, completion and the refusals. Pure.
//
// docs/commands.md is its reference for people.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy::client {

enum class CommandId : uint8_t {
  kCreate, kRead, kPut, kGet, kAppend, kDelete, kInfo, kHistory, kUndo, kUndelete, kWait,
  kWrite, kLocks, kStream, kCheckpoint, kListCheckpoints, kViewCheckpoint, kRevert,
  kCreateFolder, kDeleteFolder, kMove, kViewFolder, kView, kSearch, kCd, kPwd,
  kStatus, kExplain, kEvents, kPromote, kHandback, kDrain, kReplace, kSetDurability,
  kAddAccess, kRemAccess, kRequestAccess, kViewRequests, kApprove, kDeny, kList, kAddUser, kPasswd, kWhoAmI, kLogin, kLogout, kDelUser,
  kRotateKeys,
  kAuthority, kJoinToken, kJoinTokens, kRevokeToken, kRotateAuthority,
  kHelp, kExit,
};

// What an argument is: completion goes by it.
enum class ArgumentKind : uint8_t { kText, kPath, kFolder, kLocalPath, kServer, kCommand };

struct OptionSpec {
  std::string_view name;         // "--range", "-p"
  std::string_view value;        // What follows it; empty for a flag.
  std::string_view help;
};

struct CommandSpec {
  CommandId id;
  std::string_view name;         // In capitals; accepted in any case.
  std::string_view usage;        // In one line.
  std::string_view help;
  uint8_t arguments_min = 0;
  uint8_t arguments_max = 0;     // 255: any number.
  std::vector<ArgumentKind> kinds;      // Of the arguments; the last one of any further.
  std::vector<OptionSpec> options;
  bool text_last = false;        // Behind the first argument everything is text, dashes too.
};

// In the order that HELP lists them.
std::span<const CommandSpec> command_table();
// In any case; nullptr for an unknown one.
const CommandSpec* find_command(std::string_view name);

// A refusal. `usage`: the command line itself is wrong (exit status 2), as against
// one that is right and refused (1).
struct Refusal {
  Error error;
  bool usage = false;
};

struct Command {
  const CommandSpec* spec = nullptr;
  std::vector<std::string> arguments;
  std::vector<std::pair<std::string, std::string>> options;  // In order, as given.

  bool has(std::string_view option) const { return value(option).has_value(); }
  // The last one given; empty for a flag.
  std::optional<std::string> value(std::string_view option) const;
  std::vector<std::string> values(std::string_view option) const;
};

struct Word {
  std::string text;
  bool quoted = false;  // In any part: never an option.
  bool operator==(const Word&) const = default;
};

// The words of a line; none for an empty line or a comment. A CR at the end is
// dropped.
std::expected<std::vector<Word>, Refusal> split_line(std::string_view line);

// Not for no words.
std::expected<Command, Refusal> parse_command(const std::vector<Word>& words);

// A line between WRITE and ETIRW.
struct EditLine {
  enum class Kind : uint8_t { kNothing, kInsert, kCommit, kAbort };
  Kind kind = Kind::kNothing;
  uint64_t word = 0;
  Bytes content;  // Its escapes undone.
  bool operator==(const EditLine&) const = default;
};
Result<EditLine> parse_edit_line(std::string_view line);

// "30s", "500ms", "10m", "24h"; a bare number counts seconds, with or without a fraction.
Result<Duration> parse_duration(std::string_view text);
Result<uint64_t> parse_number(std::string_view text, std::string_view what);
// "12.3"
Result<Version> parse_version(std::string_view text);
// "A-B", both inclusive, either may be left out.
struct ByteRange {
  std::optional<uint64_t> first;
  std::optional<uint64_t> last;
  bool operator==(const ByteRange&) const = default;
};
Result<ByteRange> parse_range(std::string_view text);

// Of one command, or the list of all.
std::string help_text();
std::string help_text(const CommandSpec& command);

}  // namespace understudy::client
