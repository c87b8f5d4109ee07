#include "tests/sim/run_shrink.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <set>

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;
using WallClock = std::chrono::steady_clock;

// A report as lines of "KEY VALUE".
std::string write_report(const RunReport& report) {
  std::string text = "acknowledged " + std::to_string(report.acknowledged) + "\nrefused " + std::to_string(report.refused) +
                     "\nunknown " + std::to_string(report.unknown) + "\nreads " + std::to_string(report.reads) +
                     "\nepochs " + std::to_string(report.epochs) + "\npromotions " + std::to_string(report.promotions) +
                     "\nset_aside " + std::to_string(report.set_aside) + "\ntrace " + std::to_string(report.trace_hash) +
                     "\nsimulated " + std::to_string(report.simulated.count()) + "\n";
  for (const auto& [kind, count] : report.faults) text += "fault " + kind + " " + std::to_string(count) + "\n";
  for (std::string violation : report.violations) {
    std::ranges::replace(violation, '\n', ' ');
    text += "violation " + violation + "\n";
  }
  return text + "end\n";
}

// False: it breaks off.
bool read_report(const std::string& text, RunReport* report) {
  size_t at = 0;
  while (at < text.size()) {
    size_t end = text.find('\n', at);
    if (end == text.npos) return false;
    std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line == "end") return true;
    size_t blank = line.find(' ');
    std::string key = line.substr(0, blank), value = line.substr(blank + 1);
    uint64_t number = std::strtoull(value.c_str(), nullptr, 10);
    if (key == "acknowledged") report->acknowledged = number;
    if (key == "refused") report->refused = number;
    if (key == "unknown") report->unknown = number;
    if (key == "reads") report->reads = number;
    if (key == "epochs") report->epochs = number;
    if (key == "promotions") report->promotions = number;
    if (key == "set_aside") report->set_aside = number;
    if (key == "trace") report->trace_hash = number;
    if (key == "simulated") report->simulated = Duration(static_cast<int64_t>(number));
    if (key == "fault") report->faults[value.substr(0, value.find(' '))] = std::strtoull(value.c_str() + value.find(' '), nullptr, 10);
    if (key == "violation") report->violations.push_back(value);
  }
  return false;
}

void write_all(int fd, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    ssize_t count = write(fd, text.data() + done, text.size() - done);
    if (count <= 0) return;
    done += static_cast<size_t>(count);
  }
}

class Shrinker {
 public:
  Shrinker(RunScript script, std::string rule, WallClock::time_point end)
      : best_(std::move(script)), rule_(std::move(rule)), end_(end) {}

  RunScript run() {
    cut_the_end();
    without_kinds();
    without_steps();
    without_clients();
    return best_;
  }

 private:
  bool time_left() const { return WallClock::now() < end_; }

  bool still_broken(const RunScript& script) {
    RunReport report = play_apart(script, 60s);
    return std::ranges::any_of(report.violations, [&](auto& one) { return rule_of(one) == rule_; });
  }
  bool take_if_broken(RunScript script) {
    if (!time_left() || !still_broken(script)) return false;
    best_ = std::move(script);
    return true;
  }

  // Faults later than this, and what clients do by then, do not matter.
  void cut_the_end() {
    Duration low{}, high = best_.scene.faulty_for;
    while (high - low > 100ms && time_left()) {
      Duration middle = low + (high - low) / 2;
      RunScript script = best_;
      script.scene.faulty_for = middle;
      std::erase_if(script.steps, [&](auto& step) { return step.client < 0 && step.time > middle; });
      (take_if_broken(std::move(script)) ? high : low) = middle;
    }
  }

  void without_kinds() {
    std::set<std::string> kinds;
    for (const Step& step : best_.steps) kinds.insert((step.client < 0 ? "at " : "") + step.words[0]);
    for (int client = 0; client < static_cast<int>(best_.scene.clients); ++client) {
      RunScript script = best_;
      std::erase_if(script.steps, [&](auto& step) { return step.client == client; });
      if (script.steps.size() < best_.steps.size()) take_if_broken(std::move(script));
    }
    for (const std::string& kind : kinds) {
      RunScript script = best_;
      std::erase_if(script.steps, [&](auto& step) { return (step.client < 0 ? "at " : "") + step.words[0] == kind; });
      if (script.steps.size() < best_.steps.size()) take_if_broken(std::move(script));
    }
  }

  // Zeller's ddmin: leave out ever smaller runs of steps. A client's next step waits for
  // what is left out before it, so that times stay.
  void without_steps() {
    for (size_t size = std::max<size_t>(best_.steps.size() / 2, 1); time_left();) {
      bool shorter = false;
      for (size_t at = 0; at < best_.steps.size() && time_left();) {
        if (take_if_broken(without(at, std::min(at + size, best_.steps.size())))) {
          shorter = true;
        } else {
          at += size;
        }
      }
      if (size == 1 && !shorter) return;
      size = std::max<size_t>(size / 2, 1);
    }
  }

  RunScript without(size_t from, size_t to) const {
    RunScript script = best_;
    script.steps.clear();
    std::map<int, Duration> owed;
    for (size_t i = 0; i < best_.steps.size(); ++i) {
      Step step = best_.steps[i];
      if (i >= from && i < to) {
        if (step.client >= 0) owed[step.client] += step.time;
        continue;
      }
      if (step.client >= 0) step.time += std::exchange(owed[step.client], Duration::zero());
      script.steps.push_back(std::move(step));
    }
    return script;
  }

  void without_clients() {
    RunScript script = best_;
    uint32_t needed = 1;
    for (const Step& step : script.steps) needed = std::max(needed, static_cast<uint32_t>(step.client + 1));
    if (needed == script.scene.clients) return;
    script.scene.clients = needed;
    take_if_broken(std::move(script));
  }

  RunScript best_;
  const std::string rule_;
  const WallClock::time_point end_;
};

}  // namespace

std::string rule_of(const std::string& violation) { return violation.substr(0, violation.find(']') + 1); }

RunReport play_apart(const RunScript& script, std::chrono::seconds limit) {
  RunReport report;
  int ends[2];
  std::fflush(nullptr);
  if (pipe(ends) != 0) return play(script);
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    write_all(ends[1], write_report(play(script)));
    std::fflush(nullptr);
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  auto end = WallClock::now() + limit;
  bool hangs = false;
  while (true) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - WallClock::now()).count();
    pollfd waiting{ends[0], POLLIN, 0};
    if (left <= 0 || poll(&waiting, 1, static_cast<int>(left)) == 0) {
      hangs = true;
      kill(child, SIGKILL);
      break;
    }
    char buffer[4096];
    ssize_t count = read(ends[0], buffer, sizeof buffer);
    if (count <= 0) break;
    text.append(buffer, static_cast<size_t>(count));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (hangs) {
    report.violations.push_back("[hang] no end after " + std::to_string(limit.count()) + " s of real time");
  } else if (!read_report(text, &report)) {
    report = {};
    report.violations.push_back(WIFSIGNALED(status) ? std::string("[crash] ") + strsignal(WTERMSIG(status))
                                                    : "[crash] status " + std::to_string(WEXITSTATUS(status)));
  }
  return report;
}

RunScript shortest(const RunScript& script, const RunReport& broken, std::chrono::seconds limit) {
  if (broken.violations.empty()) return script;
  return Shrinker(script, rule_of(broken.violations[0]), WallClock::now() + limit).run();
}

}  // namespace understudy::sim
