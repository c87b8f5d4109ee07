#include "tests/sim/run_survey.h"

#include "ss/storage_server.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr const char* kHalves[] = {"ss1", "ss1_backup"};

// By which write a version was made, and where it stands.
struct Found {
  FileId file;
  Version version;
  bool aside = false;
  std::string where;
};

class Survey {
 public:
  Survey(Cluster& cluster, RunLedger* ledger) : cluster_(cluster), ledger_(ledger) {}

  void run() {
    std::vector<wire::Event> asides;
    for (auto& event : cluster_.events()) {
      if (event.kind() != "divergent" && event.kind() != "rescued") continue;
      if (!listed_.insert({FileId{event.file_id()}, client::version_of(event.version())}).second) continue;
      asides.push_back(event);
    }
    for (const char* half : kHalves) look_at(half);
    // What is listed can be read, also of a file of which nothing else is left there.
    for (auto& event : asides) {
      look_at_version(event.server(), FileId{event.file_id()}, client::version_of(event.version()), true);
    }
    compare();
    check_acknowledged();
  }

 private:
  template <class T>
  Result<T> await(const std::string& half, Task<Result<T>> task) {
    auto result = cluster_.world().try_await(*cluster_.world().find_process(half), std::move(task), 60s);
    if (!result) return fail(Code::kUnavailable, half + " does not answer");
    return *std::move(result);
  }
  FileStore* store(const std::string& half) { return cluster_.server(half)->state()->store; }

  void look_at(const std::string& half) {
    wire::ListPartitionRequest request;
    for (uint32_t i = 0; i < kPartitions; ++i) request.add_partitions(i);
    request.set_limit(10'000);
    auto files = await(half, store(half)->list_partition(request));
    if (!files) return ledger_->violated(half + ": " + files.error().to_string());
    for (auto& file : files->files()) {
      FileId id{file.file_id()};
      digests_[id][half] = file.deleted() ? "deleted"
                                          : client::version_of(file.head()).to_string() + ", name of " +
                                                std::to_string(file.meta_version());
      look_at_line(half, id, file);
      for (Version version : store(half)->divergent(id)) look_at_version(half, id, version, true);
    }
  }

  void look_at_line(const std::string& half, FileId id, const wire::FileDigest& file) {
    std::vector<Version> line;
    // Of a folder, or a file that got no version, only the name is known.
    if (!file.deleted() && file.head().counter() != 0) line.push_back(client::version_of(file.head()));
    for (auto& version : file.recent()) line.push_back(client::version_of(version));
    if (file.recent_size() >= 60) {
      // The digest names so many only: the whole line.
      wire::FetchRequest request;
      request.set_bytes_max(UINT64_MAX);
      auto* item = request.add_items();
      item->set_file_id(file.file_id());
      *item->mutable_to() = file.head();
      auto fetched = await(half, store(half)->fetch(request));
      if (!fetched || fetched->files(0).outcome() != wire::FetchedFile::OK) {
        return ledger_->violated(half + " file " + std::to_string(file.file_id()) + ": its line cannot be fetched");
      }
      line.clear();
      for (auto& version : fetched->files(0).versions()) {
        if (version.kind() != wire::CHANGE_DELETE) line.push_back(client::version_of(version.version()));
      }
    }
    for (Version version : line) look_at_version(half, id, version, false);
  }

  void look_at_version(const std::string& half, FileId id, Version version, bool aside) {
    std::string where = half + " file " + std::to_string(number(id)) + " version " + version.to_string() +
                        (aside ? " (set aside)" : "");
    auto info = store(half)->info(id, version);
    if (!info) return ledger_->violated(where + ": " + info.error().to_string());
    Bytes content;
    while (content.size() < info->size_bytes) {
      auto piece = await(half, store(half)->read(id, version, content.size(), 1 << 20));
      if (!piece || piece->empty()) return ledger_->violated(where + ": cannot be read");
      content += *piece;
    }
    auto tokens = ledger_->inspect(where, content);
    if (!tokens || tokens->empty()) return;
    // One version is one content, wherever it stands.
    auto [known, fresh] = contents_.try_emplace({id, version}, *tokens);
    if (!fresh && known->second != *tokens) ledger_->violated(where + ": other bytes than the other half's");
    found_.emplace(tokens->back(), Found{id, version, aside, where});
  }

  void compare() {
    for (auto& [id, halves] : digests_) {
      if (halves[kHalves[0]] == halves[kHalves[1]]) continue;
      ledger_->violated("file " + std::to_string(number(id)) + " is " + halves[kHalves[0]] + " on ss1, " +
                        halves[kHalves[1]] + " on ss1_backup");
    }
  }

  void check_acknowledged() {
    for (Token token = 1; token <= ledger_->writes().size(); ++token) {
      const RunLedger::Write& write = ledger_->write(token);
      if (write.outcome != RunLedger::Outcome::kAcknowledged) continue;
      std::string what = "write " + std::to_string(token) + " of " + write.path + ", acknowledged as version " +
                         write.version.to_string();
      auto [from, to] = found_.equal_range(token);
      bool in_line = false, named = false, listed = false;
      for (auto at = from; at != to; ++at) {
        in_line |= !at->second.aside;
        named |= at->second.version == write.version;
        listed |= at->second.aside && listed_.contains({at->second.file, at->second.version});
      }
      if (from == to) {
        ledger_->violated(what + ": is lost");
      } else if (!named) {
        ledger_->violated(what + ": no version of that number has it, " + from->second.where + " has");
      } else if (!in_line && !listed) {
        ledger_->violated(what + ": is set aside, and no event says so; " + from->second.where);
      }
    }
  }

  Cluster& cluster_;
  RunLedger* ledger_;
  std::set<std::pair<FileId, Version>> listed_;
  std::map<std::pair<FileId, Version>, std::vector<Token>> contents_;
  std::multimap<Token, Found> found_;
  std::map<FileId, std::map<std::string, std::string>> digests_;  // By half: what must be equal.
};

}  // namespace

void survey_halves(Cluster& cluster, RunLedger* ledger) { Survey(cluster, ledger).run(); }

}  // namespace understudy::sim
