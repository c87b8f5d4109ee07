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
    while (pending_.empty() || held_) {
      auto work = work_.wait();
      co_await work;
    }
    if (failure_) {
      refuse_all(*failure_);
      continue;
    }
    take_batch();
    auto written = co_await write_batch();
    if (failure_) {
      refuse_all(*failure_);
    } else if (written) {
      commit_batch();
    } else if (written.error().code == Code::kNoSpace) {
      refuse_all(written.error());
    } else {
      give_up(written.error());
      refuse_all(*failure_);
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

void LogWriter::take_batch() {
  uint64_t bytes = 0;
  do {
    bytes += record_size(pending_.front().header.payload_size());
    writing_.push_back(std::move(pending_.front()));
    pending_.pop_front();
  } while (!pending_.empty() && !pending_.front().starts_segment && bytes < kBatchSizeMax);
}

std::vector<Bytes> LogWriter::encode_batch() {
  std::vector<Bytes> pieces;
  Bytes piece;
  if (writing_.front().starts_segment) piece = encode_segment_header({options_.store_id, durable_});
  for (auto& record : writing_) {
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

Task<Status> LogWriter::write_batch() {
  const bool fresh = writing_.front().starts_segment;
  const Lsn base = fresh ? durable_ : files_->last();
  const auto& last = writing_.back().header;
  const uint64_t bytes = number(last.lsn) + record_size(last.payload_size()) - number(durable_);
  if (options_.reserve_bytes > 0) {
    auto space = env_.disk.space(files_->folder());
    if (space && space->free_bytes < options_.reserve_bytes + bytes) {
      co_return fail(Code::kNoSpace,
                     fmt::format("{}: {} MiB free; the last {} MiB are kept for the index", files_->folder(),
                                 space->free_bytes >> 20, options_.reserve_bytes >> 20));
    }
  }
  auto file = fresh ? files_->create(base) : files_->open(base);
  if (!file) co_return std::unexpected(std::move(file).error());
  std::shared_ptr<File> target = *std::move(file);
  const uint64_t offset = number(durable_) - number(base);
  auto write = target->write(offset, encode_batch(), Sync::kYes);
  auto written = co_await write;
  if (!written && written.error().code == Code::kNoSpace) {
    // Refusing promises that nothing changed: cut off, durably, what part of the
    // batch may stand in the file. Where that fails nobody knows, and it is final.
    auto cut = fresh ? files_->remove(base) : target->truncate(offset);
    if (cut && !fresh) {
      auto sync = target->sync();
      cut = co_await sync;
    }
    if (!cut) co_return fail(Code::kInternal, cut.error().message);
    co_return fail(Code::kNoSpace, files_->folder() + ": " + written.error().message);
  }
  if (!written) co_return written;
  if (fresh) {
    auto keep = files_->keep(base, target);
    auto kept = co_await keep;
    if (!kept) co_return fail(Code::kInternal, kept.error().message);
  }
  co_return Status{};
}

void LogWriter::commit_batch() {
  auto records = std::exchange(writing_, {});
  const auto& last = records.back().header;
  durable_ = Lsn{number(last.lsn) + record_size(last.payload_size())};
  for (auto& record : records) {
    if (record.done) record.done({});
  }
  wake_waiters({}, durable_);
}

void LogWriter::refuse_all(Error error) {
  auto records = std::exchange(writing_, {});
  for (auto& record : pending_) records.push_back(std::move(record));
  pending_.clear();
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
