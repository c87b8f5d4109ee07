// What the name node signs for its clients to show to storage servers: that a user may
// do something with a file, for a while, under the epoch that now is. Each pair has keys
// of its own, in the catalogue; its servers get them when they register, and new ones
// with a heartbeat's answer. A key signs once every server of the pair that is here has it.
#pragma once

#include <map>
#include <string>

#include "common/base/right.h"
#include "common/crypto/key_ring.h"
#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/identity.pb.h"
#include "common/wire/understudy.pb.h"
#include "nm/proposer.h"
#include "nm/server_links.h"
#include "nm/sessions.h"

namespace understudy {

class Catalogue;
struct Node;
struct Pair;

class Capabilities {
 public:
  // All outlive it.
  Capabilities(Env& env, const IdentityOptions& options, Catalogue* catalogue, Proposer* proposer, ServerLinks* links);

  // Empty if `right` is none, or the pair has no key yet. `name` goes in where it may be written.
  Bytes issue(const Node& node, const Pair& pair, const std::string& user, Right right, const wire::NameRecord& name);

  // For the answers to a pair's server.
  void hand_out(const std::string& server, wire::RegisterReply* reply);
  void hand_out(const wire::HeartbeatRequest& request, wire::HeartbeatReply* reply);

  // New keys for all pairs and for sessions, in the name of `user`.
  Task<Result<wire::CommandOutcome>> rotate(std::string user, wire::RequestNumber request);
  // Keys that are missing or too old; nothing to do most of the time.
  Task<void> keep_house();

 private:
  struct PairKeys {
    uint64_t looked_at = 0;
    KeyRing ring{"understudy capability", 16};
    std::vector<KeyRing::Key> keys;  // Newest first.
  };
  PairKeys& keys_of(const std::string& pair);
  uint32_t signing_key(const Pair& pair, const PairKeys& keys);
  const Pair* pair_of(const std::string& server) const;

  Env& env_;
  int64_t life_us_;
  int64_t key_life_us_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  std::map<std::string, PairKeys> pairs_;
};

}  // namespace understudy
