#include "client/trusted.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/base/path.h"
#include "common/env/env_util.h"
#include "common/tls/certificates.h"

namespace understudy::client {
namespace {

namespace fs = std::filesystem;

Result<std::string> read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return fail(Code::kNotFound, path + ": cannot be read");
  return text.str();
}

// A file for each name node, with the fingerprint of its cluster's authority.
std::string remembered_file(const Address& name_node) {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  std::string folder = config && *config ? config : std::string(home ? home : "/root") + "/.config";
  std::string name = name_node;
  for (char& c : name) {
    if (c == '/' || c == ':') c = '_';
  }
  return folder + "/understudy/authorities/" + name;
}

Result<TlsMaterial> from_file(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, read_text(path));
  auto certificates = parse_pem_certificates(text);
  if (!certificates) return fail(Code::kInvalid, path + ": " + certificates.error().message);
  TlsMaterial material;
  material.authorities = *std::move(certificates);
  return material;
}

Result<TlsMaterial> from_word(const std::string& word) {
  if (!word.starts_with("sha256:")) return from_file(word);
  TlsMaterial material;
  ASSIGN_OR_RETURN(Bytes fingerprint, parse_fingerprint(word));
  material.fingerprints.push_back(std::move(fingerprint));
  return material;
}

}  // namespace

Result<Trusted> whom_to_trust(const ClientOptions& options, const std::string& local) {
  Trusted trusted;
  std::string word = options.ca;
  const char* variable = std::getenv("UNDERSTUDY_CA");
  if (word.empty() && options.data.empty() && variable) word = variable;
  if (!word.empty()) {
    ASSIGN_OR_RETURN(trusted.material, from_word(word));
    return trusted;
  }
  if (!local.empty()) {
    auto material = from_file(local + "/nm1/ca.pem");
    if (!material) {
      return fail(Code::kUnauthenticated, "the cluster in " + local + " has no ca.pem: it was started with --insecure, or never; "
                                          "understudy up starts it");
    }
    trusted.material = *std::move(material);
    return trusted;
  }
  const Address& name_node = options.name_nodes.front();
  std::string file = remembered_file(name_node);
  trusted.remember_in = file;
  if (auto text = read_text(file)) {
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
      auto fingerprint = parse_fingerprint(line);
      if (!fingerprint) return fail(Code::kInvalid, file + ": " + fingerprint.error().message);
      trusted.material.fingerprints.push_back(*std::move(fingerprint));
    }
    if (trusted.material.fingerprints.empty()) return fail(Code::kInvalid, file + ": is empty; remove it, and say --trust-first again");
    return trusted;
  }
  if (!options.trust_first) {
    return fail(Code::kUnauthenticated,
                "nothing tells that " + printable(name_node) + " is your cluster; give --ca FILE (ca.pem in the name node's data folder) or "
                "--ca sha256:FINGERPRINT, or --trust-first to believe and remember whoever answers");
  }
  trusted.material.believe_first = true;
  return trusted;
}

Status ClientNet::set(const ClientOptions& options, const std::string& local) {
  insecure_ = !options.insecure.empty();
  if (insecure_) {
    for (const Address& address : options.name_nodes) {
      if (options.insecure == "force" || is_loopback(address)) continue;
      return fail(Code::kInvalid, address + ": --insecure is for this machine only; leave it away, or say --insecure=force");
    }
    return {};
  }
  ASSIGN_OR_RETURN(Trusted trusted, whom_to_trust(options, local));
  remember_in_ = std::move(trusted.remember_in);
  remembered_ = trusted.material.fingerprints;
  std::ranges::sort(remembered_);
  return credentials_.set(std::move(trusted.material));
}

void ClientNet::follow(std::vector<Bytes> fingerprints) {
  if (remember_in_.empty() || insecure_) return;
  TlsMaterial material = credentials_.material();
  material.believe_first = false;
  material.fingerprints = std::move(fingerprints);
  (void)credentials_.set(std::move(material));  // What it says is damaged changes nothing.
}

Result<std::string> ClientNet::remember_whom_it_met() {
  std::vector<Bytes> now = credentials_.material().fingerprints;
  std::ranges::sort(now);
  if (remember_in_.empty() || now.empty() || now == remembered_) return "";
  std::string text, shown;
  for (const Bytes& fingerprint : now) {
    text += fingerprint_text(fingerprint) + "\n";
    shown += (shown.empty() ? "" : " and ") + fingerprint_text(fingerprint);
  }
  std::error_code error;
  fs::create_directories(fs::path(remember_in_).parent_path(), error);
  // Whole or not at all: a half of it would shut the user out.
  std::string written = remember_in_ + ".new";
  std::ofstream out(written, std::ios::trunc);
  out << text;
  out.close();
  if (out) fs::rename(written, remember_in_, error);
  if (!out || error) return fail(Code::kInvalid, remember_in_ + " cannot be written");
  const bool first = remembered_.empty();
  remembered_ = std::move(now);
  return first ? "believing the authority " + shown + " from now on" : "the cluster's authority changes: believing " + shown + " from now on";
}

}  // namespace understudy::client
