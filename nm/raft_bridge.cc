#include "nm/raft_bridge.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>

#include "common/base/log.h"
#include "nm/raft_io.h"

extern "C" {
#include <raft.h>
}

namespace understudy {
namespace {

constexpr size_t kCommandSizeMax = 16 << 20;
constexpr uint64_t kQueuedBytesMax = 32 << 20;
constexpr size_t kBatchCommandsMax = 1024;
constexpr size_t kBatchBytesMax = 4 << 20;
constexpr auto kSpaceCheckedEvery = std::chrono::milliseconds(100);
constexpr unsigned kHeartbeatMs = 100;
constexpr unsigned kElectionMs = 500;

Error error_of(int code, const char* words) {
  switch (code) {
    case RAFT_NOSPACE: return {Code::kNoSpace, "the name node's disk is full; free some space and try again"};
    case RAFT_NOTLEADER: return {Code::kUnavailable, "this name node is not the leader"};
    case RAFT_CORRUPT: return {Code::kCorrupt, words};
    default: return {Code::kUnavailable, fmt::format("outcome unknown: {} ({})", words, raft_strerror(code))};
  }
}

// C-Raft logs entries with padding it never wrote; zeroed, one input gives one log.
void zero_what_raft_allocates() {
  static raft_heap heap{
      .data = nullptr,
      .malloc = [](void*, size_t size) { return std::calloc(1, size); },
      .free = [](void*, void* block) { std::free(block); },
      .calloc = [](void*, size_t count, size_t size) { return std::calloc(count, size); },
      .realloc = [](void*, void* block, size_t size) { return std::realloc(block, size); },
      .aligned_alloc = [](void*, size_t alignment, size_t size) {
        void* block = std::aligned_alloc(alignment, size);
        return block == nullptr ? nullptr : std::memset(block, 0, size);
      },
      .aligned_free = [](void*, size_t, void* block) { std::free(block); },
  };
  raft_heap_set(&heap);
}

}  // namespace

struct RaftBridge::Core {
  raft node{};
  raft_fsm machine{};
  struct raft_apply request {};
  bool inited = false;

  static RaftBridge* self(raft_fsm* machine) { return static_cast<RaftBridge*>(machine->data); }

