#include "client/console.h"

#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

namespace understudy::client {
namespace {

constexpr size_t kReadSize = 256 << 10;

int descriptor(Console::Stream stream) { return static_cast<int>(stream); }

// 0, or what went wrong.
int write_all(int fd, BytesView text) {
  while (!text.empty()) {
    ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return errno;
    text.remove_prefix(written);
  }
  return 0;
}

struct Work {
  Bytes bytes;
  int error = 0;
};

// Before a prompt turned the echo off; shared with a signal's handling.
std::atomic<bool> terminal_changed = false;
termios terminal_before{};

struct SecretWork {
  std::atomic<bool> cancelled = false;
  std::string text;
};

// On a worker, looking up now and then whether anybody still wants it.
void read_line_without_echo(SecretWork* work) {
  termios quiet{};
  if (tcgetattr(0, &terminal_before) != 0) return;
  quiet = terminal_before;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  quiet.c_lflag |= ICANON | ISIG;
  quiet.c_iflag |= ICRNL;
  terminal_changed = true;
  tcsetattr(0, TCSAFLUSH, &quiet);
  for (bool ended = false; !ended && !work->cancelled;) {
    pollfd input{.fd = 0, .events = POLLIN, .revents = 0};
    if (poll(&input, 1, 100) <= 0) continue;
    char byte = 0;
    ended = ::read(0, &byte, 1) <= 0 || byte == '\n';
    if (!ended && work->text.size() < 4096) work->text += byte;
  }
  restore_terminal();
  write_all(2, "\n");
}

class ProcessConsole final : public Console {
 public:
  Task<Result<Bytes>> read(Env& env) override {
    auto work = std::make_shared<Work>();
    auto reading = env.workers.run([work] {
      work->bytes.resize(kReadSize);
      ssize_t got;
      do {
        got = ::read(0, work->bytes.data(), work->bytes.size());
      } while (got < 0 && errno == EINTR);
      work->error = got < 0 ? errno : 0;
      work->bytes.resize(got < 0 ? 0 : got);
    });
    co_await reading;
    if (work->error != 0) {
      co_return fail(Code::kInvalid, std::string("standard input cannot be read: ") + std::strerror(work->error));
    }
    co_return std::move(work->bytes);
  }

  bool write(Stream stream, std::string_view text) override { return write_all(descriptor(stream), text) == 0; }

  Task<Status> write_result(Env& env, Bytes bytes) override {
    auto work = std::make_shared<Work>();
    work->bytes = std::move(bytes);
    auto writing = env.workers.run([work] { work->error = write_all(1, work->bytes); });
    co_await writing;
    if (work->error != 0) {
      Code code = work->error == ENOSPC ? Code::kNoSpace : Code::kInvalid;
      co_return fail(code, std::string("standard output takes no more: ") + std::strerror(work->error));
    }
    co_return Status{};
  }

  bool on_terminal(Stream stream) const override { return isatty(descriptor(stream)); }

  Task<Result<std::string>> read_secret(Env& env, std::string prompt, std::string variable) override {
    if (const char* given = std::getenv(variable.c_str()); given && *given) co_return std::string(given);
    if (!isatty(0)) {
      co_return fail(Code::kInvalid, "there is no terminal to ask for the password at; give it in " + variable);
    }
    struct Wanted {
      std::shared_ptr<SecretWork> work = std::make_shared<SecretWork>();
      ~Wanted() { work->cancelled = true; }
    } wanted;
    write_all(2, prompt);
    auto work = wanted.work;
    auto reading = env.workers.run([work] { read_line_without_echo(work.get()); });
    co_await reading;
    co_return std::move(work->text);
  }
};

}  // namespace

void restore_terminal() {
  if (terminal_changed.exchange(false)) tcsetattr(0, TCSAFLUSH, &terminal_before);
}

Console& process_console() {
  static ProcessConsole console;
  return console;
}

}  // namespace understudy::client
