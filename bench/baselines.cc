#include "bench/baselines.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>
#include <vector>

#include "common/base/result.h"

namespace understudy::bench {

namespace {

// Runs `loop(index, recorder)` on each of `threads` threads and merges what they recorded.
template <class Loop>
Recorder on_threads(uint32_t threads, Loop loop) {
  std::vector<Recorder> recorders(threads);
  std::vector<std::thread> running;
  for (uint32_t i = 0; i < threads; ++i) {
    running.emplace_back([&recorders, &loop, i] {
      recorders[i].start();
      loop(i, recorders[i]);
      recorders[i].stop();
    });
  }
  for (auto& thread : running) thread.join();
  Recorder all;
  for (const auto& recorder : recorders) all.merge(recorder);
  return all;
}

double seconds_of(const std::string& command) {
  SteadyTime began = SteadyClock::now();
  CHECK(std::system(command.c_str()) == 0);
  return std::chrono::duration<double>(SteadyClock::now() - began).count();
}

}  // namespace

Recorder plain_files(const std::string& folder, uint32_t threads, uint32_t size_bytes, std::chrono::milliseconds time) {
  std::string own = folder + "/plain";
  std::filesystem::create_directories(own);
  const std::string content(size_bytes, 'p');
  const SteadyTime end = SteadyClock::now() + time;
  Recorder result = on_threads(threads, [&](uint32_t thread, Recorder& recorder) {
    for (uint64_t n = 0; SteadyClock::now() < end; ++n) {
      SteadyTime began = SteadyClock::now();
      std::string name = fmt::format("{}/{}.{}", own, thread, n);
      std::string temporary = name + ".new";
      int fd = ::open(temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
      bool done = fd >= 0 && ::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()) && fsync(fd) == 0;
      if (fd >= 0) ::close(fd);
      if (done && ::rename(temporary.c_str(), name.c_str()) == 0) {
        recorder.done(began);
      } else {
        recorder.failed();
      }
    }
  });
  std::filesystem::remove_all(own);
  return result;
}

Recorder raw_appends(const std::string& folder, uint32_t writers, uint32_t size_bytes, std::chrono::milliseconds time, bool together) {
  const std::string path = folder + "/raw";
  int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
  CHECK(fd >= 0);
  const uint32_t at_once = together ? writers : 1;
  const std::string content(size_t{at_once} * size_bytes, 'a');
  std::atomic<uint64_t> end_of_file = 0;
  const SteadyTime end = SteadyClock::now() + time;
  Recorder result = on_threads(together ? 1 : writers, [&](uint32_t, Recorder& recorder) {
    while (SteadyClock::now() < end) {
      const SteadyTime began = SteadyClock::now();
      const auto offset = static_cast<off_t>(end_of_file.fetch_add(content.size()));
      const bool done = pwrite(fd, content.data(), content.size(), offset) == static_cast<ssize_t>(content.size()) && fdatasync(fd) == 0;
      for (uint32_t i = 0; i < at_once; ++i) {
        if (done)
          recorder.done(began);
        else
          recorder.failed();
      }
    }
  });
  ::close(fd);
  std::filesystem::remove(path);
  return result;
}

Recorder loopback_round_trips(uint32_t threads, std::chrono::milliseconds time) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), length) == 0 && listen(listener, 128) == 0);
  CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0);

  std::vector<int> near;
  std::vector<std::thread> echoes;
  const int no_delay = 1;
  for (uint32_t i = 0; i < threads; ++i) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
    int far = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    CHECK(far >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof no_delay);
    setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof no_delay);
    near.push_back(fd);
    echoes.emplace_back([far] {
      char byte;
      while (::read(far, &byte, 1) == 1 && ::write(far, &byte, 1) == 1) {
      }
      ::close(far);
    });
  }
  const SteadyTime end = SteadyClock::now() + time;
  Recorder result = on_threads(threads, [&](uint32_t thread, Recorder& recorder) {
    char byte = 'r';
    while (SteadyClock::now() < end) {
      SteadyTime began = SteadyClock::now();
      if (::write(near[thread], &byte, 1) == 1 && ::read(near[thread], &byte, 1) == 1) {
        recorder.done(began);
      } else {
        recorder.failed();
      }
    }
  });
  for (int fd : near) ::close(fd);
  for (auto& echo : echoes) echo.join();
  ::close(listener);
  return result;
}

void make_file(const std::string& path, uint64_t size_bytes) {
  FILE* file = std::fopen(path.c_str(), "wb");
  CHECK(file != nullptr);
  std::mt19937_64 random(size_bytes);
  std::vector<uint64_t> block(1 << 17);
  for (uint64_t left = size_bytes; left > 0;) {
    for (auto& word : block) word = random();
    uint64_t now = std::min<uint64_t>(left, block.size() * sizeof(uint64_t));
    CHECK(std::fwrite(block.data(), 1, now, file) == now);
    left -= now;
  }
  CHECK(std::fflush(file) == 0 && fsync(fileno(file)) == 0 && std::fclose(file) == 0);
}

double copy_twice_seconds(const std::string& path) {
  double seconds = seconds_of(fmt::format("cp '{0}' '{0}.1' && cp '{0}' '{0}.2' && sync '{0}.1' '{0}.2'", path));
  std::filesystem::remove(path + ".1");
  std::filesystem::remove(path + ".2");
  return seconds;
}

double copy_seconds(const std::string& path) {
  double seconds = seconds_of(fmt::format("cp '{0}' '{0}.1' && sync '{0}.1'", path));
  std::filesystem::remove(path + ".1");
  return seconds;
}

double cat_seconds(const std::string& path) { return seconds_of(fmt::format("cat '{}' | wc -c >/dev/null", path)); }

}  // namespace understudy::bench
