// One measurement: how long each operation took, how many failed, the longest time in which none was
// acknowledged, and the processor time that all processes together spent on it.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace understudy::bench {

using SteadyClock = std::chrono::steady_clock;
using SteadyTime = SteadyClock::time_point;

// The processor time of this process ("bench") and of the servers whose pid stands in a file DIR/*/pid, since this was
// made. A process that is gone counts with what it had when it was last looked at; one that came, whole.
class ProcessorTime {
 public:
  // `cluster` may be empty.
  explicit ProcessorTime(std::string cluster);
  void look();
  double total_us() const;
  // By server, "bench" among them.
  std::map<std::string, double> by_server_us() const;

 private:
  struct Process {
    std::string server;
    uint64_t before_us = 0;
    uint64_t last_us = 0;
  };
  std::string cluster_;
  std::map<int, Process> processes_;  // By pid.
  bool first_look_ = true;
};

class Recorder {
 public:
  void start() { began_ = last_ = SteadyClock::now(); }
  void done(SteadyTime operation_began);
  void failed() { ++errors_; }
  // The end of the measured time; a gap may reach up to it.
  void stop();
  // What another thread counted in the same time. The gaps of the parts are not merged:
  // use one recorder where they matter.
  void merge(const Recorder& other);

  uint64_t operations() const { return latencies_us_.size(); }
  uint64_t errors() const { return errors_; }
  double seconds() const { return std::chrono::duration<double>(ended_ - began_).count(); }
  double operations_per_s() const;
  uint32_t percentile_us(double share) const;
  double longest_gap_ms() const { return std::chrono::duration<double, std::milli>(longest_gap_).count(); }

 private:
  SteadyTime began_{};
  SteadyTime ended_{};
  SteadyTime last_{};
  SteadyClock::duration longest_gap_{};
  std::vector<uint32_t> latencies_us_;
  uint64_t errors_ = 0;
};

// One line of the output. Fields keep their order.
class JsonLine {
 public:
  JsonLine& text(const std::string& name, const std::string& value);
  JsonLine& number(const std::string& name, double value, int digits = 0);
  // cpu_us_per_op, and the same by server.
  JsonLine& processor(const ProcessorTime& processor, uint64_t operations);
  // ops_per_s, p50_us, p99_us, longest_gap_ms, errors.
  JsonLine& recorder(const Recorder& recorder);
  void print() const;

 private:
  std::string fields_;
};

}  // namespace understudy::bench
