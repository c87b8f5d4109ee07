#include "ss/records.h"

#include <fmt/format.h>

#include "common/base/chunk_hash.h"

namespace understudy {
namespace {

template <class Message>
Result<Message> parse(const LogRecord& record) {
  Message message;
  if (!message.ParseFromString(record.head)) {
    return fail(Code::kCorrupt, fmt::format("the record at {} of type {} is no such record",
                                            number(record.lsn), record.type));
  }
  return message;
}

Result<IndexRecord> decode_chunk(const LogRecord& record) {
  ASSIGN_OR_RETURN(auto chunk, parse<wire::ChunkRecord>(record));
  ChunkRow row{record.lsn, FileId{chunk.file_id()}, {}, static_cast<uint32_t>(record.body.size())};
  if (!parse_chunk_hash(chunk.hash(), row.hash)) {
    return fail(Code::kCorrupt, fmt::format("the record at {} is a chunk without a hash", number(record.lsn)));
  }
  return IndexRecord{record.end(), row};
}

Result<IndexRecord> decode_version(const LogRecord& record) {
  ASSIGN_OR_RETURN(auto version, parse<wire::LocalVersion>(record));
  VersionRow row = version_row(version);
  row.lsn = record.lsn;
  row.end = record.end();
  return IndexRecord{record.end(), std::move(row)};
}

Result<IndexRecord> decode_name(const LogRecord& record) {
  ASSIGN_OR_RETURN(auto name, parse<wire::NameRecord>(record));
  return IndexRecord{record.end(), NameRow{record.lsn, FileId{name.object_id()},
                                           static_cast<uint32_t>(name.kind()), name.meta_version()}};
}

Result<IndexRecord> decode_aside(const LogRecord& record) {
  ASSIGN_OR_RETURN(auto aside, parse<wire::AsideRecord>(record));
  AsideRow row{FileId{aside.file_id()}, version_from_wire(aside.keep()), {}};
  for (const auto& version : aside.versions()) row.versions.push_back(version_from_wire(version));
  row.rescued = aside.rescued();
  return IndexRecord{record.end(), std::move(row)};
}

std::string describe_version(const wire::LocalVersion& local) {
  const auto& version = local.version();
  return fmt::format("file {:016x} version {} parent {} {} size {} chunks {} level {} request {:x}.{} user {} {}{}",
                     version.file_id(), version_from_wire(version.version()).to_string(),
                     version_from_wire(version.parent()).to_string(), wire::ChangeKind_Name(version.kind()),
                     version.size_bytes(), version.chunks_size(), version.list_level(), version.request().client(),
                     version.request().sequence(), version.user(),
                     local.aside() ? "kept aside" : local.originated() ? "originated" : "replicated",
                     version.has_name() ? " name " + version.name().name() : "") + (version.trimmed() ? " trimmed" : "") +
         (version.tag().empty() ? "" : " tag " + version.tag()) +
         (version.durability() == wire::DURABILITY_SYNC ? " sync" : "");
}

}  // namespace

VersionRow version_row(const wire::LocalVersion& local) {
  const auto& version = local.version();
  VersionRow row;
  row.file = FileId{version.file_id()};
  row.version = version_from_wire(version.version());
  row.parent = version_from_wire(version.parent());
  row.request = {version.request().client(), version.request().sequence()};
  row.kind = static_cast<uint32_t>(version.kind());
  row.originated = local.originated();
  row.aside = local.aside();
  row.sync = version.durability() == wire::DURABILITY_SYNC;
  row.trimmed = version.trimmed();
  row.more_follow = version.more_follow();
  row.size_bytes = version.size_bytes();
  row.new_bytes = local.new_bytes();
  row.user = version.user();
  row.time_us = version.time_us();
  row.mode = version.mode();
  row.modified_us = version.modified_us();
  row.meta_version = version.has_name() ? version.name().meta_version() : 0;
  if (row.checkpoint()) row.tag = version.tag();
  return row;
}

TrimRow trim_row(const wire::TrimRecord& record) {
  TrimRow row{FileId{record.file_id()}, {}, {}};
  for (const auto& trimmed : record.versions()) {
    row.versions.push_back({version_from_wire(trimmed.version()), Lsn{trimmed.lsn()}, trimmed.gone()});
  }
  for (const auto& freed : record.chunks()) {
    ChunkRow chunk{Lsn{freed.lsn()}, row.file, {}, freed.size()};
    if (parse_chunk_hash(freed.hash(), chunk.hash)) row.chunks.push_back(chunk);
  }
  for (const auto& name : record.names()) row.names.push_back({Lsn{name.lsn()}, FileId{name.object_id()}});
  return row;
}

void strip_content(wire::VersionRecord& version) {
  version.clear_chunks();
  version.clear_inline_content();
  version.clear_edit_record();
  version.clear_list_level();
  version.set_trimmed(true);
}

bool chunk_ref_from_wire(const wire::ChunkRef& chunk, uint32_t level, ChunkRefInfo& ref) {
  ref.size = chunk.size();
  ref.span = chunk.span();
  return parse_chunk_hash(chunk.hash(), ref.hash) && ref.size > 0 && (ref.span != 0) == (level > 0);
}

Result<IndexRecord> decode_index_record(const LogRecord& record) {
  switch (RecordType{record.type}) {
    case RecordType::kGap:
      return IndexRecord{record.end(), std::monostate{}};
    case RecordType::kChunk:
      return decode_chunk(record);
    case RecordType::kVersion:
      return decode_version(record);
    case RecordType::kName:
      return decode_name(record);
    case RecordType::kAside:
      return decode_aside(record);
    case RecordType::kEpoch: {
      ASSIGN_OR_RETURN(auto epoch, parse<wire::EpochRecord>(record));
      return IndexRecord{record.end(), EpochRow{Epoch{epoch.epoch()}, epoch.serving()}};
    }
    case RecordType::kState: {
      ASSIGN_OR_RETURN(auto state, parse<wire::StateRecord>(record));
      return IndexRecord{record.end(), StateRow{state.key(), state.value()}};
    }
    case RecordType::kTrim: {
      ASSIGN_OR_RETURN(auto trim, parse<wire::TrimRecord>(record));
      return IndexRecord{record.end(), trim_row(trim)};
    }
  }
  return fail(Code::kCorrupt,
              fmt::format("the record at {} has the unknown type {}", number(record.lsn), record.type));
}

std::string describe_record(const LogRecord& record) {
  switch (RecordType{record.type}) {
    case RecordType::kGap:
      return "GAP: what stood here was damaged, and is not needed";
    case RecordType::kChunk:
      if (auto chunk = parse<wire::ChunkRecord>(record)) {
        ChunkHash hash;
        bool valid = parse_chunk_hash(chunk->hash(), hash);
        return fmt::format("CHUNK file {:016x} hash {}", chunk->file_id(), valid ? hash.to_hex() : "?");
      }
      break;
    case RecordType::kVersion:
      if (auto version = parse<wire::LocalVersion>(record)) return "VERSION " + describe_version(*version);
      break;
    case RecordType::kName:
      if (auto name = parse<wire::NameRecord>(record)) {
        return fmt::format("NAME {} {:016x} name {} in {:016x} owner {} meta_version {}",
                           wire::NodeKind_Name(name->kind()), name->object_id(), name->name(),
                           name->folder_id(), name->owner(), name->meta_version());
      }
      break;
    case RecordType::kAside:
      if (auto aside = parse<wire::AsideRecord>(record)) {
        std::string line = fmt::format("ASIDE file {:016x} keep {} set aside", aside->file_id(),
                                       version_from_wire(aside->keep()).to_string());
        for (const auto& version : aside->versions()) line += " " + version_from_wire(version).to_string();
        return line;
      }
      break;
    case RecordType::kEpoch:
      if (auto epoch = parse<wire::EpochRecord>(record)) {
        return fmt::format("EPOCH {} {}", epoch->epoch(), epoch->serving() ? "served" : "seen");
      }
      break;
    case RecordType::kState:
      if (auto state = parse<wire::StateRecord>(record))
        return "STATE " + state->key() + " = " + state->value();
      break;
    case RecordType::kTrim:
      if (auto trim = parse<wire::TrimRecord>(record)) {
        std::string line = fmt::format("TRIM file {:016x} chunks {} versions", trim->file_id(), trim->chunks_size());
        for (const auto& trimmed : trim->versions()) {
          line += " " + version_from_wire(trimmed.version()).to_string() + (trimmed.gone() ? " gone" : "");
        }
        return line;
      }
      break;
  }
  return "no record of this program's";
}

}  // namespace understudy
