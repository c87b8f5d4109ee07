// CREATE, READ, PUT, GET, APPEND, DELETE.
#include "client/commands/commands.h"
#include "common/base/chunk_hash.h"

namespace understudy::client {
namespace {

// Standard input that carries the commands carries no contents.
Status check_input_free(const Shell* shell, std::string_view command) {
  if (shell->mode == Shell::Mode::kOneShot) return {};
  return fail(Code::kInvalid, std::string(command) + " cannot read standard input here, the commands come from it; "
                                                     "use it one-shot, or name a file");
}

// A half that does not act as primary answered: by request, or because it was the faster one.
void note_whose(Shell* shell, const ReadAnswer& answer) {
  if (answer.linearizable) return;
  shell->out.note("note: " + answer.server + " answered with version " + answer.version.to_string() +
                  ", which may not be the newest");
}

}  // namespace

void end_line(Shell* shell, const OutputSink& sink) {
  if (shell->mode == Shell::Mode::kInteractive && !sink.at_line_start()) shell->out.line("");
}

Json version_object(const std::string& path, const wire::VersionReply& reply) {
  Json object;
  object.text("path", path).text("version", version_text(reply.version())).count("size_bytes", reply.size_bytes());
  object.text("durability", reply.durability()).text("second_holder", reply.second_holder());
  return object;
}

std::string done_line(std::string_view what, const std::string& path, const wire::VersionReply& reply) {
  std::string line = std::string(what) + " " + printable(path) + ", version " + version_text(reply.version()) + ", " +
                     format_size(reply.size_bytes());
  if (reply.durability() == "sync") line += ", also on " + reply.second_holder();
  return line;
}

std::string version_text(const wire::VersionNumber& version) {
  return version.counter() == 0 ? "none" : version_of(version).to_string();
}

std::string_view kind_name(wire::NodeKind kind) {
  switch (kind) {
    case wire::KIND_FOLDER: return "folder";
    case wire::KIND_LINK: return "link";
    default: return "file";
  }
}

Task<Status> run_create(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  auto creating = shell->session.create(path);
  CO_ASSIGN_OR_RETURN(auto reply, co_await creating);
  shell->out.done("created " + printable(path), version_object(path, reply));
  co_return Status{};
}

Task<Status> run_read(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  DownloadOptions options;
  if (auto text = command.value("--version")) {
    CO_ASSIGN_OR_RETURN(options.version, parse_version(*text));
  }
  if (auto text = command.value("--range")) {
    CO_ASSIGN_OR_RETURN(ByteRange range, parse_range(*text));
    options.first = range.first;
    options.last = range.last;
  }
  shell->out.flush();
  OutputSink sink(shell->env, shell->out.console());
  auto reading = shell->session.download(path, options, &sink);
  CO_ASSIGN_OR_RETURN(ReadAnswer answer, co_await reading);
  end_line(shell, sink);
  if (!options.version) note_whose(shell, answer);
  co_return Status{};
}

Task<Status> run_put(Shell* shell, Command command) {
  std::string local = command.arguments[0];
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[1]));
  if (command.has("-r")) {
    auto putting = put_tree(shell, local, path);
    co_return co_await putting;
  }
  std::unique_ptr<Source> source;
  uint64_t size = 0;
  if (local == "-") {
    CO_RETURN_IF_ERROR(check_input_free(shell, "PUT -"));
    source = std::make_unique<InputSource>(&shell->input);
  } else {
    CO_ASSIGN_OR_RETURN(auto file, FileSource::open(shell->env, local));
    size = file->info().size_bytes;
    source = std::move(file);
  }
  ProgressBar bar(shell->out, "PUT " + printable(path), size);
  UploadOptions options;
  options.progress = [&bar, shell](uint64_t done) { bar.show(done, shell->env.clock.now()); };
  auto uploading = shell->session.upload(path, source.get(), options);
  CO_ASSIGN_OR_RETURN(auto reply, co_await uploading);
  shell->out.done(done_line("put", path, reply), version_object(path, reply));
  co_return Status{};
}

Task<Status> run_get(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  std::string local = command.arguments[1];
  if (command.has("-r")) {
    auto getting = get_tree(shell, path, local);
    co_return co_await getting;
  }
  ProgressBar bar(shell->out, "GET " + printable(path), 0);
  DownloadOptions options;
  options.size = [&bar](uint64_t size) { bar.set_total(size); };
  options.progress = [&bar, shell](uint64_t done) { bar.show(done, shell->env.clock.now()); };
  if (local == "-") {
    shell->out.flush();
    OutputSink sink(shell->env, shell->out.console());
    auto downloading = shell->session.download(path, options, &sink);
    CO_ASSIGN_OR_RETURN(ReadAnswer answer, co_await downloading);
    end_line(shell, sink);
    note_whose(shell, answer);
    co_return Status{};
  }
  auto info = shell->env.disk.info(local);
  if (info && info->kind == FileInfo::Kind::kFolder) local = join_local(local, last_name(path));
  CO_ASSIGN_OR_RETURN(auto sink, FileSink::create(shell->env, local));
  auto downloading = shell->session.download(path, options, sink.get());
  CO_ASSIGN_OR_RETURN(ReadAnswer answer, co_await downloading);
  CO_RETURN_IF_ERROR(sink->finish({answer.mode, answer.modified_us}));
  Json object;
  object.text("path", path).text("local", local).text("version", answer.version.to_string());
  object.count("size_bytes", answer.size_bytes).truth("linearizable", answer.linearizable);
  shell->out.done("got " + printable(path) + ", version " + answer.version.to_string() + ", " +
                      format_size(answer.size_bytes),
                  object);
  note_whose(shell, answer);
  co_return Status{};
}

Task<Status> run_append(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  Result<wire::VersionReply> reply;
  if (command.arguments.size() == 2 && command.arguments[1] == "-") {
    CO_RETURN_IF_ERROR(check_input_free(shell, "APPEND f -"));
    InputSource source(&shell->input);
    UploadOptions options;
    options.append = true;
    auto appending = shell->session.upload(path, &source, options);
    reply = co_await appending;
  } else {
    Bytes text;
    for (size_t i = 1; i < command.arguments.size(); ++i) text += (i > 1 ? " " : "") + command.arguments[i];
    if (text.size() > kChunkSizeMax) co_return fail(Code::kInvalid, "more than 1 MiB of text; use APPEND f -");
    auto appending = shell->session.append(path, std::move(text));
    reply = co_await appending;
  }
  if (!reply) co_return std::unexpected(std::move(reply).error());
  shell->out.done(done_line("appended to", path, *reply), version_object(path, *reply));
  co_return Status{};
}

Task<Status> run_delete(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  wire::RemoveRequest request;
  request.set_path(path);
  auto removing = shell->session.change(wire::REMOVE, request);
  CO_RETURN_IF_ERROR(co_await removing);
  Json object;
  object.text("path", path);
  shell->out.done("deleted " + printable(path), object);
  co_return Status{};
}

}  // namespace understudy::client
