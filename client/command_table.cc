// The table of commands (grammar.h). A command of a later version stands here by
// name, so that it is refused as such.
#include <algorithm>
#include <cctype>

#include "client/grammar.h"

namespace understudy::client {
namespace {

using enum CommandId;
using enum ArgumentKind;
constexpr uint8_t kAny = 255;

const std::vector<CommandSpec>& table() {
  static const std::vector<CommandSpec> commands = {
      // Files
      {kCreate, "CREATE", "CREATE f", "an empty file, owned by its creator", 1, 1, {kPath}, {}},
      {kRead, "READ", "READ f [--version V] [--range A-B]", "exact bytes to standard output", 1, 1, {kPath},
       {{"--version", "V", "an older version, epoch.counter"},
        {"--range", "A-B", "bytes A to B, both inclusive; either may be left out"}}},
      {kStream, "STREAM", "STREAM f", "word by word, 0.1 s apart, from the last committed version", 1, 1, {kPath}, {}},
      {kPut, "PUT", "PUT [-r] local|- f", "any bytes as one new version; - is standard input", 2, 2,
       {kLocalPath, kPath}, {{"-r", "", "a whole folder, merged into the path"}}},
      {kGet, "GET", "GET [-r] f local|-", "the way back; - is standard output", 2, 2, {kPath, kLocalPath},
       {{"-r", "", "a whole folder"}}},
      {kAppend, "APPEND", "APPEND f text...|-", "the words joined by one blank, without a newline; - is standard input",
       2, kAny, {kPath, kText}, {}, true},
      {kDelete, "DELETE", "DELETE f", "removes a file", 1, 1, {kPath}, {}},
      {kUndelete, "UNDELETE", "UNDELETE f", "brings a removed file back, with its past", 1, 1, {kPath}, {}},
      {kInfo, "INFO", "INFO f", "all that is known of a file", 1, 1, {kPath}, {}},
      {kHistory, "HISTORY", "HISTORY f", "its versions, newest first: when, by whom, how large, made by what", 1, 1, {kPath},
       {}},
      {kUndo, "UNDO", "UNDO f", "takes the last change back, as a new version; again: one further", 1, 1, {kPath}, {}},
      {kWait, "WAIT", "WAIT [path] [seconds]", "until both halves durably hold the newest versions", 0, 2,
       {kPath, kText}, {}},
      // Documents
      {kWrite, "WRITE", "WRITE f sentence [--edit '<word> <content>']...",
       "edits one sentence: lines of <word> <content>, then ETIRW commits, ABORT drops", 2, 2, {kPath, kText},
       {{"--edit", "'<word> <content>'", "an edit line; all given are applied and committed"}}},
      {kCheckpoint, "CHECKPOINT", "CHECKPOINT f tag", "names the newest version", 2, 2, {kPath, kText}, {}},
      {kListCheckpoints, "LISTCHECKPOINTS", "LISTCHECKPOINTS f", "its tags, with version, time and user", 1, 1, {kPath}, {}},
      {kViewCheckpoint, "VIEWCHECKPOINT", "VIEWCHECKPOINT f tag", "a named version's content", 2, 2, {kPath, kText}, {}},
      {kRevert, "REVERT", "REVERT f tag", "a named version's content as a new version", 2, 2, {kPath, kText}, {}},
      {kLocks, "LOCKS", "LOCKS [f] | LOCKS --break f sentence", "who is writing which sentence; the owner ends it with --break", 0, 2,
       {kPath, kText}, {{"--break", "", "drops what is being written in that sentence; the file's owner only"}}},
      // Folders and names
      {kCreateFolder, "CREATEFOLDER", "CREATEFOLDER [-p] d", "a folder", 1, 1, {kFolder},
       {{"-p", "", "its parents too; no error if it is there"}}},
      {kDeleteFolder, "DELETEFOLDER", "DELETEFOLDER [-r] d", "removes an empty folder", 1, 1, {kFolder},
       {{"-r", "", "with all that is in it"}}},
      {kMove, "MOVE", "MOVE from to", "a file or folder, into a folder or to a new name", 2, 2, {kPath, kPath}, {}},
      {kViewFolder, "VIEWFOLDER", "VIEWFOLDER [d]", "what is in a folder", 0, 1, {kFolder}, {}},
      {kView, "VIEW", "VIEW [-a] [-l|--deleted]", "the files of the user", 0, 0, {},
       {{"-a", "", "everybody's files"},
        {"-l", "", "with words, characters, last access, owner"},
        {"--deleted", "", "removed files that UNDELETE brings back, newest first"}}},
      {kSearch, "SEARCH", "SEARCH text", "names that contain the text", 1, 1, {kText}, {}, true},
      {kCd, "CD", "CD [d]", "changes the shell's folder; / if none is given", 0, 1, {kFolder}, {}},
      {kPwd, "PWD", "PWD", "the shell's folder", 0, 0, {}, {}},
      // People
      {kAddAccess, "ADDACCESS", "ADDACCESS -R|-W f user", "lets a user read, or write and read; of a folder: also what is made in it later",
       2, 2, {kPath, kText}, {{"-R", "", "to read"}, {"-W", "", "to write, and read"}}},
      {kRemAccess, "REMACCESS", "REMACCESS f user", "takes a user's access away, at once", 2, 2, {kPath, kText}, {}},
      {kRequestAccess, "REQUESTACCESS", "REQUESTACCESS -R|-W f", "asks the owner for access", 1, 1, {kPath},
       {{"-R", "", "to read"}, {"-W", "", "to write, and read"}}},
      {kViewRequests, "VIEWREQUESTS", "VIEWREQUESTS", "the requests that wait for you, and your own", 0, 0, {}, {}},
      {kApprove, "APPROVE", "APPROVE id", "grants a request", 1, 1, {kText}, {}},
      {kDeny, "DENY", "DENY id", "refuses a request", 1, 1, {kText}, {}},
      {kList, "LIST", "LIST", "every user ever registered", 0, 0, {}, {}},
      {kAddUser, "ADDUSER", "ADDUSER name [--admin]", "registers a user; the password is asked for, or in UNDERSTUDY_NEW_PASSWORD",
       1, 1, {kText}, {{"--admin", "", "who may do everything"}}},
      {kDelUser, "DELUSER", "DELUSER name [--give-to USER]", "removes a user; CONFLICT while they own something and nobody is named to have it",
       1, 1, {kText}, {{"--give-to", "USER", "whose all of theirs is from then on"}}},
      {kPasswd, "PASSWD", "PASSWD [user]", "a new password; an administrator sets anybody's", 0, 1, {kText}, {}},
      {kWhoAmI, "WHOAMI", "WHOAMI", "who you are here", 0, 0, {}, {}},
      {kLogin, "LOGIN", "LOGIN name", "becomes a user, and stays one for the next commands", 1, 1, {kText}, {}},
      {kLogout, "LOGOUT", "LOGOUT [--all]", "ends the session, also for whoever copied its token", 0, 0, {},
       {{"--all", "", "every session of yours, on every machine"}}},
      // The cluster
      {kStatus, "STATUS", "STATUS [--watch]", "whether all data is on both machines, and every server's state", 0, 0,
       {}, {{"--watch", "", "drawn again every second"}}},
      {kExplain, "EXPLAIN", "EXPLAIN f", "where the file is and why, and what if a server dies now", 1, 1, {kPath}, {}},
      {kEvents, "EVENTS", "EVENTS [--follow]", "failures, promotions, hand-backs, versions set aside", 0, 0, {},
       {{"--follow", "", "and what happens from now on"}}},
      {kPromote, "PROMOTE", "PROMOTE pair [--force]", "the backup acts as primary, without losing a write, until HANDBACK", 1, 1,
       {kServer}, {{"--force", "", "serve from the half that is left, in sync or not; what may be lost is named"}}},
      {kHandback, "HANDBACK", "HANDBACK pair", "the home primary acts again", 1, 1, {kServer}, {}},
      {kDrain, "DRAIN", "DRAIN server", "its partner takes over and holds everything: the server may be stopped; HANDBACK ends it", 1, 1, {kServer}, {}},
      {kReplace, "REPLACE", "REPLACE server", "lets an empty server take a dead one's name and place", 1, 1, {kServer},
       {}},
      {kSetDurability, "SETDURABILITY", "SETDURABILITY path async|sync",
       "what written means in a folder and all below it, from now on: on one machine, or on two", 2, 2, {kFolder, kText}, {}},
      {kRotateKeys, "ROTATEKEYS", "ROTATEKEYS", "new keys for sessions and capabilities", 0, 0, {}, {}},
      {kAuthority, "AUTHORITY", "AUTHORITY", "the certificate and fingerprint by which the cluster is recognised", 0, 0, {}, {}},
      {kJoinToken, "JOINTOKEN", "JOINTOKEN [--lifetime TIME]", "a new join token, for a storage server", 0, 0, {},
       {{"--lifetime", "TIME", "how long it holds; default 24h"}}},
      {kJoinTokens, "JOINTOKENS", "JOINTOKENS", "the join tokens that hold", 0, 0, {}, {}},
      {kRevokeToken, "REVOKETOKEN", "REVOKETOKEN id|--all", "a join token holds no more", 0, 1, {},
       {{"--all", "", "none of those given out until now"}}},
      {kRotateAuthority, "ROTATEAUTHORITY", "ROTATEAUTHORITY [--finish]", "a new authority beside the old one; then without it", 0, 0,
       {}, {{"--finish", "", "the old one counts no more"}, {"--force", "", "although some server has no new certificate yet"}}},
      // The shell
      {kHelp, "HELP", "HELP [command]", "this list, or one command", 0, 1, {kCommand}, {}},
      {kExit, "EXIT", "EXIT", "leaves the shell", 0, 0, {}, {}},
  };
  return commands;
}

}  // namespace

std::span<const CommandSpec> command_table() { return table(); }

const CommandSpec* find_command(std::string_view name) {
  auto same = [](char a, char b) { return std::toupper(static_cast<unsigned char>(a)) == b; };
  for (const CommandSpec& command : table()) {
    if (std::ranges::equal(name, command.name, same)) return &command;
  }
  return nullptr;
}

std::string help_text(const CommandSpec& command) {
  std::string text = std::string(command.usage) + "\n    " + std::string(command.help) + "\n";
  for (const OptionSpec& option : command.options) {
    std::string name = std::string(option.name) + (option.value.empty() ? "" : " ") + std::string(option.value);
    name.resize(std::max<size_t>(name.size() + 2, 18), ' ');
    text += "    " + name + std::string(option.help) + "\n";
  }
  return text;
}

std::string help_text() {
  std::string text;
  for (const CommandSpec& command : table()) {
    std::string usage(command.usage);
    usage.resize(std::max<size_t>(usage.size() + 2, 38), ' ');
    text += usage + std::string(command.help) + "\n";
  }
  return text;
}

}  // namespace understudy::client
