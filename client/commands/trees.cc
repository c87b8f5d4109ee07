// PUT -r and GET -r: whole trees, many files at once.
#include <fmt/format.h>

#include <ranges>

#include "client/commands/commands.h"
#include "common/env/sync.h"

namespace understudy::client {
namespace {

constexpr uint64_t kFilesAtOnce = 16;
constexpr uint32_t kPage = 1000;

int64_t microseconds(WallTime time) { return time.time_since_epoch().count(); }

std::string join_remote(const std::string& folder, const std::string& name) {
  return folder == "/" ? "/" + name : folder + "/" + name;
}

// What both directions share: tasks at once, the first failure, counts.
struct Tree {
  Tree(Shell* shell, std::string what)
      : shell(shell), slots(shell->env.executor, kFilesAtOnce), bar(shell->out, std::move(what), 0),
        tasks(shell->env.executor) {}

  Task<void> spawn(Task<Status> work) {
    auto slot = slots.acquire(1);
    co_await slot;
    tasks.spawn(run(std::move(work)));
  }
  Task<void> run(Task<Status> work) {
    Status status = co_await work;
    if (!status && !failed) failed = std::move(status).error();
    slots.release(1);
  }
  // Until what was spawned has ended.
  Task<Status> finish() {
    auto ended = tasks.join();
    co_await ended;
    if (failed) co_return std::unexpected(*failed);
    co_return Status{};
  }
  void moved(uint64_t size_bytes) {
    ++files;
    bytes += size_bytes;
    bar.show(bytes, shell->env.clock.now());
  }
  void report(std::string_view what, const std::string& path) {
    Json object;
    object.text("path", path).count("files", files).count("folders", folders).count("links", links);
    object.count("bytes", bytes);
    shell->out.done(fmt::format("{} {}: {}, {}, {}, {}", what, printable(path), counted(files, "file"),
                                counted(folders, "folder"), counted(links, "link"), format_size(bytes)),
                    object);
  }

