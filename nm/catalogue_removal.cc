// Commands that take names away. A file's removal has two steps, since the acting
// primary decides about its versions: intent, then done with the tombstone.
#include <fmt/format.h>

#include "nm/catalogue_change.h"

namespace understudy {
namespace {


Error no_such(std::string_view path) { return {Code::kNotFound, printable(path) + ": no such file or folder"}; }

}  // namespace

void Catalogue::remove_intent(const wire::RemoveIntent& command, Change& change) {
  std::optional<Node> there;
  if (command.object_id() != 0) {
    there = store_->node(FileId{command.object_id()});
    if (!there) return change.refuse(Code::kNotFound, "no such file");
  } else {
    auto found = place(command.path(), false);
    if (!found) return change.refuse(found.error());
    if (!found->there) return change.refuse(no_such(command.path()));
    there = std::move(found->there);
  }
  if (there->kind == NodeKind::kFolder) return change.refuse(Code::kIsFolder, printable(there->name) + ": is a folder");
  if (there->kind == NodeKind::kLink) return change.refuse(Code::kInvalid, printable(there->name) + ": is a link");
  if (auto may = check_right(*there, command.object_id() != 0 ? there->name : command.path(), change.user, Right::kOwn); !may) {
    return change.refuse(may.error());
  }
  Node node = *there;
  if (node.state != NodeState::kDeleting) {
    node.state = NodeState::kDeleting;
    ++node.access_generation;
    store_->update_node(*there, node);
    store_->note_deleter(node.id, change.user);
  }
  change.outcome.set_object_id(number(node.id));
  change.outcome.set_kind(wire::KIND_FILE);
  change.outcome.set_access_generation(node.access_generation);
  set_version(change.outcome.mutable_version(), node.announced);
  if (auto* pair = this->pair(node.pair)) change.outcome.set_pair(pair->name);
}

void Catalogue::remove_done(const wire::RemoveDone& command, Change& change) {
  for (const auto& file : command.files()) {
    auto node = store_->node(FileId{file.object_id()});
    if (!node) continue;
    if (node->kind != NodeKind::kFile) return change.refuse(Code::kInvalid, "only a file is removed in two steps");
    const Pair* pair = this->pair(node->pair);
    // A tombstone of a primary that was replaced meanwhile may be unknown to the one that acts now.
    if (file.epoch() != 0 && pair && file.epoch() != number(pair->epoch)) {
      return change.refuse(Code::kStaleEpoch, fmt::format("the epoch of {} is {} by now", pair->name, number(pair->epoch)));
    }
  }
  uint64_t gone = 0;
  for (const auto& file : command.files()) {
    if (change.outcome.object_id() == 0) change.outcome.set_object_id(file.object_id());
    auto node = store_->node(FileId{file.object_id()});
    if (!node) continue;  // Its tombstone was announced before.
    erase_file(*node, version_of(file.version()), Lsn{file.lsn()}, change);
    ++gone;
  }
  change.outcome.set_kind(wire::KIND_FILE);
  change.outcome.set_count(gone);
}

void Catalogue::erase_file(const Node& node, Version tombstone, Lsn lsn, const Change& change) {
  const Pair* pair = this->pair(node.pair);
  ServerId target = pair ? pair->other_half(pair->acting) : kNoServer;
  Version from = node.announced;
  if (auto waiting = target == kNoServer ? std::nullopt : store_->job(target, node.id)) {
    if (waiting->to) from = waiting->from;
  }
  drop_jobs(node.id);
  bury(node, tombstone, change);
  if (!tombstone || target == kNoServer) return;
  queue({.target = target,
         .object = node.id,
         .kind = JobKind::kDelete,
         .from = from,
         .to = tombstone,
         .announce_lsn = lsn,
         .newest_lsn = lsn,
         .created_us = change.now_us});
}

void Catalogue::erase_name(const Node& node, const Change& change) {
  store_->set_durability(node.id, 0);
  drop_jobs(node.id);
  store_->erase_node(node);
  folder_cache_.clear();
  for (const auto& [id, server] : store_->servers) {
    queue({.target = id,
           .object = node.id,
           .kind = JobKind::kDelete,
           .meta_version = change.index,
           .created_us = change.now_us});
  }
}

void Catalogue::remove_cancel(const wire::RemoveCancel& command, Change& change) {
  auto there = store_->node(FileId{command.object_id()});
  if (!there || there->state != NodeState::kDeleting) return;
  Node node = *there;
  node.state = node.announced ? NodeState::kLive : NodeState::kPending;
  store_->note_deleter(node.id, "");
  store_->update_node(*there, node);
  change.outcome.set_object_id(number(node.id));
}

void Catalogue::remove_folder(const wire::RemoveFolder& command, Change& change) {
  auto found = place(command.path(), false);
  if (!found) return change.refuse(found.error());
  if (!found->there) return change.refuse(no_such(command.path()));
  const Node& there = *found->there;
  if (there.id == kRootFolder) return change.refuse(Code::kInvalid, "the root cannot be removed");
  if (there.kind != NodeKind::kFolder) {
    return change.refuse(Code::kNotFolder, printable(command.path()) + ": is no folder");
  }
  if (auto may = check_right(there, command.path(), change.user, Right::kOwn); !may) return change.refuse(may.error());
  change.outcome.set_object_id(number(there.id));
  change.outcome.set_kind(wire::KIND_FOLDER);
  change.outcome.set_count(1);
  if (!store_->has_children(there.id)) return erase_name(there, change);
  if (!command.recursive()) {
    change.outcome.Clear();
    change.outcome.set_raft_index(change.index);
    return change.refuse(Code::kNotEmpty, printable(command.path()) + ": is not empty; -r removes what is in it too");
  }
  if (auto path = path_of(there.id)) store_->put_trashed(there.id, *path);
  Node node = there;
  node.parent = kTrashFolder;
  node.name = fmt::format("{:016x}", number(node.id));
  node.meta_version = change.index;
  store_->update_node(there, node);
  folder_cache_.clear();
  queue_name(node, change);
}

void Catalogue::remove_link(const wire::RemoveLink& command, Change& change) {
  auto found = place(command.path(), false);
  if (!found) return change.refuse(found.error());
  if (!found->there) return change.refuse(no_such(command.path()));
  if (found->there->kind == NodeKind::kFolder) {
    return change.refuse(Code::kIsFolder, printable(command.path()) + ": is a folder");
  }
  if (found->there->kind == NodeKind::kFile) {
    return change.refuse(Code::kInvalid, printable(command.path()) + ": is a file, no link");
  }
  if (auto may = check_right(*found->there, command.path(), change.user, Right::kOwn); !may) return change.refuse(may.error());
  change.outcome.set_object_id(number(found->there->id));
  change.outcome.set_kind(wire::KIND_LINK);
  change.outcome.set_count(1);
  erase_name(*found->there, change);
}

void Catalogue::purge_nodes(const wire::PurgeNodes& command, Change& change) {
  uint64_t gone = 0;
  for (uint64_t id : command.object_ids()) {
    auto node = store_->node(FileId{id});
    if (!node || node->kind == NodeKind::kFile || node->id == kTrashFolder) continue;
    if (!is_under(node->id, kTrashFolder) || store_->has_children(node->id)) continue;
    erase_name(*node, change);
    ++gone;
  }
  change.outcome.set_count(gone);
}

}  // namespace understudy
