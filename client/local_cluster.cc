#include "client/local_cluster.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "client/grammar.h"
#include "client/json.h"
#include "client/options.h"

extern char** environ;

namespace understudy::client {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr auto kStartLimit = 60s;
constexpr auto kStopLimit = 20s;
constexpr auto kFolderLimit = 5s;
constexpr std::string_view kNameNodeProgram = "understudy-nm";
constexpr std::string_view kStorageProgram = "understudy-ss";

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  size_t newline = text.rfind('\n');
  return newline == text.npos ? text : text.substr(newline + 1);
}

std::string_view program_of(const std::string& server) {
  return server.starts_with("nm") ? kNameNodeProgram : kStorageProgram;
}

// The server of that data folder, if it runs: a pid may have gone to another process
// meanwhile, so the program and its --data must be the right ones.
std::optional<pid_t> running_server(const fs::path& folder, std::string_view program) {
  pid_t pid = std::atoi(read_text(folder / "pid").c_str());
  if (pid <= 0) return std::nullopt;
  std::error_code error;
  std::string process = "/proc/" + std::to_string(pid);
  std::string name = fs::read_symlink(process + "/exe", error).filename().string();
  if (error || (name != program && name != std::string(program) + " (deleted)")) return std::nullopt;
  std::string arguments = read_text(process + "/cmdline");
  if (arguments.find(std::string(1, '\0') + folder.string() + std::string(1, '\0')) == arguments.npos) {
    return std::nullopt;
  }
  return pid;
}

Result<pid_t> spawn_detached(const std::vector<std::string>& arguments, const fs::path& words) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, words.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  // A session of its own: the terminal's ^C and hang-up are not for it.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
  std::vector<char*> words_of_command;
  for (const std::string& argument : arguments) words_of_command.push_back(const_cast<char*>(argument.c_str()));
  words_of_command.push_back(nullptr);
  pid_t pid = 0;
  int error = posix_spawn(&pid, arguments[0].c_str(), &actions, &attributes, words_of_command.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return fail(Code::kUnavailable, arguments[0] + " cannot be started: " + std::strerror(error));
  return pid;
}

// A server that was just killed holds its folder until its process is gone altogether.
Status wait_for_folder(const fs::path& folder) {
  auto limit = std::chrono::steady_clock::now() + kFolderLimit;
  for (;;) {
    int file = open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) return {};  // The server says what is wrong.
    bool free = flock(file, LOCK_EX | LOCK_NB) == 0;
    close(file);
    if (free) return {};
    if (std::chrono::steady_clock::now() > limit) {
      return fail(Code::kLocked, folder.string() + ": another process has this folder");
    }
    std::this_thread::sleep_for(5ms);
  }
}

// Starts a server and waits until it listens; its address.
Result<Address> start_server(const fs::path& folder, const std::string& name, std::vector<std::string> arguments) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return fail(Code::kInvalid, folder.string() + ": " + error.message());
  if (access(folder.c_str(), W_OK) != 0) {
    return fail(Code::kDenied, folder.string() + ": " + std::strerror(errno));
  }
  RETURN_IF_ERROR(wait_for_folder(folder));
  fs::remove(folder / "address", error);
  std::string program = (fs::read_symlink("/proc/self/exe").parent_path() / program_of(name)).string();
  arguments.insert(arguments.begin(), {program, "--data", folder.string()});
  auto pid = spawn_detached(arguments, folder / "stderr");
  if (!pid) return std::unexpected(std::move(pid).error());
  auto limit = std::chrono::steady_clock::now() + kStartLimit;
  while (std::chrono::steady_clock::now() < limit) {
    std::string address = read_text(folder / "address");
    if (address.ends_with('\n')) return first_line(address);
    int status = 0;
    if (waitpid(*pid, &status, WNOHANG) == *pid) {
      std::string words = last_line(read_text(folder / "stderr"));
      if (words.empty() && fs::space(folder, error).available == 0) {
        return fail(Code::kNoSpace, name + " cannot start: no space left in " + folder.string() + "; make room");
      }
      return fail(Code::kUnavailable, name + " ended at once: " +
                                          (words.empty() ? "see " + (folder / "log").string() : words));
    }
    std::this_thread::sleep_for(5ms);
  }
  return fail(Code::kUnavailable, name + " does not listen; see " + (folder / "log").string());
}

Status write_description(const fs::path& data, const std::vector<Address>& name_nodes,
                         const std::vector<std::string>& storage_servers) {
  std::vector<Json> nodes;
  for (const Address& address : name_nodes) nodes.push_back(Json().text("name", "nm1").text("address", address));
  Json description;
  description.count("format", 1).list("name_nodes", nodes).texts("storage_servers", storage_servers);
  fs::path written = data / "cluster.json.new";
  std::ofstream file(written, std::ios::trunc);
  file << description.str() << "\n";
  file.close();
  std::error_code error;
  if (file) fs::rename(written, data / "cluster.json", error);
  if (!file || error) return fail(Code::kInvalid, (data / "cluster.json").string() + " cannot be written");
  return {};
}

// The storage servers' names in DIR, pair by pair.
std::vector<std::string> storage_servers(uint32_t pairs) {
  std::vector<std::string> names;
  for (uint32_t i = 1; i <= pairs; ++i) {
    names.push_back("ss" + std::to_string(i));
    names.push_back("ss" + std::to_string(i) + "_backup");
  }
  return names;
}

std::vector<std::string> server_folders(const fs::path& data) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(data, error)) {
    std::string name = entry.path().filename().string();
    if (name.starts_with("nm") || name.starts_with("ss")) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

fs::path absolute_folder(const std::string& data) {
  std::error_code error;
  fs::path folder = fs::weakly_canonical(fs::absolute(data), error);
  return error ? fs::absolute(data) : folder;
}

bool ended(pid_t pid, const fs::path& folder, std::string_view program) {
  return running_server(folder, program) != pid;
}

}  // namespace

