// Whom the client believes to be the cluster: --ca, the folder of a local cluster, or what was
// remembered when the user said --trust-first. Blocking; used before the loop runs.
#pragma once

#include <string>
#include <vector>

#include "client/options.h"
#include "common/tls/tls_credentials.h"
#include "common/tls/tls_net.h"

namespace understudy::client {

struct Trusted {
  TlsMaterial material;
  std::string remember_in;  // Where what is remembered stands, or with --trust-first will.
};

// `local`: the folder of the local cluster whose name nodes these are; empty: given by address.
// UNAUTHENTICATED if there is nobody to believe: says what to do.
Result<Trusted> whom_to_trust(const ClientOptions& options, const std::string& local);

// The network as the options want it: TLS, or with --insecure none.
class ClientNet {
 public:
  // `plain` outlives it.
  explicit ClientNet(Env& plain) : tls_(plain, &credentials_), plain_(plain), secured_(tls_.env()) {}
  Env& env() { return insecure_ ? plain_ : secured_; }
  Status set(const ClientOptions& options, const std::string& local);
  // A name node that is believed says whom to believe: what is remembered follows it when the authority changes.
  void follow(std::vector<Bytes> fingerprints);
  // What is to be remembered and was not: a line about it for the user; else empty.
  Result<std::string> remember_whom_it_met();

 private:
  TlsCredentials credentials_;
  TlsNet tls_;
  Env& plain_;
  Env secured_;
  bool insecure_ = false;
  std::string remember_in_;
  std::vector<Bytes> remembered_;  // Fingerprints, sorted.
};

}  // namespace understudy::client
