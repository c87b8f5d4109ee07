#include "common/segment_log/segment_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/checksum.h"
#include "common/base/coding.h"
#include "common/base/log.h"
#include "common/env/aside.h"
#include "common/segment_log/log_reader.h"

namespace understudy {
namespace {

constexpr uint32_t kOffloadSize = 64 << 10;
// Packing waits so long at a time for its rate; shorter waits would burn the processor.
constexpr Duration kPaceStep = std::chrono::milliseconds(5);
// Looked at by packing before others have their turn: a millisecond, about.
constexpr uint32_t kRecordsInTurn = 64;

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
  Task<Status> step_over(LogReader* reader);
  Task<Result<bool>> last_is_torn(Lsn base, std::shared_ptr<File> file, uint64_t size);
  Task<Status> drop_torn_last();
  Task<Status> create_first();
  Task<Result<Tail>> replay_packed(Lsn base, Lsn from);
  Task<Result<Tail>> replay_segment(Lsn base, Lsn from, std::optional<Lsn> next_base);
  Task<Status> rewrite(Lsn base, Tail tail);
  Task<Result<Lsn>> run(Lsn from);
};

Task<Status> Opening::check_header(Lsn base, std::shared_ptr<File> file) {
  auto read = file->read(0, kSegmentHeaderSize);
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read);
  auto header = decode_segment_header(bytes);
  if (!header) co_return fail(Code::kCorrupt, files->path(base) + ": " + header.error().message);
  if (!*header || (*header)->base_lsn != base) {
    if (!options->damaged) co_return damaged(files->path(base), 0, "no segment header");
    // Its name says where it stands, and each record says so too.
    log_warning(files->path(base) + ": a damaged header");
    options->damaged(base, Lsn{number(base) + kSegmentHeaderSize});
    co_return Status{};
  }
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
  if (files->empty() || files->is_packed(files->last())) co_return Status{};
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
  co_return co_await files->keep(kNoLsn, file);
}

Task<Status> Opening::step_over(LogReader* reader) {
  const Lsn from = reader->position();
  CO_RETURN_IF_ERROR(co_await reader->skip_damage());
  options->damaged(from, reader->position());
  log_error(fmt::format("{}: damaged from position {} to {}", files->folder(), number(from), number(reader->position())));
  co_return Status{};
}

Task<Result<Tail>> Opening::replay_packed(Lsn base, Lsn from) {
  CO_ASSIGN_OR_RETURN(OpenSegment segment, co_await files->open_any(base));
  const PackedHeader& header = segment.packed->header;
  if (header.store_id != options->store_id) {
    co_return fail(Code::kCorrupt, fmt::format("{}: belongs to store {}, not {}", segment.path, header.store_id,
                                               options->store_id));
  }
  LogReader reader(segment.file, segment.path, segment.packed, std::max(from, base));
  while (true) {
    CO_ASSIGN_OR_RETURN(auto record, co_await reader.next());
    if (record) {
      CO_RETURN_IF_ERROR(replay(*std::move(record)));
      continue;
    }
    if (reader.at_file_end()) break;
    if (!options->damaged) co_return damaged(segment.path, reader.offset(), "a damaged record");
    CO_RETURN_IF_ERROR(co_await step_over(&reader));
  }
  co_return Tail{header.end, header.end};
}

Task<Result<Tail>> Opening::replay_segment(Lsn base, Lsn from, std::optional<Lsn> next_base) {
  if (files->is_packed(base)) {
    auto packed = replay_packed(base, from);
    co_return co_await packed;
  }
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
    if (record) {
      durable = std::max(durable, record->durable_lsn);
      CO_RETURN_IF_ERROR(replay(*std::move(record)));
      continue;
    }
    if (!options->damaged || reader.at_file_end()) break;
    // In the last segment it may be a torn tail, unless something behind it says that it had been durable.
    bool damage = next_base.has_value();
    if (!damage) {
      CO_ASSIGN_OR_RETURN(damage, co_await reader.proves_damage());
    }
    if (!damage) break;
    CO_RETURN_IF_ERROR(co_await step_over(&reader));
  }
  const Lsn end = reader.position();
  const uint64_t end_offset = number(end) - number(base);
  if (next_base) {
    // The next segment was begun only when all of this one was durable.
    if (end != *next_base) {
      if (!options->damaged || end > *next_base) co_return damaged(path, end_offset, "a damaged record");
      log_error(fmt::format("{}: ends at {}, and the next segment begins at {}", path, number(end), number(*next_base)));
      options->damaged(end, *next_base);
    }
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
  CO_RETURN_IF_ERROR(co_await files->scan());
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
  if (files->is_packed(bases.back())) {
    // Something always followed it, and a log never loses its end.
    co_return fail(Code::kCorrupt, files->path(bases.back()) + ": the segment behind it is missing");
  }
  CO_RETURN_IF_ERROR(co_await rewrite(bases.back(), tail));
  co_return tail.end;
}

}  // namespace

