#include "ss/store_engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/log.h"
#include "common/base/path.h"
#include "common/env/env_util.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kCacheBytes = 32 << 20;
constexpr Duration kCommitEvery = 200ms;
constexpr size_t kUncommittedMax = 2000;
constexpr uint64_t kCheckpointEvery = 10'000;  // Records.
constexpr Duration kQuickSync = 50ms;
constexpr uint64_t kWriteAheadMax = 256 << 20;  // Of the index; a longer one is the greater evil.
// The log leaves so much of the disk to the index.
constexpr uint64_t kReserveBytes = 8 << 20;
// Content leaves so much to the log's small records.
constexpr uint64_t kContentReserveBytes = 16 << 20;
constexpr Duration kSpaceKnownFor = 20ms;

constexpr std::string_view kStoreFormat = "understudy store, format 1\n";
constexpr size_t kStoreIdDigits = 32;

}  // namespace

Task<Result<std::unique_ptr<FileStore>>> FileStore::open(Env& env, FileStoreOptions options) {
  auto engine = std::make_unique<StoreEngine>(env, std::move(options));
  CO_RETURN_IF_ERROR(co_await engine->start());
  co_return std::unique_ptr<FileStore>(std::move(engine));
}

StoreEngine::StoreEngine(Env& env, FileStoreOptions options)
    : env_(env),
      options_(std::move(options)),
      cache_(kCacheBytes),
      durable_changed_(env.executor),
      index_fed_(env.executor),
      failed_(env.executor),
      tasks_(env.executor) {}

StoreEngine::~StoreEngine() = default;

Task<Status> StoreEngine::start() {
  CO_RETURN_IF_ERROR(co_await lock_and_identify());
  CO_RETURN_IF_ERROR(co_await open_log());
  CO_ASSIGN_OR_RETURN(cluster_id_, index_->state("cluster_id"));
  CO_ASSIGN_OR_RETURN(server_name_, index_->state("server_name"));
  tasks_.spawn(keep_index());
  tasks_.spawn(watch_log());
  tasks_.spawn(keep_trimmed());
  tasks_.spawn(keep_compact());
  co_return Status{};
}

// Only what a start that was cut short, or whoever starts servers, leaves behind, or a store.
Status StoreEngine::check_folder() const {
  constexpr std::string_view kLeftBehind[] = {"lock", "store.new", "pid", "address", "log", "audit", "stderr", "lost+found"};
  ASSIGN_OR_RETURN(auto names, env_.disk.list(options_.folder));
  if (std::ranges::find(names, "store") != names.end()) return {};
  for (const auto& name : names) {
    if (std::ranges::find(kLeftBehind, name) != std::end(kLeftBehind)) continue;
    return fail(Code::kInvalid, fmt::format("{}: has {} but no file 'store': not a storage server's folder; "
                                            "give an empty --data",
                                            options_.folder, printable(name)));
  }
  return {};
}

Task<Status> StoreEngine::lock_and_identify() {
  if (options_.folder.empty()) co_return fail(Code::kInvalid, "--data is empty; give a folder");
  CO_RETURN_IF_ERROR(make_folder_durably(env_, options_.folder));
  CO_RETURN_IF_ERROR(check_folder());  // Before anything is written there.
  auto lock = env_.disk.lock(options_.folder + "/lock");
  if (!lock && lock.error().code == Code::kLocked) {
    co_return fail(Code::kLocked,
                   options_.folder + ": another process has this folder; stop it, or give another --data");
  }
  if (!lock) co_return std::unexpected(lock.error());
  lock_ = *std::move(lock);
  const std::string path = options_.folder + "/store";
  auto content = co_await read_small_file(env_, path, 4096);
  if (!content && content.error().code != Code::kNotFound) co_return std::unexpected(content.error());
  if (!content) {
    store_id_ = fmt::format("{:016x}{:016x}", env_.random.next(), env_.random.next());
    co_return co_await replace_small_file(env_, path, fmt::format("{}{}\n", kStoreFormat, store_id_));
  }
  if (!content->starts_with(kStoreFormat) || content->size() != kStoreFormat.size() + kStoreIdDigits + 1) {
    co_return fail(Code::kInvalid,
                   path + ": made by another program, or in a format that this one does not know");
  }
  store_id_ = content->substr(kStoreFormat.size(), kStoreIdDigits);
  co_return Status{};
}