  Shell* shell;
  Semaphore slots;
  ProgressBar bar;
  std::optional<Error> failed;
  uint64_t files = 0, folders = 0, links = 0, bytes = 0;
  TaskGroup tasks;  // Last: its tasks use the rest.
};

struct FolderPair {
  std::string local;
  std::string remote;
  Attributes attributes;
};

// ---- PUT -r ----------------------------------------------------------------------------

Task<Status> put_file(Tree* tree, std::string local, std::string remote) {
  CO_ASSIGN_OR_RETURN(auto source, FileSource::open(tree->shell->env, local));
  UploadOptions options;
  options.attributes = {source->info().mode, microseconds(source->info().modified)};
  auto uploading = tree->shell->session.upload(remote, source.get(), options);
  CO_ASSIGN_OR_RETURN(auto reply, co_await uploading);
  tree->moved(reply.size_bytes());
  co_return Status{};
}

Task<Status> put_link(Tree* tree, FileInfo info, std::string remote) {
  wire::CreateLinkRequest request;
  request.set_path(remote);
  request.set_target(info.link_target);
  request.set_modified_us(microseconds(info.modified));
  request.set_replace(true);
  auto linking = tree->shell->session.change(wire::CREATE_LINK, request);
  CO_RETURN_IF_ERROR(co_await linking);
  ++tree->links;
  co_return Status{};
}

Task<Status> put_folder_attributes(Tree* tree, FolderPair folder) {
  wire::SetAttributesRequest request;
  request.set_path(folder.remote);
  request.set_mode(folder.attributes.mode);
  request.set_modified_us(folder.attributes.modified_us);
  auto setting = tree->shell->session.change(wire::SET_ATTRIBUTES, request);
  CO_RETURN_IF_ERROR(co_await setting);
  co_return Status{};
}

// One folder's own entries; the folders among them go to `deeper`.
Task<Status> put_folder(Tree* tree, FolderPair folder, bool top, std::vector<FolderPair>* deeper) {
  Disk& disk = tree->shell->env.disk;
  wire::CreateFolderRequest request;
  request.set_path(folder.remote);
  request.set_parents(top);
  request.set_exist_ok(true);
  request.set_mode(folder.attributes.mode);
  request.set_modified_us(folder.attributes.modified_us);
  if (folder.remote != "/") {
    auto creating = tree->shell->session.change(wire::CREATE_FOLDER, request);
    CO_RETURN_IF_ERROR(co_await creating);
  }
  ++tree->folders;
  CO_ASSIGN_OR_RETURN(std::vector<std::string> names, disk.list(folder.local));
  for (const std::string& name : names) {
    if (tree->failed) break;
    if (auto valid = check_name(name); !valid) {
      co_return fail(Code::kInvalid, "in " + printable(folder.local) + ": " + valid.error().message);
    }
    std::string local = join_local(folder.local, name);
    std::string remote = join_remote(folder.remote, name);
    CO_ASSIGN_OR_RETURN(FileInfo info, disk.info(local));
    if (info.kind == FileInfo::Kind::kFolder) {
      deeper->push_back({local, remote, {info.mode, microseconds(info.modified)}});
    } else if (info.kind == FileInfo::Kind::kLink) {
      auto spawning = tree->spawn(put_link(tree, info, remote));
      co_await spawning;
    } else if (info.kind == FileInfo::Kind::kFile) {
      auto spawning = tree->spawn(put_file(tree, local, remote));
      co_await spawning;
    } else {
      tree->shell->out.note("note: " + printable(local) + " is neither file, folder nor link; left out");
    }
  }
  co_return Status{};
}

// ---- GET -r ----------------------------------------------------------------------------

// `pending`: as far as the name node knows it has no content yet; its server knows better.
Task<Status> get_file(Tree* tree, std::string remote, std::string local, bool pending) {
  CO_ASSIGN_OR_RETURN(auto sink, FileSink::create(tree->shell->env, local));
  auto downloading = tree->shell->session.download(remote, {}, sink.get());
  auto downloaded = co_await downloading;
  if (!downloaded && pending && downloaded.error().code == Code::kNotFound) co_return Status{};
  CO_ASSIGN_OR_RETURN(ReadAnswer answer, std::move(downloaded));
  CO_RETURN_IF_ERROR(sink->finish({answer.mode, answer.modified_us}));
  tree->moved(answer.size_bytes);
  co_return Status{};
}

Status get_link(Tree* tree, const wire::Entry& entry, const std::string& local) {
  Disk& disk = tree->shell->env.disk;
  auto there = disk.info(local);
  if (there && there->kind != FileInfo::Kind::kFolder) RETURN_IF_ERROR(disk.remove(local));
  RETURN_IF_ERROR(disk.make_link(entry.link_target(), local));
  RETURN_IF_ERROR(disk.set_attributes(local, 0, WallTime(std::chrono::microseconds(entry.modified_us()))));
  ++tree->links;
  return {};
}

Task<Status> get_folder(Tree* tree, FolderPair folder, bool top, std::vector<FolderPair>* deeper) {
  // A link that came with an earlier tree must not lead this one out of its folder.
  auto there = tree->shell->env.disk.info(folder.local);
  if (!top && there && there->kind == FileInfo::Kind::kLink) {
    co_return fail(Code::kNotFolder, printable(folder.local) + " is a link here, not a folder; remove it first");
  }
  CO_RETURN_IF_ERROR(tree->shell->env.disk.make_folder(folder.local));
  ++tree->folders;
  wire::ListFolderRequest request;
  request.set_path(folder.remote);
  request.set_limit(kPage);
  for (bool more = true; more && !tree->failed;) {
    auto asking = tree->shell->session.ask<wire::EntriesReply>(wire::LIST_FOLDER, request.SerializeAsString());
    CO_ASSIGN_OR_RETURN(wire::EntriesReply page, co_await asking);
    for (const wire::Entry& entry : page.entries()) {
      // Nobody's name leads out of the folder, whatever the name node says.
      if (auto valid = check_name(entry.name()); !valid) {
        co_return fail(Code::kInvalid, "in " + printable(folder.remote) + ": " + valid.error().message);
      }
      std::string local = join_local(folder.local, entry.name());
      std::string remote = join_remote(folder.remote, entry.name());
      if (entry.kind() == wire::KIND_FOLDER) {
        deeper->push_back({local, remote, {entry.mode(), entry.modified_us()}});
      } else if (entry.kind() == wire::KIND_LINK) {
        CO_RETURN_IF_ERROR(get_link(tree, entry, local));
      } else {
        auto spawning = tree->spawn(get_file(tree, remote, local, entry.pending()));
        co_await spawning;
      }
    }
    more = page.more();
    request.set_after(page.next_after());
  }
  co_return Status{};
}

}  // namespace

Task<Status> put_tree(Shell* shell, std::string local, std::string path) {
  CO_ASSIGN_OR_RETURN(FileInfo info, shell->env.disk.info(join_local(local, ".")));
  if (info.kind != FileInfo::Kind::kFolder) {
    co_return fail(Code::kNotFolder, printable(local) + " is no folder here; use PUT without -r");
  }
  Tree tree(shell, "PUT -r " + printable(path));
  std::vector<FolderPair> done;
  std::vector<FolderPair> waiting = {{local, path, {info.mode, microseconds(info.modified)}}};
  while (!waiting.empty() && !tree.failed) {
    done.push_back(std::move(waiting.back()));
    waiting.pop_back();
    auto putting = put_folder(&tree, done.back(), done.size() == 1, &waiting);
    CO_RETURN_IF_ERROR(co_await putting);
  }
  auto finishing = tree.finish();
  CO_RETURN_IF_ERROR(co_await finishing);
  // Last: what was put into a folder has touched its time.
  for (const FolderPair& folder : done) {
    if (folder.remote == "/") continue;
    auto spawning = tree.spawn(put_folder_attributes(&tree, folder));
    co_await spawning;
  }
  auto finishing_folders = tree.finish();
  CO_RETURN_IF_ERROR(co_await finishing_folders);
  tree.report("put", path);
  co_return Status{};
}

Task<Status> get_tree(Shell* shell, std::string path, std::string local) {
  if (local == "-") co_return fail(Code::kInvalid, "a tree does not go to standard output; name a folder");
  auto looking = shell->session.look_up(path, true);
  CO_ASSIGN_OR_RETURN(wire::Location location, co_await looking);
  if (location.kind() != wire::KIND_FOLDER) {
    co_return fail(Code::kNotFolder, printable(path) + " is no folder; use GET without -r");
  }
  Tree tree(shell, "GET -r " + printable(path));
  std::vector<FolderPair> done;
  std::vector<FolderPair> waiting = {{local, path, {location.name().mode(), location.name().modified_us()}}};
  while (!waiting.empty() && !tree.failed) {
    done.push_back(std::move(waiting.back()));
    waiting.pop_back();
    auto getting = get_folder(&tree, done.back(), done.size() == 1, &waiting);
    CO_RETURN_IF_ERROR(co_await getting);
  }
  auto finishing = tree.finish();
  CO_RETURN_IF_ERROR(co_await finishing);
  // Last, and the innermost first: making something in a folder touches its time, and
  // a mode may forbid it.
  for (const FolderPair& folder : done | std::views::reverse) {
    if (folder.attributes.mode == 0) continue;
    CO_RETURN_IF_ERROR(shell->env.disk.set_attributes(
        folder.local, folder.attributes.mode & kModeTaken, WallTime(std::chrono::microseconds(folder.attributes.modified_us))));
  }
  tree.report("got", path);
  co_return Status{};
}

}  // namespace understudy::client
