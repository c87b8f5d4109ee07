// A storage server's connection to the name node: dials, registers, sends
// heartbeats on time, has versions announced, and does all of it again when the
// connection is lost. The name node's own calls come in over the same connection,
// to the handler that is given here.
//
// Leases come in by heartbeat answers and count from the sending of the heartbeat.
#pragma once

#include <memory>
#include <optional>

#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/wire/peer.h"
#include "ss/announcer.h"
#include "ss/server_state.h"

namespace understudy {

class SecondCopies;

class NameNodeLink : public PeerHandler {
 public:
  // `address`: where clients reach this server. `calls` outlives the link.
  NameNodeLink(ServerState* state, Announcer* announcer, PeerHandler* calls, SecondCopies* second_copies,
               Incarnation incarnation, Address address);
  ~NameNodeLink() override;

  // Until the name node refuses this server for good: then says why.
  Task<Error> run();

  // The next heartbeat goes out now: after SERVE was answered.
  void heartbeat_soon();
  // Goodbye, after the lease was given back.
  Task<Status> leave();
  // Asks for the other half to take over; when that is done or cannot be, a leave() is next.
  Task<Status> ask_for_hand_over(Duration limit);
  bool registered() const { return registered_; }
  // One call to the name node; UNAVAILABLE while there is none.
  Task<Result<Reply>> ask(uint16_t type, Bytes message, Duration timeout);

 private:
  struct Connected;
  Task<Result<Reply>> handle(Peer* peer, uint16_t type, Bytes message, Bytes body) override;
  void closed(Peer* peer) override;
  // Whether the server may go on; the error is for good.
  Task<Status> stay_connected(Address address);
  Task<Status> register_here(Peer* peer);
  Task<void> announce(Peer* peer);
  Task<void> send_heartbeats(Peer* peer);
  Task<void> keep_certificate(Peer* peer);
  Task<void> heartbeat(Peer* peer);
  Task<Status> say_goodbye(bool hand_over, Duration limit);
  wire::RegisterRequest registration();
  wire::HeartbeatRequest heartbeat_request() const;
  Error for_now(const Error& error) const;
  void wake(bool lost);

  ServerState* state_;
  Announcer* announcer_;
  SecondCopies* second_copies_;
  PeerHandler* calls_;
  Incarnation incarnation_;
  Address address_;
  Duration heartbeat_interval_;
  Duration failure_timeout_;

  std::unique_ptr<Peer> peer_;
  bool registered_ = false;
  bool ever_registered_ = false;
  bool lost_ = false;             // The connection is of no more use.
  bool register_again_ = false;
  Notifier changed_;              // One of the two above.
  std::optional<Promise<Unit>> heartbeat_due_;
  uint32_t heartbeats_in_flight_ = 0;
  Duration lease_retry_;
  uint64_t attempts_failed_ = 0;  // In a row; logged once an outage.
};

}  // namespace understudy
