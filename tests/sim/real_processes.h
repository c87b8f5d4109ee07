// Real servers for the chaos test: started, killed, stopped, and cut off from each other by
// network namespaces of their own where the machine lets us make some. All on this machine.
//
// A namespace lives as long as a process that holds it, so nothing is left behind. All
// servers are killed by the destructor, and by the kernel should this process die.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace understudy::sim {

class RealProcesses {
 public:
  // `binaries`: where understudy-nm and understudy-ss are; all data goes under `folder`.
  RealProcesses(std::string binaries, std::string folder);
  ~RealProcesses();
  RealProcesses(const RealProcesses&) = delete;

  // Gives each of `names` a network namespace, and moves this process into one that reaches
  // them. To be called before any thread is begun. Says why it cannot be.
  Status make_namespaces(const std::vector<std::string>& names);
  bool has_namespaces() const { return !holders_.empty(); }

  // Where `name` is to listen, and is reached.
  std::string host(const std::string& name) const;
  std::string folder(const std::string& name) const { return folder_ + "/" + name; }
  // Does nothing if it runs.
  Status start(const std::string& name, const std::vector<std::string>& arguments);
  // False if it does not run.
  bool signal(const std::string& name, int number);
  bool runs(const std::string& name);
  // What it wrote to its standard error and output so far.
  std::string output(const std::string& name) const;

  // Frames from one to the other go nowhere; `client…` is this process.
  void block(const std::string& from, const std::string& to, bool on);
  void isolate(const std::string& name, bool on);

 private:
  int place(const std::string& name) const;  // Its number in the network: 1 is this process.
  std::string in_namespace_of(const std::string& name) const;

  std::string binaries_;
  std::string folder_;
  std::vector<std::string> names_;
  std::map<std::string, pid_t> holders_;
  std::map<std::string, pid_t> pids_;
};

}  // namespace understudy::sim
