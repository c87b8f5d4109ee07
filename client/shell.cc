#include "client/shell.h"

#include <algorithm>
#include <cctype>

#include "client/commands/commands.h"
#include "client/line_editor.h"
#include "common/env/sync.h"

namespace understudy::client {
namespace {

CommandFunction function_of(CommandId id) {
  switch (id) {
    case CommandId::kCreate: return run_create;
    case CommandId::kRead: return run_read;
    case CommandId::kPut: return run_put;
    case CommandId::kGet: return run_get;
    case CommandId::kAppend: return run_append;
    case CommandId::kDelete: return run_delete;
    case CommandId::kInfo: return run_info;
    case CommandId::kHistory: return run_history;
    case CommandId::kUndo: return run_undo;
    case CommandId::kUndelete: return run_undelete;
    case CommandId::kWait: return run_wait;
    case CommandId::kWrite: return run_write;
    case CommandId::kLocks: return run_locks;
    case CommandId::kStream: return run_stream;
    case CommandId::kCheckpoint: return run_checkpoint;
    case CommandId::kListCheckpoints: return run_list_checkpoints;
    case CommandId::kViewCheckpoint: return run_view_checkpoint;
    case CommandId::kRevert: return run_revert;
    case CommandId::kCreateFolder: return run_create_folder;
    case CommandId::kDeleteFolder: return run_delete_folder;
    case CommandId::kMove: return run_move;
    case CommandId::kViewFolder: return run_view_folder;
    case CommandId::kView: return run_view;
    case CommandId::kSearch: return run_search;
    case CommandId::kCd: return run_cd;
    case CommandId::kPwd: return run_pwd;
    case CommandId::kStatus: return run_status;
    case CommandId::kExplain: return run_explain;
    case CommandId::kEvents: return run_events;
    case CommandId::kPromote: return run_promote;
    case CommandId::kHandback: return run_handback;
    case CommandId::kDrain: return run_drain;
    case CommandId::kReplace: return run_replace;
    case CommandId::kSetDurability: return run_set_durability;
    case CommandId::kAddAccess: return run_add_access;
    case CommandId::kRemAccess: return run_rem_access;
    case CommandId::kRequestAccess: return run_request_access;
    case CommandId::kViewRequests: return run_view_requests;
    case CommandId::kApprove: return run_approve;
    case CommandId::kDeny: return run_deny;
    case CommandId::kList: return run_list;
    case CommandId::kAddUser: return run_add_user;
    case CommandId::kPasswd: return run_passwd;
    case CommandId::kLogin: return run_login;
    case CommandId::kLogout: return run_logout;
    case CommandId::kDelUser: return run_del_user;
    case CommandId::kWhoAmI: return run_who_am_i;
    case CommandId::kRotateKeys: return run_rotate_keys;
    case CommandId::kAuthority: return run_authority;
    case CommandId::kJoinToken: return run_join_token;
    case CommandId::kJoinTokens: return run_join_tokens;
    case CommandId::kRevokeToken: return run_revoke_token;
    case CommandId::kRotateAuthority: return run_rotate_authority;
    case CommandId::kHelp: return run_help;
    case CommandId::kExit: return run_exit;
  }
  CHECK(false);  // The grammar refuses those by name.
}

// A WRITE whose lines follow it, although it was refused.
bool opens_edit_lines(const std::vector<Word>& words) {
  const CommandSpec* spec = find_command(words.front().text);
  if (spec == nullptr || spec->id != CommandId::kWrite) return false;
  return std::ranges::none_of(words, [](const Word& word) { return word.text.starts_with("--edit"); });
}

}  // namespace

int exit_status(const Error& error) { return error.code == Code::kUnavailable ? 3 : 1; }

Shell::Shell(Env& env, Session* session, Output* output) : env(env), session(*session), out(*output), input(env, output->console()) {}

Task<int> Shell::run_one(std::vector<Word> words) {
  mode = Mode::kOneShot;
  auto command = parse_command(words);
  if (!command) {
    out.error(command.error().error);
    co_return command.error().usage ? kExitUsage : exit_status(command.error().error);
  }
  auto running = function_of(command->spec->id)(this, *std::move(command));
  Status status = co_await running;
  out.flush();
  if (status) co_return kExitDone;
  out.error(status.error());
  co_return exit_status(status.error());
}

Task<int> Shell::run_script(bool keep_going) {
  mode = Mode::kScript;
  int first_failure = kExitDone;
  while (!exiting && (keep_going || first_failure == kExitDone)) {
    auto reading = input.next_line();
    auto line = co_await reading;
    if (line && !*line) break;
    Refusal refusal;
    bool refused = true;
    if (!line) {
      refusal.error = std::move(line).error();
    } else if (auto words = split_line(**line); !words) {
      refusal = std::move(words).error();
    } else if (words->empty()) {
      continue;
    } else if (auto command = parse_command(*words); !command) {
      refusal = std::move(command).error();
      if (opens_edit_lines(*words)) {
        auto skipping = skip_edit_lines();
        co_await skipping;
      }
    } else {
      auto running = function_of(command->spec->id)(this, *std::move(command));
      Status status = co_await running;
      refused = !status;
      if (refused) refusal.error = std::move(status).error();
    }
    out.flush();
    if (!refused) continue;
    out.error(refusal.error);
    if (first_failure == kExitDone) first_failure = refusal.usage ? kExitUsage : exit_status(refusal.error);
    // Input that cannot be read does not become readable.
    if (!line) break;
  }
  co_return first_failure;
}

Task<void> Shell::skip_edit_lines() {
  for (;;) {
    auto reading = input.next_line();
    auto line = co_await reading;
    if (!line || !*line) co_return;
    auto edit = parse_edit_line(**line);
    if (edit && (edit->kind == EditLine::Kind::kCommit || edit->kind == EditLine::Kind::kAbort)) co_return;
  }
}

Task<Result<std::optional<std::string>>> Shell::next_line(std::string prompt) {
  if (mode != Mode::kInteractive) {
    auto reading = input.next_line();
    co_return co_await reading;
  }
  auto reading = editor_->read(std::move(prompt));
  auto event = co_await reading;
  while (event.kind == LineEditor::Event::Kind::kComplete) {
    auto completing = editor_->complete({});
    event = co_await completing;
  }
  if (event.kind == LineEditor::Event::Kind::kLine) co_return std::optional(event.text);
  co_return std::optional<std::string>();
}

// ---- At the prompt -------------------------------------------------------------------

// A command that ^C cancels by destroying it where it waits.
struct Shell::Running {
  explicit Running(Env& env) : changed(env.executor), tasks(env.executor) {}
  Notifier changed;
  std::optional<Status> status;
  bool interrupted = false;
  TaskGroup tasks;  // Last: its tasks use the rest.
};

Task<void> Shell::run_into(Running* running, Command command) {
  auto task = function_of(command.spec->id)(this, command);
  running->status.emplace(co_await task);
  running->changed.notify_all();
}

Task<void> Shell::watch_interrupt(Running* running, std::function<Future<int>()> interrupted) {
  auto signal = interrupted();
  co_await signal;
  running->interrupted = true;
  running->changed.notify_all();
}

Task<Status> Shell::run_interruptible(Command command, std::function<Future<int>()> interrupted) {
  Running running(env);
  running.tasks.spawn(run_into(&running, std::move(command)));
  running.tasks.spawn(watch_interrupt(&running, std::move(interrupted)));
  while (!running.status && !running.interrupted) {
    auto changed = running.changed.wait();
    co_await changed;
  }
  if (running.status) co_return *std::move(running.status);
  out.note("\ninterrupted; a change that was under way may have happened");
  co_return Status{};
}

Task<std::vector<std::string>> Shell::complete(std::string line) {
  size_t blank = line.find_last_of(" \t");
  std::string word = blank == line.npos ? line : line.substr(blank + 1);
  std::string before = blank == line.npos ? "" : line.substr(0, blank + 1);
  std::vector<std::string> found;
  auto words = split_line(before);
  if (!words) co_return found;
  ArgumentKind kind = ArgumentKind::kCommand;
  if (!words->empty()) {
    const CommandSpec* spec = find_command(words->front().text);
    if (spec == nullptr || spec->kinds.empty()) co_return found;
    size_t argument = std::ranges::count_if(*words, [](const Word& w) { return !w.text.starts_with('-'); }) - 1;
    kind = spec->kinds[std::min(argument, spec->kinds.size() - 1)];
  }
  size_t slash = word.rfind('/');
  std::string typed_folder = slash == word.npos ? "" : word.substr(0, slash + 1);
  std::string start = word.substr(typed_folder.size());
  auto offer = [&](const std::string& name, bool is_folder) {
    if (name.starts_with(start) && name.find_first_of(" \t'\"") == name.npos) {
      found.push_back(typed_folder + name + (is_folder ? "/" : ""));
    }
  };
  if (kind == ArgumentKind::kCommand) {
    for (const CommandSpec& spec : command_table()) {
      std::string upper = word;
      for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      if (spec.name.starts_with(upper)) found.emplace_back(spec.name);
    }
  } else if (kind == ArgumentKind::kLocalPath) {
    auto names = env.disk.list(typed_folder.empty() ? "." : typed_folder);
    for (size_t i = 0; names && i < names->size(); ++i) {
      auto info = env.disk.info(typed_folder + (*names)[i]);
      offer((*names)[i], info && info->kind == FileInfo::Kind::kFolder);
    }
  } else if (kind == ArgumentKind::kPath || kind == ArgumentKind::kFolder) {
    auto folder_path = path(typed_folder.empty() ? "." : typed_folder);
    if (!folder_path) co_return found;
    wire::ListFolderRequest request;
    request.set_path(*folder_path);
    request.set_limit(500);
    auto asking = session.ask<wire::EntriesReply>(wire::LIST_FOLDER, request.SerializeAsString());
    auto page = co_await asking;
    if (!page) co_return found;
    for (const wire::Entry& entry : page->entries()) {
      bool is_folder = entry.kind() == wire::KIND_FOLDER;
      if (is_folder || kind == ArgumentKind::kPath) offer(entry.name(), is_folder);
    }
  }
  co_return found;
}

Task<int> Shell::run_interactive(LineEditor* editor, std::function<Future<int>()> interrupted) {
  mode = Mode::kInteractive;
  editor_ = editor;
  out.note("understudy: HELP lists the commands, TAB completes, EXIT leaves");
  while (!exiting) {
    auto reading = editor->read(printable(folder) + "> ");
    auto event = co_await reading;
    while (event.kind == LineEditor::Event::Kind::kComplete) {
      auto looking = complete(std::move(event.text));
      auto candidates = co_await looking;
      auto completing = editor->complete(std::move(candidates));
      event = co_await completing;
    }
    if (event.kind == LineEditor::Event::Kind::kEnd) {
      out.note("");
      break;
    }
    if (event.kind == LineEditor::Event::Kind::kInterrupted) continue;
    auto words = split_line(event.text);
    if (!words) {
      out.error(words.error().error);
      continue;
    }
    if (words->empty()) continue;
    auto command = parse_command(*words);
    if (!command) {
      out.error(command.error().error);
      continue;
    }
    auto running = run_interruptible(*std::move(command), interrupted);
    Status status = co_await running;
    out.flush();
    if (!status) out.error(status.error());
  }
  co_return kExitDone;
}

}  // namespace understudy::client
