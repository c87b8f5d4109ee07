#include "common/segment_log/log_writer.h"

#include <fmt/format.h>

#include "common/base/checksum.h"

namespace understudy {
namespace {

// Large enough to stream at the disk's speed, small enough that a small write
// behind it waits some milliseconds only.
constexpr uint64_t kBatchSizeMax = 4 << 20;
// Smaller bodies are copied into one buffer with their headers.
constexpr size_t kCopyMax = 16 << 10;

}  // namespace

LogWriter::LogWriter(Env& env, SegmentFiles* files, LogWriterOptions options, Lsn end)
    : env_(env),
      files_(files),
      options_(std::move(options)),
      end_(end),
      durable_(end),
      end_base_(files->last()),
      failed_(env.executor),
      work_(env.executor),
      progress_(env.executor),
      tasks_(env.executor) {
  tasks_.spawn(run());
}

Lsn LogWriter::append(LogEntry entry, Done done) {
  uint64_t payload_size = entry.head.size() + entry.body.size();
  CHECK(payload_size <= kRecordPayloadMax);
  uint64_t size = record_size(payload_size);
  Pending pending;
  uint64_t used = number(end_) - number(end_base_);
  pending.starts_segment = used > kSegmentHeaderSize && used + size > options_.segment_size;
  if (pending.starts_segment) {
    end_base_ = end_;
    end_ = Lsn{number(end_) + kSegmentHeaderSize};
  }
  pending.header.head_size = static_cast<uint32_t>(entry.head.size());
  pending.header.body_size = static_cast<uint32_t>(entry.body.size());
  pending.header.type = entry.type;
  pending.header.lsn = end_;
  uint64_t body = entry.body_checksum ? *entry.body_checksum : checksum(entry.body);
  pending.payload_checksum = payload_checksum(entry.head, body);
  pending.head = std::move(entry.head);
  pending.body = std::move(entry.body);
  pending.done = std::move(done);
  Lsn lsn = end_;
  end_ = Lsn{number(end_) + size};
  pending_.push_back(std::move(pending));
  work_.notify_all();
  return lsn;
}

Future<Status> LogWriter::durable(Lsn position) {
  Promise<Status> promise(env_.executor);
  if (position <= durable_) {
    promise.set({});
  } else if (failure_) {
    promise.set(std::unexpected(*failure_));
  } else {
    waiters_.emplace(position, promise);
  }
  return promise.future();
}

Task<void> LogWriter::room(uint64_t bytes) {
  while (buffered_bytes() > bytes && !failure_) {
    auto progress = progress_.wait();
    co_await progress;
  }
}

Task<void> LogWriter::run() {
  while (true) {
    while ((pending_.empty() && ahead_.empty()) || held_) {
      auto work = work_.wait();
      co_await work;
    }
    if (failure_) {
      refuse_all(*failure_);
      continue;
    }
    take_batch();
    auto written = co_await write_batch();
    if (written && !failure_) {
      commit_batch();
      written = std::exchange(ahead_status_, {});
    }
    if (!failure_ && !written && written.error().code != Code::kNoSpace) give_up(written.error());
    if (failure_) {
      refuse_all(*failure_);
    } else if (!written) {
      refuse_all(written.error());
    }
    progress_.notify_all();
  }
}

void LogWriter::give_up(const Error& error) {
  if (failure_) return;
  failure_ = Error{Code::kUnavailable, "outcome unknown: the log failed: " + error.message};
  failed_.try_set({});
  work_.notify_all();
}

namespace {

Lsn end_of_record(const auto& record) {
  return Lsn{number(record.header.lsn) + record_size(record.header.payload_size())};
}

Lsn end_of(const auto& records) { return end_of_record(records.back()); }

uint64_t size_of(const auto& records) {
  return records.empty() ? 0 : number(end_of(records)) - number(records.front().header.lsn);
}

}  // namespace

// Only the first of a batch may start a segment: all before it is durable then.
void LogWriter::take(std::deque<Pending>* to, uint64_t bytes_max) {
  while (!pending_.empty() && size_of(*to) < bytes_max && (to->empty() || !pending_.front().starts_segment)) {
    to->push_back(std::move(pending_.front()));
    pending_.pop_front();
  }
}

void LogWriter::take_batch() {
  writing_ = std::exchange(ahead_, {});
  written_ = writing_.size();
  ahead_status_ = {};
  take(&writing_, kBatchSizeMax);
}

std::vector<Bytes> LogWriter::encode(std::deque<Pending>* records, size_t from) {
  std::vector<Bytes> pieces;
  Bytes piece;
  for (size_t i = from; i < records->size(); ++i) {
    Pending& record = (*records)[i];
    if (record.starts_segment) piece = encode_segment_header({options_.store_id, durable_});
    record.header.durable_lsn = durable_;
    append_record_header(piece, record.header, record.payload_checksum);
    piece += record.head;
    if (record.body.size() <= kCopyMax) {
      piece += record.body;
    } else {
      pieces.push_back(std::exchange(piece, {}));
      pieces.push_back(std::move(record.body));
    }
    piece.append(record_size(record.header.payload_size()) - kRecordHeaderSize - record.header.payload_size(),
                 '\0');
  }
  if (!piece.empty()) pieces.push_back(std::move(piece));
  return pieces;
}

Status LogWriter::has_space(uint64_t bytes) {
  if (options_.reserve_bytes == 0) return {};
  auto space = env_.disk.space(files_->folder());
  if (!space || space->free_bytes >= options_.reserve_bytes + bytes) return {};
  return fail(Code::kNoSpace, fmt::format("{}: {} MiB free; the last {} MiB are kept for the index", files_->folder(),
                                          space->free_bytes >> 20, options_.reserve_bytes >> 20));
}

Task<Status> LogWriter::write_batch() {
  const bool fresh = writing_.front().starts_segment;
  const Lsn base = fresh ? durable_ : files_->last();
  const Lsn from = written_ == 0 ? durable_ : end_of_record(writing_[written_ - 1]);
  const uint64_t bytes = number(end_of(writing_)) - number(from);
  const Status space = has_space(bytes);
  if (!space && written_ == 0) co_return space;
  auto file = fresh ? files_->create(base) : files_->open(base);
  if (!file) co_return std::unexpected(std::move(file).error());
  std::shared_ptr<File> target = *std::move(file);
  if (!space) co_return co_await cut(target, base, durable_, space.error());
  auto write = target->write(number(from) - number(base), encode(&writing_, written_), Sync::kYes);
  Status written;
  if (fresh || size_of(writing_) < options_.write_ahead_min) {
    written = co_await write;
  } else {
    synced_.reset();
    tasks_.spawn(await_sync(write));
    co_await write_ahead(target, base);
    written = *std::exchange(synced_, std::nullopt);
  }
  if (!written && written.error().code == Code::kNoSpace) {
    // Refusing promises that nothing changed, and part of the batch may stand in the file.
    co_return co_await cut(fresh ? nullptr : target, base, durable_, {Code::kNoSpace, files_->folder() + ": " + written.error().message});
  }
  if (!written) co_return written;
  if (fresh) {
    auto keep = files_->keep(base, target);
    auto kept = co_await keep;
    if (!kept) co_return fail(Code::kInternal, kept.error().message);
  }
  co_return Status{};
}

Task<void> LogWriter::await_sync(Future<Status> sync) {
  synced_ = co_await sync;
  work_.notify_all();
}

// While the batch under way is synced. What fails here is told once that has ended, and what was synced stays.
Task<void> LogWriter::write_ahead(std::shared_ptr<File> file, Lsn base) {
  while (!synced_) {
    const uint64_t waiting = number(end_) - number(ahead_.empty() ? end_of(writing_) : end_of(ahead_));
    const bool enough = !pending_.empty() && !pending_.front().starts_segment && waiting >= options_.write_ahead_min &&
                        size_of(ahead_) < kBatchSizeMax;
    if (!enough || failure_ || !ahead_status_ || !has_space(waiting)) {
      auto work = work_.wait();
      co_await work;
      continue;
    }
    const size_t before = ahead_.size();
    const Lsn from = before == 0 ? end_of(writing_) : end_of(ahead_);
    do {
      ahead_.push_back(std::move(pending_.front()));
      pending_.pop_front();
    } while (!pending_.empty() && !pending_.front().starts_segment && size_of(ahead_) < kBatchSizeMax);
    auto write = file->write(number(from) - number(base), encode(&ahead_, before), Sync::kNo);
    ahead_status_ = co_await write;
  }
  if (ahead_status_ || ahead_status_.error().code != Code::kNoSpace || !*synced_) co_return;
  ahead_status_ = co_await cut(file, base, end_of(writing_), {Code::kNoSpace, files_->folder() + ": " + ahead_status_.error().message});
}

// `file`: null: it was to be a new one.
Task<Status> LogWriter::cut(std::shared_ptr<File> file, Lsn base, Lsn at, Error why) {
  auto cutting = file ? file->truncate(number(at) - number(base)) : files_->remove(base);
  if (cutting && file) {
    auto sync = file->sync();
    cutting = co_await sync;
  }
  if (!cutting) co_return fail(Code::kInternal, cutting.error().message);
  co_return std::unexpected(std::move(why));
}

void LogWriter::commit_batch() {
  auto records = std::exchange(writing_, {});
  durable_ = end_of(records);
  for (auto& record : records) {
    if (record.done) record.done({});
  }
  wake_waiters({}, durable_);
}

void LogWriter::refuse_all(Error error) {
  auto records = std::exchange(writing_, {});
  for (auto* more : {&ahead_, &pending_}) {
    for (auto& record : *more) records.push_back(std::move(record));
    more->clear();
  }
  end_ = durable_;
  end_base_ = files_->last();
  Status status = std::unexpected(std::move(error));
  for (auto& record : records) {
    if (record.done) record.done(status);
  }
  wake_waiters(status, Lsn{UINT64_MAX});
}

void LogWriter::wake_waiters(const Status& status, Lsn upto) {
  while (!waiters_.empty() && waiters_.begin()->first <= upto) {
    waiters_.begin()->second.set(status);
    waiters_.erase(waiters_.begin());
  }
}

Task<LogWriter::Hold> LogWriter::hold() {
  while (!idle() || held_) {
    auto progress = progress_.wait();
    co_await progress;
  }
  held_ = true;
  co_return Hold(this);
}

LogWriter::Hold::~Hold() {
  if (!writer_) return;
  writer_->held_ = false;
  writer_->work_.notify_all();
  writer_->progress_.notify_all();
}

void LogWriter::set_end(Lsn end) {
  CHECK(held_ && idle());
  end_ = durable_ = end;
  end_base_ = files_->last();
}

}  // namespace understudy