SegmentLog::SegmentLog(Env& env, SegmentLogOptions options, std::unique_ptr<SegmentFiles> files, Lsn end)
    : env_(env),
      options_(std::move(options)),
      files_(std::move(files)),
      writer_(env, files_.get(), {options_.store_id, options_.segment_size, options_.reserve_bytes, options_.write_ahead_min}, end) {}

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

// A packed segment's table leads near a small record; the headers from there on lead to it.
Task<Result<uint64_t>> offset_in_packed(OpenSegment segment, Lsn lsn) {
  auto block = segment.packed->block_of(lsn);
  if (block && block->exact) co_return block->begin;
  if (block) {
    auto read = segment.file->read(block->begin, static_cast<uint32_t>(block->end - block->begin));
    CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read);
    for (uint64_t at = 0; at + kRecordHeaderSize <= bytes.size();) {
      const Lsn found{load_fixed<uint64_t>(bytes.data() + at + 16)};
      RecordHeader header;
      if (!decode_record_header(BytesView(bytes).substr(at), found, header)) break;
      if (found == lsn) co_return block->begin + at;
      at += record_size(header.payload_size());
    }
  }
  co_return damaged(segment.path, block ? block->begin : 0, fmt::format("no record of position {}", number(lsn)));
}

}  // namespace

