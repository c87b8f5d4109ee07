#include "common/base/chunk_list.h"

#include "common/base/coding.h"

namespace understudy {
namespace {

constexpr std::string_view kMagic = "ULIST";
constexpr size_t kHeaderSize = 8;
constexpr size_t kEntrySize = 44;

// One entry in so many ends a list, on the average.
constexpr uint8_t kEndMask = 63;

ListChunk make_list(const ChunkRefInfo* entries, size_t count, uint32_t level) {
  ListChunk list;
  list.bytes.reserve(kHeaderSize + count * kEntrySize);
  list.bytes = kMagic;
  list.bytes += static_cast<char>(level);
  list.bytes.append(2, '\0');
  for (size_t i = 0; i < count; ++i) {
    list.bytes += entries[i].hash.view();
    put_fixed<uint32_t>(list.bytes, entries[i].size);
    put_fixed<uint64_t>(list.bytes, entries[i].span);
    list.ref.span += entries[i].file_bytes();
  }
  list.ref.hash = chunk_hash(list.bytes);
  list.ref.size = static_cast<uint32_t>(list.bytes.size());
  return list;
}

// The entries of the next level, for the lists that `entries` are cut into.
ChunkRefs cut_into_lists(const ChunkRefs& entries, uint32_t level, std::vector<ListChunk>* lists) {
  ChunkRefs above;
  for (size_t begin = 0, end = 0; begin < entries.size(); begin = end) {
    do ++end;
    while (end < entries.size() && end - begin < kListSizeMax &&
           (end - begin < kListSizeMin || (entries[end - 1].hash.bytes[0] & kEndMask) != 0));
    lists->push_back(make_list(&entries[begin], end - begin, level));
    above.push_back(lists->back().ref);
  }
  return above;
}

}  // namespace

BuiltList build_list(std::vector<ChunkRefs> spine, const ChunkRefs& added) {
  BuiltList built;
  CHECK(!spine.empty());
  built.top = std::move(spine[0]);
  built.top.insert(built.top.end(), added.begin(), added.end());
  while (built.level + 1 < spine.size() || built.top.size() > kTopListMax) {
    ChunkRefs above = cut_into_lists(built.top, built.level, &built.lists);
    ++built.level;
    built.top.clear();
    if (built.level < spine.size()) {
      built.top = std::move(spine[built.level]);
      CHECK(!built.top.empty());
      built.top.pop_back();
    }
    built.top.insert(built.top.end(), above.begin(), above.end());
  }
  return built;
}

Result<ChunkRefs> parse_list(BytesView bytes, uint32_t level) {
  const bool whole = bytes.size() > kHeaderSize && bytes.starts_with(kMagic) &&
                     static_cast<uint8_t>(bytes[kMagic.size()]) == level &&
                     (bytes.size() - kHeaderSize) % kEntrySize == 0 &&
                     (bytes.size() - kHeaderSize) / kEntrySize <= kListSizeMax;
  if (!whole) return fail(Code::kCorrupt, "no list of chunks of level " + std::to_string(level));
  bytes.remove_prefix(kHeaderSize);
  ChunkRefs entries(bytes.size() / kEntrySize);
  for (auto& entry : entries) {
    bool good = parse_chunk_hash(bytes.substr(0, sizeof(ChunkHash)), entry.hash);
    bytes.remove_prefix(sizeof(ChunkHash));
    good = good && get_fixed(bytes, entry.size) && get_fixed(bytes, entry.span) && entry.size > 0;
    if (!good || (entry.span != 0) != (level > 0)) return fail(Code::kCorrupt, "a list of chunks with a bad entry");
  }
  return entries;
}

}  // namespace understudy
