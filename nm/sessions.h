// Who a client is: log-ins by password, and the tokens that speak for a user from then
// on. A token is signed by a key of the catalogue, expires, and is over when the user's
// password changes; the client library renews it in time.
//
// Passwords are hashed by a worker, one at a time: that bounds the memory and what
// guessing costs the machine. Whoever fails is slowed down (nm/core/login_throttle.h).
#pragma once

#include <string>

#include "common/crypto/key_ring.h"
#include "common/crypto/password.h"
#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/wire/identity.pb.h"
#include "nm/core/login_throttle.h"
#include "nm/proposer.h"

namespace understudy {

class Catalogue;

struct IdentityOptions {
  Duration session_life = std::chrono::hours(12);
  Duration capability_life = std::chrono::seconds(60);
  Duration key_life = std::chrono::hours(24);
  PasswordCost password_cost;
  // The first administrator's; empty: a random one. It stands in the data folder.
  std::string first_password;
};

// A client, as far as it is known.
struct Caller {
  std::string user;  // Empty: not logged in.
  uint64_t user_generation = 0;
  int64_t expires_us = 0;     // In NM time.
  uint64_t session = 0;       // The same in all renewals of a log-in.
  uint64_t looked_up_at = 0;  // Catalogue::people_changes() when it was last found to hold.
};

// Never goes back, and runs on while no command comes.
int64_t name_node_time_us(Env& env, const Catalogue& catalogue);

class Sessions {
 public:
  // All outlive it.
  Sessions(Env& env, IdentityOptions options, Catalogue* catalogue, Proposer* proposer);

  // The key of sessions and, in a new cluster, the first administrator, whose password is
  // left in `folder`/admin-credentials for the machine's own user.
  Task<Status> begin(std::string folder);

  // By password, or renewed by a token. UNAUTHENTICATED: wrong, or too many were.
  Task<Result<wire::LoginReply>> login(wire::LoginRequest request, std::string host);
  // UNAUTHENTICATED: expired, forged, or over.
  Result<Caller> caller(BytesView token);
  // No token of the caller's session holds any more, or of any of the caller's sessions.
  Task<Status> end(Caller caller, bool all);
  // Whether it still holds, which it may not a moment later.
  Status check(Caller* caller);
  int64_t left_ms(const Caller& caller) const;

  // UNAUTHENTICATED, as in login().
  Task<Status> check_password(std::string user, std::string password, std::string host);
  // INVALID: too short or too long. UNAVAILABLE: too many are at it.
  Task<Result<wire::PasswordHash>> hash(std::string password);

 private:
  static constexpr uint64_t kHashesAtOnce = 1;
  static constexpr uint32_t kHashesWaitingMax = 64;

  Task<Status> write_credentials(std::string folder, std::string password);
  // Of nobody: takes as long as a real one.
  wire::PasswordHash no_password() const;
  void look_at_keys();
  wire::LoginReply welcome(const Caller& caller);

  Env& env_;
  IdentityOptions options_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  KeyRing keys_{"understudy session"};
  uint64_t keys_looked_at_ = 0;
  LoginThrottle throttle_;
  Semaphore hashing_;
  uint32_t hashes_waiting_ = 0;
};

}  // namespace understudy
