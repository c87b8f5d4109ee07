// What stands before the command on the client's command line.
#pragma once

#include <string>
#include <vector>

#include "client/grammar.h"
#include "client/session.h"

namespace understudy::client {

struct ClientOptions {
  std::vector<Address> name_nodes;  // From --nm, else empty.
  std::string data;                 // From --data, else empty.
  std::string user;                 // From --user, else empty: whoever logged in last.
  std::string ca;                   // From --ca: a file, or sha256: and a fingerprint.
  bool trust_first = false;
  std::string insecure;             // Empty, "yes" or "force".
  bool json = false;
  bool quiet = false;
  bool keep_going = false;
  bool help = false;
  bool version = false;
  ReadFrom read_from = ReadFrom::kPrimary;
  bool sync = false;
  Duration timeout = std::chrono::seconds(30);
  std::vector<std::string> command;  // What follows, as it stands.
};

std::expected<ClientOptions, Refusal> parse_options(const std::vector<std::string>& arguments);
std::string options_help();

// "a:1,b:2"
std::vector<Address> split_addresses(std::string_view list);

}  // namespace understudy::client
