// What was found damaged comes back from the other half of the pair: the same bytes are
// put into the same place of the log, durably, and everything that names that place
// goes on as it was. Names come from the name node. Where nothing is needed (any more)
// a GAP record says so, and the log is whole again.
#include <fmt/format.h>

#include <algorithm>

#include "common/base/checksum.h"
#include "common/base/log.h"
#include "common/env/env_util.h"
#include "common/segment_log/log_format.h"
#include "common/segment_log/log_reader.h"
#include "ss/store_engine.h"

namespace understudy {
namespace {

constexpr size_t kLookedUpAtOnce = 256;  // Chunks in the index, in a row.
constexpr size_t kChunksAtOnce = 4096;
// Of the log, read at once while trims are said again.
constexpr size_t kTrimsLookedAtOnce = 256;

constexpr int kTrimsInRecord = 256;  // Versions, and chunks.
constexpr uint64_t kGapSizeMax = 1 << 20;  // About.

std::string name_of(FileId file) { return fmt::format("file {:016x}", number(file)); }

Bytes encoded(RecordType type, Lsn lsn, BytesView head, BytesView body) {
  return encode_record(lsn, static_cast<uint32_t>(type), head, body);
}

// Shared with a worker, so that the asker may be cancelled.
struct Hashing {
  Bytes bytes;
  ChunkHash hash;
};

// What lies in [from, to) and in none of `pieces`.
std::vector<std::pair<Lsn, Lsn>> holes(Lsn from, Lsn to, const std::map<Lsn, Bytes>& pieces) {
  std::vector<std::pair<Lsn, Lsn>> found;
  Lsn at = from;
  for (const auto& [lsn, bytes] : pieces) {
    if (lsn > at) found.emplace_back(at, lsn);
    at = Lsn{number(lsn) + bytes.size()};
  }
  if (at < to) found.emplace_back(at, to);
  return found;
}

// Records that say nothing, none of them larger than a record may be.
void add_gaps(Lsn from, Lsn to, std::map<Lsn, Bytes>* pieces) {
  while (from < to) {
    const uint64_t left = number(to) - number(from);
    const uint64_t size = left <= 2 * kGapSizeMax ? left : kGapSizeMax;
    (*pieces)[from] = encoded(RecordType::kGap, from, {}, Bytes(size - kRecordHeaderSize, '\0'));
    from = Lsn{number(from) + size};
  }
}

}  // namespace

void StoreEngine::no_longer_damaged(Lsn from, Lsn to) {
  auto at = damaged_.lower_bound(from);
  while (at != damaged_.end() && at->first < to) at = damaged_.erase(at);
}

bool StoreEngine::is_damaged(Lsn lsn) const {
  auto above = damaged_.upper_bound(lsn);
  return above != damaged_.begin() && lsn < std::prev(above)->second.to;
}

Task<void> StoreEngine::try_damaged_again() {
  auto again = damaged_;
  for (const auto& [from, damage] : again) {
    if (!damaged_.contains(from)) continue;
    co_await found_damage(from, damage.to);
  }
}

// Repairs what it can; tells of it, and of what it cannot, once.
Task<void> StoreEngine::found_damage(Lsn from, Lsn to) {
  if (being_repaired_.contains(from)) co_return;
  being_repaired_.insert(from);
  Repair repair{from, to};
  auto done = co_await repair_range(&repair);
  being_repaired_.erase(from);
  if (!done) repair.left.push_back(done.error().message);
  for (const auto& line : repair.brought) {
    wire::Event event;
    event.set_kind("repaired");
    event.set_file_id(number(line.file));
    *event.mutable_version() = version_to_wire(line.version);
    event.set_text(fmt::format("{} was damaged at position {} of the log, and came back from {}", line.what,
                               number(line.lsn), line.source));
    report(std::move(event));
  }
  scrub_.set_repaired(scrub_.repaired() + repair.brought.size());
  if (repair.left.empty()) {
    no_longer_damaged(from, to);
    left_alone_.clear();
    co_return;
  }
  auto [known, fresh] = damaged_.try_emplace(from, Damage{to, {}});
  known->second.to = to;
  if (known->second.why == repair.left.front()) co_return;
  known->second.why = repair.left.front();
  for (const auto& why : repair.left) {
    wire::Event event;
    event.set_kind("damaged");
    event.set_file_id(number(repair.left_file));
    event.set_text(fmt::format("damaged at position {} of the log, and not repaired: {}", number(from), why));
    report(std::move(event));
  }
}

void StoreEngine::report(wire::Event event) {
  if (partner_) return partner_->report(std::move(event));
  log_warning(event.kind() + ": " + event.text());
}

// A record that a reader met, and whether it can be read now.
Task<void> StoreEngine::repair_chunk_record(FileId file, ChunkHash hash, ChunkPlace place) {
  wire::ChunkRecord record;
  record.set_file_id(number(file));
  record.set_hash(hash.bytes.data(), hash.bytes.size());
  const uint64_t size = record_size(record.ByteSizeLong() + place.size);
  co_await found_damage(place.lsn, Lsn{number(place.lsn) + size});
}

// One that a version names and the index does not know: where it stood was damaged when the
// index was made. It goes to the end of the log.
Task<Result<Bytes>> StoreEngine::bring_lost_chunk(FileId file, ChunkRefInfo ref) {
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await chunk_from_partner(file, ref.hash));
  if (ref.size != 0 && bytes.size() != ref.size) co_return fail(Code::kCorrupt, "what the partner sent is not that chunk");
  CO_RETURN_IF_ERROR(has_room());
  auto hashed = co_await hash_chunks(bytes, /*whole=*/true);
  CO_ASSIGN_OR_RETURN(ChunkPlace place, store_once(file, std::move(hashed[0]), nullptr));
  auto durable = log_->durable(Lsn{number(place.lsn) + 1});
  CO_RETURN_IF_ERROR(co_await durable);
  wire::Event event;
  event.set_kind("repaired");
  event.set_file_id(number(file));
  event.set_text(fmt::format("chunk {} was lost, and came back from its partner", ref.hash.to_hex().substr(0, 16)));
  report(std::move(event));
  scrub_.set_repaired(scrub_.repaired() + 1);
  co_return bytes;
}

