// CREATEFOLDER, DELETEFOLDER, MOVE, VIEWFOLDER, VIEW, SEARCH, CD, PWD.
#include <fmt/format.h>

#include <ranges>

#include "client/commands/commands.h"
#include "common/env/sync.h"

namespace understudy::client {
namespace {

constexpr uint32_t kPage = 1000;

Json entry_object(const wire::Entry& entry, std::string_view name_field) {
  Json object;
  object.text(name_field, entry.name()).text("kind", kind_name(entry.kind())).text("owner", entry.owner());
  object.time("created", entry.created_us()).time("modified", entry.modified_us());
  if (entry.kind() == wire::KIND_FILE) {
    object.count("size_bytes", entry.size_bytes()).text("version", version_text(entry.announced()));
  }
  if (entry.kind() == wire::KIND_LINK) object.text("target", entry.link_target());
  return object;
}

std::string entry_line(const wire::Entry& entry) {
  std::string line = printable_whole(entry.name());
  if (entry.kind() == wire::KIND_FOLDER) line += "/";
  if (entry.kind() == wire::KIND_LINK) line += " -> " + printable_whole(entry.link_target());
  return line;
}

void show(Shell* shell, const wire::Entry& entry, std::string_view name_field) {
  if (shell->out.json()) {
    shell->out.object(entry_object(entry, name_field));
  } else {
    shell->out.line(entry_line(entry));
  }
}

// A file of which the name node does not know a version yet. Its server knows whether it has
// one; if not, it is no file yet.
struct Unborn {
  int entry = 0;
  std::string path;
  std::optional<Result<wire::StatReply>> stat;
};

Task<void> ask_unborn(Session* session, Unborn* file, Semaphore* slots) {
  auto asking = session->stat(file->path, false);
  file->stat.emplace(co_await asking);
  slots->release(1);
}

// The entries that are there to be seen. `folder`: of names that are no whole paths.
Task<wire::EntriesReply> settled(Shell* shell, std::string folder, wire::EntriesReply page) {
  std::vector<Unborn> unborn;
  for (int i = 0; i < page.entries_size(); ++i) {
    const wire::Entry& entry = page.entries(i);
    if (entry.kind() != wire::KIND_FILE || !entry.pending()) continue;
    std::string before = folder.empty() ? "" : folder == "/" ? "/" : folder + "/";
    unborn.push_back({i, before + entry.name(), {}});
  }
  if (unborn.empty()) co_return page;
  Semaphore slots(shell->env.executor, 16);
  TaskGroup tasks(shell->env.executor);
  for (size_t i = 0; i < unborn.size(); ++i) {
    auto slot = slots.acquire(1);
    co_await slot;
    tasks.spawn(ask_unborn(&shell->session, &unborn[i], &slots));
  }
  auto ended = tasks.join();
  co_await ended;
  for (const Unborn& file : unborn | std::views::reverse) {
    const auto& stat = *file.stat;
    wire::Entry* entry = page.mutable_entries(file.entry);
    if (stat) {
      entry->set_size_bytes(stat->size_bytes());
      *entry->mutable_announced() = stat->version();
    } else if (stat.error().code == Code::kNotFound) {
      page.mutable_entries()->DeleteSubrange(file.entry, 1);
    }
  }
  co_return page;
}

// Every page of a question; `Request` has after and limit.
template <class Request>
Task<Status> show_pages(Shell* shell, wire::MessageType type, Request request, std::string_view name_field,
                        std::string folder = "") {
  request.set_limit(kPage);
  for (bool more = true; more;) {
    auto asking = shell->session.ask<wire::EntriesReply>(type, request.SerializeAsString());
    CO_ASSIGN_OR_RETURN(auto asked, co_await asking);
    auto settling = settled(shell, folder, std::move(asked));
    auto page = co_await settling;
    for (const wire::Entry& entry : page.entries()) show(shell, entry, name_field);
    more = page.more();
    request.set_after(page.next_after());
  }
  co_return Status{};
}

// A file's line of VIEW -l.
struct LongEntry {
  wire::Entry entry;
  std::optional<Result<wire::StatReply>> stat;
};

Task<void> stat_into(Session* session, LongEntry* into, Semaphore* slots) {
  auto asking = session->stat(into->entry.name(), true);
  into->stat.emplace(co_await asking);
  slots->release(1);
}

std::string long_line(std::string_view words, std::string_view characters, std::string_view accessed,
                      std::string_view owner, std::string_view path) {
  return fmt::format("{:>9} {:>11}  {:<19}  {:<8}  {}", words, characters, accessed, owner, path);
}

void show_long(Shell* shell, const LongEntry& file) {
  const wire::StatReply* stat = file.stat && file.stat->has_value() ? &**file.stat : nullptr;
  if (shell->out.json()) {
    Json object = entry_object(file.entry, "path");
    if (stat) {
      object.count("words", stat->words()).count("characters", stat->characters());
      object.time("accessed", stat->accessed_us()).text("accessed_by", stat->accessed_by());
    }
    shell->out.object(object);
  } else {
    shell->out.line(long_line(stat ? std::to_string(stat->words()) : "?",
                              stat ? std::to_string(stat->characters()) : "?",
                              stat ? format_time(stat->accessed_us()) : "?", file.entry.owner(),
                              entry_line(file.entry)));
  }
}

Task<void> show_long_page(Shell* shell, wire::EntriesReply page) {
  std::vector<LongEntry> files;
  for (const wire::Entry& entry : page.entries()) files.push_back({entry, {}});
  Semaphore slots(shell->env.executor, 16);
  TaskGroup tasks(shell->env.executor);
  for (size_t i = 0; i < files.size(); ++i) {
    if (files[i].entry.kind() != wire::KIND_FILE) continue;
    auto slot = slots.acquire(1);
    co_await slot;
    tasks.spawn(stat_into(&shell->session, &files[i], &slots));
  }
  auto ended = tasks.join();
  co_await ended;
  for (const LongEntry& file : files) {
    bool unborn = file.entry.pending() && file.stat && !*file.stat && file.stat->error().code == Code::kNotFound;
    if (!unborn) show_long(shell, file);
  }
}

}  // namespace

Task<Status> run_create_folder(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  wire::CreateFolderRequest request;
  request.set_path(path);
  request.set_parents(command.has("-p"));
  request.set_exist_ok(command.has("-p"));
  auto creating = shell->session.change(wire::CREATE_FOLDER, request);
  CO_RETURN_IF_ERROR(co_await creating);
  shell->out.done("created folder " + printable(path), Json().text("path", path));
  co_return Status{};
}

Task<Status> run_delete_folder(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  wire::RemoveRequest request;
  request.set_path(path);
  request.set_folder(true);
  request.set_recursive(command.has("-r"));
  auto removing = shell->session.change(wire::REMOVE, request);
  CO_RETURN_IF_ERROR(co_await removing);
  shell->out.done("deleted folder " + printable(path), Json().text("path", path));
  co_return Status{};
}

Task<Status> run_move(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string from, shell->path(command.arguments[0]));
  CO_ASSIGN_OR_RETURN(std::string to, shell->path(command.arguments[1]));
  wire::MoveRequest request;
  request.set_from(from);
  request.set_to(to);
  auto moving = shell->session.change(wire::MOVE, request);
  CO_ASSIGN_OR_RETURN(auto reply, co_await moving);
  if (!reply.path().empty()) to = reply.path();
  shell->out.done("moved " + printable(from) + " to " + printable(to), Json().text("from", from).text("to", to));
  co_return Status{};
}

