// One connection to the name node, of a client or of a storage server. For name_node.cc
// and name_node_calls.cc alone.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/wire/understudy.pb.h"
#include "nm/name_node.h"

namespace understudy {

class NameNode::Session : public PeerHandler {
 public:
  explicit Session(NameNode* node) : number(++node->connections_), node_(node) {}

  Task<Result<Reply>> handle(Peer*, uint16_t type, Bytes message, Bytes) override {
    return node_->dispatch(this, type, std::move(message));
  }

  // Who speaks for a server has registered it here.
  [[nodiscard]] Status speaks_for(const std::string& name) const;

  const uint64_t number;  // In the order in which connections came.
  std::shared_ptr<Peer> peer;
  bool greeted = false;
  wire::HelloRequest::Role role = wire::HelloRequest::ROLE_NONE;
  Caller caller;       // A client, once it is known.
  std::optional<Error> token_refused;  // Why not by the token that it showed.
  std::string server;  // Once registered.

 private:
  NameNode* node_;
};

}  // namespace understudy
