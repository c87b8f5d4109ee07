// Private to common/tls: one connection, its engine over another Connection.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/tls/tls_engine.h"

namespace understudy {

class TlsNet;

class TlsConnection final : public Connection {
 public:
  // As a server if `engine` is nothing: it is made when the other end has said hello.
  TlsConnection(Env& env, TlsNet* net, std::unique_ptr<Connection> raw, std::unique_ptr<TlsEngine> engine);
  ~TlsConnection() override;

  Future<Result<Bytes>> read() override;
  Future<Status> write(std::vector<Bytes> pieces) override;
  void close() override;
  Address peer() const override { return raw_->peer(); }
  const PeerIdentity& identity() const override;

  // Set when the handshake is done, or has failed.
  Future<Status> established();
  // Of the other end's certificate; nullptr without one.
  const TlsEngine* engine() const { return engine_.get(); }
  void break_with(Error error);

 private:
  friend class TlsNet;

  Task<void> run();
  Task<Status> greet();
  Status take(Bytes arrived);
  Bytes next_plain();
  void flush();
  void now_established();
  std::optional<Error> not_tls() const;

  Env& env_;
  TlsNet* net_;
  std::unique_ptr<Connection> raw_;
  std::unique_ptr<TlsEngine> engine_;
  Bytes hello_;  // The beginning of what a client said, until it is whole.
  Bytes plain_;  // Decrypted, and not yet read.
  bool ended_ = false;
  std::optional<Error> broken_;
  std::optional<Promise<Result<Bytes>>> reader_;
  Promise<Status> established_;
  std::vector<std::pair<std::vector<Bytes>, Promise<Status>>> early_writes_;
  std::optional<TimerId> deadline_;
  Notifier wanted_;
  std::list<TlsConnection*>::iterator place_;
  std::optional<std::list<TlsConnection*>::iterator> handshake_place_;
  TaskGroup tasks_;  // Last: uses all of the above.
};

}  // namespace understudy
