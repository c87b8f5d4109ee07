// Giving space back: what retention takes of the past of files, the chunks that no
// version names any more, and the numbers that STATUS shows of it.
//
// Whatever goes is named by a TRIM record first. It is chosen from what is durable,
// and right before the record is appended nothing waits: so it cannot take what a change
// on its way builds on, and a change behind it finds nothing of what it takes.
#include <fmt/format.h>

#include <algorithm>

#include "common/base/log.h"
#include "common/env/aside.h"
#include "ss/store_engine.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTrimEvery = 1s;
constexpr size_t kFilesAtOnce = 256;        // Looked at in one step of a pass.
constexpr size_t kStagedAtOnce = 64;
constexpr uint32_t kRowsInTurn = 500;        // Of versions, before others have their turn.
constexpr size_t kVersionsAtOnce = 20'000;  // Of one file.
constexpr size_t kRowsAtOnce = 1000;        // Of the index, in a row.
// Each takes some statements of the index, in one go, when the record is durable.
constexpr int kVersionsInRecord = 256;
constexpr int kChunksInRecord = 1000;
constexpr Duration kReadPinned = 2min;
constexpr size_t kReadPinsMax = 1 << 16;
constexpr Duration kReportKept = 1s;
constexpr Lsn kFromTheOther{1};

bool same(const Retention& a, const Retention& b) {
  return a.versions == b.versions && a.age == b.age && a.deleted == b.deleted;
}

int64_t wall_us(Env& env) { return env.clock.wall().time_since_epoch().count(); }

}  // namespace

void StoreEngine::set_retention(Retention retention) {
  retention_ = retention;
  next_pass_ = {};  // It may have become shorter.
}

void StoreEngine::may_trim(Lsn replicated, Lsn announced) {
  if (replicated > replicated_) to_look_at_.merge(waiting_);
  replicated_ = replicated;
  announced_ = announced;
}

// Whoever reads a version piece by piece is to come to its end.
void StoreEngine::pin_read(FileId file, Version version) {
  const Instant now = env_.clock.now();
  if (read_pins_.size() >= kReadPinsMax) {
    std::erase_if(read_pins_, [now](const auto& pin) { return pin.second < now; });
    if (read_pins_.size() >= kReadPinsMax) return;
  }
  read_pins_[{file, version}] = now + kReadPinned;
}

bool StoreEngine::is_read(FileId file, Version version) const {
  auto found = read_pins_.find({file, version});
  return found != read_pins_.end() && found->second >= env_.clock.now();
}

Task<void> StoreEngine::keep_trimmed() {
  while (!failure_) {
    auto sleep = sleep_for(env_, kTrimEvery);
    co_await sleep;
    if (!retention_ || failure_ || index_full_) continue;
    auto some = co_await trim_some();
    if (!some && some.error().code != Code::kNoSpace && some.error().code != Code::kUnavailable) {
      log_warning("looking for what retention takes: " + some.error().to_string());
    }
  }
}

// Files with more versions than are kept, those with chunks that may belong to none, and
// a step through all that have a past.
Task<Status> StoreEngine::trim_some() {
  std::set<FileId> some;
  while (!to_look_at_.empty() && some.size() < kFilesAtOnce) some.insert(to_look_at_.extract(to_look_at_.begin()).value());
  auto staged = index_->staged().upper_bound(staged_at_);
  for (size_t i = 0; i < kStagedAtOnce && staged != index_->staged().end(); ++i) some.insert(staged_at_ = *staged++);
  if (staged == index_->staged().end()) staged_at_ = kNoFile;
  Turns turns(env_, kRowsInTurn);
  for (FileId file : some) {
    CO_RETURN_IF_ERROR(co_await look_at(file, nullptr));
    if (turns.is_over(rows_looked_at_)) {
      auto turn = turns.others();
      co_await turn;
    }
  }
  const Instant now = env_.clock.now();
  pins_.forget_idle(now);
  if (!pass_at_) {
    if (now < next_pass_) co_return Status{};
    next_pass_ = now + retention_pass(*retention_);
    pass_at_.emplace();
    pass_ = {};
  }
  CO_ASSIGN_OR_RETURN(auto files, index_->files_with_past(*pass_at_, kFilesAtOnce));
  for (FileId file : files) {
    pass_at_->emplace(file);
    CO_RETURN_IF_ERROR(co_await look_at(file, &pass_));
    if (turns.is_over(rows_looked_at_)) {
      auto turn = turns.others();
      co_await turn;
    }
  }
  if (files.size() < kFilesAtOnce) {
    pass_at_.reset();
    held_ = pass_;
  }
  co_return Status{};
}

