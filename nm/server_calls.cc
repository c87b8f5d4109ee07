#include "nm/server_calls.h"

#include "nm/catalogue_db.h"

namespace understudy {

void add_set_aside_events(Catalogue& catalogue, const std::string& server, const wire::SetAsideDone& file,
                          Version rescued, const KeptAs& kept_as, wire::Command* command) {
  auto path = catalogue.path_of(FileId{file.file_id()});
  std::string shown = path ? *path : file.name();
  const Server* holder = catalogue.server(server);
  const Pair* pair = holder == nullptr ? nullptr : catalogue.pair(holder->pair);
  for (const auto& number : file.versions()) {
    std::string version = from_wire(number).to_string();
    auto* event = command->add_events();
    event->set_kind(rescued ? "rescued" : "divergent");
    event->set_server(server);
    if (pair != nullptr) event->set_pair(pair->name);
    event->set_file_id(file.file_id());
    event->set_path(shown);
    *event->mutable_version() = number;
    std::string text = shown + ": version " + version + " was only on " + server + " when it failed; ";
    if (auto tag = kept_as.find({FileId{file.file_id()}, from_wire(number)}); tag != kept_as.end()) {
      text += "it is kept as a checkpoint: VIEWCHECKPOINT " + shown + " " + tag->second;
    } else {
      text += "it is kept there: READ " + shown + " --version " + version;
    }
    if (rescued) text += "; its newest content came back as version " + rescued.to_string();
    event->set_text(std::move(text));
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
