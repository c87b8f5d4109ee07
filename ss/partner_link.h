// The connection to the other half of the pair, where the replication path is direct:
// dialled when something is to be asked, at the address that the other half registered
// with; kept as long as it holds. Over TLS each side proves by its certificate that it
// is that server; over plaintext (--insecure) the name is all there is.
#pragma once

#include <memory>
#include <string>

#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/wire/call.h"
#include "common/wire/peer.h"
#include "common/wire/understudy.pb.h"
#include "ss/server_state.h"

namespace understudy {

class PartnerLink {
 public:
  explicit PartnerLink(ServerState* state) : state_(state), connecting_(state->env.executor, 1), tasks_(state->env.executor) {}
  ~PartnerLink() { tasks_.cancel(); }
  PartnerLink(const PartnerLink&) = delete;
  PartnerLink& operator=(const PartnerLink&) = delete;

  // UNAVAILABLE: it cannot be reached at `other`, or is not that server. After a failed
  // attempt the next one waits a second, and is refused at once until then.
  Task<Result<std::shared_ptr<Peer>>> connected(wire::Endpoint other);

  template <class R, class M>
  Task<Result<R>> call(wire::Endpoint other, wire::MessageType type, M request, Duration timeout, Bytes body = {}) {
    CO_ASSIGN_OR_RETURN(auto peer, co_await connected(std::move(other)));
    co_return co_await understudy::call<R>(peer.get(), type, request, timeout, std::move(body));
  }

 private:
  Task<Status> connect(wire::Endpoint other);
  static Task<void> run(std::shared_ptr<Peer> peer);

  ServerState* state_;
  std::shared_ptr<Peer> peer_;
  Address address_;       // Of peer_.
  Instant not_before_{};
  std::string why_;       // The last attempt that failed.
  Semaphore connecting_;
  TaskGroup tasks_;
};

// Whether the other half may be asked for what only halves ask each other: the name is the
// partner's, as the name node tells it, and as far as anything is proven here the connection is its.
Status check_partner(const ServerState& state, const Peer& peer, const std::string& name);

}  // namespace understudy
