// Tells the name node of every version that was made here (ANNOUNCE), in log
// order, from what it confirmed last: one call in flight, the next at once behind
// it with all that became durable meanwhile. A lost answer is harmless: the name
// node says at the next registration where to go on.
#pragma once

#include "common/base/result.h"
#include "common/base/types.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/wire/understudy.pb.h"

namespace understudy {

class Peer;
struct ServerState;

class Announcer {
 public:
  static constexpr size_t kItemsMax = 2000;

  Announcer(ServerState* state, Incarnation incarnation);

  // What REGISTER's answer says.
  void go_on_behind(Lsn confirmed);
  Lsn confirmed() const { return confirmed_; }

  // Announces over `peer` until that fails: then register again.
  Task<void> run(Peer* peer, Duration call_timeout);

  // Until all that is durable now is announced and confirmed. MOVED: this server
  // is not serving, so there is nobody to announce for.
  Task<Status> flush();

 private:
  size_t take_held(std::vector<wire::AnnounceItem>& items);

  ServerState* state_;
  Incarnation incarnation_;
  Lsn confirmed_ = kNoLsn;
  Lsn looked_through_ = kNoLsn;  // All below is announced, or was not to be.
  bool waits_for_space_ = false;
  Lsn waits_upto_ = kNoLsn;  // The confirmation of versions up to here is waited for,
  Instant waits_until_{};    // and how long.
  Notifier progress_;
};

}  // namespace understudy
