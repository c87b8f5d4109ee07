// WRITE ... ETIRW: the editing of one sentence.
#include "client/commands/commands.h"

namespace understudy::client {
namespace {

Task<Status> apply(Shell* shell, Session::Edit edit, EditLine line) {
  auto inserting = shell->session.edit_insert(std::move(edit), line.word, std::move(line.content));
  CO_ASSIGN_OR_RETURN(auto reply, co_await inserting);
  if (shell->mode == Shell::Mode::kInteractive) shell->out.note("  " + reply.text());
  co_return Status{};
}

Task<Status> commit(Shell* shell, Session::Edit edit, uint64_t sentence) {
  std::string path = edit.path;
  auto committing = shell->session.edit_commit(std::move(edit));
  CO_ASSIGN_OR_RETURN(auto reply, co_await committing);
  std::string version = version_text(reply.version());
  Json object;
  object.text("path", path).count("sentence", sentence).text("version", version);
  object.count("size_bytes", reply.size_bytes());
  shell->out.done("wrote sentence " + std::to_string(sentence) + " of " + printable(path) + ", version " + version,
                  object);
  co_return Status{};
}

// The lines of a session, one by one. `ended`: its ETIRW or ABORT, or the end of
// the input, was read.
Task<Status> edit_by_lines(Shell* shell, Session::Edit edit, uint64_t sentence, bool* ended) {
  bool interactive = shell->mode == Shell::Mode::kInteractive;
  if (interactive) shell->out.note("  " + edit.opened.text());
  for (;;) {
    auto reading = shell->next_line("edit> ");
    CO_ASSIGN_OR_RETURN(auto text, co_await reading);
    if (!text) {
      *ended = true;
      co_return fail(Code::kInvalid, "the input ended before ETIRW; nothing was changed");
    }
    auto line = parse_edit_line(*text);
    Status status;
    if (!line) {
      status = std::unexpected(std::move(line).error());
    } else if (line->kind == EditLine::Kind::kCommit) {
      *ended = true;
      auto committing = commit(shell, edit, sentence);
      co_return co_await committing;
    } else if (line->kind == EditLine::Kind::kAbort) {
      *ended = true;
      auto aborting = shell->session.edit_abort(edit);
      CO_RETURN_IF_ERROR(co_await aborting);
      shell->out.note("dropped the changes of sentence " + std::to_string(sentence));
      co_return Status{};
    } else if (line->kind == EditLine::Kind::kInsert) {
      auto applying = apply(shell, edit, *std::move(line));
      status = co_await applying;
    }
    if (status) continue;
    // At a prompt a refused line is only said; the edit goes on unless it is lost.
    bool lost = status.error().code == Code::kUnavailable || status.error().code == Code::kConflict;
    if (!interactive || lost) co_return status;
    shell->out.error(status.error());
  }
}

Task<Status> edit_by_options(Shell* shell, Session::Edit edit, uint64_t sentence, std::vector<EditLine> lines) {
  for (const EditLine& line : lines) {
    auto applying = apply(shell, edit, line);
    CO_RETURN_IF_ERROR(co_await applying);
  }
  auto committing = commit(shell, edit, sentence);
  co_return co_await committing;
}

Task<Status> write_sentence(Shell* shell, Command command, bool* ended) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  CO_ASSIGN_OR_RETURN(uint64_t sentence, parse_number(command.arguments[1], "a sentence"));
  std::vector<EditLine> lines;
  for (const std::string& text : command.values("--edit")) {
    CO_ASSIGN_OR_RETURN(EditLine line, parse_edit_line(text));
    if (line.kind != EditLine::Kind::kInsert) {
      co_return fail(Code::kInvalid, "--edit takes '<word index> <content>'; the commit comes by itself");
    }
    lines.push_back(std::move(line));
  }
  auto opening = shell->session.edit_open(path, sentence);
  CO_ASSIGN_OR_RETURN(Session::Edit edit, co_await opening);
  auto editing = lines.empty() ? edit_by_lines(shell, edit, sentence, ended)
                               : edit_by_options(shell, edit, sentence, std::move(lines));
  Status status = co_await editing;
  if (!status) {
    // What failed leaves no lock behind; a server that is gone has dropped it itself.
    auto aborting = shell->session.edit_abort(edit);
    static_cast<void>(co_await aborting);
  }
  co_return status;
}

}  // namespace

Task<Status> run_write(Shell* shell, Command command) {
  bool by_lines = !command.has("--edit");
  bool ended = false;
  auto writing = write_sentence(shell, std::move(command), &ended);
  Status status = co_await writing;
  if (by_lines && !ended && shell->mode == Shell::Mode::kScript) {
    auto skipping = shell->skip_edit_lines();
    co_await skipping;
  }
  co_return status;
}

}  // namespace understudy::client
