#include "tests/sim/real_processes.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace understudy::sim {
namespace {

bool run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

}  // namespace

RealProcesses::RealProcesses(std::string binaries, std::string folder)
    : binaries_(std::move(binaries)), folder_(std::move(folder)) {}

RealProcesses::~RealProcesses() {
  for (auto* group : {&pids_, &holders_}) {
    for (auto [name, pid] : *group) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
  }
}

Status RealProcesses::make_namespaces(const std::vector<std::string>& names) {
  // Before anything is made: a new namespace's loopback is down, and without it nothing could be brought up.
  if (!run("ip -V")) return fail(Code::kDenied, "there is no ip command here");
  if (unshare(CLONE_NEWNET) != 0) {
    return fail(Code::kDenied, std::string("a network namespace cannot be made here: ") + std::strerror(errno));
  }
  bool made = run("ip link set lo up && ip link add hub type bridge && ip link set hub up && ip addr add 10.77.0.1/24 dev hub");
  names_ = names;
  for (const std::string& name : names) {
    int ready[2];
    if (!made || pipe(ready) != 0) break;
    pid_t holder = fork();
    if (holder == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      char answer = unshare(CLONE_NEWNET) == 0 ? 'y' : 'n';
      if (write(ready[1], &answer, 1) != 1) _exit(1);
      while (true) pause();
    }
    holders_[name] = holder;
    char answer = 'n';
    made = read(ready[0], &answer, 1) == 1 && answer == 'y';
    close(ready[0]);
    close(ready[1]);
    std::string link = "u" + std::to_string(place(name));
    made = made && run("ip link add " + link + " type veth peer name eth0 netns " + std::to_string(holder)) &&
           run("ip link set " + link + " master hub up") && run(in_namespace_of(name) + "ip link set lo up") &&
           run(in_namespace_of(name) + "ip addr add " + host(name) + "/24 dev eth0") &&
           run(in_namespace_of(name) + "ip link set eth0 up");
  }
  if (made) return {};
  // This process stays in a namespace with its own loopback: good enough without the others.
  for (auto [name, pid] : holders_) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  holders_.clear();
  if (!run("ip link set lo up")) return fail(Code::kInternal, "the loopback of a new network namespace cannot be set up");
  return fail(Code::kDenied, "network namespaces cannot be connected here");
}

int RealProcesses::place(const std::string& name) const {
  auto at = std::ranges::find(names_, name);
  return at == names_.end() ? 1 : 2 + static_cast<int>(at - names_.begin());
}

std::string RealProcesses::host(const std::string& name) const {
  return has_namespaces() ? "10.77.0." + std::to_string(place(name)) : "127.0.0.1";
}

std::string RealProcesses::in_namespace_of(const std::string& name) const {
  auto holder = holders_.find(name);
  return holder == holders_.end() ? "" : "nsenter --net=/proc/" + std::to_string(holder->second) + "/ns/net ";
}

Status RealProcesses::start(const std::string& name, const std::vector<std::string>& arguments) {
  if (runs(name)) return {};
  std::string program = binaries_ + (name == "nm" ? "/understudy-nm" : "/understudy-ss");
  if (access(program.c_str(), X_OK) != 0) return fail(Code::kNotFound, program + ": no such program");
  std::vector<std::string> words = {program, "--data", folder(name)};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::string output = folder(name) + ".out";
  auto holder = holders_.find(name);
  std::string space = holder == holders_.end() ? "" : "/proc/" + std::to_string(holder->second) + "/ns/net";
  pid_t pid = fork();
  if (pid < 0) return fail(Code::kInternal, std::string("fork: ") + std::strerror(errno));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int out = open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(out, 1);
    dup2(out, 2);
    if (!space.empty()) {
      int net = open(space.c_str(), O_RDONLY);
      if (net < 0 || setns(net, CLONE_NEWNET) != 0) _exit(126);
    }
    execv(argv[0], argv.data());
    _exit(127);
  }
  pids_[name] = pid;
  return {};
}

bool RealProcesses::runs(const std::string& name) {
  auto at = pids_.find(name);
  if (at == pids_.end()) return false;
  if (waitpid(at->second, nullptr, WNOHANG) == 0) return true;
  pids_.erase(at);
  return false;
}

bool RealProcesses::signal(const std::string& name, int number) {
  return runs(name) && kill(pids_.at(name), number) == 0;
}

std::string RealProcesses::output(const std::string& name) const {
  std::ifstream file(folder(name) + ".out");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// A neighbour at an address that nobody has: what is sent there is lost without a word.
void RealProcesses::block(const std::string& from, const std::string& to, bool on) {
  if (!has_namespaces()) return;
  std::string device = place(from) == 1 ? "hub" : "eth0";
  std::string command = in_namespace_of(from) + "ip neigh ";
  if (on) {
    run(command + "replace " + host(to) + " lladdr 02:00:00:00:00:01 nud permanent dev " + device);
  } else {
    run(command + "del " + host(to) + " dev " + device);
  }
}

void RealProcesses::isolate(const std::string& name, bool on) {
  if (!has_namespaces() || place(name) == 1) return;
  run("ip link set u" + std::to_string(place(name)) + (on ? " down" : " up"));
}

}  // namespace understudy::sim
