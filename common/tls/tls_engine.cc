#include "common/tls/tls_engine.h"

#include <algorithm>
#include <cstring>

#include "common/tls/certificates.h"

namespace understudy {
namespace {

constexpr size_t kOutputPieceMax = 1 << 20;
constexpr size_t kRecordPlainMax = 16 << 10;
constexpr size_t kRecordOverhead = 22;
constexpr size_t kScratchSize = 64 << 10;
// RFC 8446, 5.5: AES-GCM stays far on the safe side of 2^24.5 records under one key.
constexpr uint64_t kBytesPerKey = 64ull << 30;

}  // namespace

TlsEngine::TlsEngine(std::shared_ptr<TlsContext> context, Side side)
    : context_(std::move(context)), side_(side), ssl_(SSL_new(context_->ssl())) {
  CHECK(ssl_);
  BIO* bio = BIO_new(bio_method());
  CHECK(bio);
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), &facts_);
  side == Side::kClient ? SSL_set_connect_state(ssl_.get()) : SSL_set_accept_state(ssl_.get());
}

TlsEngine::~TlsEngine() = default;

BIO_METHOD* TlsEngine::bio_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "understudy");
    CHECK(made && BIO_meth_set_read(made, &TlsEngine::bio_read) == 1 && BIO_meth_set_write(made, &TlsEngine::bio_write) == 1 &&
          BIO_meth_set_ctrl(made, &TlsEngine::bio_control) == 1);
    return made;
  }();
  return method;
}

int TlsEngine::bio_read(BIO* bio, char* to, int size) {
  auto* self = static_cast<TlsEngine*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  size_t count = std::min(static_cast<size_t>(size), self->input_.size() - self->input_at_);
  if (count == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  std::memcpy(to, self->input_.data() + self->input_at_, count);
  self->input_at_ += count;
  return static_cast<int>(count);
}

int TlsEngine::bio_write(BIO* bio, const char* from, int size) {
  auto* self = static_cast<TlsEngine*>(BIO_get_data(bio));
  if (self->output_.empty()) self->output_.emplace_back();
  self->output_.back().append(from, static_cast<size_t>(size));
  return size;
}

long TlsEngine::bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

Error TlsEngine::failed() {
  unsigned long code = ERR_peek_last_error();
  std::string words = openssl_words();
  if (!facts_.why.empty()) return {Code::kUnauthenticated, facts_.why};
  switch (ERR_GET_REASON(code)) {
    // What the other end says of ours.
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED: return {Code::kUnauthenticated, "it refuses our certificate: expired"};
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA: return {Code::kUnauthenticated, "it refuses our certificate: not by its cluster's authority"};
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE: return {Code::kUnauthenticated, "it refuses our certificate"};
    default: return {Code::kUnavailable, "TLS: " + words};
  }
}

Status TlsEngine::feed(Bytes arrived, Bytes& plain) {
  ERR_clear_error();
  input_ = std::move(arrived);
  input_at_ = 0;
  if (!established_) {
    int done = SSL_do_handshake(ssl_.get());
    if (done != 1) {
      if (SSL_get_error(ssl_.get(), done) != SSL_ERROR_WANT_READ) return std::unexpected(failed());
      input_ = Bytes();
      return {};
    }
    RETURN_IF_ERROR(look_at_peer());
    established_ = true;
    // Where connections are few their buffers stay; a server's thousands of clients give them back while they are idle.
    if (side_ == Side::kClient || identity_.role != PeerIdentity::Role::kNone) SSL_clear_mode(ssl_.get(), SSL_MODE_RELEASE_BUFFERS);
  }
  if (input_at_ == input_.size()) return {};
  int ended = 0;
  auto decrypt = [&](char* to, size_t size) {
    size_t at = 0;
    while (at < size && ended == 0) {
      int count = SSL_read(ssl_.get(), to + at, static_cast<int>(size - at));
      if (count <= 0) {
        ended = SSL_get_error(ssl_.get(), count);
        break;
      }
      at += static_cast<size_t>(count);
      // All of it was whole records: asking once more would only say so.
      if (input_at_ == input_.size() && SSL_pending(ssl_.get()) == 0) break;
    }
    return at;
  };
  // What comes out is no longer than what came in, and one record that began before.
  size_t room = input_.size() - input_at_ + kRecordPlainMax;
  if (room <= kScratchSize) {
    // Small: by way of a common buffer, so that nothing is kept in a larger one than it needs.
    thread_local std::unique_ptr<char[]> scratch(new char[kScratchSize]);
    plain.append(scratch.get(), decrypt(scratch.get(), kScratchSize));
  } else {
    size_t before = plain.size();
    plain.resize_and_overwrite(before + room, [&](char* to, size_t size) { return before + decrypt(to + before, size - before); });
  }
  input_ = Bytes();
  if (ended == SSL_ERROR_ZERO_RETURN) {
    ended_ = true;
  } else if (ended != SSL_ERROR_WANT_READ && ended != 0) {
    return std::unexpected(failed());
  }
  return {};
}

// Everybody's certificate is checked by now, but may be of a kind that has no business here.
Status TlsEngine::look_at_peer() {
  identity_.secured = true;
  X509* certificate = SSL_get0_peer_certificate(ssl_.get());
  if (certificate == nullptr) return {};
  auto facts = read_certificate(certificate_bytes(certificate));
  if (!facts || facts->role == PeerIdentity::Role::kNone) {
    return fail(Code::kUnauthenticated, "its certificate is none of a server");
  }
  identity_.role = facts->role;
  identity_.name = std::move(facts->name);
  identity_.key = std::move(facts->key);
  expires_ = facts->validity.to;
  return {};
}

void TlsEngine::reserve_output(size_t plain_bytes) {
  size_t sealed = plain_bytes + (plain_bytes / kRecordPlainMax + 1) * kRecordOverhead;
  if (!output_.empty() && output_.back().size() + sealed <= output_.back().capacity()) return;
  output_.emplace_back().reserve(sealed);
}

Status TlsEngine::write(std::vector<Bytes> pieces) {
  CHECK(established_);
  ERR_clear_error();
  size_t left = 0;
  for (const Bytes& piece : pieces) left += piece.size();
  for (Bytes& piece : pieces) {
    if (piece.empty()) continue;
    if (written_under_key_ > kBytesPerKey) {
      if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) return std::unexpected(failed());
      written_under_key_ = 0;
    }
    // One run of memory for all that is small, one for each large piece.
    reserve_output(std::max(piece.size(), std::min(left, kOutputPieceMax / 4)));
    size_t written = 0;
    if (SSL_write_ex(ssl_.get(), piece.data(), piece.size(), &written) != 1) return std::unexpected(failed());
    CHECK(written == piece.size());  // Our BIO takes everything.
    written_under_key_ += piece.size();
    left -= piece.size();
    piece = Bytes();
  }
  return {};
}

}  // namespace understudy