Task<Result<LogRecord>> SegmentLog::read(Lsn lsn, uint32_t size_hint) {
  if (lsn < begin() || number(lsn) + kRecordHeaderSize > number(durable_end())) {
    co_return fail(Code::kInvalid, fmt::format("{}: no record at {}", options_.folder, number(lsn)));
  }
  const Lsn base = files_->containing(lsn);
  uint64_t offset = number(lsn) - number(base);
  std::shared_ptr<File> file;
  std::string path;
  if (!files_->is_packed(base)) {
    CO_ASSIGN_OR_RETURN(file, files_->open(base));
    path = files_->path(base);
  } else {
    CO_ASSIGN_OR_RETURN(OpenSegment segment, co_await files_->open_any(base));
    CO_ASSIGN_OR_RETURN(offset, co_await offset_in_packed(segment, lsn));
    file = std::move(segment.file);
    path = std::move(segment.path);
  }
  auto checking = std::make_shared<Checking>();
  auto first = file->read(offset, kRecordHeaderSize + size_hint);
  CO_ASSIGN_OR_RETURN(checking->bytes, co_await first);
  RecordHeader& header = checking->header;
  if (checking->bytes.size() < kRecordHeaderSize || !decode_record_header(checking->bytes, lsn, header)) {
    co_return damaged(path, offset, "no record where one should be");
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
  if (!checking->good) co_return damaged(path, offset, "a damaged record");
  LogRecord record{lsn, header.durable_lsn, header.type, {}, {}};
  record.head = checking->bytes.substr(kRecordHeaderSize, header.head_size);
  record.body = std::move(checking->bytes);
  record.body.resize(size);
  record.body.erase(0, kRecordHeaderSize + header.head_size);
  co_return record;
}

Task<Result<std::unique_ptr<LogReader>>> SegmentLog::open_segment(Lsn base, Lsn from, Lsn upto) {
  CO_ASSIGN_OR_RETURN(OpenSegment segment, co_await files_->open_any(base));
  if (segment.packed) {
    co_return std::make_unique<LogReader>(segment.file, segment.path, segment.packed, std::max(from, base));
  }
  CO_ASSIGN_OR_RETURN(uint64_t size, segment.file->size());
  const Lsn start = std::max(from, Lsn{number(base) + kSegmentHeaderSize});
  co_return std::make_unique<LogReader>(segment.file, segment.path, base, start, std::min(size, number(upto) - number(base)));
}

// In a packed segment nothing tells where a damaged record stood, but that all of them stand one
// behind the other: those that are put back must fill what is damaged.
Task<Result<uint64_t>> SegmentLog::damaged_offset(OpenSegment segment, Lsn from, uint64_t size) {
  LogReader reader(segment.file, segment.path, segment.packed, segment.packed->header.base);
  while (true) {
    CO_ASSIGN_OR_RETURN(auto record, co_await reader.next());
    if (record && record->lsn <= from) continue;
    if (record || reader.at_file_end()) {
      co_return fail(Code::kNotFound, fmt::format("{}: nothing is damaged at position {}", segment.path, number(from)));
    }
    const uint64_t offset = reader.offset();
    CO_RETURN_IF_ERROR(co_await reader.skip_damage());
    if (reader.position() <= from) continue;
    if (reader.offset() - offset == size) co_return offset;
    co_return fail(Code::kInvalid, fmt::format("{}: {} bytes are damaged at offset {}, and {} could be had back",
                                               segment.path, reader.offset() - offset, offset, size));
  }
}

Task<Status> SegmentLog::put_back(std::map<Lsn, Bytes> records) {
  if (records.empty()) co_return Status{};
  const Lsn first = records.begin()->first, last = records.rbegin()->first;
  if (first < begin() || number(last) + records.rbegin()->second.size() > number(durable_end())) {
    co_return fail(Code::kInvalid, fmt::format("{}: nothing durable at {}", options_.folder, number(first)));
  }
  const Lsn base = files_->containing(first);
  CO_ASSIGN_OR_RETURN(OpenSegment segment, co_await files_->open_any(base));
  std::vector<std::pair<uint64_t, Bytes>> writes;
  if (segment.packed) {
    Bytes all;
    for (auto& [lsn, bytes] : records) all += bytes;
    CO_ASSIGN_OR_RETURN(uint64_t offset, co_await damaged_offset(segment, first, all.size()));
    writes.emplace_back(offset, std::move(all));
  } else {
    for (auto& [lsn, bytes] : records) writes.emplace_back(number(lsn) - number(base), std::move(bytes));
  }
  for (auto& [offset, bytes] : writes) {
    std::vector<Bytes> pieces;
    pieces.push_back(std::move(bytes));
    auto write = segment.file->write(offset, std::move(pieces), Sync::kNo);
    CO_RETURN_IF_ERROR(co_await write);
  }
  auto sync = segment.file->sync();
  auto synced = co_await sync;
  // The same file may be the one that is being appended to, and its error was told here only.
  if (!synced) writer_.give_up(synced.error());
  co_return synced;
}

Task<Status> SegmentLog::scan(Lsn from, Lsn upto, Replay replay) {
  // Segment by segment as they are then: packing may make one of several meanwhile.
  Lsn at = std::max(from, files_->first());
  while (at < upto) {
    const Lsn base = files_->containing(at);
    const Lsn end = files_->end_of(base).value_or(upto);
    CO_ASSIGN_OR_RETURN(OpenSegment segment, co_await files_->open_any(base));
    std::optional<LogReader> reader;
    if (segment.packed) {
      reader.emplace(segment.file, segment.path, segment.packed, at);
    } else {
      CO_ASSIGN_OR_RETURN(uint64_t size, segment.file->size());
      const Lsn start = std::max(at, Lsn{number(base) + kSegmentHeaderSize});
      reader.emplace(segment.file, segment.path, base, start, std::min(size, number(upto) - number(base)));
    }
    while (true) {
      CO_ASSIGN_OR_RETURN(auto record, co_await reader->next());
      if (!record || record->lsn >= upto) break;
      CO_RETURN_IF_ERROR(replay(*std::move(record)));
    }
    const bool whole = reader->at_file_end() || (segment.packed && reader->position() > upto);
    if (!whole) co_return damaged(segment.path, reader->offset(), "a damaged record");
    at = end;
  }
  co_return Status{};
}

Result<std::vector<ClosedSegment>> SegmentLog::closed_segments() const {
  std::vector<ClosedSegment> closed;
  for (Lsn base : files_->bases_from(files_->first())) {
    if (base == files_->last()) break;
    ClosedSegment segment{base, *files_->end_of(base), 0, files_->is_packed(base)};
    segment.bytes = number(segment.end) - number(base);
    if (segment.packed) {
      ASSIGN_OR_RETURN(segment.bytes, files_->packed_bytes(base));
    }
    closed.push_back(segment);
  }
  return closed;
}

Result<uint64_t> SegmentLog::stored_bytes() const {
  ASSIGN_OR_RETURN(auto closed, closed_segments());
  uint64_t bytes = number(durable_end()) - number(files_->last());
  for (const auto& segment : closed) bytes += segment.bytes;
  return bytes;
}

Task<Result<Lsn>> SegmentLog::packed_at(Lsn lsn) {
  const Lsn base = files_->containing(lsn);
  if (!files_->is_packed(base)) co_return kNoLsn;
  CO_ASSIGN_OR_RETURN(OpenSegment segment, co_await files_->open_any(base));
  co_return segment.packed->header.packed_at;
}

Task<Result<uint64_t>> SegmentLog::write_packed(Lsn base, Lsn end, PackOptions options) {
  CO_ASSIGN_OR_RETURN(auto file, files_->create_packing());
  PackedWriter writer(file, {options_.store_id, base, end, durable_end(), 0});
  const Instant began = env_.clock.now();
  Turns turns(env_, kRecordsInTurn);
  uint64_t bytes = 0;
  for (Lsn at = base; at < end;) {
    CO_ASSIGN_OR_RETURN(OpenSegment segment, co_await files_->open_any(at));
    const Lsn next = *files_->end_of(at);
    std::optional<LogReader> reader;
    if (segment.packed) {
      reader.emplace(segment.file, segment.path, segment.packed, at);
    } else {
      reader.emplace(segment.file, segment.path, at, Lsn{number(at) + kSegmentHeaderSize}, number(next) - number(at));
    }
    while (true) {
      CO_ASSIGN_OR_RETURN(auto record, co_await reader->next());
      if (!record) break;
      bytes += record_size(record->head.size() + record->body.size());
      CO_ASSIGN_OR_RETURN(bool stays, options.stays(*record));
      if (stays) CO_RETURN_IF_ERROR(co_await writer.add(*std::move(record)));
      if (turns.is_over()) {
        auto turn = turns.others();
        co_await turn;
      }
      if (options.bytes_per_second == 0) continue;
      const Duration due = std::chrono::nanoseconds(bytes * 1'000 / std::max<uint64_t>(options.bytes_per_second / 1'000'000, 1));
      if (began + due > env_.clock.now() + kPaceStep) {
        auto pause = sleep_for(env_, kPaceStep);
        co_await pause;
      }
    }
    if (!reader->at_file_end()) co_return damaged(segment.path, reader->offset(), "a damaged record");
    at = next;
  }
  CO_RETURN_IF_ERROR(co_await writer.finish());
  co_return writer.size();
}

Task<Result<uint64_t>> SegmentLog::pack(Lsn base, Lsn end, PackOptions options) {
  for (Lsn at = base; at < end; at = *files_->end_of(at)) {
    if (!files_->end_of(at) || *files_->end_of(at) > end || files_->last() == at) {
      co_return fail(Code::kInvalid, fmt::format("{}: no closed segments from {} to {}", options_.folder,
                                                 number(base), number(end)));
    }
  }
  auto written = co_await write_packed(base, end, std::move(options));
  if (!written) {
    (void)files_->drop_packing();  // It never counted; the next start takes it away too.
    co_return std::unexpected(std::move(written).error());
  }
  CO_RETURN_IF_ERROR(co_await files_->put_packed(base, end));
  co_return *written;
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

namespace {

// `reader` outlives the task.
Task<Status> describe_records(LogReader* reader, std::function<std::string(const LogRecord&)> describe,
                              std::function<void(std::string line)> print) {
  while (true) {
    CO_ASSIGN_OR_RETURN(auto record, co_await reader->next());
    if (!record) break;
    print(fmt::format("{} durable {} type {} head {} body {}: {}", number(record->lsn),
                      number(record->durable_lsn), record->type, record->head.size(), record->body.size(),
                      describe(*record)));
  }
  if (!reader->at_file_end()) {
    CO_ASSIGN_OR_RETURN(bool damage, co_await reader->proves_damage());
    print(fmt::format("{} {}", number(reader->position()), damage ? "DAMAGED" : "a torn or unfinished tail"));
  }
  co_return Status{};
}

}  // namespace

Task<Status> describe_segment(Env& env, std::string path,
                              std::function<std::string(const LogRecord&)> describe,
                              std::function<void(std::string line)> print) {
  CO_ASSIGN_OR_RETURN(std::shared_ptr<File> file, env.disk.open(path, OpenMode::kRead));
  CO_ASSIGN_OR_RETURN(uint64_t size, file->size());
  if (path.ends_with(".pack")) {
    CO_ASSIGN_OR_RETURN(auto packed, co_await load_packed(file, path));
    const auto& header = packed->header;
    print(fmt::format("packed segment format {} store {} positions {} to {} packed at {} file size {}", kPackedFormat,
                      header.store_id, number(header.base), number(header.end), number(header.packed_at), size));
    LogReader records(file, path, packed, header.base);
    auto described = describe_records(&records, std::move(describe), std::move(print));
    co_return co_await described;
  }
  auto read = file->read(0, kSegmentHeaderSize);
  CO_ASSIGN_OR_RETURN(Bytes bytes, co_await read);
  CO_ASSIGN_OR_RETURN(auto header, decode_segment_header(bytes));
  if (!header) co_return fail(Code::kCorrupt, path + ": no segment header");
  print(fmt::format("segment format {} store {} base {} file size {}", kSegmentFormat, header->store_id,
                    number(header->base_lsn), size));
  LogReader reader(file, path, header->base_lsn, Lsn{number(header->base_lsn) + kSegmentHeaderSize}, size);
  auto described = describe_records(&reader, std::move(describe), std::move(print));
  co_return co_await described;
}

}  // namespace understudy
