// A Net that speaks TLS 1.3 over another Net (docs/security.md): its connections are secured, and
// name whoever is at the other end. A dialled connection is given out once the other end has
// proven itself; an accepted one at once, and says nothing before its handshake is done.
//
// What a handshake may cost: it has kHandshakeWithin; the memory for it is taken when its first
// message is whole, for kHandshakesMax at once (then the one that has taken longest is closed); together
// they get half of this thread's time, behind a burst that is free.
#pragma once

#include <list>
#include <memory>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/tls/tls_credentials.h"

namespace understudy {

class TlsConnection;

class TlsNet final : public Net {
 public:
  static constexpr Duration kHandshakeWithin = std::chrono::seconds(10);
  static constexpr size_t kHandshakesMax = 512;

  // `credentials` outlive it, and it outlives its connections and listeners.
  TlsNet(Env& env, TlsCredentials* credentials);
  ~TlsNet() override;

  // UNAUTHENTICATED: the other end is not believed, or does not believe us; INVALID: it speaks plaintext.
  Future<Result<std::unique_ptr<Connection>>> connect(Address address, Duration timeout) override;
  Result<std::unique_ptr<Listener>> listen(const Address& address) override;

  TlsCredentials* credentials() { return credentials_; }
  // The world that it was made in, with this as its network.
  Env env() { return {env_.clock, *this, env_.disk, env_.random, env_.executor, env_.workers, env_.processes}; }
  // Closes the connections whose other end is believed no more: its certificate has expired, or its
  // authority counts no more. To be called now and then, and when the authorities changed.
  void close_outdated();

 private:
  friend class TlsConnection;
  class TlsListener;
  class Timer;

  Task<void> dial(Address address, Duration timeout, Promise<Result<std::unique_ptr<Connection>>> done);
  // Until this thread has time for one more.
  Task<void> handshake_turn();
  void handshake_took(Duration spent);
  void handshake_begins(TlsConnection* connection);
  void handshake_ends(TlsConnection* connection);

  Env& env_;
  TlsCredentials* credentials_;
  std::list<TlsConnection*> connections_;
  std::list<TlsConnection*> handshakes_;  // The oldest first.
  Instant next_turn_{};
  Duration usual_cost_ = std::chrono::microseconds(400);
  TaskGroup dialling_;
};

}  // namespace understudy
