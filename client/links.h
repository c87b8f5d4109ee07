// The client's connections: one to each address it talks to, dialled when first
// needed and again after it broke. HELLO is exchanged here.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/wire/peer.h"

namespace understudy::client {

// How a call ended.
struct CallOutcome {
  Result<Reply> result;
  bool sent = false;  // It may have reached the server, and done its work there.
};

class Links : private PeerHandler {
 public:
  // Who answers at one of `name_nodes` must be a name node, everybody else a storage server.
  Links(Env& env, std::string user, std::vector<Address> name_nodes);
  ~Links() override;
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;

  // UNAVAILABLE: not reached, connection lost, no answer within `timeout`, or another than `server` by its
  // certificate (empty: whoever it is). Everything else is the server's own answer.
  Task<CallOutcome> call(Address address, std::string server, uint16_t type, Bytes message, Bytes body, Duration timeout);
  // Shown to name nodes, from the next connection on.
  void set_token(Bytes token) { token_ = std::move(token); }
  void on_authorities(std::function<void(std::vector<Bytes>)> hear) { on_authorities_ = std::move(hear); }
  // Until there is no connection to it, or it has said that the session of a sentence is over there: true.
  Task<bool> lost(Address address, uint64_t session);
  // The next call dials anew; those under way fail.
  void hang_up(const Address& address);

 private:
  struct Link;
  // What storage servers ask of those who write sentences.
  Task<Result<Reply>> handle(Peer* peer, uint16_t type, Bytes message, Bytes body) override;
  Task<void> run_peer(std::shared_ptr<Link> link, std::shared_ptr<Peer> peer);
  Task<void> dial(std::shared_ptr<Link> link);
  Task<Result<std::shared_ptr<Peer>>> connected(Address address);

  Env& env_;
  std::string user_;
  std::vector<Address> name_nodes_;
  Bytes token_;
  std::function<void(std::vector<Bytes>)> on_authorities_;
  std::map<Address, std::shared_ptr<Link>> links_;
  TaskGroup tasks_;
};

}  // namespace understudy::client
