#include "bench/measurement.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace understudy::bench {

namespace {

// utime + stime of /proc/PID/stat, in microseconds; 0 if there is no such process.
uint64_t processor_us(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string stat(std::istreambuf_iterator<char>(file), {});
  // The name stands in brackets and may hold blanks; utime is the 14th field, 12 behind it.
  size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return 0;
  unsigned long long user = 0;
  unsigned long long system = 0;
  if (sscanf(stat.c_str() + name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2) return 0;
  return (user + system) * 1'000'000 / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
}

}  // namespace

ProcessorTime::ProcessorTime(std::string cluster) : cluster_(std::move(cluster)) { look(); }

void ProcessorTime::look() {
  std::map<int, std::string> now = {{getpid(), "bench"}};
  if (!cluster_.empty()) {
    for (const auto& entry : std::filesystem::directory_iterator(cluster_)) {
      int pid = 0;
      if (std::ifstream(entry.path() / "pid") >> pid) now[pid] = entry.path().filename();
    }
  }
  for (const auto& [pid, server] : now) {
    uint64_t us = processor_us(pid);
    auto [at, fresh] = processes_.try_emplace(pid, Process{server, first_look_ ? us : 0, us});
    if (!fresh) at->second.last_us = std::max(at->second.last_us, us);
  }
  first_look_ = false;
}

std::map<std::string, double> ProcessorTime::by_server_us() const {
  std::map<std::string, double> spent;
  for (const auto& [pid, process] : processes_) spent[process.server] += static_cast<double>(process.last_us - process.before_us);
  return spent;
}

double ProcessorTime::total_us() const {
  double total = 0;
  for (const auto& [server, us] : by_server_us()) total += us;
  return total;
}

void Recorder::done(SteadyTime operation_began) {
  SteadyTime now = SteadyClock::now();
  latencies_us_.push_back(static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(now - operation_began).count()));
  longest_gap_ = std::max(longest_gap_, now - last_);
  last_ = now;
}

void Recorder::stop() {
  ended_ = SteadyClock::now();
  longest_gap_ = std::max(longest_gap_, ended_ - last_);
}

void Recorder::merge(const Recorder& other) {
  if (began_ == SteadyTime{}) began_ = other.began_;
  began_ = std::min(began_, other.began_);
  ended_ = std::max(ended_, other.ended_);
  latencies_us_.insert(latencies_us_.end(), other.latencies_us_.begin(), other.latencies_us_.end());
  errors_ += other.errors_;
  longest_gap_ = std::max(longest_gap_, other.longest_gap_);
}

double Recorder::operations_per_s() const { return seconds() > 0 ? static_cast<double>(operations()) / seconds() : 0; }

uint32_t Recorder::percentile_us(double share) const {
  if (latencies_us_.empty()) return 0;
  std::vector<uint32_t> sorted = latencies_us_;
  size_t at = std::min(sorted.size() - 1, static_cast<size_t>(share * static_cast<double>(sorted.size())));
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<long>(at), sorted.end());
  return sorted[at];
}

JsonLine& JsonLine::text(const std::string& name, const std::string& value) {
  fields_ += fmt::format("{}\"{}\":\"{}\"", fields_.empty() ? "" : ",", name, value);
  return *this;
}

JsonLine& JsonLine::number(const std::string& name, double value, int digits) {
  fields_ += fmt::format("{}\"{}\":{:.{}f}", fields_.empty() ? "" : ",", name, value, digits);
  return *this;
}

JsonLine& JsonLine::recorder(const Recorder& recorder) {
  return number("ops_per_s", recorder.operations_per_s(), recorder.operations_per_s() < 100 ? 2 : 0)
      .number("p50_us", recorder.percentile_us(0.5))
      .number("p99_us", recorder.percentile_us(0.99))
      .number("longest_gap_ms", recorder.longest_gap_ms(), 1)
      .number("errors", static_cast<double>(recorder.errors()));
}

JsonLine& JsonLine::processor(const ProcessorTime& processor, uint64_t operations) {
  double count = static_cast<double>(std::max<uint64_t>(1, operations));
  number("cpu_us_per_op", processor.total_us() / count, 1);
  for (const auto& [server, us] : processor.by_server_us()) number("cpu_us_" + server, us / count, 1);
  return *this;
}

void JsonLine::print() const {
  fmt::print("{{{}}}\n", fields_);
  fflush(stdout);
}

}  // namespace understudy::bench
