// All that a store knows of names: from this a name node's catalogue is rebuilt.
#include <fmt/format.h>

#include "common/base/coding.h"
#include "common/base/log.h"
#include "ss/store_engine.h"

namespace understudy {
namespace {

constexpr uint32_t kObjectsMax = 1000;  // In one reply; a name with its access list has some hundred bytes.

}  // namespace

// The newest NameRecord of an object, from the record that has it. One that cannot be read, or
// was never told, is a file or folder without a name: the caller finds it one.
Task<Result<wire::NameRecord>> StoreEngine::name_of_object(ObjectRow object) {
  wire::NameRecord name;
  if (object.name_lsn != kNoLsn) {
    auto record = co_await log_->read(object.name_lsn, kInlineSizeMax);
    if (!record && record.error().code != Code::kCorrupt) co_return std::unexpected(record.error());
    if (!record) {
      log_warning(fmt::format("the name of {:016x} cannot be read: {}", number(object.id), record.error().message));
    } else if (RecordType{record->type} == RecordType::kName) {
      if (name.ParseFromString(record->head) && name.object_id() == number(object.id)) co_return name;
      name.Clear();
    } else if (auto version = decode_stored_version(*std::move(record)); version) {
      name = (*version)->record().name();
      // A version's name may lack what every file is.
      if (name.object_id() == number(object.id) && name.kind() == wire::KIND_NONE) name.set_kind(wire::KIND_FILE);
    }
  }
  if (name.object_id() == number(object.id)) co_return name;
  name.Clear();
  name.set_object_id(number(object.id));
  name.set_kind(static_cast<wire::NodeKind>(object.kind));
  name.set_meta_version(object.meta_version);
  co_return name;
}

Task<Result<wire::ListObjectsReply>> StoreEngine::list_objects(wire::ListObjectsRequest request) {
  uint64_t after = 0;
  BytesView cursor = request.after();
  const bool from_start = cursor.empty();
  if (!from_start && (!get_fixed(cursor, after) || !cursor.empty())) {
    co_return fail(Code::kInvalid, "a listing goes on where the last answer ended");
  }
  const uint32_t limit = std::clamp<uint32_t>(request.limit(), 1, kObjectsMax);
  wire::ListObjectsReply reply;
  reply.set_lsn(number(log_->durable_end()));
  CO_ASSIGN_OR_RETURN(auto objects, index_->objects(from_start, FileId{after}, limit));
  for (const auto& object : objects) {
    auto* listed = reply.add_objects();
    CO_ASSIGN_OR_RETURN(*listed->mutable_name(), co_await name_of_object(object));
    listed->set_created_us(object.created_us);
    if (!object.head) continue;
    *listed->mutable_head() = version_to_wire(object.head->version);
    listed->set_deleted(object.head->deleted());
    listed->set_size_bytes(object.head->size_bytes);
    listed->set_modified_us(object.head->modified_us);
    listed->set_mode(object.head->mode);
  }
  if (objects.size() == limit) {
    reply.set_more(true);
    put_fixed<uint64_t>(*reply.mutable_next_after(), number(objects.back().id));
  }
  co_return reply;
}

}  // namespace understudy
