#include "common/tls/tls_connection.h"

#include <algorithm>

#include "common/base/coding.h"
#include "common/base/log.h"
#include "common/tls/tls_net.h"
#include "common/wire/frame.h"
#include "common/wire/understudy.pb.h"

namespace understudy {
namespace {

constexpr size_t kReadSizeMax = 256 << 10;  // As Connection::read() promises.
constexpr uint8_t kHandshakeRecord = 22;
constexpr size_t kRecordHeaderSize = 5;
// Ours is some 300 bytes.
constexpr size_t kClientHelloMax = 4 << 10;
constexpr size_t kRequestIdAt = 16;

// The refusal that a plaintext client understands, as an answer to its Hello.
Bytes plain_refusal(BytesView hello, const std::string& why) {
  uint64_t request = hello.size() >= kFrameHeaderSize ? load_fixed<uint64_t>(hello.data() + kRequestIdAt) : 1;
  FrameWriter writer;
  writer.add({FrameKind::kError, wire::HELLO, request, encode_error({Code::kInvalid, why}), {}});
  Bytes all;
  for (Bytes& piece : writer.take()) all += piece;
  return all;
}

bool begins_plain(BytesView bytes) { return bytes.size() >= 4 && load_fixed<uint32_t>(bytes.data()) == kFrameMagic; }

}  // namespace

TlsConnection::TlsConnection(Env& env, TlsNet* net, std::unique_ptr<Connection> raw, std::unique_ptr<TlsEngine> engine)
    : env_(env),
      net_(net),
      raw_(std::move(raw)),
      engine_(std::move(engine)),
      established_(env.executor),
      wanted_(env.executor),
      tasks_(env.executor) {
  place_ = net_->connections_.insert(net_->connections_.end(), this);
  deadline_ = env_.clock.schedule(env_.clock.now() + TlsNet::kHandshakeWithin, [this] {
    deadline_.reset();
    break_with({Code::kUnavailable, peer() + ": no TLS handshake in time"});
  });
  tasks_.spawn(run());
}

TlsConnection::~TlsConnection() {
  close();
  if (net_) net_->connections_.erase(place_);
}

const PeerIdentity& TlsConnection::identity() const {
  static const PeerIdentity kNobodyYet{.secured = true};
  return engine_ ? engine_->identity() : kNobodyYet;
}

Future<Status> TlsConnection::established() { return established_.future(); }

void TlsConnection::close() { break_with({Code::kUnavailable, "connection with " + peer() + " closed"}); }

void TlsConnection::break_with(Error error) {
  if (broken_) return;
  broken_ = std::move(error);
  if (deadline_) env_.clock.cancel(*deadline_);
  deadline_.reset();
  if (net_) net_->handshake_ends(this);
  raw_->close();
  established_.try_set(std::unexpected(*broken_));
  for (auto& [pieces, promise] : early_writes_) promise.try_set(std::unexpected(*broken_));
  early_writes_.clear();
  if (reader_) std::exchange(reader_, std::nullopt)->try_set(std::unexpected(*broken_));
  wanted_.notify_all();
}

Future<Result<Bytes>> TlsConnection::read() {
  Promise<Result<Bytes>> promise(env_.executor);
  if (!plain_.empty()) {
    promise.set(next_plain());
    wanted_.notify_all();
  } else if (broken_) {
    promise.set(std::unexpected(*broken_));
  } else if (ended_) {
    promise.set(Bytes());
  } else {
    if (reader_) reader_->try_set(fail(Code::kInternal, "two reads of one connection at once"));
    reader_.emplace(promise);
    wanted_.notify_all();
  }
  return promise.future();
}

Future<Status> TlsConnection::write(std::vector<Bytes> pieces) {
  Promise<Status> promise(env_.executor);
  if (!broken_ && !(engine_ && engine_->established())) {
    early_writes_.emplace_back(std::move(pieces), promise);
    return promise.future();
  }
  if (!broken_) {
    if (auto status = engine_->write(std::move(pieces)); !status) break_with(status.error());
  }
  if (!broken_) return raw_->write(engine_->take_output());
  promise.set(std::unexpected(*broken_));
  return promise.future();
}

Bytes TlsConnection::next_plain() {
  Bytes rest;
  if (plain_.size() > kReadSizeMax) {
    rest = plain_.substr(kReadSizeMax);
    plain_.resize(kReadSizeMax);
  }
  return std::exchange(plain_, std::move(rest));
}

void TlsConnection::flush() {
  auto output = engine_->take_output();
  if (!output.empty()) (void)raw_->write(std::move(output));
}

// Reads whenever somebody waits for it, or the handshake does.
Task<void> TlsConnection::run() {
  Status status;
  if (engine_) {
    status = take({});  // Says hello.
  } else {
    status = co_await greet();
  }
  while (status && !broken_ && !ended_) {
    if (engine_->established() && !reader_ && !plain_.empty()) {
      auto wanted = wanted_.wait();
      co_await wanted;
      continue;
    }
    auto arrived = co_await raw_->read();
    if (broken_) co_return;
    if (arrived && !arrived->empty()) {
      status = take(*std::move(arrived));
    } else if (!engine_->established()) {
      status = fail(Code::kUnavailable, "it hung up in the TLS handshake; does it run with --insecure?");
    } else if (!arrived) {
      break_with(arrived.error());
    } else {
      ended_ = true;
    }
  }
  if (broken_) co_return;
  if (status) {
    if (reader_) std::exchange(reader_, std::nullopt)->try_set(Bytes());
    co_return;
  }
  // The other end is told why, before the deadline at the latest.
  if (engine_ && !engine_->established()) {
    if (auto output = engine_->take_output(); !output.empty()) {
      auto sent = raw_->write(std::move(output));
      co_await sent;
    }
  }
  if (engine_ && deadline_ && engine_->side() == TlsEngine::Side::kServer) {
    log_warning(peer() + ": TLS handshake refused: " + status.error().message);
  }
  break_with({status.error().code, peer() + ": " + status.error().message});
}

// A client's first message, which is kept until it is whole: before that nothing is done for it.
Task<Status> TlsConnection::greet() {
  size_t whole = kRecordHeaderSize;
  while (hello_.size() < whole) {
    auto arrived = co_await raw_->read();
    if (broken_) co_return Status();
    if (!arrived) co_return std::unexpected(arrived.error());
    if (arrived->empty()) co_return fail(Code::kUnavailable, "it hung up before the TLS handshake");
    hello_ += *arrived;
    if (hello_.size() < kRecordHeaderSize) continue;
    if (auto error = not_tls()) {
      if (begins_plain(hello_)) {
        log_warning(peer() + ": speaks plaintext to a TLS port; refused");
        std::vector<Bytes> refusal;
        refusal.push_back(plain_refusal(hello_, "this cluster speaks TLS: leave --insecure away"));
        co_await raw_->write(std::move(refusal));
      }
      co_return std::unexpected(*std::move(error));
    }
    whole = kRecordHeaderSize + (static_cast<uint8_t>(hello_[3]) << 8) + static_cast<uint8_t>(hello_[4]);
    if (whole > kClientHelloMax) co_return fail(Code::kUnavailable, "a TLS hello too long to be one of ours");
  }
  co_await net_->handshake_turn();
  if (broken_) co_return Status();
  if (!net_->credentials_->context()) co_return fail(Code::kUnavailable, "no certificate here yet");
  net_->handshake_begins(this);
  engine_ = std::make_unique<TlsEngine>(net_->credentials_->context(), TlsEngine::Side::kServer);
  Instant begun = env_.clock.now();
  Status taken = take(std::exchange(hello_, Bytes()));
  net_->handshake_took(env_.clock.now() - begun);
  co_return taken;
}

std::optional<Error> TlsConnection::not_tls() const {
  if (begins_plain(hello_)) return Error{Code::kUnavailable, "speaks plaintext to a TLS port"};
  if (static_cast<uint8_t>(hello_[0]) == kHandshakeRecord && hello_[1] == 3) return std::nullopt;
  return Error{Code::kUnavailable, "does not speak TLS"};
}

Status TlsConnection::take(Bytes arrived) {
  if (!engine_->established() && begins_plain(arrived)) {
    return fail(Code::kInvalid, "speaks plaintext: it runs with --insecure; give --insecure here too, or start it without");
  }
  bool was_established = engine_->established();
  RETURN_IF_ERROR(engine_->feed(std::move(arrived), plain_));
  flush();
  if (!was_established && engine_->established()) now_established();
  ended_ = ended_ || engine_->ended();
  if (reader_ && !plain_.empty()) std::exchange(reader_, std::nullopt)->try_set(next_plain());
  return {};
}

void TlsConnection::now_established() {
  if (deadline_) env_.clock.cancel(*deadline_);
  deadline_.reset();
  net_->handshake_ends(this);
  if (engine_->believe_first()) net_->credentials_->believe(engine_->authority());
  established_.try_set({});
  for (auto& [pieces, promise] : std::exchange(early_writes_, {})) {
    auto written = engine_->write(std::move(pieces));
    flush();
    promise.try_set(std::move(written));
  }
}

}  // namespace understudy