  static int apply(raft_fsm* machine, const raft_buffer* buffer, void** result) {
    *result = nullptr;
    self(machine)->apply_entry(*buffer);
    return 0;
  }
  // The descriptor is RaftIo's; C-Raft wants a buffer all the same.
  static int snapshot(raft_fsm*, raft_buffer* buffers[], unsigned* count) {
    *buffers = static_cast<raft_buffer*>(raft_malloc(sizeof(raft_buffer)));
    CHECK(*buffers);
    (*buffers)[0] = {.base = raft_calloc(1, 8), .len = 8};
    *count = 1;
    return 0;
  }
  // The database is there already: start() checked that it is as far as the descriptor.
  static int restore(raft_fsm*, raft_buffer* buffer) {
    raft_free(buffer->base);
    return 0;
  }
};

Task<Result<std::unique_ptr<RaftBridge>>> RaftBridge::start(Env& env, RaftBridgeOptions options,
                                                            RaftBridgeHooks hooks) {
  zero_what_raft_allocates();
  std::unique_ptr<RaftBridge> bridge(new RaftBridge(env, std::move(options), std::move(hooks)));
  CO_RETURN_IF_ERROR(co_await bridge->open());
  co_return bridge;
}

Task<Status> RaftBridge::begin_behind(Env& env, RaftBridgeOptions options) {
  zero_what_raft_allocates();
  RaftIoOptions io_options{.folder = options.folder,
                           .id = options.id,
                           .address = options.address,
                           .database_id = options.database_id,
                           .make_durable = {},
                           .fatal = {}};
  co_return co_await RaftIo::begin_behind(env, std::move(io_options), options.applied_index);
}

RaftBridge::RaftBridge(Env& env, RaftBridgeOptions options, RaftBridgeHooks hooks)
    : env_(env),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      core_(std::make_unique<Core>()),
      work_(env.executor),
      leadership_(env.executor),
      tasks_(env.executor) {}

RaftBridge::~RaftBridge() {
  tasks_.cancel();
  if (core_->inited) raft_close(&core_->node, nullptr);  // RaftIo ends what is under way at once.
}

Task<Status> RaftBridge::open() {
  RaftIoOptions io_options{.folder = options_.folder,
                           .id = options_.id,
                           .address = options_.address,
                           .database_id = options_.database_id,
                           .applied_index = options_.applied_index,
                           .segment_size = options_.segment_size,
                           .make_durable = hooks_.make_durable,
                           .fatal = [this](Error error) { fail_for_good(std::move(error)); }};
  auto io = co_await RaftIo::open(env_, std::move(io_options));
  if (!io && io.error().code == Code::kCorrupt) {
    co_return fail(Code::kCorrupt, io.error().message + "; what this name node knew is lost: move its folder away, put authority.pem from it "
                                                        "into an empty one, and start there with --rebuild-from-servers (docs/operations.md)");
  }
  if (!io) co_return std::unexpected(io.error());
  io_ = *std::move(io);
  CO_RETURN_IF_ERROR(check_belongs());

  core_->machine = {.version = 1, .data = this, .apply = Core::apply, .snapshot = Core::snapshot, .restore = Core::restore};
  int code = raft_init(&core_->node, io_->face(), &core_->machine, options_.id, options_.address.c_str());
  if (code != 0) co_return fail(Code::kInternal, fmt::format("raft_init: {}", raft_strerror(code)));
  core_->inited = true;
  raft_set_pre_vote(&core_->node, true);
  raft_set_heartbeat_timeout(&core_->node, kHeartbeatMs);
  raft_set_election_timeout(&core_->node, kElectionMs);
  raft_set_snapshot_trailing(&core_->node, 0);
  watch_log_size();
  code = raft_start(&core_->node);
  if (code != 0) co_return fail(Code::kCorrupt, fmt::format("raft_start: {}", raft_errmsg(&core_->node)));
  watch_leadership();
  tasks_.spawn(run());
  co_return Status{};
}

Status RaftBridge::check_belongs() const {
  if (options_.applied_index < io_->snapshot_index()) {
    return fail(Code::kCorrupt, fmt::format("{}: the log begins behind {}, but the database ends at {}: it is an older copy",
                                            options_.folder, io_->snapshot_index(), options_.applied_index));
  }
  if (options_.applied_index > io_->last_index()) {
    return fail(Code::kCorrupt, fmt::format("{}: the log ends at {}, but the database is at {}: a part of the log is lost",
                                            options_.folder, io_->last_index(), options_.applied_index));
  }
  return {};
}

// ---- Proposing ------------------------------------------------------------------------

Task<Result<Applied>> RaftBridge::propose(Bytes command, Reserve reserve) {
  if (closing_ || failed_) co_return fail(Code::kUnavailable, "this name node is stopping");
  if (command.size() > kCommandSizeMax) co_return fail(Code::kInvalid, "a command has at most 16 MiB");
  if (!is_leader()) co_return fail(Code::kUnavailable, "this name node is not the leader");
  if (hooks_.accepts) CO_RETURN_IF_ERROR(hooks_.accepts());
  CO_RETURN_IF_ERROR(check_space(reserve));
  while (queued_bytes_ > kQueuedBytesMax) {
    auto changed = work_.wait();
    co_await changed;
    if (closing_ || failed_) co_return fail(Code::kUnavailable, "this name node is stopping");
  }
  queued_bytes_ += command.size();
  Promise<Result<Applied>> promise(env_.executor);
  auto answer = promise.future();
  queue_.push_back({std::move(command), promise});
  work_.notify_all();
  co_return co_await answer;
}

Status RaftBridge::check_space(Reserve use) {
  Instant now = env_.clock.now();
  if (space_checked_at_ == Instant{} || now >= space_checked_at_ + kSpaceCheckedEvery) {
    space_checked_at_ = now;
    space_ = env_.disk.space(options_.folder);
  }
  if (!space_) return {};  // The append will tell.
  uint64_t kept = std::min(options_.reserve_bytes, space_->total_bytes / 8);
  if (use == Reserve::kHalf) kept /= 2;
  if (use == Reserve::kAll) kept = 0;
  if (space_->free_bytes >= kept) return {};
  return std::unexpected(error_of(RAFT_NOSPACE, ""));
}

Task<void> RaftBridge::run() {
  while (true) {
    while (queue_.empty() || batch_under_way_ || failed_) {
      auto changed = work_.wait();
      co_await changed;
    }
    // Whoever is ready now may propose too, and shares the append.
    co_await yield_now(env_);
    if (queue_.empty() || batch_under_way_ || failed_) continue;
    append_batch();
    watch_leadership();
  }
}

void RaftBridge::fill_batch() {
  size_t bytes = 0;
  while (!queue_.empty() && batch_.size() < kBatchCommandsMax && bytes < kBatchBytesMax) {
    bytes += queue_.front().command.size();
    batch_.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
}

void RaftBridge::append_batch() {
  fill_batch();
  std::vector<raft_buffer> buffers;
  buffers.reserve(batch_.size());
  for (auto& proposal : batch_) {
    size_t size = proposal.command.size();
    void* base = raft_malloc(size ? size : 1);
    CHECK(base);
    std::memcpy(base, proposal.command.data(), size);
    buffers.push_back({.base = base, .len = size});
    queued_bytes_ -= size;
    Bytes().swap(proposal.command);
  }
  core_->request.data = this;
  batch_under_way_ = true;
  batch_first_ = raft_last_index(&core_->node) + 1;
  int code = raft_apply(&core_->node, &core_->request, buffers.data(), static_cast<unsigned>(buffers.size()),
                        [](struct raft_apply* request, int status, void*) {
                          if (status != 0) static_cast<RaftBridge*>(request->data)->batch_ended(status);
                        });
  if (code != 0) {
    for (auto& buffer : buffers) raft_free(buffer.base);
    batch_ended(code);
    return;
  }
  ++appends_;
}

void RaftBridge::apply_entry(const raft_buffer& buffer) {
  // C-Raft counts an entry as applied when this returned.
  uint64_t index = raft_last_applied(&core_->node) + 1;
  if (failed_) return;
  bool ours = !batch_.empty() && batch_under_way_;
  if (ours) CHECK(index >= batch_first_);
  Bytes result;
  if (index > options_.applied_index) {
    result = hooks_.apply(index, BytesView(static_cast<const char*>(buffer.base), buffer.len));
  }
  applied_index_ = index;
  if (!ours || failed_) return;
  auto promise = batch_.front().promise;
  batch_.pop_front();
  promise.try_set(Applied{index, std::move(result)});
  if (batch_.empty()) batch_ended(0);
}

void RaftBridge::batch_ended(int status) {
  if (status != 0) {
    auto error = error_of(status, "the log could not be written");
    auto refused = std::exchange(batch_, {});
    for (auto& proposal : refused) proposal.promise.try_set(std::unexpected(error));
  }
  batch_under_way_ = false;
  watch_log_size();
  work_.notify_all();
}

// C-Raft counts entries only; too many bytes count as enough entries.
void RaftBridge::watch_log_size() {
  bool large = io_->log_bytes() >= options_.snapshot_bytes || io_->snapshot_index() < snapshot_wanted_;
  raft_set_snapshot_threshold(&core_->node, large ? 1 : static_cast<unsigned>(options_.snapshot_entries));
}

void RaftBridge::fail_for_good(Error error) {
  if (std::exchange(failed_, true)) return;
  log_error("the Raft log failed: " + error.to_string());
  Error unknown{Code::kUnavailable, "outcome unknown: the name node's disk failed"};
  for (auto* waiting : {&batch_, &queue_}) {
    for (auto& proposal : *waiting) proposal.promise.try_set(std::unexpected(unknown));
    waiting->clear();
  }
  work_.notify_all();
  if (hooks_.fatal) hooks_.fatal(std::move(error));
}

// ---- Leadership -----------------------------------------------------------------------

bool RaftBridge::is_leader() const { return !failed_ && raft_state(&core_->node) == RAFT_LEADER; }
uint64_t RaftBridge::term() const { return core_->node.current_term; }
uint64_t RaftBridge::last_index() const { return raft_last_index(&core_->node); }
uint64_t RaftBridge::snapshot_index() const { return io_->snapshot_index(); }

SegmentLog& RaftBridge::log() { return io_->log(); }
Lsn RaftBridge::replay_from() const { return io_->replay_from(); }

void RaftBridge::snapshot_soon() {
  snapshot_wanted_ = last_index() + 1;
  watch_log_size();
}

void RaftBridge::watch_leadership() {
  bool leads = is_leader();
  if (leads == was_leader_) return;
  was_leader_ = leads;
  if (leads) leader_start_index_ = last_index();
  leadership_.notify_all();
}

Task<Status> RaftBridge::barrier() {
  watch_leadership();
  if (!is_leader()) co_return fail(Code::kUnavailable, "this name node is not the leader");
  co_return Status{};
}

Task<void> RaftBridge::close() {
  closing_ = true;
  while (!failed_ && (!queue_.empty() || batch_under_way_)) {
    auto changed = work_.wait();
    co_await changed;
  }
}

}  // namespace understudy