Status StoreEngine::open_index() {
  const std::string path = options_.folder + "/index.db";
  if (options_.rebuild_index) RETURN_IF_ERROR(IndexDb::remove(env_, path));
  auto index = IndexDb::open(env_, path, store_id_);
  if (!index && index.error().code == Code::kCorrupt) {
    log_warning(index.error().message + "; it is built again from the log");
    RETURN_IF_ERROR(IndexDb::remove(env_, path));
    index = IndexDb::open(env_, path, store_id_);
  }
  if (!index) return std::unexpected(std::move(index).error());
  index_ = *std::move(index);
  return {};
}

Task<Status> StoreEngine::open_log() {
  CO_RETURN_IF_ERROR(open_index());
  SegmentLogOptions options{options_.folder + "/segments", store_id_};
  options.reserve_bytes = kReserveBytes;
  CO_ASSIGN_OR_RETURN(auto disk, env_.disk.space(options_.folder));
  options.segment_size = segment_size_ =
      options_.segment_size ? options_.segment_size : segment_size_for(disk.total_bytes);
  // The rest of the store is not held back by it: it is read from the partner (store_repair.cc).
  options.damaged = [this](Lsn from, Lsn to) {
    found_at_start_.push_back({from, to});
    unknown_.emplace_back(from, to);
  };
  IndexDb* index = index_.get();
  CO_ASSIGN_OR_RETURN(
      log_, co_await SegmentLog::open(env_, options, index_->covered(), [index](LogRecord record) -> Status {
        auto decoded = decode_index_record(record);
        if (!decoded) return std::unexpected(decoded.error());
        if (std::holds_alternative<std::monostate>(decoded->row)) {
          index->cover(decoded->end);
          return {};
        }
        RETURN_IF_ERROR(index->apply(*decoded));
        return index->uncommitted() < kUncommittedMax ? Status() : index->commit();
      }));
  co_return index_->commit();
}

void StoreEngine::broken(Error error) {
  if (failure_) return;
  failure_ = error;
  log_error("the store failed: " + error.message);
  failed_.try_set(std::move(error));
}

Task<void> StoreEngine::watch_log() {
  auto failed = log_->failed();
  co_await failed;
  broken(*log_->failure());
}

Status StoreEngine::writable() const {
  if (index_full_) return fail(Code::kNoSpace, options_.folder + ": no space left for the index");
  if (failure_) return fail(Code::kUnavailable, options_.folder + ": the store failed");
  return {};
}

Status StoreEngine::has_room() {
  RETURN_IF_ERROR(writable());
  Instant now = env_.clock.now();
  if (now >= space_known_until_) {
    space_known_until_ = now + kSpaceKnownFor;
    auto space = env_.disk.space(options_.folder);
    if (space) space_ = *space;
  }
  if (!space_ || space_->free_bytes >= kContentReserveBytes) return {};
  return fail(Code::kNoSpace, fmt::format("{}: {} MiB free; the last {} MiB are kept for deletions; make room",
                                          options_.folder, space_->free_bytes >> 20, kContentReserveBytes >> 20));
}

void StoreEngine::feed_index(IndexRecord record) {
  // A commit that failed took rows along: what follows would say that the index covers them.
  if (failure_) return;
  if (std::holds_alternative<std::monostate>(record.row)) {
    index_->cover(record.end);
  } else if (auto fed = index_->apply(record); !fed) {
    broken(fed.error());
  } else if (auto* version = std::get_if<VersionRow>(&record.row); version && retention_) {
    // A little late, so that a file that is overwritten all the time is not looked at each time.
    const uint64_t many = retention_->versions + retention_->versions / 8 + 1;
    const bool at_once = version->deleted() && retention_->deleted.count() == 0;
    if (at_once || (retention_->versions != 0 && index_->last_versions() > many)) to_look_at_.insert(version->file);
  }
  if (index_->uncommitted() >= kUncommittedMax && !index_full_) {
    if (auto committed = commit_index(); !committed) broken(committed.error());
  }
  index_fed_.notify_all();
  durable_changed_.notify_all();
}

// A full disk is no failure: changes are refused until a later commit succeeds.
Status StoreEngine::commit_index() {
  auto committed = index_->commit();
  const bool full = !committed && committed.error().code == Code::kNoSpace;
  if (full && !index_full_)
    log_warning(committed.error().message + "; changes are refused until there is space");
  index_full_ = full;
  if (full) return {};
  return committed;
}

