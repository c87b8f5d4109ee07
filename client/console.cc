#include "client/console.h"

#include <unistd.h>

#include <cerrno>
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
};

}  // namespace

Console& process_console() {
  static ProcessConsole console;
  return console;
}

}  // namespace understudy::client
