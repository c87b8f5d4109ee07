#include "ss/sync_writes.h"

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "common/env/env_util.h"
#include "ss/server_state.h"
#include "ss/wire_convert.h"

namespace understudy {

void ServerState::end_sync_writes() { sync_writes->epoch_ended(); }

namespace {

using namespace std::chrono_literals;

constexpr size_t kFilesInPush = 256;
constexpr uint64_t kPushBytes = 4 << 20;
constexpr size_t kBigPushesAtOnce = 4;
constexpr Duration kRetryMin = 10ms;
constexpr Duration kRetryMax = 200ms;
// Then the asker hears that the outcome is unknown, and may ask again.
constexpr Duration kPatience = 10s;
constexpr Duration kReaderPatience = 2s;
constexpr Duration kLookEvery = 500ms;
constexpr size_t kHeldRememberedMax = 1 << 16;

bool is_big(const wire::VersionRecord& record) { return record.chunks_size() > 0 && record.inline_content().empty(); }

bool is_passing(Code code) {
  return code == Code::kUnavailable || code == Code::kMoved || code == Code::kStaleEpoch;
}

}  // namespace

// Counts a change under way: while there is one, the file's entry stays.
class SyncWrites::Hold {
 public:
  Hold(SyncWrites* writes, FileId file) : writes_(writes), file_(file) { ++writes_->open(file_).changes; }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() {
    auto at = writes_->files_.find(file_);
    if (at == writes_->files_.end() || at->second.changes == 0) return;  // Of an epoch that is over.
    --at->second.changes;
    writes_->close_if_settled(file_);
  }

