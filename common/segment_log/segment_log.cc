#include "common/segment_log/segment_log.h"

#include <fmt/format.h>

#include "common/base/checksum.h"
#include "common/base/coding.h"
#include "common/base/log.h"
#include "common/segment_log/log_reader.h"

namespace understudy {
namespace {

constexpr uint32_t kOffloadSize = 64 << 10;

std::unexpected<Error> damaged(const std::string& path, uint64_t offset, std::string_view what) {
  return fail(Code::kCorrupt, fmt::format("{}: offset {}: {}", path, offset, what));
}

// What stands at the end of an opened log.
struct Tail {
  Lsn end = kNoLsn;
  Lsn rewrite_from = kNoLsn;  // From here on nothing is known to have reached the disk.
};

// Opening, one segment after the other.
struct Opening {
  Env& env;
  const SegmentLogOptions* options;
  SegmentFiles* files;
  SegmentLog::Replay replay;

  Task<Status> check_header(Lsn base, std::shared_ptr<File> file);
  Task<Result<bool>> last_is_torn(Lsn base, std::shared_ptr<File> file, uint64_t size);
  Task<Status> drop_torn_last();
  Task<Status> create_first();
  Task<Result<Tail>> replay_segment(Lsn base, Lsn from, std::optional<Lsn> next_base);
  Task<Status> rewrite(Lsn base, Tail tail);
  Task<Result<Lsn>> run(Lsn from);
};

Task<Status> Opening::check_header(Lsn base, std::shared_ptr<File> file) {
  auto read = file->read(0, kSegmentHeaderSize);
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read);
  auto header = decode_segment_header(bytes);
  if (!header) co_return fail(Code::kCorrupt, files->path(base) + ": " + header.error().message);
  if (!*header || (*header)->base_lsn != base) co_return damaged(files->path(base), 0, "no segment header");
  if ((*header)->store_id != options->store_id) {
    co_return fail(Code::kCorrupt, fmt::format("{}: belongs to store {}, not {}", files->path(base),
                                               (*header)->store_id, options->store_id));
  }
  co_return Status{};
}

// A segment's header goes out in one write with its first batch: if that was cut
// short, the file never counted.
Task<Result<bool>> Opening::last_is_torn(Lsn base, std::shared_ptr<File> file, uint64_t size) {
  auto read = file->read(0, kSegmentHeaderSize);
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read);
  auto header = decode_segment_header(bytes);
  if (!header || *header) co_return false;
  LogReader reader(file, files->path(base), base, base, size);
  CO_ASSIGN_OR_RETURN(bool damage, co_await reader.proves_damage());
  co_return !damage;
}

Task<Status> Opening::drop_torn_last() {
  if (files->empty()) co_return Status{};
  Lsn base = files->last();
  CO_ASSIGN_OR_RETURN(auto file, files->open(base));
  CO_ASSIGN_OR_RETURN(uint64_t size, file->size());
  CO_ASSIGN_OR_RETURN(bool torn, co_await last_is_torn(base, file, size));
  if (torn) {
    log_info(fmt::format("{}: was just being made: dropped", files->path(base)));
    CO_RETURN_IF_ERROR(files->remove(base));
  }
  co_return Status{};
}

Task<Status> Opening::create_first() {
  CO_ASSIGN_OR_RETURN(auto file, files->create(kNoLsn));
  std::vector<Bytes> pieces;
  pieces.push_back(encode_segment_header({options->store_id, kNoLsn}));
  auto write = file->write(0, std::move(pieces), Sync::kYes);
  CO_RETURN_IF_ERROR(co_await write);
  co_return files->keep(kNoLsn, file);
}

Task<Result<Tail>> Opening::replay_segment(Lsn base, Lsn from, std::optional<Lsn> next_base) {
  std::string path = files->path(base);
  CO_ASSIGN_OR_RETURN(auto file, files->open(base));
  CO_RETURN_IF_ERROR(co_await check_header(base, file));
  CO_ASSIGN_OR_RETURN(uint64_t size, file->size());
  Lsn start = std::max(from, Lsn{number(base) + kSegmentHeaderSize});
  if (number(start) > number(base) + size) {
    co_return damaged(path, size,
                      fmt::format("the log ends here, but position {} was durable", number(start)));
  }
  LogReader reader(file, path, base, start, size);
  Lsn durable = from > base ? from : base;
  while (true) {
    CO_ASSIGN_OR_RETURN(auto record, co_await reader.next());
    if (!record) break;
    durable = std::max(durable, record->durable_lsn);
    CO_RETURN_IF_ERROR(replay(*std::move(record)));
  }
  const Lsn end = reader.position();
  const uint64_t end_offset = number(end) - number(base);
  if (next_base) {
    // The next segment was begun only when all of this one was durable.
    if (end != *next_base) co_return damaged(path, end_offset, "a damaged record");
  } else if (!reader.at_file_end()) {
    CO_ASSIGN_OR_RETURN(bool damage, co_await reader.proves_damage());
    if (damage)
      co_return damaged(path, end_offset, "a damaged record, and later ones that say it was durable");
    log_info(fmt::format("{}: cutting off a torn tail of {} bytes", path, size - end_offset));
    CO_RETURN_IF_ERROR(file->truncate(end_offset));
  }
  co_return Tail{end, durable};
}

