// Compaction: what is left of a closed segment is written anew, and the rest given back.
// What a record is worth is asked of the index, which holds everything durable; the
// records keep their positions (common/segment_log/packed_segment.h), so nothing else
// has to know.
#include <fmt/format.h>

#include "common/base/log.h"
#include "ss/store_engine.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kCompactEvery = 1s;
constexpr Duration kAfterFailure = 30s;
// A damaged segment is left alone so long, unless something is repaired meanwhile.
constexpr Duration kLeftAlone = 10min;
// Of EVENTS.
constexpr uint64_t kWorthTelling = 1 << 20;
constexpr Duration kTellEvery = 10min;

// A version's record without its content. False: it had none.
Result<bool> strip(LogRecord& record) {
  wire::LocalVersion local;
  if (!local.ParseFromString(record.head)) {
    return fail(Code::kCorrupt, fmt::format("the record at {} is no version", number(record.lsn)));
  }
  if (local.version().trimmed()) return false;
  strip_content(*local.mutable_version());
  record.head = local.SerializeAsString();
  record.body.clear();
  return true;
}

}  // namespace

Result<std::vector<SegmentFacts>> StoreEngine::segment_facts() {
  ASSIGN_OR_RETURN(auto closed, log_->closed_segments());
  std::vector<SegmentFacts> facts;
  for (const auto& segment : closed) {
    ASSIGN_OR_RETURN(uint64_t dead, index_->dead_bytes(segment.base, segment.end));
    facts.push_back({segment.base, segment.end, segment.bytes, dead});
  }
  return facts;
}

Task<void> StoreEngine::keep_compact() {
  while (!failure_) {
    auto sleep = sleep_for(env_, kCompactEvery);
    co_await sleep;
    if (failure_) co_return;
    auto compacted = co_await compact_one();
    tell_compacted();
    if (compacted) continue;
    // Nothing was lost or changed; a damaged segment is named by whoever checks it.
    log_warning("compaction: " + compacted.error().to_string());
    auto pause = sleep_for(env_, kAfterFailure);
    co_await pause;
  }
}

// Once what there was to give back is given back, and then seldom: a store that is written to all the time
// compacts all the time.
void StoreEngine::tell_compacted() {
  const uint64_t bytes = compacted_ - compacted_told_;
  const Instant now = env_.clock.now();
  if (!partner_ || bytes < kWorthTelling || now < compacted_tell_at_) return;
  compacted_told_ = compacted_;
  compacted_tell_at_ = now + kTellEvery;
  wire::Event event;
  event.set_kind("compacted");
  event.set_text(fmt::format("{} MiB given back to the disk", bytes >> 20));
  report(std::move(event));
}

// The best run of segments, until none is worth it.
Task<Status> StoreEngine::compact_one() {
  while (true) {
    CompactionFacts facts;
    CO_ASSIGN_OR_RETURN(facts.segments, segment_facts());
    std::erase_if(left_alone_, [now = env_.clock.now()](const auto& left) { return left.second <= now; });
    std::erase_if(facts.segments, [this](const SegmentFacts& segment) { return left_alone_.contains(segment.base); });
    CO_ASSIGN_OR_RETURN(auto space, env_.disk.space(options_.folder));
    facts.segment_size = segment_size_;
    facts.free_bytes = space.free_bytes;
    facts.total_bytes = space.total_bytes;
    auto run = choose_compaction(facts);
    if (!run) co_return Status{};
    // What is taken out may have been all that told of a change: no start may need to replay it.
    if (run->end > index_->synced()) {
      CO_RETURN_IF_ERROR(commit_index());
      if (index_full_) co_return Status{};
      auto synced = co_await index_->checkpoint(env_);
      if (!synced && synced.error().code == Code::kUnavailable) co_return Status{};  // Somebody is at it.
      if (!synced) co_return synced;
      if (run->end > index_->synced()) co_return Status{};
    }
    const uint64_t rate = space.free_bytes < space.total_bytes / 8 ? 0 : options_.compaction_bytes_per_second;
    uint64_t bytes = 0;
    std::vector<SegmentFacts> parts;
    for (const auto& segment : facts.segments) {
      if (segment.base < run->base || segment.end > run->end) continue;
      parts.push_back(segment);
      bytes += segment.bytes;
    }
    Status packed = co_await compact_run(*run, bytes, rate);
    if (packed) continue;
    if (packed.error().code != Code::kCorrupt) co_return packed;
    // Which of them is damaged shows when each is packed alone. The others are not held up by it.
    for (const SegmentFacts& part : parts) {
      if (parts.size() > 1) packed = co_await compact_run({part.base, part.end}, part.bytes, rate);
      if (packed) continue;
      if (packed.error().code != Code::kCorrupt) co_return packed;
      log_warning("compaction leaves a segment alone for now: " + packed.error().to_string());
      left_alone_[part.base] = env_.clock.now() + kLeftAlone;
    }
  }
}