// Of a version that the scrubber came by. What cannot be had is told when it is read.
Task<void> StoreEngine::bring_lost_chunks(FileId file, Version version, Pace* pace) {
  auto row = index_->version(file, version);
  if (!row || !*row || (*row)->trimmed || (*row)->checkpoint() || (*row)->size_bytes <= kInlineSizeMax) co_return;
  auto loaded = co_await load((*row)->lsn, 0);
  if (!loaded) co_return;
  auto chunks = co_await all_chunks(*loaded);
  if (!chunks) co_return;
  size_t looked_up = 0;
  uint64_t lists_bytes = 0;
  for (const ChunkRefInfo ref : *chunks) {
    if (ref.span != 0) lists_bytes += ref.size;  // It was read for this.
    if (++looked_up % kLookedUpAtOnce == 0) {
      co_await slow_down(pace, std::exchange(lists_bytes, 0));
      auto turn = yield_now(env_);
      co_await turn;
    }
    auto place = place_of(file, ref.hash);
    if (!place || *place) continue;
    // Retention may have taken it meanwhile.
    auto still = index_->version(file, version);
    if (!still || !*still || (*still)->trimmed) co_return;
    (void)co_await bring_lost_chunk(file, ref);
  }
  co_await slow_down(pace, lists_bytes);
}

Task<void> StoreEngine::repair_version_record(Lsn lsn) {
  auto rows = index_->versions_in(lsn, Lsn{number(lsn) + 1});
  if (rows && rows->size() == 1) co_await found_damage(lsn, rows->front().end);
}

// All chunks are gone through, a piece at a time: an index by position would cost every write more than repairs are worth.
Task<Result<std::vector<ChunkRow>>> StoreEngine::chunks_in(Lsn from, Lsn to) {
  std::vector<ChunkRow> all;
  std::optional<ChunkRow> after;
  while (true) {
    CO_ASSIGN_OR_RETURN(auto page, index_->chunks_behind(after, kChunksAtOnce));
    if (page.empty()) break;
    after = page.back();
    for (const ChunkRow& row : page) {
      if (row.lsn >= from && row.lsn < to) all.push_back(row);
    }
    auto turn = yield_now(env_);
    co_await turn;
  }
  std::ranges::sort(all, {}, &ChunkRow::lsn);
  co_return all;
}

