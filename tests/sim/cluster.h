// A whole cluster on the simulator: the real name node and storage servers,
// unchanged, each a process on a host of its name, and clients of the real library.
// Faults are the world's.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/wire/understudy.pb.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_world.h"

namespace understudy {
class Catalogue;
class NameNode;
class StorageServer;
}  // namespace understudy

namespace understudy::sim {

class Cluster {
 public:
  explicit Cluster(SimWorld& world) : world_(world) {}
  // Kills everything that runs in its world.
  ~Cluster();
  Cluster(const Cluster&) = delete;

  // What "start NAME ARGUMENT..." runs (at first its host gets the identity of that server, unless it has one): `nm` is the name node, every other name a
  // storage server. Arguments as the programs take them: --data DIR (/data),
  // --backup-of NAME; of the name node --heartbeat-interval TIME, --heartbeat-misses N. Some are tests'
  // alone: --segment-size, --checkpoint-records; of the name node --log-segment-size, --snapshot-entries.
  Result<SimMain> program(const std::string& name, const std::vector<std::string>& arguments);
  SimProcess& start(const std::string& name, const std::vector<std::string>& arguments = {});
  // As SIGTERM does; it ends while time passes.
  Status stop(const std::string& name);
  // What the latest process of that name ended with by itself; nothing if it runs or was killed.
  std::optional<Status> result(const std::string& name) const;
  // nullptr: it does not run.
  StorageServer* server(const std::string& name) const;

  // What the name node's log adds up to now; nullptr: it does not run, or is not ready.
  const Catalogue* catalogue() const;

  // Registers users. A client that nobody registered
  // becomes an administrator of its name at first use.
  Status add_users(const std::vector<std::string>& names, bool administrators = false);
  static std::string password_of(const std::string& user) { return "password-of-" + user; }
  // Started at first use.
  SimClient& client(const std::string& name);
  // As --durability sync; one whose name begins with "sync-" does so anyway.
  void ask_for_sync(const std::string& client) { sync_clients_.insert(client); }

  // What the name node says; nothing if it does not answer within a second or two.
  std::optional<wire::StatusReply> status();
  // Every event since the cluster began.
  std::vector<wire::Event> events();
  // Of a half's files and their heads; nothing if it does not run.
  std::optional<wire::DigestReply> digest(const std::string& server);

  SimWorld& world() { return world_; }

 private:
  // Registers what runs for as long as its frame lives.
  template <class Server>
  class Running;
  static Task<void> run_name_node(Env& env, Cluster* cluster, std::vector<std::string> arguments);
  static Task<void> run_storage_server(Env& env, Cluster* cluster, std::string name, std::vector<std::string> arguments);
  SimClient& observer();

  SimWorld& world_;
  std::map<std::string, NameNode*> name_nodes_;
  std::map<std::string, StorageServer*> servers_;
  std::map<std::string, Status> results_;
  std::set<std::string> started_;  // At any time.
  std::set<std::string> users_;
  std::set<std::string> sync_clients_;
  std::set<std::string> unregistered_;  // No name node was in reach: the administrator stands in.
  std::map<std::string, std::unique_ptr<SimClient>> clients_;
};

}  // namespace understudy::sim