 private:
  SyncWrites* writes_;
  FileId file_;
};

SyncWrites::SyncWrites(Env& env, FileStore* store, EpochFence* fence, SecondHolders* holders)
    : env_(env), store_(store), fence_(fence), holders_(holders), work_(env.executor), tasks_(env.executor) {}

// What is durable now is what readers go on with.
SyncWrites::File& SyncWrites::open(FileId file) {
  auto [at, fresh] = files_.try_emplace(file, env_.executor);
  if (fresh) {
    at->second.settled = store_->durable_lsn();
    unremembered_ = true;
    if (auto newest = store_->info(file, {})) {
      at->second.readable = newest->version;
      at->second.held = at->second.from = at->second.wanted = newest->head;
    }
  }
  return at->second;
}

// Whatever is durable by now goes to the second holder.
void SyncWrites::want(FileId file) {
  auto at = files_.find(file);
  if (at == files_.end()) return;
  File& open = at->second;
  if (auto newest = store_->info(file, {})) {
    open.wanted = std::max(open.wanted, newest->head);
  } else if (newest.error().code == Code::kNotFound) {
    open.wanted = open.held;  // Removed: that is the name node's to know.
  }
  if (open.wanted > open.held) work_.notify_all();
}

void SyncWrites::close_if_settled(FileId file) {
  auto at = files_.find(file);
  if (at == files_.end() || at->second.changes > 0 || at->second.pushing || at->second.wanted > at->second.held) return;
  at->second.changed.notify_all();
  files_.erase(at);
}

Task<Result<VersionInfo>> SyncWrites::carry(FileId file, Epoch epoch, bool sync, Task<Result<VersionInfo>> change) {
  auto before_it = files_.find(file);
  const bool waits = before_it != files_.end() && before_it->second.held < before_it->second.wanted;
  if (sync || waits) {
    // The code that says: nothing was appended, ask again.
    if (auto possible = holders_->possible(); !possible) {
      co_return fail(Code::kStaleEpoch, (sync ? "" : "the version before is not on two machines yet: ") + possible.error().message);
    }
  }
  std::optional<Hold> hold;
  if (sync || files_.contains(file)) hold.emplace(this, file);
  Version before;
  if (hold) before = files_.at(file).wanted;
  auto done = co_await change;
  auto at = files_.find(file);
  if (at == files_.end()) {
    // A sync write began behind this one and is over, or nobody asked for two machines.
    if (!hold) co_return done;
    if (!done) co_return done;
    co_return fail(Code::kUnavailable, "outcome unknown: the epoch ended before a second holder confirmed the change");
  }
  want(file);
  if (sync && done && done->version <= before && at->second.held >= done->version) {
    // Done before, as another request's repeat: who holds it by now is asked anew.
    at->second.held = at->second.from = done->parent;
    work_.notify_all();
  }
  Version newest = at->second.wanted;
  if (!done && is_passing(done.error().code)) co_return done;
  // Also a refusal tells of the newest version.
  auto held = co_await until_held(file, newest, epoch, kPatience);
  if (!held) co_return std::unexpected(held.error());
  CO_RETURN_IF_ERROR(fence_->check_acknowledge(epoch, env_.clock.now()));
  if (auto still = files_.find(file); done && still != files_.end()) done->second_holder = still->second.holder;
  co_return done;
}

Task<Status> SyncWrites::until_held(FileId file, Version version, Epoch epoch, Duration limit) {
  Instant end = env_.clock.now() + limit;
  while (true) {
    if (fence_->serving() != epoch) {
      co_return fail(Code::kUnavailable, "outcome unknown: the epoch ended before a second holder confirmed the change");
    }
    auto at = files_.find(file);
    if (at == files_.end() || at->second.held >= version) co_return Status{};
    if (env_.clock.now() >= end) {
      co_return fail(Code::kUnavailable, "outcome unknown: no second machine holds it yet" + (why_.empty() ? "" : " (" + why_ + ")"));
    }
    auto changed = at->second.changed.wait();
    co_await changed;
  }
}

std::optional<Version> SyncWrites::readable(FileId file) const {
  if (files_.empty()) return std::nullopt;
  auto at = files_.find(file);
  if (at == files_.end()) return std::nullopt;
  return at->second.readable;
}

bool SyncWrites::in_doubt(FileId file) const {
  if (files_.empty()) return false;
  auto at = files_.find(file);
  return at != files_.end() && at->second.held < at->second.doubted;
}

Task<Status> SyncWrites::settled(FileId file) {
  auto at = files_.find(file);
  if (at == files_.end() || at->second.held >= at->second.wanted) co_return Status{};
  auto held = co_await until_held(file, at->second.wanted, fence_->serving(), kReaderPatience);
  if (!held) co_return fail(Code::kUnavailable, "the newest version is being made durable on a second machine; try again");
  co_return Status{};
}

// What readers are given for it; nothing: retention took it.
Result<std::optional<Version>> SyncWrites::kept_content(FileId file, Version version) const {
  auto content = store_->content_version(file, version);
  if (!content && content.error().code == Code::kNotFound) return std::nullopt;
  if (!content) return std::unexpected(std::move(content).error());
  return *content;
}

Status SyncWrites::resume() {
  files_.clear();
  held_by_other_.clear();
  ASSIGN_OR_RETURN(remembered_, store_->sync_settled());
  ASSIGN_OR_RETURN(auto versions, store_->sync_versions(remembered_));
  unremembered_ = !versions.empty();
  for (const auto& version : versions) {
    auto newest = store_->info(version.file, {});
    if (!newest) continue;
    ASSIGN_OR_RETURN(auto own, kept_content(version.file, version.version));
    std::optional<Version> before = Version{};
    if (version.parent) {
      ASSIGN_OR_RETURN(before, kept_content(version.file, version.parent));
    }
    if (!own || !before) {
      // Retention took it: both halves have that, and what came onto it.
      files_.erase(version.file);
      continue;
    }
    auto [at, fresh] = files_.try_emplace(version.file, env_.executor);
    if (!fresh) continue;
    File& file = at->second;
    file.readable = *before;
    file.held = file.from = version.parent;
    file.wanted = file.doubted = newest->head;
    file.settled = remembered_;
  }
  if (!files_.empty()) log_info(std::to_string(files_.size()) + " files may have sync versions that one machine holds");
  return {};
}

void SyncWrites::epoch_ended() {
  if (fence_->serving() != kNoEpoch) return;
  for (auto& [id, file] : files_) file.changed.notify_all();
  files_.clear();
  held_by_other_.clear();
}

void SyncWrites::wake() { work_.notify_all(); }

Task<void> SyncWrites::run() {
  tasks_.spawn(look_at_limits());
  while (true) {
    auto work = work_.wait();
    Epoch epoch = fence_->serving();
    bool took = false;
    if (epoch != kNoEpoch) {
      if (!small_push_) {
        std::vector<FileId> batch = take_small();
        took = !batch.empty();
        small_push_ = took;
        if (took) tasks_.spawn(push(epoch, std::move(batch), /*alone=*/false));
      }
      while (auto file = take_big()) {
        ++big_pushes_;
        tasks_.spawn(push(epoch, {*file}, /*alone=*/true));
      }
    }
    if (!took) co_await work;
  }
}

bool SyncWrites::File::is_due(Instant now) const { return !pushing && wanted > held && now >= not_before; }

std::vector<FileId> SyncWrites::take_small() {
  std::vector<FileId> batch;
  Instant now = env_.clock.now();
  for (auto& [id, file] : files_) {
    if (file.big || !file.is_due(now)) continue;
    file.pushing = true;
    batch.push_back(id);
    if (batch.size() == kFilesInPush) break;
  }
  return batch;
}

std::optional<FileId> SyncWrites::take_big() {
  if (big_pushes_ >= kBigPushesAtOnce) return std::nullopt;
  Instant now = env_.clock.now();
  for (auto& [id, file] : files_) {
    if (!file.big || !file.is_due(now)) continue;
    file.pushing = true;
    return id;
  }
  return std::nullopt;
}

Task<void> SyncWrites::push(Epoch epoch, std::vector<FileId> files, bool alone) {
  co_await push_once(epoch, files, alone);
  for (FileId id : files) {
    auto at = files_.find(id);
    if (at == files_.end()) continue;
    at->second.pushing = false;
    at->second.changed.notify_all();
    close_if_settled(id);
  }
  if (alone) {
    --big_pushes_;
  } else {
    small_push_ = false;
  }
  work_.notify_all();
}

// Tried again, a little later each time.
void SyncWrites::put_off(FileId id, const std::string& why) {
  why_ = why;
  auto at = files_.find(id);
  if (at == files_.end()) return;
  File& file = at->second;
  file.from = file.held;
  file.not_before = env_.clock.now() + file.retry;
  tasks_.spawn(wake_after(file.retry));
  file.retry = std::min<Duration>(file.retry * 2, kRetryMax);
}

Task<void> SyncWrites::wake_after(Duration delay) {
  auto pause = sleep_for(env_, delay);
  co_await pause;
  work_.notify_all();
}

Task<void> SyncWrites::push_once(Epoch epoch, std::vector<FileId> files, bool alone) {
  wire::FetchRequest fetch;
  fetch.set_bytes_max(kPushBytes);
  for (FileId id : files) {
    auto at = files_.find(id);
    if (at == files_.end()) co_return;  // The epoch ended.
    const File& file = at->second;
    auto* item = fetch.add_items();
    item->set_file_id(number(id));
    *item->mutable_from() = to_wire(file.from);
    *item->mutable_to() = to_wire(file.wanted);
  }
  auto fetched = co_await store_->fetch(std::move(fetch));
  if (!fetched || fetched->files_size() != static_cast<int>(files.size())) {
    for (FileId id : files) put_off(id, fetched ? "" : fetched.error().message);
    co_return;
  }
  std::vector<wire::VersionRecord> versions;
  std::vector<Pushed> pushed;
  for (size_t i = 0; i < files.size(); ++i) {
    wire::FetchedFile& file = *fetched->mutable_files(static_cast<int>(i));
    if (file.versions_size() == 0) {
      // Behind the bytes of the others; or what the second holder has is not in this line.
      if (file.outcome() != wire::FetchedFile::NOT_YET) put_off(files[i], "the second holder has other versions of a file");
      continue;
    }
    if (!alone && std::ranges::any_of(file.versions(), is_big)) {
      if (auto at = files_.find(files[i]); at != files_.end()) at->second.big = true;
      continue;
    }
    Pushed one{.file = files[i], .first = versions.size(), .versions = {}};
    for (auto& version : *file.mutable_versions()) {
      one.versions.push_back({from_wire(version.version()), version.kind() == wire::CHANGE_CHECKPOINT});
      versions.push_back(std::move(version));
    }
    pushed.push_back(std::move(one));
  }
  if (versions.empty()) co_return;
  const size_t count = versions.size();
  auto answer = co_await holders_->hold(epoch, std::move(versions));
  if (fence_->serving() != epoch) co_return;
  if (answer && answer->outcomes.size() != count) answer = fail(Code::kInternal, "an answer with other versions");
  for (const Pushed& one : pushed) {
    if (answer) {
      take_answer(one, *answer);
    } else {
      put_off(one.file, answer.error().message);
    }
  }
}

void SyncWrites::take_answer(const Pushed& pushed, const SecondHolders::Answer& answer) {
  auto at = files_.find(pushed.file);
  if (at == files_.end()) return;
  File& file = at->second;
  for (size_t i = 0; i < pushed.versions.size(); ++i) {
    const wire::ApplyOutcome& outcome = answer.outcomes[pushed.first + i];
    if (outcome.outcome() == wire::ApplyOutcome::NOT_ON_HEAD) {
      // It lacks some before: those go first.
      Version head = from_wire(outcome.head());
      if (head == file.from) return put_off(pushed.file, outcome.text());
      file.from = head;
      return;
    }
    if (outcome.outcome() != wire::ApplyOutcome::APPLIED && outcome.outcome() != wire::ApplyOutcome::ALREADY) {
      return put_off(pushed.file, outcome.text());
    }
    const auto& [version, checkpoint] = pushed.versions[i];
    file.from = version;
    if (version <= file.held) continue;
    file.held = version;
    file.holder = answer.holder;
    if (!checkpoint) file.readable = std::max(file.readable, version);
    if (answer.other_half) {
      if (held_by_other_.size() >= kHeldRememberedMax) held_by_other_.clear();
      held_by_other_[pushed.file] = version;
    } else {
      held_by_other_.erase(pushed.file);
    }
  }
  file.retry = kRetryMin;
  file.big = false;
}

SyncWrites::Held SyncWrites::held(FileId file, Version version) const {
  if (auto at = held_by_other_.find(file); at != held_by_other_.end() && version <= at->second) return Held::kByOtherHalf;
  auto at = files_.find(file);
  return at == files_.end() || version <= at->second.held ? Held::kNo : Held::kNotYet;
}

void SyncWrites::announced(FileId file, Version version) {
  auto at = held_by_other_.find(file);
  if (at != held_by_other_.end() && version >= at->second) held_by_other_.erase(at);
}

Task<void> SyncWrites::look_at_limits() {
  while (true) {
    auto pause = sleep_for(env_, kLookEvery);
    co_await pause;
    for (auto& [id, file] : files_) file.changed.notify_all();
    auto remembering = remember();
    co_await remembering;
  }
}

// The line of a file stands in the log in its order: with a version all before it is held twice.
Lsn SyncWrites::settled_position() {
  Lsn all = store_->durable_lsn();
  for (auto& [id, file] : files_) {
    if (file.held != file.settled_with) {
      file.settled_with = file.held;
      auto held = file.held ? store_->info(id, file.held) : Result<VersionInfo>(VersionInfo{});
      if (held) file.settled = std::max(file.settled, held->lsn);
    }
    all = std::min(all, file.settled);
  }
  return all;
}

Task<void> SyncWrites::remember() {
  if (!unremembered_ || fence_->serving() == kNoEpoch) co_return;
  const Lsn settled = settled_position();
  unremembered_ = !files_.empty();
  if (settled <= remembered_) co_return;
  auto done = co_await store_->set_sync_settled(settled);
  if (done) {
    remembered_ = std::max(remembered_, settled);
    not_remembered_ = false;
    co_return;
  }
  unremembered_ = true;
  if (std::exchange(not_remembered_, true)) co_return;
  log_warning("sync versions are looked at again at the next start: " + done.error().message);
}

}  // namespace understudy
