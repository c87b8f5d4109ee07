// HISTORY, UNDO, checkpoints: the past of a file.
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
    case wire::CHANGE_UNDELETE: return "undelete";
    default: return "unknown";
  }
}

Json entry_object(const wire::HistoryEntry& entry) {
  Json object;
  object.text("version", version_text(entry.version())).time("time", entry.time_us()).text("user", entry.user());
  object.count("size_bytes", entry.size_bytes()).text("change", change_name(entry.kind()));
  object.text("content_of", version_text(entry.undo_target().counter() ? entry.undo_target() : entry.version()));
  object.texts("checkpoints", {entry.checkpoints().begin(), entry.checkpoints().end()});
  return object;
}

std::string entry_line(const wire::HistoryEntry& entry) {
  std::string line = fmt::format("{}  {}  {}  {} bytes  {}", version_text(entry.version()), format_time(entry.time_us()),
                                 printable(entry.user()), entry.size_bytes(), change_name(entry.kind()));
  if (entry.undo_target().counter() != 0) line += " back to " + version_text(entry.undo_target());
  for (const std::string& tag : entry.checkpoints()) line += "  [" + printable(tag) + "]";
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

Task<Status> run_undelete(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  wire::UndeleteRequest request;
  request.set_path(path);
  if (shell->session.options().sync) request.set_durability(wire::DURABILITY_SYNC);
  auto undeleting = shell->session.change(wire::UNDELETE, request);
  CO_ASSIGN_OR_RETURN(wire::ChangeReply reply, co_await undeleting);
  std::string line = "brought " + printable(path) + " back";
  if (reply.durability() == "sync" && !reply.second_holder().empty()) line += ", also on " + reply.second_holder();
  shell->out.done(line, Json().text("path", path).text("version", version_text(reply.version()))
                            .text("durability", reply.durability()).text("second_holder", reply.second_holder()));
  co_return Status{};
}

// Deleted files, newest first, with the time until which they can come back.
Task<Status> view_deleted(Shell* shell, bool all) {
  wire::ListDeletedRequest request;
  request.set_all(all);
  request.set_limit(1000);
  for (bool more = true; more;) {
    auto asking = shell->session.ask<wire::ListDeletedReply>(wire::LIST_DELETED, request.SerializeAsString());
    CO_ASSIGN_OR_RETURN(auto reply, co_await asking);
    for (const auto& file : reply.files()) {
      if (shell->out.json()) {
        Json object;
        object.text("path", file.path()).time("deleted", file.deleted_us()).text("deleted_by", file.deleted_by());
        object.text("owner", file.owner()).count("size_bytes", file.size_bytes()).time("until", file.until_us());
        shell->out.object(object);
      } else {
        shell->out.line(fmt::format("{}  {}  {} bytes  until {}", printable_whole(file.path()),
                                    format_time(file.deleted_us()), file.size_bytes(), format_time(file.until_us())));
      }
    }
    more = reply.more() && reply.files_size() > 0;
    if (!more) break;
    request.set_after_us(reply.files(reply.files_size() - 1).deleted_us());
    request.set_after_id(reply.files(reply.files_size() - 1).object_id());
  }
  co_return Status{};
}

Task<Status> run_checkpoint(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  std::string tag = command.arguments[1];
  auto naming = shell->session.checkpoint(path, tag);
  CO_ASSIGN_OR_RETURN(auto reply, co_await naming);
  shell->out.done("checkpoint " + printable(tag) + " of " + printable(path) + ", version " + version_text(reply.version()),
                  version_object(path, reply).text("tag", tag));
  co_return Status{};
}

Task<Status> run_list_checkpoints(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  auto asking = shell->session.checkpoints(path, "");
  CO_ASSIGN_OR_RETURN(auto reply, co_await asking);
  for (const auto& checkpoint : reply.checkpoints()) {
    if (shell->out.json()) {
      Json object;
      object.text("tag", checkpoint.tag()).text("version", version_text(checkpoint.version()));
      object.time("time", checkpoint.time_us()).text("user", checkpoint.user()).count("size_bytes", checkpoint.size_bytes());
      shell->out.object(object);
    } else {
      shell->out.line(fmt::format("{}  {}  {}  {}  {} bytes", printable(checkpoint.tag()),
                                  version_text(checkpoint.version()), format_time(checkpoint.time_us()),
                                  printable(checkpoint.user()), checkpoint.size_bytes()));
    }
  }
  co_return Status{};
}

Task<Status> run_view_checkpoint(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  if (command.arguments[1].empty()) co_return fail(Code::kInvalid, "a tag is not empty");
  auto asking = shell->session.checkpoints(path, command.arguments[1]);
  CO_ASSIGN_OR_RETURN(auto reply, co_await asking);
  if (reply.checkpoints().empty()) co_return fail(Code::kNotFound, printable(path) + ": no such checkpoint");
  DownloadOptions options;
  options.version = version_of(reply.checkpoints(0).version());
  shell->out.flush();
  OutputSink sink(shell->env, shell->out.console());
  auto reading = shell->session.download(path, options, &sink);
  CO_RETURN_IF_ERROR(co_await reading);
  end_line(shell, sink);
  co_return Status{};
}

Task<Status> run_revert(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  auto reverting = shell->session.revert(path, command.arguments[1]);
  CO_ASSIGN_OR_RETURN(auto reply, co_await reverting);
  shell->out.done(done_line("reverted", path, reply), version_object(path, reply));
  co_return Status{};
}

}  // namespace understudy::client