Task<Status> StoreEngine::repair_range(Repair* repair) {
  // Records of which the index knows nothing, because it was made without them.
  const bool unknown = std::ranges::any_of(
      unknown_, [&](const auto& range) { return repair->from < range.second && range.first < repair->to; });
  std::map<Lsn, Bytes> pieces;
  CO_ASSIGN_OR_RETURN(auto versions, index_->versions_in(repair->from, repair->to));
  for (const auto& row : versions) CO_RETURN_IF_ERROR(co_await bring_version(row, repair, &pieces));
  CO_ASSIGN_OR_RETURN(auto chunks, co_await chunks_in(repair->from, repair->to));
  for (const auto& row : chunks) CO_RETURN_IF_ERROR(co_await bring_chunk(row, repair, &pieces));
  CO_ASSIGN_OR_RETURN(auto names, index_->names_in(repair->from, repair->to));
  for (FileId object : names) CO_RETURN_IF_ERROR(co_await bring_name(object, repair));
  // What else stood there is needed by nothing. In a packed segment it simply goes.
  const bool rest_may_go = repair->left.empty() && !unknown;
  const bool packed = log_->is_packed(repair->from);
  if (rest_may_go) {
    bool rest = false;
    for (auto [from, to] : holes(repair->from, repair->to, pieces)) {
      const uint64_t size = number(to) - number(from);
      if (size < kRecordHeaderSize) continue;
      rest = true;
      if (!packed) add_gaps(from, to, &pieces);
    }
    if (rest) CO_RETURN_IF_ERROR(co_await say_again());
    if (rest) CO_RETURN_IF_ERROR(co_await say_trims_again(repair->to));
  }
  const bool filled = holes(repair->from, repair->to, pieces).empty();
  Status put;
  if (rest_may_go || !pieces.empty()) {
    put = co_await log_->put_back(repair->from, rest_may_go ? repair->to : repair->from, std::move(pieces));
  }
  if (!put) co_return fail(put.error().code, "it cannot be put back: " + put.error().message);
  if (unknown && !filled && repair->left.empty()) {
    repair->left.push_back("what stood there is not known; versions of the past may be missing here, and are on the "
                           "other half: to have them here too, start this server with an empty folder");
  }
  co_return Status{};
}

Task<Status> StoreEngine::bring_version(VersionRow row, Repair* repair, std::map<Lsn, Bytes>* pieces) {
  auto missing = [&](std::string why) {
    repair->left.push_back(fmt::format("version {} of {}: {}", row.version.to_string(), name_of(row.file), why));
    repair->left_file = row.file;
  };
  if (!partner_) {
    missing("no partner is in reach");
    co_return Status{};
  }
  auto record = co_await partner_->version(row.file, row.parent, row.version);
  if (!record) {
    missing(record.error().message);
    co_return Status{};
  }
  if (record->trimmed() && !row.trimmed) {
    missing("the partner keeps its content no more");
    co_return Status{};
  }
  if (row.trimmed) strip_content(*record);
  // The partner may have forgotten the parent before this one.
  *record->mutable_parent() = version_to_wire(row.parent);
  record->clear_parent_trimmed();
  Bytes body = std::move(*record->mutable_inline_content());
  record->clear_inline_content();
  wire::LocalVersion local;
  local.set_originated(row.originated);
  local.set_aside(row.aside);
  local.set_new_bytes(row.new_bytes);
  *local.mutable_version() = *std::move(record);
  const uint64_t size = number(row.end) - number(row.lsn);
  // As long as it was: what is missing is filled up.
  Bytes head = local.SerializeAsString();
  for (size_t fill = 0; record_size(head.size() + body.size()) < size; ++fill) {
    local.set_padding(Bytes(size - record_size(head.size() + body.size()) > 64 ? fill + 64 : fill, '\0'));
    fill = local.padding().size();
    head = local.SerializeAsString();
  }
  if (record_size(head.size() + body.size()) != size) {
    missing("the partner's record of it is longer than its place");
    co_return Status{};
  }
  auto whole = decode_stored_version({row.lsn, row.lsn, static_cast<uint32_t>(RecordType::kVersion), head, body});
  if (!whole || (*whole)->file() != row.file || (*whole)->version() != row.version) {
    missing("what the partner sent is not that version");
    co_return Status{};
  }
  (*pieces)[row.lsn] = encoded(RecordType::kVersion, row.lsn, head, body);
  repair->brought.push_back({row.file, row.version, row.lsn, "version " + row.version.to_string(), "its partner"});
  co_return Status{};
}

