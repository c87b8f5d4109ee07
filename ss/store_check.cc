#include "ss/store_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/base/chunk_list.h"
#include "common/env/direct_read.h"
#include "common/env/env_util.h"
#include "common/segment_log/log_reader.h"
#include "common/segment_log/packed_recovery.h"
#include "ss/index_db.h"
#include "ss/stored_version.h"

namespace understudy {
namespace {

constexpr size_t kUncommittedMax = 2000;
constexpr int kToldMax = 20;

// One checking, from the folder's lock to the last word.
struct Checking {
  Env& env;
  std::string folder;
  std::function<void(std::string)> say;
  StoreCheck result;
  StoreId store_id;
  Lsn covered = kNoLsn;               // By the index that is there.
  std::unique_ptr<IndexDb> index;     // That one; null: there is none.
  std::unique_ptr<IndexDb> rebuilt;   // From the log, up to `covered`.
  struct Named {
    FileId file = kNoFile;
    Version version;
    ChunkHash hash;
    uint32_t level = 0;  // Not 0: of a list chunk, one more than its own.
  };
  using Key = std::pair<FileId, ChunkHash>;
  std::set<Key> chunks;                           // Whole ones,
  std::map<Key, std::vector<ChunkHash>> lists;    // and what those name that are lists.
  std::vector<Named> named;                       // By versions.
  std::set<std::pair<FileId, Version>> trimmed;   // Their chunks may have gone.

