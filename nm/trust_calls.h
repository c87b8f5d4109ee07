// Who gets a certificate: join tokens, ENROLL, and the change of authorities. Beside the calls it
// keeps DATA/join-token fresh, renews the name node's own certificate, and has connections closed whose
// other end is believed no more.
//
// None of this is there in a cluster that runs with --insecure, nor in the simulator.
#pragma once

#include <memory>
#include <string>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "common/tls/join_token.h"
#include "common/wire/trust.pb.h"
#include "nm/authority.h"
#include "nm/proposer.h"

namespace understudy {

class Catalogue;
class TlsNet;

struct TrustOptions {
  std::string folder;
  Duration token_lifetime = std::chrono::hours(24);
};

class TrustCalls {
 public:
  // All pointers outlive it.
  TrustCalls(Env& env, TrustOptions options, TlsNet* tls, std::unique_ptr<ClusterAuthority> authority, Catalogue* catalogue,
             Proposer* proposer);

  // Sees that there is a join token in the folder.
  Task<Status> open();
  // Until it is destroyed.
  Task<void> run();

  // UNAUTHENTICATED: no token that holds, or a name that belongs to another key; says which.
  Task<Result<wire::EnrollReply>> enroll(wire::EnrollRequest request, PeerIdentity identity);
  wire::AuthorityReply authority() const;
  // Of all authorities that are believed now.
  const std::vector<Bytes>& fingerprints() const { return authority_->fingerprints(); }
  Task<Result<wire::IssueTokenReply>> issue_token(wire::IssueTokenRequest request);
  wire::ListTokensReply list_tokens();
  Task<Result<wire::Done>> revoke_token(wire::RevokeTokenRequest request);
  Task<Result<wire::RotateAuthorityReply>> rotate(wire::RotateAuthorityRequest request);

  // Whether this certificate's key is still the name's: a server whose place was taken holds a
  // certificate that looks well for as long as it lasts.
  Status check_key(const PeerIdentity& identity);
  uint64_t generation() const { return authority_->generation(); }
  // What STATUS tells of a server's certificate.
  void describe(const std::string& server, wire::MemberStatus* status);

 private:
  bool token_holds(const wire::EnrollRequest& request);
  Task<Result<JoinToken>> make_token(Duration lifetime);
  std::vector<std::string> without_new_certificate();
  Task<Status> refresh_token_file();

  Env& env_;
  TrustOptions options_;
  TlsNet* tls_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  std::unique_ptr<ClusterAuthority> authority_;
  Semaphore token_file_;  // One writer at a time, of the file and of the authority.
  Semaphore rotating_;
};

}  // namespace understudy
