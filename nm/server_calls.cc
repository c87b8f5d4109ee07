#include "nm/server_calls.h"

namespace understudy {

wire::NameRecord name_record(const Node& node) {
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
  return record;
}

}  // namespace understudy
