#include "ss/stored_version.h"

#include <fmt/format.h>

namespace understudy {

ChunkRefs StoredVersion::top() const {
  ChunkRefs refs(record().chunks_size());
  for (size_t i = 0; i < refs.size(); ++i) {
    CHECK(chunk_ref_from_wire(record().chunks(static_cast<int>(i)), list_level(), refs[i]));
  }
  return refs;
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
    for (const auto& chunk : stored->record().chunks()) {
      ChunkRefInfo ref;
      whole = whole && chunk_ref_from_wire(chunk, stored->list_level(), ref);
      size += ref.file_bytes();
    }
    whole = whole && (size == stored->record().size_bytes() || (size == 0 && stored->record().trimmed()));
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
