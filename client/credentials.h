// Where a user's log-in stays between commands: a file that nobody else may read, beside
// a local cluster's data (DIR/credentials), or ~/.config/understudy/credentials for a
// cluster named by --nm. A line an entry:
//
//   CLUSTER USER TOKEN [chosen]   (the cluster as --nm named it, - beside its data; token in base64)
//
// chosen: by LOGIN, for the commands to come (by LOGOUT, with --nm: the user -, who is nobody); --user names another for one command.
//
// Tokens only, never a password. Blocking; small.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "client/session.h"
#include "common/base/result.h"

namespace understudy::client {

struct Login {
  std::string user;
  Bytes token;
  std::string password;
};

class Credentials final : public TokenKeeper {
 public:
  // Of the cluster in the folder `data`, or, if that is empty, of the one at `name_nodes`.
  Credentials(std::string data, std::string name_nodes);

  // How to log in as `user`, or if that is empty as who was chosen, or else as the first
  // administrator, whose password stands beside a local cluster's data. Not known: no token
  // and no password. A file that others may read is mended.
  Result<Login> find(const std::string& user);

  void keep(const std::string& user, const Bytes& token) override;
  void password_changed(const std::string& user) override;
  void forget(const std::string& user) override;

 private:
  struct Entry {
    std::string cluster;
    std::string user;
    std::string token;
    std::string chosen;
  };
  Result<std::vector<Entry>> read() const;
  // Under the file's lock; a failure costs a log-in the next time.
  void rewrite(const std::function<void(std::vector<Entry>&)>& change);

  std::string data_;
  std::string cluster_;
  std::string file_;
  std::string found_;  // Whom the program began as: another one is chosen.
};

}  // namespace understudy::client
