// What the name node's server asks of the catalogue.
#include <algorithm>

#include "nm/catalogue_change.h"

namespace understudy {
namespace {

constexpr uint32_t kChildrenAtOnce = 64;
constexpr uint32_t kLookedAtMax = 20'000;
constexpr uint32_t kJobsAtOnce = 1000;
constexpr uint32_t kWaitingMax = 2000;

}  // namespace

Result<Node> Catalogue::find(std::string_view path, bool follow_link) {
  auto found = place(path, follow_link);
  check_store();
  if (!found) return std::unexpected(found.error());
  if (!found->there) return fail(Code::kNotFound, printable(path) + ": no such file or folder");
  return *std::move(found->there);
}

Result<std::string> Catalogue::path_of(FileId id) {
  std::vector<std::string> names;
  FileId at = id;
  while (at != kRootFolder) {
    auto node = at == kTrashFolder ? std::nullopt : store_->node(at);
    check_store();
    if (!node) return fail(Code::kNotFound, "no such file or folder any more");
    names.push_back(node->name);
    at = node->parent;
  }
  std::reverse(names.begin(), names.end());
  return join_path(names);
}

bool Catalogue::is_under(FileId id, FileId folder) {
  FileId at = id;
  while (at != folder) {
    auto node = store_->node(at);
    check_store();
    if (!node || node->parent == kNoFile) return false;
    at = node->parent;
  }
  return true;
}

Result<std::vector<Node>> Catalogue::list_folder(std::string_view path, std::string_view after, uint32_t limit) {
  ASSIGN_OR_RETURN(Node folder, find(path, true));
  if (folder.kind != NodeKind::kFolder) return fail(Code::kNotFolder, printable(path) + ": is no folder");
  return answered(store_->children(folder.id, after, limit));
}

Catalogue::Page Catalogue::walk(std::string_view after, uint32_t limit, uint32_t looked_at_max,
                                const std::function<bool(const Node&)>& wanted) {
  Page page;
  // Down along `after` as far as it exists: what comes behind it is still to do at every level.
  std::vector<Frame> open{{kRootFolder, "", ""}};
  if (!after.empty()) {
    auto names = split_path(after);
    if (!names) return page;
    for (const auto& name : *names) {
      auto node = store_->child(open.back().folder, name);
      open.back().after = name;
      if (!node || node->kind != NodeKind::kFolder) break;
      open.push_back({node->id, open.back().path + "/" + name, ""});
    }
  }
  uint32_t looked_at = 0;
  while (!open.empty()) {
    auto children = store_->children(open.back().folder, open.back().after, kChildrenAtOnce);
    if (children.empty()) {
      open.pop_back();
      continue;
    }
    for (auto& child : children) {
      if (page.found.size() >= limit || looked_at >= looked_at_max) {
        page.more = true;
        return page;
      }
      ++looked_at;
      auto path = open.back().path + "/" + child.name;
      open.back().after = child.name;
      page.next_after = path;
      bool is_folder = child.kind == NodeKind::kFolder;
      FileId id = child.id;
      if (wanted(child)) page.found.push_back({path, std::move(child)});
      if (is_folder) {
        open.push_back({id, std::move(path), ""});
        break;
      }
    }
  }
  page.next_after.clear();
  return page;
}

Catalogue::Page Catalogue::view(std::string_view after, uint32_t limit, std::string_view owner) {
  return answered(walk(after, limit, kLookedAtMax, [&](const Node& node) {
    return node.kind != NodeKind::kFolder && (owner.empty() || node.owner == owner);
  }));
}

Catalogue::Page Catalogue::search(std::string_view text, std::string_view after, uint32_t limit) {
  return answered(walk(after, limit, kLookedAtMax, [&](const Node& node) {
    return node.name.find(text) != std::string::npos;
  }));
}

std::vector<Node> Catalogue::nodes_of_partition(uint32_t partition, FileId after, uint32_t limit) {
  return answered(store_->nodes_of_partition(partition, after, limit));
}

std::vector<Node> Catalogue::pending_files(int64_t created_before_us, uint32_t limit) {
  return answered(store_->unsettled(NodeState::kPending, created_before_us, limit));
}

std::vector<Node> Catalogue::deleting_files(uint32_t limit) {
  return answered(store_->unsettled(NodeState::kDeleting, INT64_MAX, limit));
}

std::vector<Node> Catalogue::returning_files(uint32_t limit) {
  return answered(store_->unsettled(NodeState::kReturning, INT64_MAX, limit));
}

Lsn Catalogue::replicated(const Server& server) {
  const Pair* pair = this->pair(server.pair);
  const Server* other = pair == nullptr ? nullptr : this->server(pair->other_half(server.id));
  if (pair == nullptr || pair->acting != server.id) return kNoLsn;
  if (other == nullptr) return server.announced_lsn;
  if (!other->in_sync || lag(other->id).jobs > kWaitingMax) return kNoLsn;
  Lsn replicated = server.announced_lsn;
  for (const Job& job : jobs(other->id, 0, kWaitingMax)) {
    if (job.to) replicated = std::min(replicated, Lsn{number(job.announce_lsn) - std::min<uint64_t>(number(job.announce_lsn), 1)});
  }
  return replicated;
}

std::vector<Node> Catalogue::trash(uint32_t limit) {
  std::vector<Node> found;
  std::vector<Frame> open{{kTrashFolder, "", ""}};
  while (!open.empty() && found.size() < limit) {
    auto children = store_->children(open.back().folder, open.back().after, kChildrenAtOnce);
    if (children.empty()) {
      open.pop_back();
      continue;
    }
    for (auto& child : children) {
      if (found.size() >= limit) break;
      open.back().after = child.name;
      if (child.kind == NodeKind::kFolder && store_->has_children(child.id)) {
        open.push_back({child.id, "", ""});
        break;
      }
      found.push_back(std::move(child));
    }
  }
  return answered(std::move(found));
}

const Server* Catalogue::server(ServerId id) const {
  auto found = store_->servers.find(id);
  return found == store_->servers.end() ? nullptr : &found->second;
}

const Pair* Catalogue::pair(PairId id) const {
  auto found = store_->pairs.find(id);
  return found == store_->pairs.end() ? nullptr : &found->second;
}

std::vector<Job> Catalogue::jobs(ServerId target, uint64_t after_sequence, uint32_t limit) {
  return answered(store_->jobs(target, after_sequence, limit));
}

std::vector<Job> Catalogue::jobs_of_names(ServerId target, uint64_t after_sequence, uint32_t limit) {
  return answered(store_->jobs_of_names(target, after_sequence, limit));
}

Lag Catalogue::lag(ServerId target) {
  auto known = store_->lags.find(target);
  if (known == store_->lags.end() || known->second.jobs == 0) return {};
  Lag lag = known->second;
  lag.oldest_us = answered(store_->oldest_job_us(target));
  return lag;
}

Lag Catalogue::jobs_left(ServerId target, Lsn mark, FileId scope) {
  Lag left;
  auto count = [&](const Job& job) {
    if (job.announce_lsn > mark) return;
    ++left.jobs;
    left.files += job.kind == JobKind::kMetadata ? 0 : 1;
    left.bytes += job.bytes;
    if (left.oldest_us == 0) left.oldest_us = job.created_us;
  };
  if (scope != kRootFolder) {
    auto node = store_->node(scope);
    // Nothing of a file that is gone is left but its DELETE job, and that bears its id.
    if (!node || node->kind != NodeKind::kFolder) {
      if (auto job = store_->job(target, scope)) count(*job);
      check_store();
      return left;
    }
  }
  uint64_t after = 0;
  for (uint32_t looked_at = 0;; looked_at += kJobsAtOnce) {
    auto page = store_->jobs(target, after, kJobsAtOnce);
    if (page.empty()) break;
    left.cut_short = looked_at >= kLookedAtMax;
    if (left.cut_short) break;
    after = page.back().sequence;
    for (const auto& job : page) {
      // Where what is removed hung is not known any more: it counts everywhere.
      bool inside = scope == kRootFolder || job.kind == JobKind::kDelete || is_under(job.object, scope);
      if (inside) count(job);
    }
  }
  check_store();
  return left;
}

std::vector<EventRow> Catalogue::events(uint64_t after, uint32_t limit) {
  return answered(store_->events(after, limit));
}

}  // namespace understudy
