// WRITE ... ETIRW, the editing of one sentence; LOCKS, who edits which; STREAM.
#include "client/commands/commands.h"
#include "client/sentence_edit.h"
#include "common/base/chunk_hash.h"

namespace understudy::client {
namespace {

using namespace std::chrono_literals;

// The `word` of a line that was typed, as it would be typed again.
std::string edit_line_text(const SentenceEdit::Line& line) {
  std::string text = std::to_string(line.word) + " ";
  for (char c : line.content) {
    switch (c) {
      case '\n': text += "\\n"; break;
      case '\t': text += "\\t"; break;
      case '\\': text += "\\\\"; break;
      default: text += c;
    }
  }
  return text;
}

// What an edit that is over had taken in, and the line that it failed at: nobody types it twice.
void show_kept(Shell* shell, const SentenceEdit& edit, std::vector<SentenceEdit::Line> not_taken) {
  std::vector<SentenceEdit::Line> all = edit.lines();
  all.insert(all.end(), not_taken.begin(), not_taken.end());
  if (all.empty()) return;
  std::string text = "what you typed:\n";
  for (const auto& line : all) text += edit_line_text(line) + "\n";
  shell->out.console().write(Console::Stream::kError, text);
}

Task<Status> apply(Shell* shell, SentenceEdit* edit, SentenceEdit::Line line) {
  auto inserting = edit->insert(std::move(line));
  CO_ASSIGN_OR_RETURN(auto reply, co_await inserting);
  if (shell->mode == Shell::Mode::kInteractive) shell->out.note("  " + reply.text());
  co_return Status{};
}

Task<Status> commit(Shell* shell, SentenceEdit* edit, std::string path, uint64_t sentence) {
  auto committing = edit->commit();
  CO_ASSIGN_OR_RETURN(auto reply, co_await committing);
  std::string version = version_text(reply.version());
  Json object;
  object.text("path", path).count("sentence", sentence).text("version", version);
  object.count("size_bytes", reply.size_bytes());
  shell->out.done("wrote sentence " + std::to_string(sentence) + " of " + printable(path) + ", version " + version,
                  object);
  co_return Status{};
}

// How the reading of a session's lines stands.
struct Reading {
  bool ended = false;      // Its ETIRW or ABORT, or the end of the input, was read.
  bool at_prompt = false;
};

constexpr const char* kPrompt = "edit> ";

// The lines of a session, one by one.
Task<Status> edit_by_lines(Shell* shell, SentenceEdit* edit, std::string path, uint64_t sentence, Reading* lines) {
  bool interactive = shell->mode == Shell::Mode::kInteractive;
  if (interactive) shell->out.note("  " + edit->opened().text());
  TaskGroup keeping(shell->env.executor);
  keeping.spawn(edit->keep());
  for (;;) {
    lines->at_prompt = interactive;
    auto reading = shell->next_line(kPrompt);
    CO_ASSIGN_OR_RETURN(auto text, co_await reading);
    lines->at_prompt = false;
    if (!text) {
      lines->ended = true;
      co_return fail(Code::kInvalid, "the input ended before ETIRW; nothing was changed");
    }
    auto line = parse_edit_line(*text);
    Status status;
    std::vector<SentenceEdit::Line> typed;
    if (!line) {
      status = std::unexpected(std::move(line).error());
    } else if (line->kind == EditLine::Kind::kCommit) {
      lines->ended = true;
      auto committing = commit(shell, edit, path, sentence);
      status = co_await committing;
      if (!status) show_kept(shell, *edit, {});
      co_return status;
    } else if (line->kind == EditLine::Kind::kAbort) {
      lines->ended = true;
      auto aborting = edit->abort();
      CO_RETURN_IF_ERROR(co_await aborting);
      shell->out.note("dropped the changes of sentence " + std::to_string(sentence));
      co_return Status{};
    } else if (line->kind == EditLine::Kind::kInsert) {
      typed.push_back({line->word, std::move(line->content)});
      auto applying = apply(shell, edit, typed.front());
      status = co_await applying;
    }
    if (status) continue;
    if (edit->lost()) show_kept(shell, *edit, std::move(typed));
    // At a prompt a refused line is only said; the edit goes on unless it is lost.
    if (!interactive || edit->lost()) co_return status;
    shell->out.error(status.error());
  }
}

Task<Status> edit_by_options(Shell* shell, SentenceEdit* edit, std::string path, uint64_t sentence,
                             std::vector<EditLine> lines) {
  for (EditLine& line : lines) {
    auto applying = apply(shell, edit, {line.word, std::move(line.content)});
    CO_RETURN_IF_ERROR(co_await applying);
  }
  auto committing = commit(shell, edit, std::move(path), sentence);
  co_return co_await committing;
}

Task<Status> write_sentence(Shell* shell, Command command, Reading* reading) {
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
  SentenceEdit edit(&shell->session, path, sentence, [shell, reading](std::string told) {
    if (!reading->at_prompt) return shell->out.note(told);
    // What was typed behind the prompt so far stays the line editor's, unseen.
    shell->out.console().write(Console::Stream::kError, "\n" + told + "\n" + kPrompt);
  });
  auto opening = edit.open();
  CO_RETURN_IF_ERROR(co_await opening);
  auto editing = lines.empty() ? edit_by_lines(shell, &edit, path, sentence, reading)
                               : edit_by_options(shell, &edit, path, sentence, std::move(lines));
  Status status = co_await editing;
  if (!status) {
    // What failed leaves no lock behind.
    auto aborting = edit.abort();
    static_cast<void>(co_await aborting);
  }
  co_return status;
}

void show_lock(Shell* shell, const wire::OpenSentence& open) {
  if (shell->out.json()) {
    Json object;
    object.text("path", open.path()).count("sentence", open.sentence()).text("user", open.user());
    object.time("since", open.since_us());
    shell->out.object(object);
    return;
  }
  int64_t now_us = shell->env.clock.wall().time_since_epoch().count();
  shell->out.line(printable(open.path()) + "  sentence " + std::to_string(open.sentence()) + "  " +
                  printable(open.user()) + "  since " + format_time(open.since_us()) + " (" +
                  format_age(std::max<int64_t>(0, now_us - open.since_us()) / 1000) + ")");
}

// Up to the end of the next word behind `at`, blanks before it included; a word that is
// longer than this goes in pieces.
constexpr size_t kStreamedAtOnce = 64 << 10;

size_t end_of_word(BytesView text, size_t at) {
  auto blank = [&](size_t i) { return text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r'); };
  size_t end = at;
  while (end < text.size() && blank(end)) ++end;
  while (end < text.size() && !blank(end) && end - at < kStreamedAtOnce) ++end;
  return end;
}

}  // namespace

Task<Status> run_write(Shell* shell, Command command) {
  bool by_lines = !command.has("--edit");
  Reading reading;
  auto writing = write_sentence(shell, std::move(command), &reading);
  Status status = co_await writing;
  if (by_lines && !reading.ended && shell->mode == Shell::Mode::kScript) {
    auto skipping = shell->skip_edit_lines();
    co_await skipping;
  }
  co_return status;
}

Task<Status> run_locks(Shell* shell, Command command) {
  const bool breaks = command.has("--break");
  if (command.arguments.size() != (breaks ? 2 : std::min<size_t>(command.arguments.size(), 1))) {
    co_return fail(Code::kInvalid, breaks ? "LOCKS --break needs a file and a sentence, as LOCKS lists them"
                                          : "LOCKS takes one file, or none for all; --break takes a sentence too");
  }
  wire::LocksRequest request;
  if (!command.arguments.empty()) {
    CO_ASSIGN_OR_RETURN(*request.mutable_path(), shell->path(command.arguments[0]));
  }
  if (breaks) {
    CO_ASSIGN_OR_RETURN(uint64_t sentence, parse_number(command.arguments[1], "a sentence"));
    request.set_sentence(sentence);
    request.set_break_lock(true);
  }
  auto asking = shell->session.ask<wire::LocksReply>(wire::LOCKS, request.SerializeAsString());
  CO_ASSIGN_OR_RETURN(auto reply, co_await asking);
  if (breaks) {
    Json object;
    object.text("path", request.path()).count("sentence", request.sentence());
    shell->out.done("broke the lock of sentence " + std::to_string(request.sentence()) + " of " +
                        printable(request.path()) + "; what was being written there is dropped",
                    object);
    co_return Status{};
  }
  for (const auto& open : reply.locks()) show_lock(shell, open);
  for (const auto& pair : reply.unanswered()) shell->out.note("note: " + pair + " could not be asked");
  if (reply.locks().empty() && !shell->out.json()) shell->out.note("no sentence is open");
  co_return Status{};
}

// Once read, a piece needs no server; behind it the same version is read on from whichever half has it.
Task<Status> run_stream(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  shell->out.flush();
  OutputSink sink(shell->env, shell->out.console());
  ReadWant want{.length = static_cast<uint32_t>(kChunkSizeMax)};
  Bytes text;
  size_t at = 0;
  bool first = true, last = false;
  for (;;) {
    size_t end = end_of_word(text, at);
    if (end == text.size() && !last) {
      text.erase(0, at);
      at = 0;
      auto reading = shell->session.read(path, want);
      auto read = co_await reading;
      // Half of one version is not followed by half of another.
      if (!read && read.error().code == Code::kNotFound && want.version) {
        co_return fail(Code::kUnavailable, printable(path) + ": the version that is streamed, " + want.version.to_string() +
                                               ", is only on a server that is away now; STREAM again for what is served meanwhile");
      }
      CO_ASSIGN_OR_RETURN(ReadAnswer answer, std::move(read));
      text += answer.bytes;
      want.offset += answer.bytes.size();
      want.version = answer.version;
      last = answer.bytes.empty() || want.offset >= answer.size_bytes;
      continue;
    }
    if (end == at) break;
    if (!first) {
      auto pause = sleep_for(shell->env, 100ms);
      co_await pause;
    }
    first = false;
    auto writing = sink.write(text.substr(at, end - at));
    CO_RETURN_IF_ERROR(co_await writing);
    at = end;
  }
  end_line(shell, sink);
  co_return Status{};
}

}  // namespace understudy::client
