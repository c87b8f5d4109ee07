// The clients of a random run. Each has files of its own, whose names and newest
// contents it knows exactly as far as its answers told it, and takes part in shared
// files, where only every single content is checked.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/cluster.h"
#include "tests/sim/run_ledger.h"
#include "tests/sim/sim_random.h"

namespace understudy::sim {

class RunClient {
 public:
  RunClient(Cluster& cluster, RunLedger* ledger, int number, SimRandom random);

  // Makes the folders; once, before begin().
  bool prepare();
  void begin();
  // It ends after the operation that it is at.
  void stop() { stopping_ = true; }
  bool stopped() const { return stopped_; }
  uint64_t reads() const { return reads_; }
  // In the healed cluster: what it knows of its own files must be so.
  void check_own_files();

 private:
  // One of its own names.
  struct Own {
    std::string path;
    enum class State : uint8_t { kAbsent, kPresent, kMaybe } state = State::kAbsent;
    std::set<Token> makers;  // Whose version a read may find.
  };

  Task<void> run();
  Task<void> write(std::string path, Own* own);
  Task<void> append(std::string path, Own* own);
  Task<void> read(std::string path, Own* own);
  Task<void> remove(Own* own);
  Task<void> move(Own* own);
  void note_write(Token token, const Result<wire::VersionReply>& reply, const std::string& what, Own* own);
  void note_read(const std::string& path, const Result<client::ReadAnswer>& answer, BytesView content, const Own* own);
  // With SIM_LOG in the environment.
  void tell(const std::string& what, const std::string& answer);
  // What may not be said whatever happens.
  void check_error(const std::string& what, const Error& error, const Own* own);
  void abandon(Own* own);
  std::string fresh_path();

  RunLedger* ledger_;
  std::string name_;
  std::string folder_;
  SimRandom random_;
  SimClient& client_;
  std::vector<std::unique_ptr<Own>> own_;
  uint64_t names_ = 0;
  uint64_t reads_ = 0;
  bool stopping_ = false;
  bool stopped_ = false;
};

}  // namespace understudy::sim
