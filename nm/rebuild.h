// The first act of a name node that has lost every disk (--rebuild-from-servers): it
// listens, lets the storage servers register, takes down what each keeps of names,
// and leaves a catalogue in its folder with which it then starts as always.
//
// Nothing is written for good before all that were named have been listed: a rebuilding
// that ends sooner can simply be begun again. Storage servers only answer; nothing in
// their folders changes.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/wire/peer.h"
#include "common/tls/join_token.h"
#include "common/wire/peer_crowd.h"
#include "common/wire/trust.pb.h"
#include "nm/catalogue_rebuild.h"

namespace understudy {

class ClusterAuthority;

struct RebuildOptions {
  std::string folder;                 // The name node's, locked, without a catalogue.
  Address listen;
  uint64_t id = 1;
  std::vector<std::string> servers;   // All of them are waited for.
  std::vector<std::string> without;   // May come later.
  const ClusterAuthority* authority = nullptr;  // Outlives it; nullptr: without certificates.
};

class Rebuild {
 public:
  Rebuild(Env& env, RebuildOptions options);
  ~Rebuild();

  // Until the catalogue stands in the folder.
  Task<Status> run();
  // Where it listens; empty before.
  const Address& address() const { return address_; }

 private:
  class Session;

  Task<Status> clear_folder();
  Task<void> accept();
  Task<void> serve(std::unique_ptr<Connection> connection);
  Task<Status> hand_out_token();
  Result<Reply> enroll(const wire::EnrollRequest& request) const;
  Result<Reply> register_server(Session* session, const wire::RegisterRequest& request);
  Task<void> list(std::shared_ptr<Peer> peer, std::string server);
  std::string waiting_for() const;

  Env& env_;
  RebuildOptions options_;
  Address address_;
  std::optional<JoinToken> token_;
  std::unique_ptr<CatalogueRebuild> catalogue_;
  std::set<std::string> listed_;
  std::set<std::string> being_listed_;
  Status failure_;
  Notifier changed_;
  PeerCrowd crowd_;
  std::unique_ptr<Listener> listener_;
  TaskGroup tasks_;
};

}  // namespace understudy
