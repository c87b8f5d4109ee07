// Calls straight to one storage server, whoever is acting primary: what a client
// does that has heard of nothing.
#pragma once

#include <map>
#include <string>

#include "common/wire/understudy.pb.h"
#include "tests/sim/sim_client.h"

namespace understudy::sim {

class DirectCalls {
 public:
  // Asks the name node where `path` is, and keeps the answer.
  Result<wire::Location> locate(SimClient& client, const std::string& path);
  // PUT, APPEND, READ, or READ-ANY (under no epoch), under what was kept of `path`.
  Result<std::string> send(SimClient& client, const Address& address, const std::string& what, const std::string& path,
                           const std::string& text);
  // The last change again, as it was, or under the epoch that was kept last of its file.
  Result<std::string> again(SimClient& client, const Address& address, bool newer_epoch);

 private:
  struct Call {
    uint16_t type = 0;
    Bytes message;
    Bytes body;
  };
  Result<std::string> call(SimClient& client, const Address& address, const Call& call);

  std::map<std::string, wire::Location> locations_;
  Call last_change_;
  std::string last_path_;
  uint64_t client_id_ = 7'000'001;
  uint64_t sequence_ = 0;
};

}  // namespace understudy::sim
