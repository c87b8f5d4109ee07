// A storage server's certificate: kept in its data folder, got by a join token the first time,
// renewed over the connection to the name node from then on.
//
// server.pem (0600) has the key, its certificate, and the authorities to believe. Not there in
// a cluster that runs with --insecure, nor in the simulator.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/tls/join_token.h"
#include "common/tls/tls_credentials.h"
#include "common/wire/peer.h"

namespace understudy {

class TlsNet;

struct EnrollmentOptions {
  std::string name;
  std::string folder;
  std::vector<Address> name_nodes;
  std::string token_file;  // --join-token; may be empty.
};

class Enrollment {
 public:
  // `tls` outlives it.
  Enrollment(Env& env, EnrollmentOptions options, TlsNet* tls);

  // Ends when there is a certificate that can be shown. Waits for a name node if it must; an error is for
  // good, with what to do about it.
  Task<Status> begin();
  // While no name node is in reach: whether the token file names another authority than those believed, as when the
  // cluster's was lost; then it joins again with it. The file is only looked at.
  Task<void> rejoin_if_told();
  // Over a registered connection, when it is time or the authorities changed.
  Task<void> renew_if_due(Peer* name_node);
  // Of a heartbeat's answer.
  void heard(uint64_t trust_generation) { generation_heard_ = trust_generation; }
  bool due() const;
  // While it joins, this server shows no certificate: nobody is to dial and say who it is.
  bool joining() const { return joining_; }
  // Changes with what this server shows.
  uint64_t shown() const { return shown_; }
  // Closes connections to whoever is believed no more.
  void close_outdated();

 private:
  Task<Status> load();
  Task<Result<std::optional<JoinToken>>> read_token();
  Task<Status> join(Address address, std::optional<JoinToken> token);
  Task<Status> ask(Peer* name_node, Bytes private_key, std::optional<JoinToken> token);
  Status use(Bytes private_key, std::vector<Bytes> certificates);

  Env& env_;
  EnrollmentOptions options_;
  TlsNet* tls_;
  Bytes private_key_;
  WallTime renew_at_{};
  WallTime expires_{};
  uint64_t generation_ = 0;
  uint64_t generation_heard_ = 0;
  Instant try_again_at_{};
  bool joining_ = false;
  uint64_t shown_ = 0;
  std::string rejoin_refused_;  // Why, as was said last.
};

}  // namespace understudy
