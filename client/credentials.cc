#include "client/credentials.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "client/json.h"

namespace understudy::client {
namespace {

namespace fs = std::filesystem;

constexpr char kAdmin[] = "admin";
constexpr char kNobody[] = "-";  // No user's name; has no token.
constexpr mode_t kOthers = 077;

std::string config_file() {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  if (config && *config) return std::string(config) + "/understudy/credentials";
  return home ? std::string(home) + "/.config/understudy/credentials" : std::string();
}

Bytes from_base64(std::string_view text) {
  Bytes bytes;
  uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t digit = kDigits.find(c);
    if (digit == kDigits.npos) break;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if ((count += 6) < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xff);
  }
  return bytes;
}

// Nothing if it is not there. What others could read is theirs no longer.
Result<std::optional<std::string>> read_private(const std::string& path) {
  int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0 && errno == ENOENT) return std::nullopt;
  if (file < 0) return fail(Code::kDenied, path + ": " + std::strerror(errno));
  struct stat info{};
  bool ours = fstat(file, &info) == 0 && info.st_uid == geteuid();
  if (ours && (info.st_mode & kOthers) != 0) ours = fchmod(file, 0600) == 0;
  std::string text;
  char buffer[4096];
  for (ssize_t got; ours && (got = ::read(file, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(got));
  close(file);
  if (!ours) return fail(Code::kDenied, path + ": belongs to another user; it is not read");
  return text;
}

}  // namespace

Credentials::Credentials(std::string data, std::string name_nodes)
    : data_(std::move(data)),
      cluster_(data_.empty() ? std::move(name_nodes) : "-"),
      file_(data_.empty() ? config_file() : data_ + "/credentials") {}

Result<std::vector<Credentials::Entry>> Credentials::read() const {
  std::vector<Entry> entries;
  if (file_.empty()) return entries;
  ASSIGN_OR_RETURN(auto text, read_private(file_));
  std::istringstream lines(text.value_or(""));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    Entry entry;
    if (!(words >> entry.cluster >> entry.user >> entry.token)) continue;
    words >> entry.chosen;
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<Login> Credentials::find(const std::string& user) {
  Login login{.user = user, .token = {}, .password = {}};
  ASSIGN_OR_RETURN(auto entries, read());
  for (const Entry& entry : entries) {
    if (login.user.empty() && entry.cluster == cluster_ && !entry.chosen.empty()) login.user = entry.user;
  }
  if (login.user.empty()) login.user = kAdmin;
  for (const Entry& entry : entries) {
    if (entry.cluster == cluster_ && entry.user == login.user) login.token = from_base64(entry.token);
  }
  found_ = login.user;
  if (data_.empty() || login.user != kAdmin) return login;
  // Of another user's cluster it cannot be read; then one logs in.
  auto first = read_private(data_ + "/nm1/admin-credentials");
  std::string name, password;
  if (first && *first && std::istringstream(**first) >> name >> password && name == kAdmin) login.password = password;
  return login;
}

void Credentials::rewrite(const std::function<void(std::vector<Entry>&)>& change) {
  if (file_.empty()) return;
  std::error_code error;
  if (data_.empty()) fs::create_directories(fs::path(file_).parent_path(), error);
  int lock = open((file_ + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock < 0) return;
  flock(lock, LOCK_EX);
  if (auto entries = read()) {
    change(*entries);
    std::string text;
    for (const Entry& entry : *entries) {
      text += entry.cluster + " " + entry.user + " " + entry.token + (entry.chosen.empty() ? "" : " chosen") + "\n";
    }
    std::string written = file_ + ".new";
    unlink(written.c_str());
    int file = open(written.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool whole = file >= 0 && write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (file >= 0) close(file);
    if (whole) fs::rename(written, file_, error);
  }
  close(lock);
}

void Credentials::keep(const std::string& user, const Bytes& token) {
  rewrite([&](std::vector<Entry>& entries) {
    Entry kept{cluster_, user, base64(token), ""};
    for (Entry& entry : entries) {
      if (entry.cluster != cluster_) continue;
      if (entry.user == user) kept.chosen = entry.chosen;
      if (user != found_) entry.chosen.clear();
    }
    if (user != found_) kept.chosen = "chosen";
    if (user != found_) std::erase_if(entries, [&](const Entry& entry) { return entry.cluster == cluster_ && entry.user == kNobody; });
    std::erase_if(entries, [&](const Entry& entry) { return entry.cluster == cluster_ && entry.user == user; });
    entries.push_back(std::move(kept));
  });
  found_ = user;
}

void Credentials::forget(const std::string& user) {
  rewrite([&](std::vector<Entry>& entries) {
    std::erase_if(entries, [&](const Entry& entry) { return entry.cluster == cluster_ && (entry.user == user || entry.user == kNobody); });
    if (!data_.empty() || user != found_) return;
    // Whoever leaves is nobody then, not the administrator who was here before.
    for (Entry& entry : entries) {
      if (entry.cluster == cluster_) entry.chosen.clear();
    }
    entries.push_back({cluster_, kNobody, "-", "chosen"});
  });
  found_ = kNobody;
}

void Credentials::password_changed(const std::string& user) {
  // It is no password any more, and the new one is nobody's to keep.
  if (user == kAdmin && !data_.empty()) unlink((data_ + "/nm1/admin-credentials").c_str());
}

}  // namespace understudy::client
