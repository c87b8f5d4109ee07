// Deleted files that can come back: where their names stay until they are forgotten, and
// the two steps of a return. As with a removal, the acting primary decides about
// versions: the intent gives the name back, then the primary the content, then the end.
#include <fmt/format.h>

#include "nm/catalogue_change.h"

namespace understudy {

// Under the path that it had when it was deleted, or its folder was.
void Catalogue::bury(Node node, Version tombstone, const Change& change) {
  const std::string deleter = change.user.empty() ? store_->deleter(node.id) : change.user;
  store_->note_deleter(node.id, "");
  if (!node.announced) return store_->erase_node(node);
  std::string path;
  for (Node at = node; path.empty() || path.front() != '/';) {
    const bool top = at.parent == kTrashFolder;
    const std::string name = top ? store_->trashed_path(at.id) : at.parent == kRootFolder ? "/" + at.name : at.name;
    path = path.empty() ? name : name + "/" + path;
    if (top || at.parent == kRootFolder) break;
    auto folder = store_->node(at.parent);
    if (!folder) break;
    at = *std::move(folder);
  }
  // Nobody could ask for it by name.
  if (!path.starts_with('/')) return store_->erase_node(node);
  const Node before = node;
  node.announced = std::max(node.announced, tombstone);
  store_->update_node(before, node);
  // The log's time stands still while a clock was set back; what went last under a name comes back first all the same.
  auto earlier = store_->deleted_at(path);
  const int64_t now_us = earlier ? std::max(change.now_us, earlier->deleted_us + 1) : change.now_us;
  store_->bury_node(node, {.id = node.id, .path = path, .deleted_us = now_us, .deleted_by = deleter,
                           .owner = node.owner, .size_bytes = node.size_bytes});
}

void Catalogue::undelete_intent(const wire::UndeleteIntent& command, Change& change) {
  const std::string shown = printable(command.path());
  auto deleted = store_->deleted_at(command.path());
  auto found = place(command.path(), false);
  if (!deleted && (!found || !found->there)) {
    return change.refuse(Code::kNotFound, shown + ": no deleted file of that name is kept; VIEW --deleted lists them");
  }
  if (!found && found.error().code == Code::kNotFound) {
    return change.refuse(Code::kNotFound, found.error().message + " any more; make it with CREATEFOLDER -p, then UNDELETE again");
  }
  if (!found) return change.refuse(found.error());
  if (found->there && found->there->state == NodeState::kReturning) {
    if (auto may = check_right(*found->there, command.path(), change.user, Right::kOwn); !may) return change.refuse(may.error());
    change.outcome.set_object_id(number(found->there->id));  // Somebody began it, and did not come to the end.
    return;
  }
  if (found->there) {
    return change.refuse(Code::kExists, shown + ": the name is taken; MOVE what has it away first");
  }
  if (deleted->owner != change.user && !is_administrator(change.user)) {
    return change.refuse(Code::kDenied, shown + ": it was " + deleted->owner + "'s, who may bring it back");
  }
  if (auto may = check_right(found->folder, change.user, Right::kWrite); !may) return change.refuse(may.error());
  auto old = store_->dig_up_node(deleted->id);
  if (!old) return change.refuse(Code::kNotFound, shown + ": its name is kept no more");
  Node node = *old;
  node.parent = found->folder;
  node.name = found->name;
  node.state = NodeState::kReturning;
  node.meta_version = change.index;
  ++node.access_generation;
  store_->update_node(*old, node);
  // What comes back comes behind the tombstone, which then is a version like others.
  for (const Job& job : store_->jobs_of(node.id)) {
    if (job.kind != JobKind::kDelete) continue;
    Job write = job;
    write.kind = JobKind::kWrite;
    store_->put_job(job, write);
  }
  change.outcome.set_object_id(number(node.id));
  change.outcome.set_kind(wire::KIND_FILE);
  if (const Pair* pair = this->pair(node.pair)) change.outcome.set_pair(pair->name);
}

void Catalogue::undelete_end(const wire::UndeleteEnd& command, Change& change) {
  auto there = store_->node(FileId{command.object_id()});
  change.outcome.set_object_id(command.object_id());
  if (!there || there->state != NodeState::kReturning) return;
  if (command.gone()) return store_->erase_node(*there);
  Node node = *there;
  node.state = NodeState::kLive;
  store_->update_node(*there, node);
}

void Catalogue::forget_deleted(const wire::ForgetDeleted& command, Change& change) {
  change.outcome.set_count(store_->forget_deleted(command.before_us(), command.limit()));
}

}  // namespace understudy