// Newest first, as retention sees them; `rows` without what was set aside.
Result<std::vector<PastVersion>> StoreEngine::past_of(const std::vector<VersionRow>& rows) {
  std::vector<PastVersion> line;
  line.reserve(rows.size());
  if (rows.empty()) return line;
  const FileId file = rows[0].file;
  ASSIGN_OR_RETURN(auto object, index_->object(file));
  std::set<Version> named;
  for (const auto& row : rows) {
    if (row.checkpoint() && !row.trimmed) {
      named.insert(row.version);
      named.insert(row.parent);
    }
    line.push_back({.version = row.version,
                    // What the other half once made it has, as soon as it is told to be in sync.
                    .end = row.originated ? row.end : kFromTheOther,
                    .time_us = row.time_us,
                    .bytes = row.new_bytes,
                    .first = !row.parent,
                    .checkpoint = row.checkpoint(),
                    .named = named.contains(row.version),
                    .trimmed = row.trimmed,
                    .being_read = is_read(file, row.version),
                    .carries_name = object && object->name_lsn == row.lsn});
  }
  return line;
}

// First the versions; then, now or at a later look, the chunks that none of those that stay
// names. One damaged file does not keep the others. `held` outlives the task.
Task<Status> StoreEngine::look_at(FileId file, Held* held) {
  auto looked = co_await trim_versions(file, held);
  if (looked && index_->staged().contains(file)) looked = co_await free_chunks(file);
  if (looked || looked.error().code == Code::kNoSpace || looked.error().code == Code::kUnavailable) co_return looked;
  log_warning("retention: " + looked.error().to_string());
  co_return Status{};
}

Task<Status> StoreEngine::trim_versions(FileId file, Held* held) {
  rows_looked_at_ = 1;
  if (open_.contains(file) || trimming_.contains(file)) {
    to_look_at_.insert(file);  // Later, when it is quiet.
    co_return Status{};
  }
  CO_ASSIGN_OR_RETURN(auto rows, index_->versions_of(file, {}, kVersionsAtOnce));
  CO_ASSIGN_OR_RETURN(const Head before, head_of(file));
  rows_looked_at_ = static_cast<uint32_t>(rows.size()) + 1;
  for (const auto& row : rows) {
    if (held && row.aside) held->set_aside += row.new_bytes;
  }
  std::erase_if(rows, [](const VersionRow& row) { return row.aside; });
  CO_ASSIGN_OR_RETURN(auto line, past_of(rows));
  RetentionFacts facts{.retention = *retention_, .now_us = wall_us(env_), .deleted = false, .replicated = replicated_};
  if (!rows.empty() && rows[0].deleted()) {
    facts.deleted = true;
    // A deletion that the name node has not heard of may yet turn out to be none.
    if (rows[0].originated && rows[0].end > announced_) facts.retention.deleted = -1ms;
  }
  RetentionPlan plan = choose_trims(line, facts);
  if (held) {
    held->bytes += plan.held;
    held->deleted_files += plan.held.deleted > 0;
  }
  if (plan.held.unreplicated > 0) waiting_.insert(file);
  if (plan.steps.empty()) co_return Status{};
  const Lsn replicated = replicated_, announced = announced_;
  const Retention retention = *retention_;
  // From the look-ups to the first record nothing waits. Behind each the plan must still be good.
  for (size_t at = 0; at < plan.steps.size();) {
    CO_ASSIGN_OR_RETURN(const Head now, head_of(file));
    const bool moved = open_.contains(file) || trimming_.contains(file) || now.version != before.version ||
                       replicated_ < replicated || announced_ < announced || !same(*retention_, retention) || failure_;
    if (moved) {
      to_look_at_.insert(file);
      co_return Status{};
    }
    wire::TrimRecord record;
    record.set_file_id(number(file));
    for (; at < plan.steps.size() && record.versions_size() < kVersionsInRecord; ++at) {
      const VersionRow& row = rows[plan.steps[at].index];
      if (is_read(file, row.version)) continue;  // Since the plan was made.
      auto* trimmed = record.add_versions();
      *trimmed->mutable_version() = version_to_wire(row.version);
      trimmed->set_lsn(number(row.lsn));
      trimmed->set_gone(plan.steps[at].gone);
    }
    if (record.versions_size() == 0) break;
    auto done = append_trim(std::move(record));
    CO_RETURN_IF_ERROR(co_await done);
  }
  co_return Status{};
}

Task<Status> StoreEngine::free_chunks(FileId file) {
  // A list chunk may be pinned that names others which are not.
  auto busy = [this, file] { return open_.contains(file) || trimming_.contains(file) || pins_.holds(file) || failure_; };
  if (busy()) co_return Status{};
  CO_ASSIGN_OR_RETURN(Head before, head_of(file));
  std::vector<VersionRow> kept;
  for (Version below;;) {
    CO_ASSIGN_OR_RETURN(auto rows, index_->versions_of(file, below, kRowsAtOnce));
    if (rows.empty()) break;
    below = rows.back().version;
    std::erase_if(rows, [](const VersionRow& row) { return row.trimmed || row.size_bytes == 0; });
    kept.insert(kept.end(), rows.begin(), rows.end());
    // To look through so many each time would cost more than there is to be had.
    if (kept.size() >= kVersionsAtOnce) co_return Status{};
    auto turn = yield_now(env_);
    co_await turn;
  }
  CO_ASSIGN_OR_RETURN(auto unnamed, co_await unnamed_chunks(file, std::move(kept)));
  for (size_t at = 0;;) {
    // From here to the append nothing waits.
    CO_ASSIGN_OR_RETURN(Head now, head_of(file));
    if (busy() || now.version != before.version) co_return Status{};
    if (unnamed.empty()) co_return index_->end_staged(file);
    if (at == unnamed.size()) co_return Status{};
    wire::TrimRecord record;
    record.set_file_id(number(file));
    for (; at < unnamed.size() && record.chunks_size() < kChunksInRecord; ++at) {
      auto* freed = record.add_chunks();
      freed->set_hash(unnamed[at].hash.bytes.data(), unnamed[at].hash.bytes.size());
      freed->set_lsn(number(unnamed[at].lsn));
      freed->set_size(unnamed[at].size);
      freeing_.insert({file, unnamed[at].hash});
    }
    auto done = append_trim(std::move(record));
    CO_RETURN_IF_ERROR(co_await done);
  }
}