Task<Status> StoreEngine::compact_run(SegmentRun run, uint64_t bytes_before, uint64_t bytes_per_second) {
  CO_RETURN_IF_ERROR(co_await note_packings());
  PackOptions options;
  options.bytes_per_second = bytes_per_second;
  options.stays = [this, run](LogRecord& record) { return stays(record, run); };
  CO_ASSIGN_OR_RETURN(uint64_t bytes, co_await log_->pack(run.base, run.end, std::move(options)));
  CO_RETURN_IF_ERROR(index_->clear_dead(run.base, run.end));
  compacted_ += bytes_before - std::min(bytes_before, bytes);
  log_info(fmt::format("compacted {} KiB to {} KiB", bytes_before >> 10, bytes >> 10));
  co_return Status{};
}

// When each packed segment was packed, for stays(), which cannot wait.
Task<Status> StoreEngine::note_packings() {
  std::map<Lsn, Lsn> packings;
  CO_ASSIGN_OR_RETURN(auto closed, log_->closed_segments());
  for (const auto& segment : closed) {
    CO_ASSIGN_OR_RETURN(Lsn at, co_await log_->packed_at(segment.base));
    packings[segment.base] = at;
  }
  packings_ = std::move(packings);
  co_return Status{};
}

// Whether what stands at `lsn` was, or is just being, packed by the light of what is at `trimmed_at`.
bool StoreEngine::packed_since(Lsn lsn, Lsn trimmed_at, SegmentRun run) const {
  if (lsn >= run.base && lsn < run.end) return true;
  auto above = packings_.upper_bound(lsn);
  return above != packings_.begin() && std::prev(above)->second > trimmed_at;
}

Result<bool> StoreEngine::stays(LogRecord& record, SegmentRun run) {
  ASSIGN_OR_RETURN(IndexRecord decoded, decode_index_record(record));
  if (auto* version = std::get_if<VersionRow>(&decoded.row)) {
    ASSIGN_OR_RETURN(auto row, index_->version(version->file, version->version));
    if (!row || row->lsn != record.lsn) return false;
    if (row->trimmed) RETURN_IF_ERROR(strip(record));
    return true;
  }
  if (auto* chunk = std::get_if<ChunkRow>(&decoded.row)) {
    ASSIGN_OR_RETURN(auto row, index_->chunk(chunk->file, chunk->hash));
    if (row && row->lsn == record.lsn) return true;
    auto pinned = pins_.find(chunk->file, chunk->hash);
    return pinned && pinned->lsn == record.lsn;
  }
  if (auto* name = std::get_if<NameRow>(&decoded.row)) {
    ASSIGN_OR_RETURN(auto object, index_->object(name->object));
    return object && object->name_lsn == record.lsn;
  }
  if (auto* epoch = std::get_if<EpochRow>(&decoded.row)) {
    return epoch->epoch == index_->epoch_seen() || (epoch->serving && epoch->epoch == index_->epoch_served());
  }
  if (auto* state = std::get_if<StateRow>(&decoded.row)) {
    ASSIGN_OR_RETURN(Bytes value, index_->state(state->key));
    return value == state->value;
  }
  if (auto* trim = std::get_if<TrimRow>(&decoded.row)) {
    // As long as what it took is still there to be read when the index is built again.
    for (const auto& version : trim->versions) {
      if (!packed_since(version.lsn, record.lsn, run)) return true;
    }
    for (const auto& chunk : trim->chunks) {
      if (!packed_since(chunk.lsn, record.lsn, run)) return true;
    }
    return false;
  }
  // What was set aside stays so. A gap says nothing.
  return !std::holds_alternative<std::monostate>(decoded.row);
}

}  // namespace understudy
