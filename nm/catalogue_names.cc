// Commands that make and move names.
#include <fmt/format.h>

#include "nm/catalogue_change.h"

namespace understudy {
namespace {

constexpr int kLinksFollowedMax = 16;
constexpr size_t kCachedFoldersMax = 10'000;

std::string shown(std::string_view path) { return printable(path); }

Error no_such(std::string_view path) { return {Code::kNotFound, shown(path) + ": no such file or folder"}; }
Error is_going(std::string_view path) { return {Code::kUnavailable, shown(path) + ": is being deleted; try again"}; }

// What a link at the end of `names` up to `count` means there, as names.
Result<std::vector<std::string>> linked(const std::vector<std::string>& names, size_t count, const std::string& target) {
  auto folder = join_path({names.begin(), names.begin() + static_cast<std::ptrdiff_t>(count) - 1});
  auto path = resolve_path(folder, target);
  auto found = path ? split_path(*path) : std::unexpected(path.error());
  if (!found) return fail(Code::kNotFound, shown(target) + ": a link that leads nowhere");
  found->insert(found->end(), names.begin() + static_cast<std::ptrdiff_t>(count), names.end());
  return found;
}

}  // namespace

// ---- Paths ------------------------------------------------------------------------------

Result<FileId> Catalogue::walk_folders(std::vector<std::string>& names, bool& again) {
  again = false;
  std::vector<std::string> folders(names.begin(), names.end() - 1);
  auto path = join_path(folders);
  if (auto cached = folder_cache_.find(path); cached != folder_cache_.end()) return cached->second;
  FileId at = kRootFolder;
  for (size_t i = 0; i < folders.size(); ++i) {
    auto next = store_->child(at, folders[i]);
    auto so_far = [&] { return join_path({folders.begin(), folders.begin() + static_cast<std::ptrdiff_t>(i) + 1}); };
    if (!next) return fail(Code::kNotFound, shown(so_far()) + ": no such folder");
    if (next->kind == NodeKind::kFile) return fail(Code::kNotFolder, shown(so_far()) + ": is a file, not a folder");
    if (next->kind == NodeKind::kLink) {
      ASSIGN_OR_RETURN(names, linked(names, i + 1, next->link_target));
      again = true;
      return at;
    }
    at = next->id;
  }
  if (folder_cache_.size() >= kCachedFoldersMax) folder_cache_.clear();
  folder_cache_[path] = at;
  return at;
}

Result<Catalogue::Place> Catalogue::place(std::string_view path, bool follow_link) {
  ASSIGN_OR_RETURN(auto names, split_path(path));
  for (int followed = 0; followed <= kLinksFollowedMax; ++followed) {
    if (names.empty()) return Place{.folder = kNoFile, .name = "", .there = store_->node(kRootFolder)};
    bool again = false;
    ASSIGN_OR_RETURN(FileId folder, walk_folders(names, again));
    if (again) continue;
    auto there = store_->child(folder, names.back());
    if (there && there->kind == NodeKind::kLink && follow_link) {
      ASSIGN_OR_RETURN(names, linked(names, names.size(), there->link_target));
      continue;
    }
    return Place{.folder = folder, .name = names.back(), .there = std::move(there)};
  }
  return fail(Code::kInvalid, shown(path) + ": too many links, one may lead back to itself");
}

// Golden-ratio steps fill the partitions as evenly as can be, whatever was made when.
FileId Catalogue::next_id() {
  uint64_t n = store_->cluster.next_object++;
  uint64_t partition = (n * 0x9e3779b97f4a7c15u) >> 54;
  return FileId{partition << 54 | n};
}

bool Catalogue::made_before(FileId file, const Pair& pair) const {
  constexpr uint64_t kCount = (uint64_t{1} << 54) - 1;
  return (number(file) & kCount) < pair.objects_before;
}

Node Catalogue::new_node(const Place& place, NodeKind kind, const Change& change) {
  Node node;
  node.id = next_id();
  node.parent = place.folder;
  node.name = place.name;
  node.kind = kind;
  node.owner = change.user;
  node.created_us = change.now_us;
  node.modified_us = change.now_us;
  node.meta_version = change.index;
  return node;
}

// ---- Commands ---------------------------------------------------------------------------

void Catalogue::create_file(const wire::CreateFile& command, Change& change) {
  auto found = place(command.path(), false);
  if (!found) return change.refuse(found.error());
  if (const auto& there = found->there) {
    auto path = shown(command.path());
    if (there->kind == NodeKind::kFolder) return change.refuse(Code::kIsFolder, path + ": is a folder");
    if (there->kind == NodeKind::kLink) return change.refuse(Code::kExists, path + ": is a link");
    if (there->state == NodeState::kDeleting) return change.refuse(is_going(command.path()));
    // Of a name that never got a version only the acting primary knows whether it is taken.
    bool taken = there->state != NodeState::kPending;
    if (command.exclusive() && taken) return change.refuse(Code::kExists, path + ": there is such a file already");
    change.outcome.set_object_id(number(there->id));
    change.outcome.set_kind(wire::KIND_FILE);
    return;
  }
  if (auto may = check_right(found->folder, change.user, Right::kWrite); !may) return change.refuse(may.error());
  if (store_->pairs.empty()) {
    return change.refuse(Code::kUnavailable, "no storage server has registered yet; start one and try again");
  }
  Node node = new_node(*found, NodeKind::kFile, change);
  auto pair = std::next(store_->pairs.begin(), static_cast<std::ptrdiff_t>(store_->cluster.next_object % store_->pairs.size()));
  node.state = NodeState::kPending;
  node.pair = pair->first;
  node.mode = command.mode();
  if (!command.owner().empty()) node.owner = command.owner();
  if (command.modified_us()) node.modified_us = command.modified_us();
  store_->insert_node(node);
  inherit(node.parent, node, change);
  change.outcome.set_object_id(number(node.id));
  change.outcome.set_kind(wire::KIND_FILE);
  change.outcome.set_pair(pair->second.name);
  change.outcome.set_created(true);
  change.outcome.set_count(1);
}

void Catalogue::create_folder(const wire::CreateFolder& command, Change& change) {
  auto names = split_path(command.path());
  if (!names) return change.refuse(names.error());
  // Down to the first name that is missing; from there on nothing can be in the way.
  FileId folder = kRootFolder;
  size_t made_from = 0;
  for (; made_from < names->size(); ++made_from) {
    bool last = made_from + 1 == names->size();
    auto prefix = join_path({names->begin(), names->begin() + static_cast<std::ptrdiff_t>(made_from) + 1});
    auto found = place(prefix, !last);
    if (!found) return change.refuse(found.error());
    if (!found->there) {
      folder = found->folder;
      break;
    }
    if (found->there->kind != NodeKind::kFolder) {
      return change.refuse(last ? Code::kExists : Code::kNotFolder, shown(prefix) + ": is there, and is no folder");
    }
    folder = found->there->id;
  }
  change.outcome.set_kind(wire::KIND_FOLDER);
  if (made_from == names->size()) {
    if (!command.parents() && !command.exist_ok()) {
      return change.refuse(Code::kExists, shown(command.path()) + ": there is such a folder already");
    }
    change.outcome.set_object_id(number(folder));
    return;
  }
  if (made_from + 1 < names->size() && !command.parents()) {
    auto prefix = join_path({names->begin(), names->begin() + static_cast<std::ptrdiff_t>(made_from) + 1});
    return change.refuse(Code::kNotFound, shown(prefix) + ": no such folder");
  }
  if (auto may = check_right(folder, change.user, Right::kWrite); !may) return change.refuse(may.error());
  for (size_t i = made_from; i < names->size(); ++i) {
    Node node = new_node({.folder = folder, .name = (*names)[i]}, NodeKind::kFolder, change);
    if (!command.owner().empty()) node.owner = command.owner();
    if (i + 1 == names->size()) {
      node.mode = command.mode();
      if (command.modified_us()) node.modified_us = command.modified_us();
    }
    store_->insert_node(node);
    inherit(node.parent, node, change);
    queue_name(node, change);
    folder = node.id;
  }
  change.outcome.set_object_id(number(folder));
  change.outcome.set_created(true);
  change.outcome.set_count(names->size() - made_from);
}

void Catalogue::create_link(const wire::CreateLink& command, Change& change) {
  auto found = place(command.path(), false);
  if (!found) return change.refuse(found.error());
  if (command.target().empty() || command.target().size() > kPathSizeMax) {
    return change.refuse(Code::kInvalid, fmt::format("a link's target has 1 to {} bytes", kPathSizeMax));
  }
  change.outcome.set_kind(wire::KIND_LINK);
  if (found->there) {
    if (found->there->kind != NodeKind::kLink || !command.replace()) {
      return change.refuse(found->there->kind == NodeKind::kFolder ? Code::kIsFolder : Code::kExists,
                           shown(command.path()) + ": is there already");
    }
    if (auto may = check_right(*found->there, command.path(), change.user, Right::kOwn); !may) return change.refuse(may.error());
    Node node = *found->there;
    node.link_target = command.target();
    node.modified_us = command.modified_us() ? command.modified_us() : change.now_us;
    node.meta_version = change.index;
    store_->update_node(*found->there, node);
    queue_name(node, change);
    change.outcome.set_object_id(number(node.id));
    return;
  }
  if (auto may = check_right(found->folder, change.user, Right::kWrite); !may) return change.refuse(may.error());
  Node node = new_node(*found, NodeKind::kLink, change);
  node.link_target = command.target();
  if (!command.owner().empty()) node.owner = command.owner();
  if (command.modified_us()) node.modified_us = command.modified_us();
  store_->insert_node(node);
  queue_name(node, change);
  change.outcome.set_object_id(number(node.id));
  change.outcome.set_created(true);
  change.outcome.set_count(1);
}

void Catalogue::move(const wire::MoveNode& command, Change& change) {
  auto from = place(command.from(), false);
  if (!from) return change.refuse(from.error());
  if (!from->there) return change.refuse(no_such(command.from()));
  if (from->there->id == kRootFolder) return change.refuse(Code::kInvalid, "the root cannot be moved");
  if (from->there->state == NodeState::kDeleting) return change.refuse(is_going(command.from()));
  if (auto may = check_right(*from->there, command.from(), change.user, Right::kOwn); !may) return change.refuse(may.error());
  auto to = place(command.to(), false);
  if (to && to->there && to->there->kind == NodeKind::kLink && to->there->id != from->there->id) {
    to = place(command.to(), true);
  }
  if (!to) return change.refuse(to.error());
  Node node = *from->there;
  bool onto_itself = to->there && to->there->id == node.id;
  if (to->there && to->there->kind == NodeKind::kFolder && !onto_itself) {
    node.parent = to->there->id;
    to->there = store_->child(node.parent, node.name);
    onto_itself = to->there && to->there->id == node.id;
  } else {
    node.parent = to->folder;
    node.name = to->name;
  }
  change.outcome.set_object_id(number(node.id));
  change.outcome.set_kind(static_cast<wire::NodeKind>(node.kind));
  if (onto_itself) return;
  if (to->there) return change.refuse(Code::kExists, shown(command.to()) + ": there is such a name already");
  if (auto may = check_right(node.parent, change.user, Right::kWrite); !may) return change.refuse(may.error());
  if (node.kind == NodeKind::kFolder && is_under(node.parent, node.id)) {
    return change.refuse(Code::kInvalid, shown(command.to()) + ": a folder cannot be moved into itself");
  }
  node.meta_version = change.index;
  store_->update_node(*from->there, node);
  if (node.kind != NodeKind::kFile) folder_cache_.clear();
  queue_name(node, change);
  change.outcome.set_count(1);
}

void Catalogue::set_attributes(const wire::SetAttributes& command, Change& change) {
  auto found = place(command.path(), false);
  if (!found) return change.refuse(found.error());
  if (!found->there) return change.refuse(no_such(command.path()));
  if (found->there->id == kRootFolder) return change.refuse(Code::kInvalid, "the root has no attributes");
  if (auto may = check_right(*found->there, command.path(), change.user, Right::kWrite); !may) return change.refuse(may.error());
  Node node = *found->there;
  if (command.has_mode()) node.mode = command.mode() & 07777;
  if (command.has_modified_us()) node.modified_us = command.modified_us();
  node.meta_version = change.index;
  store_->update_node(*found->there, node);
  queue_name(node, change);
  change.outcome.set_object_id(number(node.id));
  change.outcome.set_kind(static_cast<wire::NodeKind>(node.kind));
}

}  // namespace understudy