Task<Status> Opening::rewrite(Lsn base, Tail tail) {
  CO_ASSIGN_OR_RETURN(auto file, files->open(base));
  // A batch is bounded, and only the last one can be in doubt.
  const uint64_t offset = number(tail.rewrite_from) - number(base);
  const uint64_t size = number(tail.end) - number(tail.rewrite_from);
  auto read = file->read(offset, static_cast<uint32_t>(size));
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read);
  std::vector<Bytes> pieces;
  pieces.push_back(std::move(bytes));
  auto write = file->write(offset, std::move(pieces), Sync::kYes);
  CO_RETURN_IF_ERROR(co_await write);
  co_return env.disk.sync_folder(files->folder());
}

Task<Result<Lsn>> Opening::run(Lsn from) {
  CO_RETURN_IF_ERROR(files->scan());
  CO_RETURN_IF_ERROR(co_await drop_torn_last());
  if (files->empty()) {
    if (from != kNoLsn)
      co_return fail(Code::kCorrupt,
                     fmt::format("{}: no log, but position {} was durable", files->folder(), number(from)));
    CO_RETURN_IF_ERROR(co_await create_first());
  }
  if (from != kNoLsn && from < files->first()) {
    co_return fail(Code::kCorrupt, fmt::format("{}: the log begins at {}, behind position {}",
                                               files->folder(), number(files->first()), number(from)));
  }
  auto bases = files->bases_from(files->containing(from));
  Tail tail;
  for (size_t i = 0; i < bases.size(); ++i) {
    std::optional<Lsn> next;
    if (i + 1 < bases.size()) next = bases[i + 1];
    CO_ASSIGN_OR_RETURN(tail, co_await replay_segment(bases[i], from, next));
  }
  CO_RETURN_IF_ERROR(co_await rewrite(bases.back(), tail));
  co_return tail.end;
}

}  // namespace

SegmentLog::SegmentLog(Env& env, SegmentLogOptions options, std::unique_ptr<SegmentFiles> files, Lsn end)
    : env_(env),
      options_(std::move(options)),
      files_(std::move(files)),
      writer_(env, files_.get(), {options_.store_id, options_.segment_size, options_.reserve_bytes}, end) {}

Task<Result<std::unique_ptr<SegmentLog>>> SegmentLog::open(Env& env, SegmentLogOptions options, Lsn from,
                                                           Replay replay) {
  auto files = std::make_unique<SegmentFiles>(env, options.folder);
  Opening opening{env, &options, files.get(), std::move(replay)};
  CO_ASSIGN_OR_RETURN(Lsn end, co_await opening.run(from));
  co_return std::unique_ptr<SegmentLog>(new SegmentLog(env, std::move(options), std::move(files), end));
}

namespace {

// Checks a record's bytes; shared with a worker, so that the reader may be cancelled.
struct Checking {
  Bytes bytes;
  RecordHeader header;
  bool good = false;

  void run() {
    BytesView payload = BytesView(bytes).substr(kRecordHeaderSize);
    good = record_matches(bytes, header, payload.substr(0, header.head_size),
                          payload.substr(header.head_size, header.body_size));
  }
};

}  // namespace

Task<Result<LogRecord>> SegmentLog::read(Lsn lsn, uint32_t size_hint) {
  if (lsn < begin() || number(lsn) + kRecordHeaderSize > number(durable_end())) {
    co_return fail(Code::kInvalid, fmt::format("{}: no record at {}", options_.folder, number(lsn)));
  }
  const Lsn base = files_->containing(lsn);
  const uint64_t offset = number(lsn) - number(base);
  CO_ASSIGN_OR_RETURN(auto file, files_->open(base));
  auto checking = std::make_shared<Checking>();
  auto first = file->read(offset, kRecordHeaderSize + size_hint);
  CO_ASSIGN_OR_RETURN(checking->bytes, co_await first);
  RecordHeader& header = checking->header;
  if (checking->bytes.size() < kRecordHeaderSize || !decode_record_header(checking->bytes, lsn, header)) {
    co_return damaged(files_->path(base), offset, "no record where one should be");
  }
  const uint64_t size = kRecordHeaderSize + header.payload_size();
  if (checking->bytes.size() < size) {
    auto rest =
        file->read(offset + checking->bytes.size(), static_cast<uint32_t>(size - checking->bytes.size()));
    CO_ASSIGN_OR_RETURN(Bytes more, co_await rest);
    checking->bytes += more;
  }
  if (checking->bytes.size() >= size) {
    if (header.payload_size() >= kOffloadSize) {
      auto checked = env_.workers.run([checking] { checking->run(); });
      co_await checked;
    } else {
      checking->run();
    }
  }
  if (!checking->good) co_return damaged(files_->path(base), offset, "a damaged record");
  LogRecord record{lsn, header.durable_lsn, header.type, {}, {}};
  record.head = checking->bytes.substr(kRecordHeaderSize, header.head_size);
  record.body = std::move(checking->bytes);
  record.body.resize(size);
  record.body.erase(0, kRecordHeaderSize + header.head_size);
  co_return record;
}