Task<void> StoreEngine::keep_index() {
  while (!failure_) {
    while (!index_->dirty()) {
      auto fed = index_fed_.wait();
      co_await fed;
    }
    auto sleep = sleep_for(env_, kCommitEvery);
    co_await sleep;
    Status kept = commit_index();
    if (kept && !index_full_ && index_->commits_since_checkpoint() >= kCheckpointEvery) {
      kept = co_await checkpoint_index();
      if (!kept && (kept.error().code == Code::kNoSpace || kept.error().code == Code::kUnavailable))
        kept = {};
    }
    if (!kept) broken(kept.error());
  }
}

// In a worker, and what came meanwhile once more: then little is left to do here, behind which the
// write-ahead log starts over. While the disk is slow it grows instead: nobody is to stand behind a sync.
Task<Status> StoreEngine::checkpoint_index() {
  CO_RETURN_IF_ERROR(co_await index_->checkpoint(env_));
  CO_RETURN_IF_ERROR(commit_index());
  const Instant began = env_.clock.now();
  CO_RETURN_IF_ERROR(co_await index_->checkpoint(env_));
  const bool slow = env_.clock.now() - began > kQuickSync;
  CO_RETURN_IF_ERROR(commit_index());
  auto write_ahead = env_.disk.info(options_.folder + "/index.db-wal");
  const bool long_enough = write_ahead && write_ahead->size_bytes > kWriteAheadMax;
  if (index_->dirty() || (slow && !long_enough)) co_return Status{};
  co_return index_->checkpoint_here();
}

Future<Status> StoreEngine::append_record(RecordType type, Bytes head, IndexRecord record) {
  Promise<Status> promise(env_.executor);
  auto shared = std::make_shared<IndexRecord>(std::move(record));
  Lsn lsn = log_->append({static_cast<uint32_t>(type), std::move(head), {}, {}},
                         [this, shared, promise](const Status& status) {
                           auto* aside = std::get_if<AsideRow>(&shared->row);
                           const FileId file = aside ? aside->file : kNoFile;
                           auto* trim = std::get_if<TrimRow>(&shared->row);
                           const auto trimmed = trim ? std::optional<TrimRow>(*trim) : std::nullopt;
                           if (status) feed_index(std::move(*shared));
                           if (file != kNoFile) append_ended(file);
                           if (trimmed) trim_ended(*trimmed);
                           promise.try_set(status);
                         });
  shared->end = log_->end();
  if (auto* name = std::get_if<NameRow>(&shared->row)) name->lsn = lsn;
  return promise.future();
}

void StoreEngine::append_ended(FileId file) {
  auto open = open_.find(file);
  CHECK(open != open_.end() && open->second.in_flight > 0);
  if (--open->second.in_flight == 0) open_.erase(open);
}

Task<Status> StoreEngine::set_state(std::string key, Bytes value) {
  wire::StateRecord state;
  state.set_key(key);
  state.set_value(value);
  auto done = append_record(RecordType::kState, state.SerializeAsString(), {{}, StateRow{key, value}});
  co_return co_await done;
}

Task<Status> StoreEngine::set_identity(std::string cluster_id, std::string server_name) {
  CO_RETURN_IF_ERROR(co_await set_state("cluster_id", cluster_id));
  CO_RETURN_IF_ERROR(co_await set_state("server_name", server_name));
  cluster_id_ = std::move(cluster_id);
  server_name_ = std::move(server_name);
  co_return Status{};
}

Task<Status> StoreEngine::begin_epoch(Epoch epoch) {
  wire::EpochRecord record;
  record.set_epoch(number(epoch));
  record.set_serving(true);
  auto done = append_record(RecordType::kEpoch, record.SerializeAsString(), {{}, EpochRow{epoch, true}});
  co_return co_await done;
}

bool StoreEngine::empty() const { return index_->totals().versions == 0 && index_->epoch_seen() == kNoEpoch; }

Task<Status> StoreEngine::close() {
  if (failure_) co_return std::unexpected(*failure_);
  auto flush = log_->flush();
  CO_RETURN_IF_ERROR(co_await flush);
  CO_RETURN_IF_ERROR(commit_index());
  if (index_full_) co_return Status{};  // The log has it all.
  auto synced = index_->checkpoint_here();
  if (!synced && synced.error().code == Code::kUnavailable) co_return Status{};  // A worker is at it.
  co_return synced;
}

}  // namespace understudy