Task<Status> StoreEngine::bring_chunk(ChunkRow row, Repair* repair, std::map<Lsn, Bytes>* pieces) {
  auto bytes = co_await chunk_from_partner(row.file, row.hash);
  wire::ChunkRecord record;
  record.set_file_id(number(row.file));
  record.set_hash(row.hash.bytes.data(), row.hash.bytes.size());
  const Bytes head = record.SerializeAsString();
  if (bytes && bytes->size() != row.size) bytes = fail(Code::kCorrupt, "what the partner sent is not that chunk");
  if (!bytes) {
    repair->left.push_back(fmt::format("chunk {} of {}: {}", row.hash.to_hex().substr(0, 16), name_of(row.file),
                                       bytes.error().message));
    repair->left_file = row.file;
    co_return Status{};
  }
  (*pieces)[row.lsn] = encoded(RecordType::kChunk, row.lsn, head, *bytes);
  repair->brought.push_back({row.file, {}, row.lsn, "chunk " + row.hash.to_hex().substr(0, 16), "its partner"});
  co_return Status{};
}

// Verified.
Task<Result<Bytes>> StoreEngine::chunk_from_partner(FileId file, ChunkHash hash) {
  if (!partner_) co_return fail(Code::kUnavailable, "no partner is in reach");
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await partner_->chunk(file, hash, {}));
  auto hashing = std::make_shared<Hashing>();
  hashing->bytes = std::move(bytes);
  auto hashed = env_.workers.run([hashing] { hashing->hash = chunk_hash(hashing->bytes); });
  co_await hashed;
  if (hashing->hash != hash) co_return fail(Code::kCorrupt, "the partner sent other bytes than that chunk");
  co_return std::move(hashing->bytes);
}

// The newest name of an object, again at the head of the log.
Task<Status> StoreEngine::bring_name(FileId object, Repair* repair) {
  CO_ASSIGN_OR_RETURN(auto known, index_->object(object));
  if (!known || (known->head && known->head->deleted())) co_return Status{};  // Nobody asks for it any more.
  Result<wire::NameRecord> name = fail(Code::kUnavailable, "no name node is in reach");
  if (partner_) name = co_await partner_->name(object);
  if (!name) {
    repair->left.push_back(fmt::format("the name of {:016x}: {}", number(object), name.error().message));
    repair->left_file = object;
    co_return Status{};
  }
  // One that is gone is gone since when it was told.
  if (name->kind() == wire::KIND_NONE) name->set_meta_version(known->meta_version);
  NameRow row{{}, object, static_cast<uint32_t>(name->kind()), name->meta_version()};
  auto appended = append_record(RecordType::kName, name->SerializeAsString(), {{}, row});
  CO_RETURN_IF_ERROR(co_await appended);
  repair->brought.push_back({object, {}, repair->from, "its name", "the name node"});
  co_return Status{};
}

Task<Status> StoreEngine::say_aside(FileId file, StoredVersionRef keep, std::vector<Version> versions, bool rescued) {
  const Version kept = keep ? keep->version() : Version{};
  CO_ASSIGN_OR_RETURN(Head head, head_of(file));
  // Nothing may be put into its place before it is said again: the next try finds it at rest.
  if (head.version != kept) co_return fail(Code::kUnavailable, name_of(file) + " is just being changed");
  wire::AsideRecord aside;
  aside.set_file_id(number(file));
  *aside.mutable_keep() = version_to_wire(kept);
  for (Version version : versions) *aside.add_versions() = version_to_wire(version);
  aside.set_time_us(env_.clock.wall().time_since_epoch().count());
  aside.set_rescued(rescued);
  OpenFile& open = open_[file];
  open.head = keep;
  ++open.in_flight;
  auto said = append_record(RecordType::kAside, aside.SerializeAsString(), {{}, AsideRow{file, kept, versions, rescued}});
  co_return co_await said;
}

// What small records say, which the index cannot tell apart any more: said again, so that an
// index that is rebuilt from the log knows it too.
Task<Status> StoreEngine::say_again() {
  for (bool serving : {true, false}) {
    const Epoch epoch = serving ? index_->epoch_served() : index_->epoch_seen();
    if (epoch == kNoEpoch) continue;
    wire::EpochRecord record;
    record.set_epoch(number(epoch));
    record.set_serving(serving);
    auto said = append_record(RecordType::kEpoch, record.SerializeAsString(), {{}, EpochRow{epoch, serving}});
    CO_RETURN_IF_ERROR(co_await said);
  }
  CO_ASSIGN_OR_RETURN(auto states, index_->states());
  for (auto& [key, value] : states) CO_RETURN_IF_ERROR(co_await set_state(key, value));
  CO_ASSIGN_OR_RETURN(auto files, index_->files_with_aside());
  for (FileId file : files) {
    CO_ASSIGN_OR_RETURN(StoredVersionRef loaded, co_await load_head(file));
    CO_ASSIGN_OR_RETURN(auto versions, index_->aside(file));
    CO_ASSIGN_OR_RETURN(auto recovered, index_->recovered(file));
    std::vector<Version> rescued, others;
    for (Version version : versions) {
      const bool was_rescued = std::ranges::find(recovered, version, &VersionRow::version) == recovered.end();
      (was_rescued ? rescued : others).push_back(version);
    }
    for (bool were_rescued : {true, false}) {
      const auto& told = were_rescued ? rescued : others;
      if (!told.empty()) CO_RETURN_IF_ERROR(co_await say_aside(file, loaded, told, were_rescued));
    }
  }
  co_return Status{};
}

