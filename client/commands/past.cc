// HISTORY, UNDO: the past of a file.
#include <fmt/format.h>

#include <algorithm>

#include "client/commands/commands.h"

namespace understudy::client {
namespace {

std::string_view change_name(wire::ChangeKind kind) {
  switch (kind) {
    case wire::CHANGE_CREATE: return "create";
    case wire::CHANGE_PUT: return "put";
    case wire::CHANGE_APPEND: return "append";
    case wire::CHANGE_EDIT: return "write";
    case wire::CHANGE_DELETE: return "delete";
    case wire::CHANGE_UNDO: return "undo";
    case wire::CHANGE_REVERT: return "revert";
    default: return "unknown";
  }
}

Json entry_object(const wire::HistoryEntry& entry) {
  Json object;
  object.text("version", version_text(entry.version())).time("time", entry.time_us()).text("user", entry.user());
  object.count("size_bytes", entry.size_bytes()).text("change", change_name(entry.kind()));
  object.text("content_of", version_text(entry.undo_target().counter() ? entry.undo_target() : entry.version()));
  return object;
}

std::string entry_line(const wire::HistoryEntry& entry) {
  std::string line = fmt::format("{}  {}  {}  {} bytes  {}", version_text(entry.version()), format_time(entry.time_us()),
                                 printable(entry.user()), entry.size_bytes(), change_name(entry.kind()));
  if (entry.undo_target().counter() != 0) line += " back to " + version_text(entry.undo_target());
  return line;
}

}  // namespace

Task<Status> run_history(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  Version before{};
  for (bool more = true; more;) {
    auto asking = shell->session.history(path, before);
    CO_ASSIGN_OR_RETURN(wire::HistoryReply reply, co_await asking);
    for (const auto& entry : reply.entries()) {
      if (shell->out.json())
        shell->out.object(entry_object(entry));
      else
        shell->out.line(entry_line(entry));
      before = version_of(entry.version());
    }
    more = reply.more() && reply.entries_size() > 0;
  }
  co_return Status{};
}

Task<Status> run_undo(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  auto undoing = shell->session.undo(path);
  CO_ASSIGN_OR_RETURN(auto reply, co_await undoing);
  shell->out.done(done_line("undid the last change of", path, reply), version_object(path, reply));
  co_return Status{};
}

}  // namespace understudy::client
