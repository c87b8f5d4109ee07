// The cluster's authority: the key that signs servers' certificates, kept in the name node's
// data folder, and the name node's own certificate, which is made anew at every start and
// lives in memory only.
//
// authority.pem (0600) holds all there is of it in one file, so that it can be copied to
// further name nodes as it is: the key, its self-signed certificate, and, while an older
// authority is being replaced, the one signed by that and the older certificate. ca.pem
// (0644) has the certificates to believe, for clients.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/tls/certificates.h"
#include "common/tls/tls_credentials.h"

namespace understudy {

inline constexpr char kJoinTokenFile[] = "/join-token";
inline constexpr uint32_t kSecretFileMode = 0600;

struct AuthorityOptions {
  std::string folder;
  std::string name_node;                                // "nm1"
  Duration certificate_lifetime = std::chrono::hours(30 * 24);  // Of servers.
};

class ClusterAuthority {
 public:
  // Makes it if the folder has none. CORRUPT: it cannot be read, which never makes a new one.
  static Task<Result<std::unique_ptr<ClusterAuthority>>> open(Env& env, AuthorityOptions options, TlsCredentials* credentials);

  struct Issued {
    std::vector<Bytes> certificates;  // Its own, then all that leads up to any authority that is believed.
    WallTime expires;
  };
  Result<Issued> issue(BytesView request, PeerIdentity::Role role, const std::string& name) const;

  // A new name node certificate, once that is due.
  Status renew_own();
  // The certificates to believe: the current one's first.
  std::vector<Bytes> believed() const;
  Bytes fingerprint() const { return fingerprint_; }
  // Of all in believed().
  const std::vector<Bytes>& fingerprints() const { return fingerprints_; }
  // Differs whenever believed() does; never 0.
  uint64_t generation() const;
  bool replacing() const { return !previous_.empty(); }

  // A new authority, believed beside the one before: CONFLICT while one is being replaced already.
  Task<Status> replace();
  // The one before is believed no more.
  Task<Status> forget_previous();

 private:
  ClusterAuthority(Env& env, AuthorityOptions options, TlsCredentials* credentials);
  Task<Status> load_or_make();
  Task<Status> show_believed();
  Task<Status> store(Signer signer, std::vector<Bytes> crossed, std::vector<Bytes> previous);
  Status use(Signer signer, std::vector<Bytes> crossed, std::vector<Bytes> previous);
  Status show_own();
  std::vector<Bytes> chain() const;
  Result<Signer> make_signer() const;

  Env& env_;
  AuthorityOptions options_;
  TlsCredentials* credentials_;
  Signer signer_;
  Bytes fingerprint_;
  std::vector<Bytes> fingerprints_;
  std::vector<Bytes> crossed_;   // The current one, signed by the previous.
  std::vector<Bytes> previous_;
  WallTime renew_own_at_{};
};

}  // namespace understudy