// What retention took, for all that still stands in front of `before` as it was: a TRIM record may have
// been among what is lost, and an index that is rebuilt from the log would give it all back.
Task<Status> StoreEngine::say_trims_again(Lsn before) {
  if (before <= trims_said_before_) co_return Status{};
  const Lsn upto = log_->durable_end();
  std::map<FileId, wire::TrimRecord> missing;
  for (Lsn base : log_->segment_bases(log_->begin())) {
    if (base >= before) break;
    auto opened = co_await log_->open_segment(base, kNoLsn, upto);
    if (!opened) continue;  // It was packed meanwhile, or is damaged itself: what is not there comes back by nothing.
    std::unique_ptr<LogReader> reader = *std::move(opened);
    for (size_t looked = 0; reader->position() < before; ++looked) {
      CO_ASSIGN_OR_RETURN(auto record, co_await reader->next());
      if (!record && reader->at_file_end()) break;
      if (!record) {
        CO_RETURN_IF_ERROR(co_await reader->skip_damage());
        continue;
      }
      CO_RETURN_IF_ERROR(note_trimmed(*record, &missing));
      if (looked % kTrimsLookedAtOnce != 0) continue;
      auto turn = yield_now(env_);
      co_await turn;
    }
  }
  for (const auto& [file, record] : missing) CO_RETURN_IF_ERROR(co_await say_trim(record));
  trims_said_before_ = upto;
  co_return Status{};
}

// In small steps, as it was said first.
Task<Status> StoreEngine::say_trim(wire::TrimRecord whole) {
  for (int version = 0, chunk = 0; version < whole.versions_size() || chunk < whole.chunks_size();) {
    wire::TrimRecord part;
    part.set_file_id(whole.file_id());
    for (; version < whole.versions_size() && part.versions_size() < kTrimsInRecord; ++version) {
      *part.add_versions() = whole.versions(version);
    }
    for (; chunk < whole.chunks_size() && part.chunks_size() < kTrimsInRecord; ++chunk) *part.add_chunks() = whole.chunks(chunk);
    auto said = append_trim(std::move(part));
    CO_RETURN_IF_ERROR(co_await said);
  }
  co_return Status{};
}

Status StoreEngine::note_trimmed(const LogRecord& record, std::map<FileId, wire::TrimRecord>* missing) {
  if (RecordType{record.type} != RecordType::kVersion && RecordType{record.type} != RecordType::kChunk) return {};
  ASSIGN_OR_RETURN(IndexRecord decoded, decode_index_record(record));
  if (auto* version = std::get_if<VersionRow>(&decoded.row)) {
    ASSIGN_OR_RETURN(auto row, index_->version(version->file, version->version));
    const bool taken = !row || (row->lsn == record.lsn && row->trimmed && !version->trimmed);
    if (!taken) return {};
    auto& trim = (*missing)[version->file];
    trim.set_file_id(number(version->file));
    auto* trimmed = trim.add_versions();
    *trimmed->mutable_version() = version_to_wire(version->version);
    trimmed->set_lsn(number(record.lsn));
    trimmed->set_gone(!row);
  } else if (auto* chunk = std::get_if<ChunkRow>(&decoded.row)) {
    ASSIGN_OR_RETURN(auto row, index_->chunk(chunk->file, chunk->hash));
    if (row) return {};
    auto& trim = (*missing)[chunk->file];
    trim.set_file_id(number(chunk->file));
    auto* freed = trim.add_chunks();  // Of no size: its bytes are counted as dead already.
    freed->set_hash(chunk->hash.bytes.data(), chunk->hash.bytes.size());
    freed->set_lsn(number(record.lsn));
  }
  return {};
}

}  // namespace understudy