// The chunks of a file that none of these versions names, the newest first: so a list
// chunk comes before what it names.
Task<Result<std::vector<ChunkRow>>> StoreEngine::unnamed_chunks(FileId file, std::vector<VersionRow> kept) {
  CO_ASSIGN_OR_RETURN(auto stored, index_->chunks_of(file, {}, 1));
  if (stored.empty()) co_return stored;
  stored.clear();
  std::set<ChunkHash> named;
  for (const auto& row : kept) {
    CO_ASSIGN_OR_RETURN(StoredVersionRef version, co_await load(row.lsn, 0));
    ChunkRefs entries = version->top();
    for (uint32_t level = version->list_level();; --level) {
      ChunkRefs below;
      for (const auto& ref : entries) {
        if (!named.insert(ref.hash).second || level == 0) continue;
        CO_ASSIGN_OR_RETURN(ChunkRefs more, co_await read_list(file, ref, level - 1));
        below.insert(below.end(), more.begin(), more.end());
      }
      if (level == 0) break;
      entries = std::move(below);
    }
    auto turn = yield_now(env_);
    co_await turn;
  }
  for (std::optional<ChunkHash> after;;) {
    CO_ASSIGN_OR_RETURN(auto rows, index_->chunks_of(file, after, kRowsAtOnce));
    if (rows.empty()) break;
    after = rows.back().hash;
    for (const ChunkRow& row : rows) {
      if (!named.contains(row.hash)) stored.push_back(row);
    }
    auto turn = yield_now(env_);
    co_await turn;
  }
  std::ranges::sort(stored, std::greater(), &ChunkRow::lsn);
  co_return stored;
}

Future<Status> StoreEngine::append_trim(wire::TrimRecord record) {
  trimming_.insert(FileId{record.file_id()});
  TrimRow row = trim_row(record);
  return append_record(RecordType::kTrim, record.SerializeAsString(), {{}, std::move(row)});
}

Task<Status> StoreEngine::all_of(std::vector<Future<Status>> done) {
  Status status;
  for (auto& one : done) {
    Status ended = co_await one;
    if (!ended && status) status = std::move(ended);
  }
  co_return status;
}

// With its record durable or refused: a refusal takes all that came behind it along.
void StoreEngine::trim_ended(const TrimRow& row) {
  if (auto found = trimming_.find(row.file); found != trimming_.end()) trimming_.erase(found);
  for (const auto& chunk : row.chunks) freeing_.erase({row.file, chunk.hash});
  index_fed_.notify_all();
}

Result<bool> StoreEngine::content_stays(FileId file, Version version) {
  if (trimming_.contains(file)) return false;
  ASSIGN_OR_RETURN(auto row, index_->version(file, version));
  return row && !row->trimmed;
}

Task<void> StoreEngine::not_trimming(FileId file) {
  while (trimming_.contains(file) && !failure_) {
    auto fed = index_fed_.wait();
    co_await fed;
  }
}

Error StoreEngine::content_gone(const VersionRow& row) const {
  return {Code::kNotFound, fmt::format("file {:016x}: the content of version {} is kept no more; HISTORY lists those that are",
                                       number(row.file), row.version.to_string())};
}

wire::SpaceReport StoreEngine::space() {
  const Instant now = env_.clock.now();
  if (now < space_report_until_) return space_report_;
  space_report_until_ = now + kReportKept;
  wire::SpaceReport& report = space_report_;
  auto stored = log_->stored_bytes();
  auto segments = segment_facts();
  if (!stored || !segments) return report;
  const uint64_t reclaimable = reclaimable_bytes(*segments);
  report.set_stored(*stored);
  report.set_reclaimable(reclaimable);
  report.set_live(*stored - std::min(*stored, reclaimable));
  report.set_past(held_.bytes.past);
  report.set_named(held_.bytes.named);
  report.set_unreplicated(held_.bytes.unreplicated);
  report.set_read(held_.bytes.read);
  report.set_deleted(held_.bytes.deleted);
  report.set_deleted_files(held_.deleted_files);
  report.set_set_aside(held_.set_aside);
  report.set_compacted(compacted_);
  return report;
}

}  // namespace understudy
