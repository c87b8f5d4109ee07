#include "nm/server_calls.h"

#include "common/base/path.h"
#include "nm/catalogue_db.h"

namespace understudy {

namespace {

// Behind "FILE: ": what it was, and how users find it now.
std::string fate_text(const std::string& path, bool deleted, const std::string& version, const std::string& server,
                      const Fate* fate) {
  const bool checkpoint = fate != nullptr && !fate->tag.empty();
  std::string what = "version " + version;
  if (checkpoint) what = "the checkpoint " + printable(fate->tag) + " (version " + version + ")";
  if (fate != nullptr && fate->deletion) what = "its deletion (version " + version + ")";
  std::string text = what + " was only on " + server + " when it failed";
  if (fate != nullptr && fate->deletion) return text + ", and does not count any more";
  if (fate != nullptr && fate->as) {
    if (!checkpoint) return text + "; it came back as version " + fate->as.to_string();
    text += "; it came back, of version " + fate->as.to_string();
    return fate->kept_as == fate->tag ? text : text + ", as " + fate->kept_as + ": its name was taken since";
  }
  if (deleted) text += ", and the file was deleted since";
  if (fate == nullptr || fate->kept_as.empty()) {
    return text + "; it is set aside there: LISTCHECKPOINTS " + path + ", or READ " + path + " --version " + version;
  }
  text += deleted ? "; UNDELETE " + path + " brings it back with the file: " : ", and the file has changed since; it is kept as a checkpoint: ";
  return text + "VIEWCHECKPOINT " + path + " " + fate->kept_as;
}

}  // namespace

void add_set_aside_events(Catalogue& catalogue, const std::string& server, const wire::SetAsideDone& file,
                          const Fates& fates, wire::Command* command) {
  const FileId id{file.file_id()};
  auto path = catalogue.path_of(id);
  const std::string before = catalogue.deleted_path(id);
  std::string shown = path ? *path : before.empty() ? file.name() : before;
  const Server* holder = catalogue.server(server);
  const Pair* pair = holder == nullptr ? nullptr : catalogue.pair(holder->pair);
  for (const auto& number : file.versions()) {
    auto fate = fates.find({id, from_wire(number)});
    const bool came = fate != fates.end() && fate->second.as;
    auto* event = command->add_events();
    event->set_kind(came ? "rescued" : "divergent");
    event->set_server(server);
    if (pair != nullptr) event->set_pair(pair->name);
    event->set_file_id(file.file_id());
    event->set_path(shown);
    *event->mutable_version() = number;
    event->set_text(shown + ": " + fate_text(printable(shown), !path, from_wire(number).to_string(), server,
                                             fate == fates.end() ? nullptr : &fate->second));
  }
}

namespace {

wire::NameRecord record_of(Catalogue& catalogue, const Node& node, uint32_t users_max) {
  wire::NameRecord record;
  record.set_object_id(number(node.id));
  record.set_kind(static_cast<wire::NodeKind>(node.kind));
  record.set_folder_id(number(node.parent));
  record.set_name(node.name);
  record.set_owner(node.owner);
  record.set_access_generation(node.access_generation);
  record.set_mode(node.mode);
  record.set_modified_us(node.modified_us);
  record.set_link_target(node.link_target);
  record.set_meta_version(node.meta_version);
  auto list = catalogue.access_list(node.id, "", users_max + 1);
  if (list.size() > users_max) {
    list.pop_back();
    record.set_shortened(true);
    record.set_meta_version(node.meta_version - 1);
  }
  for (const AccessRow& row : list) {
    (row.right == Right::kWrite ? record.add_writers() : record.add_readers())->assign(row.user);
  }
  return record;
}

}  // namespace

wire::NameRecord name_record(Catalogue& catalogue, const Node& node) { return record_of(catalogue, node, kAccessListMax); }

wire::NameRecord short_name_record(Catalogue& catalogue, const Node& node) {
  return record_of(catalogue, node, kNameRecordListMax);
}

Node node_of(const wire::NameRecord& record) {
  Node node;
  node.id = FileId{record.object_id()};
  node.kind = static_cast<NodeKind>(record.kind());
  node.parent = FileId{record.folder_id()};
  node.name = record.name();
  node.owner = record.owner();
  node.access_generation = record.access_generation();
  node.mode = record.mode();
  node.modified_us = record.modified_us();
  node.link_target = record.link_target();
  node.meta_version = record.meta_version();
  return node;
}

}  // namespace understudy