Task<Status> SegmentLog::scan(Lsn from, Lsn upto, Replay replay) {
  for (Lsn base : files_->bases_from(files_->containing(from))) {
    if (base >= upto) break;
    CO_ASSIGN_OR_RETURN(auto file, files_->open(base));
    CO_ASSIGN_OR_RETURN(uint64_t size, file->size());
    Lsn start = std::max(from, Lsn{number(base) + kSegmentHeaderSize});
    LogReader reader(file, files_->path(base), base, start, std::min(size, number(upto) - number(base)));
    while (true) {
      CO_ASSIGN_OR_RETURN(auto record, co_await reader.next());
      if (!record) break;
      CO_RETURN_IF_ERROR(replay(*std::move(record)));
    }
    if (!reader.at_file_end()) {
      co_return damaged(files_->path(base), number(reader.position()) - number(base), "a damaged record");
    }
  }
  co_return Status{};
}

Status SegmentLog::trim_before(Lsn lsn) {
  while (true) {
    auto bases = files_->bases_from(files_->first());
    if (bases.size() < 2 || bases[1] > lsn) return {};
    RETURN_IF_ERROR(files_->remove(bases[0]));
  }
}

Task<Status> SegmentLog::truncate_from(Lsn lsn) {
  auto hold = co_await writer_.hold();
  if (writer_.failure()) co_return std::unexpected(*writer_.failure());
  if (lsn < begin() || lsn > writer_.durable_end()) {
    co_return fail(Code::kInvalid, fmt::format("{}: no position {} to cut at", options_.folder, number(lsn)));
  }
  // From the end, each removal durable before the next: a gap must never show.
  while (files_->last() >= lsn || number(lsn) == number(files_->last()) + kSegmentHeaderSize) {
    if (files_->last() == files_->first()) break;
    lsn = std::min(lsn, files_->last());
    CO_RETURN_IF_ERROR(files_->remove(files_->last()));
  }
  CO_ASSIGN_OR_RETURN(auto file, files_->open(files_->last()));
  CO_RETURN_IF_ERROR(file->truncate(number(lsn) - number(files_->last())));
  auto sync = file->sync();
  CO_RETURN_IF_ERROR(co_await sync);
  writer_.set_end(lsn);
  co_return Status{};
}

Task<Status> describe_segment(Env& env, std::string path,
                              std::function<std::string(const LogRecord&)> describe,
                              std::function<void(std::string line)> print) {
  CO_ASSIGN_OR_RETURN(std::shared_ptr<File> file, env.disk.open(path, OpenMode::kRead));
  CO_ASSIGN_OR_RETURN(uint64_t size, file->size());
  auto read = file->read(0, kSegmentHeaderSize);
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read);
  CO_ASSIGN_OR_RETURN(auto header, decode_segment_header(bytes));
  if (!header) co_return fail(Code::kCorrupt, path + ": no segment header");
  print(fmt::format("segment format {} store {} base {} file size {}", kSegmentFormat, header->store_id,
                    number(header->base_lsn), size));
  LogReader reader(file, path, header->base_lsn, Lsn{number(header->base_lsn) + kSegmentHeaderSize}, size);
  while (true) {
    CO_ASSIGN_OR_RETURN(auto record, co_await reader.next());
    if (!record) break;
    print(fmt::format("{} durable {} type {} head {} body {}: {}", number(record->lsn),
                      number(record->durable_lsn), record->type, record->head.size(), record->body.size(),
                      describe(*record)));
  }
  if (!reader.at_file_end()) {
    CO_ASSIGN_OR_RETURN(bool damage, co_await reader.proves_damage());
    print(fmt::format("{} {}", number(reader.position()), damage ? "DAMAGED" : "a torn or unfinished tail"));
  }
  co_return Status{};
}

}  // namespace understudy
