// The storage servers that are connected and registered now: where the name node's
// calls to them go. A link is replaced when its server registers again.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "common/base/types.h"
#include "common/wire/understudy.pb.h"

namespace understudy {

class Peer;

struct ServerLink {
  std::string server;
  Incarnation incarnation = 0;
  std::shared_ptr<Peer> peer;
  wire::HeartbeatRequest last_heartbeat;  // Its numbers, for STATUS.
};

class ServerLinks {
 public:
  void set(ServerLink link) { links_[link.server] = std::move(link); }
  // Only if this peer is still the server's link.
  bool drop(const std::string& server, const Peer* peer) {
    auto at = links_.find(server);
    if (at == links_.end() || at->second.peer.get() != peer) return false;
    links_.erase(at);
    return true;
  }
  // The end: connections break, and what was asked over them is dropped.
  void clear() { links_.clear(); }
  ServerLink* find(const std::string& server) {
    auto at = links_.find(server);
    return at == links_.end() ? nullptr : &at->second;
  }
  std::shared_ptr<Peer> peer(const std::string& server) {
    ServerLink* link = find(server);
    return link == nullptr ? nullptr : link->peer;
  }

 private:
  std::map<std::string, ServerLink> links_;
};

}  // namespace understudy
