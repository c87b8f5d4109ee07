#include "tests/sim/run_survey.h"

#include "ss/storage_server.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

Version version_of(const wire::VersionNumber& version) { return client::version_of(version); }

// Lives in its task's frame.
class Survey {
 public:
  Survey(FileStore* store, std::string server, std::string pair, uint64_t retained, Violations* violations)
      : store_(store), retained_(retained), violations_(violations) {
    half_.server = std::move(server);
    half_.pair = std::move(pair);
  }

  Task<Result<FinalState::Half>> run(bool with_contents) {
    wire::ListPartitionRequest request;
    for (uint32_t i = 0; i < kPartitions; ++i) request.add_partitions(i);
    request.set_limit(1000);
    while (true) {
      CO_ASSIGN_OR_RETURN(auto page, co_await store_->list_partition(request));
      for (int i = 0; i < page.files_size(); ++i) co_await look_at(page.files(i), with_contents);
      if (!page.more() || page.files_size() == 0) co_return std::move(half_);
      request.set_after_file_id(page.files(page.files_size() - 1).file_id());
    }
  }

 private:
  Task<void> look_at(wire::FileDigest digest, bool with_contents) {
    FileId id{digest.file_id()};
    FinalState::File file;
    file.deleted = digest.deleted();
    file.head = version_of(digest.head());
    file.name_version = digest.meta_version();
    // Of a folder, or a file that got no version, only the name is known.
    if (file.head) {
      file.line.push_back(file.head);
      for (auto& version : digest.recent()) file.line.push_back(version_of(version));
      auto line = co_await look_at_records(id, file.head);
      file.whole_line = line.has_value();
      if (line) file.line = *std::move(line);
      // Records that retention took leave no gap: what is behind it is the parent then.
      file.whole_line &= file.line.size() <= retained_;
    }
    file.aside = store_->divergent(id);
    for (size_t i = 0; with_contents && i < file.line.size(); ++i) {
      if (file.deleted && file.line[i] == file.head) continue;
      if (i >= retained_ && trimmed_.contains({id, file.line[i]})) continue;
      co_await look_at_content(id, file.line[i]);
    }
    for (size_t i = 0; with_contents && i < file.aside.size(); ++i) co_await look_at_content(id, file.aside[i]);
    half_.files[id] = std::move(file);
  }

  // The whole line with its records, newest first; nothing if the store has it no more.
  Task<std::optional<std::vector<Version>>> look_at_records(FileId id, Version head) {
    std::vector<Version> line;
    Version from;
    while (from != head) {
      wire::FetchRequest request;
      request.set_bytes_max(UINT64_MAX);
      auto* item = request.add_items();
      item->set_file_id(number(id));
      *item->mutable_from() = client::wire_version(from);
      *item->mutable_to() = client::wire_version(head);
      auto fetched = co_await store_->fetch(request);
      if (!fetched || fetched->files_size() != 1 || fetched->files(0).versions_size() == 0) co_return std::nullopt;
      for (const auto& record : fetched->files(0).versions()) {
        from = version_of(record.version());
        line.insert(line.begin(), from);
        FinalState::Kept& kept = half_.versions[{id, from}];
        kept.parent = version_of(record.parent());
        kept.kind = record.kind();
        kept.request = {record.request().client(), record.request().sequence()};
        kept.undo_target = version_of(record.undo_target());
        kept.tag = record.tag();
        kept.trimmed = true;  // Until its content was read.
        if (record.trimmed()) trimmed_.emplace(id, from);
      }
    }
    co_return line;
  }

  Task<void> look_at_content(FileId id, Version version) {
    std::string where = half_.server + " file " + std::to_string(number(id)) + " version " + version.to_string();
    auto info = store_->info(id, version);
    if (!info) co_return violations_->add("lost", where + ": " + info.error().to_string());
    Bytes content;
    while (content.size() < info->size_bytes) {
      auto piece = co_await store_->read(id, version, content.size(), 1 << 20);
      if (!piece || piece->empty()) {
        co_return violations_->add("lost", where + ": cannot be read: " + (piece ? "no bytes" : piece.error().to_string()));
      }
      content += *piece;
    }
    auto tokens = tokens_of(content);
    if (!tokens) {
      co_return violations_->add("content", where + ": bytes that no writes made, " + std::to_string(content.size()) + " of them");
    }
    FinalState::Kept& kept = half_.versions[{id, version}];
    kept.trimmed = false;
    kept.tokens = *std::move(tokens);
  }

  FileStore* store_;
  uint64_t retained_;
  Violations* violations_;
  FinalState::Half half_;
  std::set<std::pair<FileId, Version>> trimmed_;  // As their records say.
};

std::optional<FinalState::Half> look(Cluster& cluster, const std::string& server, const std::string& pair,
                                     bool with_contents, uint64_t retained, Violations* violations) {
  StorageServer* running = cluster.server(server);
  if (running == nullptr || running->state() == nullptr) return std::nullopt;
  auto half = cluster.world().try_await(*cluster.world().find_process(server),
                                        survey_half(running->state()->store, server, pair, with_contents, retained, violations), 10min);
  if (!half || !*half) return std::nullopt;
  return **std::move(half);
}

}  // namespace

Task<Result<FinalState::Half>> survey_half(FileStore* store, std::string server, std::string pair, bool with_contents,
                                           uint64_t retained, Violations* violations) {
  Survey survey(store, std::move(server), std::move(pair), retained, violations);
  auto half = survey.run(with_contents);
  co_return co_await half;
}

FinalState survey(Cluster& cluster, const std::vector<std::string>& pairs, uint64_t retained, Violations* violations) {
  FinalState state;
  state.events = cluster.events();
  for (const std::string& pair : pairs) {
    for (const std::string& server : {pair, pair + "_backup"}) {
      auto half = look(cluster, server, pair, true, retained, violations);
      if (!half) violations->add("ends", server + " does not run");
      if (half) state.halves.push_back(*std::move(half));
    }
  }
  return state;
}

std::vector<std::pair<FileId, Version>> versions_on(Cluster& cluster, const std::string& server) {
  std::vector<std::pair<FileId, Version>> all;
  Violations ignored;
  auto half = look(cluster, server, "", false, 0, &ignored);
  if (!half) return all;
  for (const auto& [id, file] : half->files) {
    for (Version version : file.line) all.emplace_back(id, version);
  }
  return all;
}

}  // namespace understudy::sim