  void damaged(std::string what) {
    ++result.damages;
    say("DAMAGED: " + what);
  }
  Task<Status> identify();
  Task<Status> check_index();
  Task<Status> check_segment(std::string path, Lsn base, bool last);
  Task<Status> check_packed(std::string path);
  Status check_record(const std::string& path, uint64_t offset, LogRecord record);
  void note_list(Key key, BytesView bytes);
  void check_chunks();
  Status compare_index();
};

Task<Status> Checking::identify() {
  auto content = co_await read_small_file(env, folder + "/store", 4096);
  if (!content && content.error().code == Code::kNotFound) {
    co_return fail(Code::kInvalid, folder + ": has no file 'store': not a storage server's folder");
  }
  if (!content) co_return std::unexpected(content.error());
  constexpr std::string_view kStoreFormat = "understudy store, format 1\n";
  if (!content->starts_with(kStoreFormat) || content->size() != kStoreFormat.size() + kStoreIdSize + 1) {
    co_return fail(Code::kInvalid, folder + "/store: made by another program, or in a format that this one does not know");
  }
  store_id = content->substr(kStoreFormat.size(), kStoreIdSize);
  co_return Status{};
}

Task<Status> Checking::check_index() {
  const std::string path = folder + "/index.db";
  if (!env.disk.info(path)) {
    say("the index is not there: the next start makes it from the log");
    co_return Status{};
  }
  auto opened = IndexDb::open(env, path, store_id);
  if (!opened && opened.error().code != Code::kCorrupt) co_return std::unexpected(opened.error());
  if (!opened) {
    damaged(opened.error().message + "; --rebuild-index makes it anew from the log");
    co_return Status{};
  }
  index = *std::move(opened);
  auto problems = index->integrity_problems();
  if (!problems || !problems->empty()) {
    damaged(path + ": " + (problems ? *problems : problems.error().message) + "; --rebuild-index makes it anew from the log");
    index.reset();
    co_return Status{};
  }
  covered = index->covered();
  result.index_checked = true;
  CO_RETURN_IF_ERROR(IndexDb::remove(env, folder + "/check.db"));
  CO_ASSIGN_OR_RETURN(rebuilt, IndexDb::open(env, folder + "/check.db", store_id));
  co_return Status{};
}

Status Checking::check_record(const std::string& path, uint64_t offset, LogRecord record) {
  ++result.records;
  const RecordType type{record.type};
  auto row = decode_index_record(record);
  if (!row) {
    damaged(fmt::format("{}: offset {}: {}", path, offset, row.error().message));
    return {};
  }
  if (type == RecordType::kChunk) {
    ++result.chunks;
    wire::ChunkRecord chunk;
    ChunkHash hash;
    if (!chunk.ParseFromString(record.head) || !parse_chunk_hash(chunk.hash(), hash) || chunk_hash(record.body) != hash) {
      damaged(fmt::format("{}: offset {}: a chunk of file {:016x} whose bytes have another hash", path, offset, chunk.file_id()));
    } else {
      chunks.emplace(FileId{chunk.file_id()}, hash);
      note_list({FileId{chunk.file_id()}, hash}, record.body);
    }
  } else if (type == RecordType::kVersion) {
    ++result.versions;
    auto version = decode_stored_version(record);
    if (!version) {
      damaged(fmt::format("{}: offset {}: {}", path, offset, version.error().message));
    } else {
      for (const auto& chunk : (*version)->record().chunks()) {
        ChunkHash hash;
        if (!parse_chunk_hash(chunk.hash(), hash)) continue;
        named.push_back({(*version)->file(), (*version)->version(), hash, (*version)->list_level()});
      }
    }
  } else if (auto* trim = std::get_if<TrimRow>(&row->row)) {
    for (const auto& version : trim->versions) trimmed.emplace(trim->file, version.version);
  }
  if (!rebuilt || record.end() > covered) return {};
  if (std::holds_alternative<std::monostate>(row->row)) {
    rebuilt->cover(row->end);
    return {};
  }
  RETURN_IF_ERROR(rebuilt->apply(*row));
  return rebuilt->uncommitted() < kUncommittedMax ? Status() : rebuilt->commit();
}

Task<Status> Checking::check_segment(std::string path, Lsn base, bool last) {
  CO_ASSIGN_OR_RETURN(std::shared_ptr<File> file, open_for_verifying(env, path));
  CO_ASSIGN_OR_RETURN(uint64_t size, file->size());
  ++result.segments;
  auto read = file->read(0, kSegmentHeaderSize);
  auto bytes = co_await read;
  auto header = bytes ? decode_segment_header(*bytes) : fail(bytes.error().code, bytes.error().message);
  if (!header) co_return fail(header.error().code, path + ": " + header.error().message);
  if (*header && (*header)->store_id != store_id) {
    damaged(path + ": belongs to store " + (*header)->store_id);
    co_return Status{};
  }
  LogReader reader(file, path, base, Lsn{number(base) + kSegmentHeaderSize}, size);
  if (!*header) {
    bool proven = !last;
    if (last) {
      CO_ASSIGN_OR_RETURN(proven, co_await reader.proves_damage());
    }
    if (!proven) {
      say(path + ": was just being made, and never counted; the next start drops it");
      co_return Status{};
    }
    damaged(path + ": the segment's header");
  }
  while (true) {
    const uint64_t offset = number(reader.position()) - number(base);
    auto next = co_await reader.next();
    if (!next) {
      damaged(fmt::format("{}: offset {}: cannot be read: {}", path, offset, next.error().message));
      co_return Status{};
    }
    if (*next) {
      result.bytes += number((*next)->end()) - number((*next)->lsn);
      CO_RETURN_IF_ERROR(check_record(path, offset, *std::move(*next)));
      continue;
    }
    if (reader.at_file_end()) co_return Status{};
    bool proven = !last;
    if (last) {
      CO_ASSIGN_OR_RETURN(proven, co_await reader.proves_damage());
    }
    if (!proven && reader.position() >= covered) {
      say(fmt::format("{}: a torn tail of {} bytes, which was never acknowledged; the next start cuts it off", path, size - offset));
      co_return Status{};
    }
    CO_RETURN_IF_ERROR(co_await reader.skip_damage());
    damaged(fmt::format("{}: {} bytes at offset {}", path, number(reader.position()) - number(base) - offset, offset));
  }
}

Task<Status> Checking::check_packed(std::string path) {
  CO_ASSIGN_OR_RETURN(std::shared_ptr<File> file, open_for_verifying(env, path));
  ++result.segments;
  auto packed = co_await load_packed(file, path);
  if (!packed && packed.error().code != Code::kCorrupt) co_return std::unexpected(std::move(packed).error());
  if (!packed) {
    damaged(packed.error().message);
    const auto range = parse_packed_name(path.substr(path.rfind('/') + 1));
    packed = co_await recover_packed(file, path, *range, store_id);
    if (!packed) co_return std::unexpected(std::move(packed).error());
  }
  if ((*packed)->header.store_id != store_id) {
    damaged(path + ": belongs to store " + (*packed)->header.store_id);
    co_return Status{};
  }
  LogReader reader(file, path, *packed, (*packed)->header.base);
  while (true) {
    const uint64_t offset = reader.offset();
    CO_ASSIGN_OR_RETURN(auto record, co_await reader.next());
    if (record) {
      result.bytes += record_size(record->head.size() + record->body.size());
      CO_RETURN_IF_ERROR(check_record(path, offset, *std::move(record)));
      continue;
    }
    if (reader.at_file_end()) co_return Status{};
    CO_RETURN_IF_ERROR(co_await reader.skip_damage());
    damaged(fmt::format("{}: {} bytes at offset {}", path, reader.offset() - offset, offset));
  }
}

// A file's own bytes may look like one; what counts is who names them.
void Checking::note_list(Key key, BytesView bytes) {
  constexpr std::string_view kListMagic = "ULIST";
  if (!bytes.starts_with(kListMagic) || bytes.size() <= kListMagic.size()) return;
  auto entries = parse_list(bytes, static_cast<uint8_t>(bytes[kListMagic.size()]));
  if (!entries) return;
  auto& names = lists[key];
  for (const auto& entry : *entries) names.push_back(entry.hash);
}

// In the end: a chunk that was damaged may stand once more behind the versions that name it.
// Lists are followed to the file's own chunks, each once.
void Checking::check_chunks() {
  std::set<Key> followed;
  std::vector<Named> open = std::move(named);
  while (!open.empty()) {
    const Named one = open.back();
    open.pop_back();
    if (trimmed.contains({one.file, one.version})) continue;
    const Key key{one.file, one.hash};
    auto list = one.level > 0 ? lists.find(key) : lists.end();
    if (!chunks.contains(key) || (one.level > 0 && list == lists.end())) {
      damaged(fmt::format("file {:016x}, version {}: its chunk {} is not in the log, or damaged", number(one.file),
                          one.version.to_string(), one.hash.to_hex().substr(0, 16)));
    }
    if (list == lists.end() || !followed.insert(key).second) continue;
    for (const ChunkHash& below : list->second) open.push_back({one.file, one.version, below, one.level - 1});
  }
}

Status Checking::compare_index() {
  if (!index) return {};
  RETURN_IF_ERROR(rebuilt->commit());
  rebuilt.reset();
  int told = 0;
  RETURN_IF_ERROR(index->compare(folder + "/check.db", [&](const std::string& row, bool only_here) {
    ++result.damages;
    if (told++ >= kToldMax) return;
    say(fmt::format("DAMAGED: the index {}: {}", only_here ? "has a row that the log does not give" : "lacks a row that the log gives", row));
  }));
  if (told > kToldMax) say(fmt::format("and {} more rows that differ; --rebuild-index makes the index anew", told - kToldMax));
  return {};
}

// Takes itself away, whatever comes.
struct Scratch {
  Env& env;
  std::string path;
  ~Scratch() { (void)IndexDb::remove(env, path); }
};

}  // namespace

Task<Result<StoreCheck>> check_store(Env& env, std::string folder, std::function<void(std::string)> say) {
  CO_ASSIGN_OR_RETURN(FileInfo info, env.disk.info(folder));
  if (info.kind != FileInfo::Kind::kFolder) co_return fail(Code::kNotFolder, folder + ": is no folder");
  Scratch scratch{env, folder + "/check.db"};
  Checking checking{env, folder, std::move(say), {}, {}, kNoLsn, nullptr, nullptr, {}, {}, {}, {}};
  CO_RETURN_IF_ERROR(co_await checking.identify());
  auto lock = env.disk.lock(folder + "/lock");
  if (!lock && lock.error().code == Code::kLocked) {
    co_return fail(Code::kLocked, folder + ": a server runs in this folder; stop it first");
  }
  if (!lock) co_return std::unexpected(lock.error());
  CO_RETURN_IF_ERROR(co_await checking.check_index());
  auto names = env.disk.list(folder + "/segments");
  if (!names && names.error().code != Code::kNotFound) co_return std::unexpected(names.error());
  std::map<Lsn, std::string> segments;
  std::vector<PackedRange> packed;
  for (const auto& name : names ? *names : std::vector<std::string>()) {
    if (auto range = parse_packed_name(name)) {
      packed.push_back(*range);
      segments[range->base] = name;
    }
  }
  for (const auto& name : names ? *names : std::vector<std::string>()) {
    // What was packed may not have been taken away yet: it does not count any more.
    auto base = parse_segment_name(name);
    auto covers = [&](const PackedRange& range) { return range.base <= *base && *base < range.end; };
    if (base && std::ranges::none_of(packed, covers)) segments[*base] = name;
  }
  for (const auto& [base, name] : segments) {
    std::string path = folder + "/segments/" + name;
    auto one = parse_packed_name(name) ? checking.check_packed(path)
                                       : checking.check_segment(path, base, base == segments.rbegin()->first);
    CO_RETURN_IF_ERROR(co_await one);
  }
  checking.check_chunks();
  CO_RETURN_IF_ERROR(checking.compare_index());
  co_return checking.result;
}

}  // namespace understudy