std::string default_data_folder() {
  if (const char* data_home = std::getenv("XDG_DATA_HOME"); data_home && *data_home) {
    return std::string(data_home) + "/understudy";
  }
  const char* home = std::getenv("HOME");
  return std::string(home ? home : "/root") + "/.local/share/understudy";
}

Result<std::vector<Address>> read_name_nodes(const std::string& data) {
  std::string text = read_text(fs::path(data) / "cluster.json");
  std::vector<Address> addresses;
  // Of all that `up` wrote only the addresses matter here.
  constexpr std::string_view kField = "\"address\":\"";
  for (size_t at = 0; (at = text.find(kField, at)) != text.npos;) {
    at += kField.size();
    addresses.push_back(text.substr(at, text.find('"', at) - at));
  }
  if (addresses.empty()) {
    return fail(Code::kNotFound, "no cluster in " + data + "; start one with understudy up --data " + data +
                                     ", or give --nm HOST:PORT");
  }
  return addresses;
}

Result<UpOptions> parse_up(const std::vector<std::string>& arguments, std::string data) {
  UpOptions options{.data = std::move(data)};
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& name = arguments[i];
    if (name == "--insecure" || name == "--insecure=force") {
      options.insecure = name;
      continue;
    }
    if (!name.starts_with("--") || i + 1 == arguments.size()) {
      return fail(Code::kInvalid, "use: understudy up [--data DIR] [--pairs N] [options of understudy-nm]");
    }
    const std::string& value = arguments[++i];
    if (name == "--data") {
      options.data = value;
    } else if (name == "--pairs" || name == "--name-nodes") {
      ASSIGN_OR_RETURN(uint64_t count, parse_number(value, name));
      if (name == "--name-nodes" && count != 1) return fail(Code::kInvalid, "more than one name node is not available in this version");
      if (count < 1 || count > 64) return fail(Code::kInvalid, name + " takes 1 to 64");
      if (name == "--pairs") options.pairs = static_cast<uint32_t>(count);
    } else {
      options.name_node_options.insert(options.name_node_options.end(), {name, value});
    }
  }
  return options;
}

Result<StartedCluster> start_cluster(const UpOptions& options) {
  fs::path data = absolute_folder(options.data);
  StartedCluster cluster;
  std::vector<std::string> names = storage_servers(options.pairs);
  // Those of an earlier, larger start belong to the cluster too.
  for (const std::string& name : server_folders(data)) {
    if (name.starts_with("ss") && !contains(names, name)) names.push_back(name);
  }
  bool some_run = std::ranges::any_of(names, [&](const std::string& name) {
    return running_server(data / name, kStorageProgram).has_value();
  });
  fs::path name_node = data / "nm1";
  if (running_server(name_node, kNameNodeProgram)) {
    cluster.name_nodes = {first_line(read_text(name_node / "address"))};
  } else {
    auto start_at = [&](const Address& address) {
      std::vector<std::string> arguments = options.name_node_options;
      if (!options.insecure.empty()) arguments.push_back(options.insecure);
      if (!contains(arguments, "--listen")) arguments.insert(arguments.end(), {"--listen", address});
      return start_server(name_node, "nm1", std::move(arguments));
    };
    // Clients, and storage servers that still run, know it by its old address.
    auto known = read_name_nodes(data.string());
    auto address = start_at(known ? known->front() : "127.0.0.1:0");
    if (!address && known && !some_run && address.error().message.contains("cannot listen")) address = start_at("127.0.0.1:0");
    if (!address) return std::unexpected(std::move(address).error());
    cluster.name_nodes = {*address};
    cluster.started.push_back("nm1");
  }
  RETURN_IF_ERROR(write_description(data, cluster.name_nodes, names));
  for (const std::string& name : names) {
    if (running_server(data / name, kStorageProgram)) continue;
    std::vector<std::string> arguments = {"--name", name, "--nm", cluster.name_nodes.front()};
    if (options.insecure.empty()) {
      arguments.insert(arguments.end(), {"--join-token", (name_node / "join-token").string()});
    } else {
      arguments.push_back(options.insecure);
    }
    RETURN_IF_ERROR(start_server(data / name, name, std::move(arguments)));
    cluster.started.push_back(name);
  }
  return cluster;
}

Result<std::vector<std::string>> stop_cluster(const std::string& folder) {
  fs::path data = absolute_folder(folder);
  std::vector<std::string> stopped;
  std::vector<std::string> names = server_folders(data);
  if (names.empty()) return fail(Code::kNotFound, "no cluster in " + folder);
  // Storage servers first: they give their leases back to the name node. A home
  // primary stops last of its pair, so that nothing changes hands on the way.
  std::ranges::sort(names, {}, [](const std::string& name) {
    return std::pair(name.starts_with("nm") ? 2 : name.ends_with("_backup") ? 0 : 1, name);
  });
  for (const std::string& name : names) {
    auto pid = running_server(data / name, program_of(name));
    if (!pid) continue;
    kill(*pid, SIGTERM);
    auto limit = std::chrono::steady_clock::now() + kStopLimit;
    bool killed = false;
    while (!ended(*pid, data / name, program_of(name))) {
      if (!killed && std::chrono::steady_clock::now() > limit) {
        // What it acknowledged is on its disk.
        kill(*pid, SIGKILL);
        killed = true;
      }
      std::this_thread::sleep_for(5ms);
    }
    stopped.push_back(name);
  }
  return stopped;
}

}  // namespace understudy::client
