#include "common/tls/tls_net.h"

#include <algorithm>
#include <deque>

#include "common/base/log.h"
#include "common/tls/tls_connection.h"

namespace understudy {
namespace {

// So much of handshakes is done at once before their share counts.
constexpr Duration kHandshakeBurst = std::chrono::milliseconds(200);
constexpr int kHandshakeShare = 2;  // One of so many parts of the time.

}  // namespace

class TlsNet::TlsListener final : public Listener {
 public:
  TlsListener(Env& env, TlsNet* net, std::unique_ptr<Listener> raw) : env_(env), net_(net), raw_(std::move(raw)), tasks_(env.executor) {}
  ~TlsListener() override {
    for (auto& waiter : waiters_) waiter.try_set(fail(Code::kUnavailable, "listener on " + raw_->local() + " closed"));
  }
  Future<Result<std::unique_ptr<Connection>>> accept() override {
    auto future = waiters_.emplace_back(env_.executor).future();
    tasks_.spawn(accept_one());
    return future;
  }
  Address local() const override { return raw_->local(); }
  void close() override { raw_->close(); }

 private:
  Task<void> accept_one() {
    auto raw = co_await raw_->accept();
    auto waiter = std::move(waiters_.front());
    waiters_.pop_front();
    if (raw) {
      waiter.try_set(std::make_unique<TlsConnection>(env_, net_, *std::move(raw), nullptr));
    } else {
      waiter.try_set(std::unexpected(raw.error()));
    }
  }

  Env& env_;
  TlsNet* net_;
  std::unique_ptr<Listener> raw_;
  std::deque<Promise<Result<std::unique_ptr<Connection>>>> waiters_;
  TaskGroup tasks_;
};

// Cancels its timer wherever the coroutine that has it ends.
class TlsNet::Timer {
 public:
  Timer(Clock& clock, Instant at, std::function<void()> callback) : clock_(clock), id_(clock.schedule(at, std::move(callback))) {}
  Timer(const Timer&) = delete;
  ~Timer() { clock_.cancel(id_); }

 private:
  Clock& clock_;
  TimerId id_;
};

TlsNet::TlsNet(Env& env, TlsCredentials* credentials) : env_(env), credentials_(credentials), dialling_(env.executor) {}

TlsNet::~TlsNet() {
  dialling_.cancel();
  // Some may stand in a ready queue still, accepted and taken by nobody.
  while (!connections_.empty()) {
    TlsConnection* left = connections_.front();
    left->close();
    left->net_ = nullptr;
    connections_.pop_front();
  }
}

Future<Result<std::unique_ptr<Connection>>> TlsNet::connect(Address address, Duration timeout) {
  Promise<Result<std::unique_ptr<Connection>>> done(env_.executor);
  auto future = done.future();
  if (credentials_->ready()) {
    dialling_.spawn(dial(std::move(address), timeout, done));
  } else {
    done.set(fail(Code::kUnavailable, address + ": whom to believe there is not known yet"));
  }
  return future;
}

Task<void> TlsNet::dial(Address address, Duration timeout, Promise<Result<std::unique_ptr<Connection>>> done) {
  Instant until = env_.clock.now() + timeout;
  auto raw = co_await env_.net.connect(address, timeout);
  if (!raw) {
    done.try_set(std::unexpected(raw.error()));
    co_return;
  }
  auto engine = std::make_unique<TlsEngine>(credentials_->context(), TlsEngine::Side::kClient);
  auto connection = std::make_unique<TlsConnection>(env_, this, *std::move(raw), std::move(engine));
  auto established = connection->established();
  TlsConnection* waiting = connection.get();
  Timer timer(env_.clock, until, [waiting, address] {
    waiting->break_with({Code::kUnavailable, "cannot connect to " + address + ": no TLS handshake in time; does it run with --insecure?"});
  });
  Status status = co_await established;
  if (status) {
    done.try_set(std::move(connection));
  } else {
    done.try_set(std::unexpected(status.error()));
  }
}

Result<std::unique_ptr<Listener>> TlsNet::listen(const Address& address) {
  ASSIGN_OR_RETURN(auto raw, env_.net.listen(address));
  return std::make_unique<TlsListener>(env_, this, std::move(raw));
}

Task<void> TlsNet::handshake_turn() {
  Instant now = env_.clock.now();
  Instant at = std::max(next_turn_, now - kHandshakeBurst);
  next_turn_ = at + kHandshakeShare * usual_cost_;
  if (at <= now) co_return;
  auto turn = sleep_for(env_, at - now);
  co_await turn;
}

void TlsNet::handshake_took(Duration spent) { usual_cost_ = (usual_cost_ * 15 + spent) / 16; }

void TlsNet::handshake_begins(TlsConnection* connection) {
  connection->handshake_place_ = handshakes_.insert(handshakes_.end(), connection);
  if (handshakes_.size() > kHandshakesMax) {
    handshakes_.front()->break_with({Code::kUnavailable, "too many TLS handshakes at once, and this one is the oldest"});
  }
}

void TlsNet::handshake_ends(TlsConnection* connection) {
  if (!connection->handshake_place_) return;
  handshakes_.erase(*connection->handshake_place_);
  connection->handshake_place_.reset();
}

void TlsNet::close_outdated() {
  std::vector<TlsConnection*> outdated;
  WallTime now = env_.clock.wall();
  for (TlsConnection* connection : connections_) {
    const TlsEngine* engine = connection->engine();
    if (!engine || !engine->established() || engine->identity().role == PeerIdentity::Role::kNone) continue;
    if (engine->expires() <= now || !credentials_->believes(engine->authority())) outdated.push_back(connection);
  }
  for (TlsConnection* connection : outdated) {
    log_info(connection->peer() + ": the certificate of " + connection->identity().name + " counts no more; connection closed");
    connection->break_with({Code::kUnavailable, "the certificate of " + connection->identity().name + " counts no more"});
  }
}

}  // namespace understudy
