#include "ss/stored_version.h"

#include <fmt/format.h>

namespace understudy {

ChunkHash StoredVersion::hash(int index) const {
  ChunkHash hash;
  CHECK(parse_chunk_hash(record().chunks(index).hash(), hash));
  return hash;
}

wire::VersionRecord StoredVersion::to_wire() const {
  wire::VersionRecord version = record();
  version.set_inline_content(inline_content);
  return version;
}

Result<StoredVersionRef> decode_stored_version(LogRecord record) {
  auto stored = std::make_shared<StoredVersion>();
  stored->lsn = record.lsn;
  stored->end = record.end();
  bool whole = RecordType{record.type} == RecordType::kVersion && stored->local.ParseFromString(record.head);
  if (whole) {
    uint64_t size = record.body.size();
    whole = stored->local.chunk_lsns_size() == stored->record().chunks_size();
    for (const auto& chunk : stored->record().chunks()) {
      whole = whole && chunk.hash().size() == sizeof(ChunkHash) && chunk.size() > 0;
      size += chunk.size();
    }
    whole = whole && size == stored->record().size_bytes();
  }
  if (!whole) return fail(Code::kCorrupt, fmt::format("the record at {} is no version", number(record.lsn)));
  stored->inline_content = std::move(record.body);
  return stored;
}

StoredVersionRef VersionCache::find(Lsn lsn) {
  auto found = entries_.find(lsn);
  if (found == entries_.end()) return nullptr;
  uses_.splice(uses_.begin(), uses_, found->second.use);
  return found->second.version;
}

void VersionCache::add(StoredVersionRef version) {
  if (entries_.contains(version->lsn)) return;
  bytes_ += version->memory_bytes();
  const Lsn lsn = version->lsn;
  uses_.push_front(lsn);
  entries_[lsn] = {std::move(version), uses_.begin()};
  while (bytes_ > bytes_max_ && entries_.size() > 1) {
    auto oldest = entries_.find(uses_.back());
    bytes_ -= oldest->second.version->memory_bytes();
    entries_.erase(oldest);
    uses_.pop_back();
  }
}

}  // namespace understudy
