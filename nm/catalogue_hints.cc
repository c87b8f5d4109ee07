// Commands about durability: what is set for folders, and hints.
//
// A hint is the content of one version for a target that lacks it. The hints of an
// object at a target stand behind what the target has confirmed without a gap, so with
// that they make the whole of the last one; the promised ones do so without the others,
// which have a time limit. As long as there is one, there is a job.
#include <fmt/format.h>

#include "nm/catalogue_change.h"

namespace understudy {

void Catalogue::set_durability(const wire::SetDurability& command, Change& change) {
  auto node = find(command.path(), /*follow_link=*/true);
  if (!node) return change.refuse(node.error());
  if (node->kind != NodeKind::kFolder) {
    return change.refuse(Code::kNotFolder, command.path() + ": is no folder; durability is set for folders, or for one write");
  }
  if (auto may = check_right(*node, command.path(), change.user, Right::kOwn); !may) return change.refuse(may.error());
  if (command.durability() != wire::DURABILITY_ASYNC && command.durability() != wire::DURABILITY_SYNC) {
    return change.refuse(Code::kInvalid, "durability is async or sync");
  }
  store_->set_durability(node->id, static_cast<uint8_t>(command.durability()));
  Node changed = *node;
  changed.meta_version = change.index;
  store_->update_node(*node, changed);
  queue_name(changed, change);
  change.outcome.set_object_id(number(node->id));
  change.outcome.set_path(command.path());
}

Catalogue::FolderDurability Catalogue::durability_of(const Node& node) {
  if (store_->durabilities.empty()) return {};
  FileId folder = node.kind == NodeKind::kFolder ? node.id : node.parent;
  while (true) {
    if (auto set = store_->durabilities.find(folder); set != store_->durabilities.end()) return {set->second, folder};
    if (folder == kRootFolder || folder == kTrashFolder) return {};
    auto above = store_->node(folder);
    if (!above) return {};
    folder = above->parent;
  }
}

uint8_t Catalogue::durability_set_for(FileId folder) const {
  auto set = store_->durabilities.find(folder);
  return set == store_->durabilities.end() ? 0 : set->second;
}

bool Catalogue::contents_known(ServerId server) const { return !store_->unfilled.contains(server); }

HintTotals Catalogue::hint_totals(ServerId target) const {
  auto totals = store_->hint_totals.find(target);
  return totals == store_->hint_totals.end() ? HintTotals{} : totals->second;
}

uint64_t Catalogue::hint_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [target, totals] : store_->hint_totals) bytes += totals.bytes;
  return bytes;
}

Version Catalogue::held_with_hints(ServerId target, FileId object, bool promised) {
  auto hints = store_->hints(target, object);
  while (promised && !hints.empty() && !hints.back().sync) hints.pop_back();
  if (!hints.empty()) return hints.back().version;
  if (!contents_known(target)) return {};
  auto job = store_->job(target, object);
  if (job && job->to) return job->from;
  auto node = store_->node(object);
  return node ? node->announced : Version{};
}

void Catalogue::add_hints(const wire::AddHints& command, Change& change) {
  Server* target = store_->server_named(command.target());
  Server* source = store_->server_named(command.server());
  if (!target || !source) return change.refuse(Code::kNotFound, command.target() + ": no such server");
  const Pair& pair = store_->pairs[source->pair];
  if (pair.acting != source->id || number(pair.epoch) != command.epoch() || pair.other_half(source->id) != target->id) {
    return change.refuse(Code::kStaleEpoch, fmt::format("{} does not act in epoch {}", source->name, command.epoch()));
  }
  if (command.sync() && target->in_sync) {
    return change.refuse(Code::kConflict, target->name + ": is in sync, and takes the versions itself");
  }
  uint64_t added = 0;
  for (const auto& item : command.items()) added += add_hint(*source, *target, command, item, change);
  change.outcome.set_count(added);
}

// Whether it stands there now. One that does not stand behind what there is helps nobody.
bool Catalogue::add_hint(const Server& source, const Server& target, const wire::AddHints& command,
                         const wire::NewHint& item, const Change& change) {
  FileId object{item.object_id()};
  Version version = version_of(item.version());
  Version behind = held_with_hints(target.id, object, command.sync());
  auto old = store_->node(object);
  if (!old || old->kind != NodeKind::kFile) return true;  // Removed by now.
  if (version <= behind) return true;
  if (version_of(item.parent()) != behind) return false;
  if (!command.sync()) {
    auto job = store_->job(target.id, object);
    if (!job || !job->to || job->kind == JobKind::kDelete || version > job->to) return false;
  } else {
    if (version > old->announced) {
      Node node = *old;
      if (node.state == NodeState::kPending) node.state = NodeState::kLive;
      node.announced = version;
      node.size_bytes = item.size_bytes();
      node.announced_by = source.id;
      node.announced_lsn = Lsn{item.lsn()};
      if (item.time_us() && item.kind() != wire::CHANGE_CHECKPOINT) node.modified_us = item.time_us();
      store_->update_node(*old, node);
    }
    queue({.target = target.id,
           .object = object,
           .kind = behind ? JobKind::kWrite : JobKind::kCreate,
           .from = behind,
           .to = version,
           .bytes = item.bytes(),
           .announce_lsn = Lsn{item.lsn()},
           .newest_lsn = Lsn{item.lsn()},
           .created_us = change.now_us});
  }
  for (const Hint& hint : store_->hints(target.id, object)) {
    if (hint.version == version) store_->erase_hint(hint);  // It was there without a promise.
  }
  store_->put_hint({.target = target.id,
                    .object = object,
                    .version = version,
                    .parent = behind,
                    .name_node = command.name_node(),
                    .lsn = Lsn{item.hint_lsn()},
                    .first_lsn = Lsn{item.first_lsn()},
                    .bytes = item.bytes(),
                    .time_us = item.time_us(),
                    .created_us = change.now_us,
                    .sync = command.sync()});
  return true;
}

// Those behind a dropped one would stand behind a gap.
void Catalogue::drop_hints(const wire::DropHints& command, Change& change) {
  constexpr uint32_t kDroppedAtOnce = 1000;
  Server* target = store_->server_named(command.target());
  if (!target) return change.refuse(Code::kNotFound, command.target() + ": no such server");
  uint64_t dropped = 0;
  for (const Hint& old : store_->old_hints(target->id, command.created_before_us(), kDroppedAtOnce)) {
    bool gap = false;
    for (const Hint& hint : store_->hints(target->id, old.object)) {
      gap = gap || hint.version == old.version;
      if (!gap || hint.sync) continue;
      store_->erase_hint(hint);
      ++dropped;
    }
  }
  change.outcome.set_count(dropped);
}

void Catalogue::end_hints(ServerId target, FileId object, Version upto) {
  auto totals = store_->hint_totals.find(target);
  if (totals == store_->hint_totals.end() || totals->second.hints == 0) return;
  for (const Hint& hint : store_->hints(target, object)) {
    if (hint.version <= upto) store_->erase_hint(hint);
  }
}

}  // namespace understudy
