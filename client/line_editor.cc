#include "client/line_editor.h"

#include <histedit.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace understudy::client {
namespace {

// Where the word that the cursor stands behind begins. Blanks inside quotes are not
// looked at: completion is a convenience.
size_t word_start(std::string_view line) {
  size_t blank = line.find_last_of(" \t");
  return blank == line.npos ? 0 : blank + 1;
}

std::string common_prefix(const std::vector<std::string>& words) {
  std::string prefix = words.front();
  for (const std::string& word : words) {
    size_t same = std::ranges::mismatch(prefix, word).in1 - prefix.begin();
    prefix.resize(same);
  }
  return prefix;
}

}  // namespace

// Shared with the thread; everything under `mutex` but the libedit handles, which
// are the thread's.
struct LineEditor::Thread {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<std::string> wanted_prompt;
  std::optional<Event> event;
  std::optional<std::vector<std::string>> candidates;
  bool stopping = false;
  bool reading = false;  // Inside el_gets, which only a key ends.
  bool closed = false;

  std::string prompt;
  std::string history_file;
  bool interrupted = false;
  EditLine* editor = nullptr;
  History* history = nullptr;

  static Thread* of(EditLine* editor) {
    void* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return static_cast<Thread*>(self);
  }
  static char* show_prompt(EditLine* editor) { return of(editor)->prompt.data(); }

  static unsigned char interrupt_line(EditLine* editor, int) {
    of(editor)->interrupted = true;
    const LineInfo* line = el_line(editor);
    el_cursor(editor, static_cast<int>(line->lastchar - line->cursor));
    static_cast<void>(!::write(1, "^C\n", 3));
    return CC_NEWLINE;
  }

  static unsigned char complete_word(EditLine* editor, int) {
    Thread* self = of(editor);
    const LineInfo* line = el_line(editor);
    std::string before(line->buffer, line->cursor);
    std::string word = before.substr(word_start(before));
    std::vector<std::string> candidates;
    {
      std::unique_lock lock(self->mutex);
      self->event = Event{Event::Kind::kComplete, before};
      self->changed.notify_all();
      self->changed.wait(lock, [self] { return self->candidates || self->stopping; });
      if (self->stopping) return CC_EOF;
      candidates = std::move(*self->candidates);
      self->candidates.reset();
    }
    if (candidates.empty()) return CC_REFRESH_BEEP;
    std::string longest = common_prefix(candidates);
    if (candidates.size() == 1 && !longest.ends_with('/')) longest += ' ';
    if (longest.size() > word.size()) {
      el_deletestr(editor, static_cast<int>(word.size()));
      el_insertstr(editor, longest.c_str());
      return CC_REFRESH;
    }
    if (candidates.size() > 1) {
      std::string list = "\n";
      for (const std::string& candidate : candidates) list += candidate + "  ";
      list += "\n";
      static_cast<void>(!::write(1, list.data(), list.size()));
      return CC_REDISPLAY;
    }
    return CC_REFRESH_BEEP;
  }

  void open() {
    std::setlocale(LC_CTYPE, "");
    editor = el_init("understudy", stdin, stdout, stderr);
    history = history_init();
    HistEvent event_;
    ::history(history, &event_, H_SETSIZE, 1000);
    ::history(history, &event_, H_SETUNIQUE, 1);
    if (!history_file.empty()) ::history(history, &event_, H_LOAD, history_file.c_str());
    el_set(editor, EL_CLIENTDATA, this);
    el_set(editor, EL_PROMPT, &show_prompt);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_HIST, ::history, history);
    el_set(editor, EL_SIGNAL, 0);
    // ^C is a key here: the loop's signal handling is for running commands.
    el_set(editor, EL_SETTY, "-d", "-isig", nullptr);
    el_set(editor, EL_ADDFN, "interrupt-line", "drop the line", &interrupt_line);
    el_set(editor, EL_ADDFN, "complete-word", "complete the word", &complete_word);
    el_set(editor, EL_BIND, "^C", "interrupt-line", nullptr);
    el_set(editor, EL_BIND, "^I", "complete-word", nullptr);
    el_set(editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  }

  void close() {
    HistEvent event_;
    if (!history_file.empty()) ::history(history, &event_, H_SAVE, history_file.c_str());
    history_end(history);
    el_end(editor);
  }

  Event read_line() {
    int size = 0;
    interrupted = false;
    const char* text = el_gets(editor, &size);
    if (text == nullptr || size <= 0) return {Event::Kind::kEnd, ""};
    std::string line(text, size);
    if (line.ends_with('\n')) line.pop_back();
    if (interrupted) return {Event::Kind::kInterrupted, ""};
    if (line.find_first_not_of(" \t") != line.npos) {
      HistEvent event_;
      ::history(history, &event_, H_ENTER, line.c_str());
    }
    return {Event::Kind::kLine, line};
  }

  void run() {
    open();
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return wanted_prompt || stopping; });
      if (stopping) break;
      prompt = *std::move(wanted_prompt);
      wanted_prompt.reset();
      reading = true;
      lock.unlock();
      Event read = read_line();
      lock.lock();
      reading = false;
      event = std::move(read);
      changed.notify_all();
    }
    close();
    closed = true;
    changed.notify_all();
  }
};

LineEditor::LineEditor(Env& env, std::string history_file) : env_(env), thread_(std::make_shared<Thread>()) {
  thread_->history_file = std::move(history_file);
  // No signal is delivered to the editor's thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([thread = thread_] { thread->run(); }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LineEditor::~LineEditor() {
  std::unique_lock lock(thread_->mutex);
  thread_->stopping = true;
  thread_->changed.notify_all();
  // The history is saved before the process ends.
  thread_->changed.wait(lock, [this] { return thread_->closed || thread_->reading; });
}

Task<LineEditor::Event> LineEditor::next_event() {
  auto event = std::make_shared<Event>();
  auto waiting = env_.workers.run([thread = thread_, event] {
    std::unique_lock lock(thread->mutex);
    thread->changed.wait(lock, [&] { return thread->event || thread->stopping; });
    if (thread->event) *event = *std::exchange(thread->event, std::nullopt);
  });
  co_await waiting;
  co_return std::move(*event);
}

Task<LineEditor::Event> LineEditor::read(std::string prompt) {
  {
    std::unique_lock lock(thread_->mutex);
    thread_->wanted_prompt = std::move(prompt);
    thread_->changed.notify_all();
  }
  auto waiting = next_event();
  co_return co_await waiting;
}

Task<LineEditor::Event> LineEditor::complete(std::vector<std::string> candidates) {
  {
    std::unique_lock lock(thread_->mutex);
    thread_->candidates = std::move(candidates);
    thread_->changed.notify_all();
  }
  auto waiting = next_event();
  co_return co_await waiting;
}

}  // namespace understudy::client
