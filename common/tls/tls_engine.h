// Private to common/tls: TLS 1.3 for one connection, as bytes in and bytes out. It does no I/O
// and knows no clock but OpenSSL's, which looks at certificates' validity.
#pragma once

#include <memory>
#include <vector>

#include "common/env/env.h"
#include "common/tls/tls_context.h"

namespace understudy {

class TlsEngine {
 public:
  enum class Side : uint8_t { kClient, kServer };
  TlsEngine(std::shared_ptr<TlsContext> context, Side side);
  ~TlsEngine();
  TlsEngine(const TlsEngine&) = delete;
  TlsEngine& operator=(const TlsEngine&) = delete;

  // What the network brought (nothing, to begin as a client); what it said is appended to `plain`. After
  // an error the connection is over, but take_output() may hold a last word for the other end.
  Status feed(Bytes arrived, Bytes& plain);
  // Only once established.
  Status write(std::vector<Bytes> pieces);
  // For the network.
  std::vector<Bytes> take_output() { return std::exchange(output_, {}); }

  Side side() const { return side_; }
  bool established() const { return established_; }
  // The other end said that nothing more comes.
  bool ended() const { return ended_; }
  // Once established.
  const PeerIdentity& identity() const { return identity_; }
  const Bytes& authority() const { return facts_.authority; }
  WallTime expires() const { return expires_; }  // Of the other end's certificate.
  bool believe_first() const { return context_->believe_first(); }

 private:
  static int bio_read(BIO* bio, char* to, int size);
  static int bio_write(BIO* bio, const char* from, int size);
  static long bio_control(BIO* bio, int command, long, void*);
  static BIO_METHOD* bio_method();

  Status look_at_peer();
  Error failed();
  void reserve_output(size_t plain_bytes);

  std::shared_ptr<TlsContext> context_;
  Side side_;
  TlsPeerFacts facts_;
  SslPointer ssl_;
  Bytes input_;
  size_t input_at_ = 0;
  std::vector<Bytes> output_;
  uint64_t written_under_key_ = 0;
  bool established_ = false;
  bool ended_ = false;
  PeerIdentity identity_;
  WallTime expires_{};
};

}  // namespace understudy
