// Many files at once, and what they must read as.
#pragma once

#include <map>
#include <string>

#include "tests/sim/sim_client.h"

namespace understudy::sim {

// Bytes that tell where they belong: of `label`, and of nothing else.
Bytes labelled_content(const std::string& label, uint64_t size);

// A whole file as a download's target, and as an upload's source.
class KeptSink : public client::Sink {
 public:
  Task<Status> write(Bytes bytes) override;
  Status restart() override;
  Bytes content;
};

class GivenSource : public client::Source {
 public:
  explicit GivenSource(Bytes content) : content_(std::move(content)) {}
  Task<Result<Bytes>> read(uint64_t offset, uint32_t size) override;

 private:
  Bytes content_;
};

class FilledFiles {
 public:
  // Puts `count` files into `folder`, eight at a time; says what failed.
  std::string fill(SimClient& client, const std::string& folder, uint64_t count, uint64_t size);
  // Reads them all; says what is not as it was acknowledged.
  std::string check(SimClient& client);

 private:
  struct Work;
  static Task<Unit> run_all(Env& env, Work* work);
  static Task<void> put_some(client::Session* session, Work* work);
  static Task<void> check_some(client::Session* session, Work* work);

  std::map<std::string, Bytes> files_;
  uint64_t rounds_ = 0;
};

}  // namespace understudy::sim