Task<Status> run_view_folder(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments.empty() ? "." : command.arguments[0]));
  wire::ListFolderRequest request;
  request.set_path(path);
  auto showing = show_pages(shell, wire::LIST_FOLDER, request, "name", path);
  co_return co_await showing;
}

Task<Status> run_view(Shell* shell, Command command) {
  if (command.has("--deleted")) {
    if (command.has("-l")) co_return fail(Code::kInvalid, "VIEW -l is of files that are there; leave -l or --deleted out");
    auto viewing = view_deleted(shell, command.has("-a"));
    co_return co_await viewing;
  }
  wire::ViewRequest request;
  request.set_all(command.has("-a"));
  request.set_limit(kPage);
  if (!command.has("-l")) {
    auto showing = show_pages(shell, wire::VIEW, request, "path");
    co_return co_await showing;
  }
  if (!shell->out.json()) shell->out.line(long_line("words", "characters", "last access", "owner", "path"));
  for (bool more = true; more;) {
    auto asking = shell->session.ask<wire::EntriesReply>(wire::VIEW, request.SerializeAsString());
    CO_ASSIGN_OR_RETURN(auto page, co_await asking);
    more = page.more();
    request.set_after(page.next_after());
    auto showing = show_long_page(shell, std::move(page));
    co_await showing;
  }
  co_return Status{};
}

Task<Status> run_search(Shell* shell, Command command) {
  wire::SearchRequest request;
  request.set_text(command.arguments[0]);
  auto showing = show_pages(shell, wire::SEARCH, request, "path");
  co_return co_await showing;
}

Task<Status> run_cd(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments.empty() ? "/" : command.arguments[0]));
  wire::ListFolderRequest request;
  request.set_path(path);
  request.set_limit(1);
  // The name node says NOT_FOUND and NOT_FOLDER.
  auto asking = shell->session.ask<wire::EntriesReply>(wire::LIST_FOLDER, request.SerializeAsString());
  CO_RETURN_IF_ERROR(co_await asking);
  shell->folder = path;
  co_return Status{};
}

Task<Status> run_pwd(Shell* shell, Command command) {
  if (shell->out.json()) {
    shell->out.object(Json().text("path", shell->folder));
  } else {
    shell->out.line(printable_whole(shell->folder));
  }
  co_return Status{};
}

}  // namespace understudy::client
