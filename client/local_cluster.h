// A whole cluster on this machine, in one folder: `understudy up` and `down`, and how
// a client with the same --data finds it. Blocking; used before or without a loop.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/env/env.h"

namespace understudy::client {

// $XDG_DATA_HOME/understudy or ~/.local/share/understudy.
std::string default_data_folder();

// From DIR/cluster.json. NOT_FOUND if there is no cluster.
Result<std::vector<Address>> read_name_nodes(const std::string& data);

struct UpOptions {
  std::string data;
  uint32_t pairs = 1;
  std::string insecure;                        // "--insecure" or "--insecure=force", passed on to every server.
  std::vector<std::string> name_node_options;  // Passed on, as they stand.
};
// Arguments behind `up`. INVALID.
Result<UpOptions> parse_up(const std::vector<std::string>& arguments, std::string data);

struct StartedCluster {
  std::vector<Address> name_nodes;
  std::vector<std::string> started;  // By name; those that were running already are not in it.
};
// Starts what is not running, and writes DIR/cluster.json. A server that ends at once
// is an error with its own last words.
Result<StartedCluster> start_cluster(const UpOptions& options);

// Stops what is running; the names of what it stopped.
Result<std::vector<std::string>> stop_cluster(const std::string& data);

}  // namespace understudy::client
