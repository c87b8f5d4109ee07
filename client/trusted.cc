#include "client/trusted.h"

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
  if (auto text = read_text(file)) {
    while (!text->empty() && text->back() == '\n') text->pop_back();
    auto material = from_word(*text);
    if (!material) return fail(Code::kInvalid, file + ": " + material.error().message);
    trusted.material = *std::move(material);
    return trusted;
  }
  if (!options.trust_first) {
    return fail(Code::kUnauthenticated,
                "nothing tells that " + printable(name_node) + " is your cluster; give --ca FILE (ca.pem in the name node's data folder) or "
                "--ca sha256:FINGERPRINT, or --trust-first to believe and remember whoever answers");
  }
  trusted.material.believe_first = true;
  trusted.remember_in = file;
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
  return credentials_.set(std::move(trusted.material));
}

Result<std::string> ClientNet::remember_whom_it_met() {
  if (remember_in_.empty() || credentials_.material().fingerprints.empty()) return "";
  std::string file = std::exchange(remember_in_, "");
  std::string text = fingerprint_text(credentials_.material().fingerprints.front());
  std::error_code error;
  fs::create_directories(fs::path(file).parent_path(), error);
  std::ofstream out(file, std::ios::trunc);
  out << text << "\n";
  out.close();
  if (!out) return fail(Code::kInvalid, file + " cannot be written");
  return text;
}

}  // namespace understudy::client
