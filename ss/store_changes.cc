// Changes of an acting primary. All waiting (hashing, reading the end of the
// version before) comes first; then, without a wait, the request is looked up
// once more, the parent is taken, the fence is asked and the records are appended.
#include <fmt/format.h>

#include "common/base/checksum.h"
#include "ss/core/version.h"
#include "ss/store_engine.h"

namespace understudy {
namespace {

// Staging waits while so much waits for the disk.
constexpr uint64_t kBufferedMax = 16 << 20;

std::string name_of(FileId file) { return fmt::format("file {:016x}", number(file)); }

int64_t wall_us(Env& env) { return env.clock.wall().time_since_epoch().count(); }

}  // namespace

Result<StoreEngine::Head> StoreEngine::head_of(FileId file) {
  if (auto open = open_.find(file); open != open_.end()) {
    const StoredVersionRef& head = open->second.head;
    if (!head) return Head{};
    return Head{head->version(), head->deleted(), head->record().mode(), head->lsn, head};
  }
  ASSIGN_OR_RETURN(auto row, index_->head(file));
  if (!row) return Head{};
  return Head{row->version, row->deleted(), row->mode, row->lsn, cache_.find(row->lsn)};
}

// Null if the file has no version.
Task<Result<StoredVersionRef>> StoreEngine::load_head(FileId file) {
  CO_ASSIGN_OR_RETURN(Head head, head_of(file));
  if (!head.version || head.loaded) co_return head.loaded;
  co_return co_await load(head.lsn, 0);
}

namespace {

// What a worker does for a chunk; shared, so that the waiting task may be cancelled.
struct Hashing {
  Bytes bytes;
  ChunkHash hash;
  uint64_t sum = 0;
  void run() {
    hash = chunk_hash(bytes);
    sum = checksum(bytes);
  }
};

}  // namespace

Task<std::vector<StoreEngine::HashedChunk>> StoreEngine::hash_chunks(Bytes content) {
  std::vector<HashedChunk> chunks;
  const size_t count = (content.size() + kChunkSizeMax - 1) / kChunkSizeMax;
  for (size_t i = 0; i < count; ++i) {
    auto hashing = std::make_shared<Hashing>();
    hashing->bytes = count == 1 ? std::move(content) : content.substr(i * kChunkSizeMax, kChunkSizeMax);
    if (hashing->bytes.size() > kInlineSizeMax) {
      auto hashed = env_.workers.run([hashing] { hashing->run(); });
      co_await hashed;
    } else {
      hashing->run();
    }
    chunks.push_back({std::move(hashing->bytes), hashing->hash, hashing->sum});
  }
  co_return chunks;
}

Lsn StoreEngine::append_chunk(FileId file, HashedChunk chunk, LogWriter::Done done) {
  wire::ChunkRecord record;
  record.set_file_id(number(file));
  record.set_hash(chunk.hash.bytes.data(), chunk.hash.bytes.size());
  LogEntry entry{static_cast<uint32_t>(RecordType::kChunk), record.SerializeAsString(),
                 std::move(chunk.bytes), chunk.checksum};
  const uint64_t size = record_size(entry.head.size() + entry.body.size());
  auto placed = std::make_shared<Lsn>();
  *placed = log_->append(std::move(entry),
                         [this, placed, size, done = std::move(done)](const Status& status) mutable {
                           if (status) feed_index({Lsn{number(*placed) + size}, std::monostate{}});
                           if (done) done(status);
                         });
  return *placed;
}

Status StoreEngine::check_change(const Change& change, const Head& head) {
  RETURN_IF_ERROR(change.kind == wire::CHANGE_DELETE ? writable() : has_room());
  if (options_.may_append) RETURN_IF_ERROR(options_.may_append(change.epoch));
  if (head.deleted && change.kind != wire::CHANGE_UNDELETE) return fail(Code::kNotFound, name_of(change.file) + ": deleted");
  if (head.version && change.exclusive)
    return fail(Code::kExists, name_of(change.file) + ": is there already");
  if (change.expected && change.expected != head.version) {
    ASSIGN_OR_RETURN(Version newest, newest_version(change.file, head));
    if (change.expected == newest) return check_epoch(change, head);
    return fail(Code::kConflict, fmt::format("{}: the newest version is {}, not {}", name_of(change.file),
                                             newest.to_string(), change.expected.to_string()));
  }
  return check_epoch(change, head);
}

Status StoreEngine::check_epoch(const Change& change, const Head& head) {
  if (head.version.epoch > change.epoch) {
    return fail(Code::kStaleEpoch,
                fmt::format("{}: has a version of epoch {}, behind {}", name_of(change.file),
                            number(head.version.epoch), number(change.epoch)));
  }
  return {};
}

// Appends the fresh chunks and the version. Nothing waits, and on an error nothing was appended.
Result<StoredVersionRef> StoreEngine::append_change(const Change& change, const Head& head, Content content) {
  auto version = std::make_shared<StoredVersion>();
  version->local.set_originated(true);
  auto& record = *version->local.mutable_version();
  *record.mutable_version() = version_to_wire(next_version(change.epoch, head.version));
  if (head.version) *record.mutable_parent() = version_to_wire(head.version);
  record.set_file_id(number(change.file));
  record.mutable_request()->set_client(change.request.client);
  record.mutable_request()->set_sequence(change.request.sequence);
  record.set_kind(head.version || change.kind == wire::CHANGE_DELETE ? change.kind : wire::CHANGE_CREATE);
  record.set_user(change.user);
  record.set_time_us(wall_us(env_));
  record.set_mode(change.mode ? change.mode : head.version ? head.mode : change.name.mode());
  record.set_modified_us(change.modified_us ? change.modified_us : record.time_us());
  if (change.name.object_id() != 0) *record.mutable_name() = change.name;
  record.set_edit_record(change.edit_record);
  record.set_tag(change.tag);
  if (change.undo_target) *record.mutable_undo_target() = version_to_wire(change.undo_target);

  uint64_t size = content.inline_content.size(), new_bytes = size;
  auto add_chunk = [&](const ChunkHash& hash, uint32_t bytes, Lsn lsn) {
    auto* chunk = record.add_chunks();
    chunk->set_hash(hash.bytes.data(), hash.bytes.size());
    chunk->set_size(bytes);
    version->local.add_chunk_lsns(number(lsn));
    size += bytes;
  };
  for (int i = 0; i < content.kept; ++i) {
    add_chunk(content.before->hash(i), content.before->record().chunks(i).size(),
              content.before->chunk_lsn(i));
  }
  for (auto& [chunk, lsn] : content.stored) {
    add_chunk(chunk.hash, chunk.size, lsn);
    new_bytes += chunk.size;
  }
  if (record.chunks_size() + content.fresh.size() > kChunksMax || change.edit_record.size() > (1 << 20)) {
    return fail(Code::kInvalid, name_of(change.file) + ": a file has at most 200 GiB in this version");
  }
  for (auto& chunk : content.fresh) {
    const auto bytes = static_cast<uint32_t>(chunk.bytes.size());
    const ChunkHash hash = chunk.hash;
    new_bytes += bytes;
    add_chunk(hash, bytes, append_chunk(change.file, std::move(chunk), nullptr));
  }
  record.set_size_bytes(size);
  version->local.set_new_bytes(new_bytes - content.shared_bytes);
  version->inline_content = std::move(content.inline_content);
  append_version(version);
  return StoredVersionRef(version);
}

void StoreEngine::append_version(std::shared_ptr<StoredVersion> version) {
  const FileId file = version->file();
  const RequestId request{version->record().request().client(), version->record().request().sequence()};
  LogEntry entry{static_cast<uint32_t>(RecordType::kVersion),
                 version->local.SerializeAsString(),
                 version->inline_content,
                 {}};
  version->lsn = log_->append(std::move(entry),
                              [this, version](const Status& status) { version_done(version, status); });
  version->end = log_->end();
  if (request) requests_in_flight_[{file, request}] = version;
  OpenFile& open = open_[file];
  open.head = version;
  ++open.in_flight;
}

// In the order of the log. When one is refused, so is everything behind it, before
// anybody else runs: the head of the file is then the durable one again.
void StoreEngine::version_done(const StoredVersionRef& version, const Status& status) {
  const FileId file = version->file();
  requests_in_flight_.erase(
      {file, {version->record().request().client(), version->record().request().sequence()}});
  if (status) {
    VersionRow row = version_row(version->local);
    row.lsn = version->lsn;
    row.end = version->end;
    feed_index({version->end, std::move(row)});
    cache_.add(version);
  }
  append_ended(file);
}

Task<Result<VersionInfo>> StoreEngine::finish(StoredVersionRef version) {
  auto durable = log_->durable(version->end);
  CO_RETURN_IF_ERROR(co_await durable);
  if (failure_) co_return fail(Code::kUnavailable, "outcome unknown: " + failure_->message);
  const auto& record = version->record();
  VersionInfo info{version->version(), version->parent(), version->end,  record.size_bytes(),
                   record.time_us(),   record.user(),     record.mode(), record.modified_us()};
  co_return info;
}

Task<Result<std::optional<VersionInfo>>> StoreEngine::first_answer(FileId file, RequestId request) {
  if (!request) co_return std::nullopt;
  if (auto found = requests_in_flight_.find({file, request}); found != requests_in_flight_.end()) {
    StoredVersionRef version = found->second;
    CO_ASSIGN_OR_RETURN(auto info, co_await finish(version));
    co_return std::optional<VersionInfo>(info);
  }
  CO_ASSIGN_OR_RETURN(auto row, index_->request(file, request));
  if (!row) co_return std::nullopt;
  co_return info_of(*row);
}

std::optional<VersionInfo> StoreEngine::answered(FileId file, RequestId request) {
  auto row = index_->request(file, request);
  if (!row || !*row) return std::nullopt;
  return info_of(**row);
}

Task<Result<VersionInfo>> StoreEngine::submit(Change change, Content content) {
  if (change.request) {
    CO_ASSIGN_OR_RETURN(auto first, co_await first_answer(change.file, change.request));
    if (first) co_return *first;
  }
  CO_ASSIGN_OR_RETURN(Head head, head_of(change.file));
  CO_RETURN_IF_ERROR(check_change(change, head));
  CO_ASSIGN_OR_RETURN(auto version, append_change(change, head, std::move(content)));
  co_return co_await finish(version);
}

Task<Result<VersionInfo>> StoreEngine::put(Change change, Bytes bytes) {
  if (bytes.size() > kChunkSizeMax) co_return fail(Code::kInvalid, "more than a chunk in one PUT");
  Content content;
  if (bytes.size() <= kInlineSizeMax)
    content.inline_content = std::move(bytes);
  else
    content.fresh = co_await hash_chunks(std::move(bytes));
  co_return co_await submit(std::move(change), std::move(content));
}

Task<Result<VersionInfo>> StoreEngine::remove(Change change) {
  change.kind = wire::CHANGE_DELETE;
  const FileId file = change.file;
  auto done = co_await submit(std::move(change), {});
  if (done || done.error().code != Code::kNotFound) co_return done;
  // Another request deleted it: its tombstone answers this one too.
  CO_ASSIGN_OR_RETURN(StoredVersionRef tombstone, co_await load_head(file));
  if (!tombstone || !tombstone->deleted()) co_return done;
  co_return co_await finish(tombstone);
}

// The content of `before` (null: nothing) with `bytes` behind it. The last chunk of
// `before` is written again where it is not full.
Task<Result<StoreEngine::Content>> StoreEngine::appended_content(StoredVersionRef before, Bytes bytes) {
  Content content;
  Bytes tail;
  if (before && before->is_inline()) {
    tail = before->inline_content;
  } else if (before) {
    content.before = before;
    content.kept = before->record().chunks_size();
    const int last = content.kept - 1;
    if (before->record().chunks(last).size() < kChunkSizeMax) {
      content.kept = last;
      ChunkPlace place{before->chunk_lsn(last), before->record().chunks(last).size()};
      CO_ASSIGN_OR_RETURN(tail, co_await read_chunk(before->file(), before->hash(last), place));
    }
  }
  tail += bytes;
  if (!content.before && tail.size() <= kInlineSizeMax)
    content.inline_content = std::move(tail);
  else
    content.fresh = co_await hash_chunks(std::move(tail));
  co_return content;
}

Task<Result<VersionInfo>> StoreEngine::append(Change change, Bytes bytes) {
  if (bytes.size() > kChunkSizeMax) co_return fail(Code::kInvalid, "more than a chunk in one APPEND");
  change.kind = wire::CHANGE_APPEND;
  while (true) {
    if (change.request) {
      CO_ASSIGN_OR_RETURN(auto first, co_await first_answer(change.file, change.request));
      if (first) co_return *first;
    }
    CO_ASSIGN_OR_RETURN(StoredVersionRef before, co_await load_head(change.file));
    // A file without a version here may have one on the other half.
    if (!before) co_return fail(Code::kNotFound, name_of(change.file) + ": no such file");
    if (before->deleted()) co_return fail(Code::kNotFound, name_of(change.file) + ": deleted");
    CO_ASSIGN_OR_RETURN(Content content, co_await appended_content(before, bytes));
    CO_ASSIGN_OR_RETURN(Head head, head_of(change.file));
    // Somebody else's change came first: append behind that one.
    if (head.version != (before ? before->version() : Version{})) continue;
    co_return co_await submit(std::move(change), std::move(content));
  }
}

Task<Result<ChunkRefInfo>> StoreEngine::stage(FileId file, Bytes bytes) {
  if (bytes.empty() || bytes.size() > kChunkSizeMax)
    co_return fail(Code::kInvalid, "a chunk has 1 byte to 1 MiB");
  CO_RETURN_IF_ERROR(has_room());
  auto hashed = co_await hash_chunks(std::move(bytes));
  co_await log_->room(kBufferedMax);
  const ChunkRefInfo info{hashed[0].hash, static_cast<uint32_t>(hashed[0].bytes.size())};
  // Nobody waits for its sync here: it comes before its version in the log, and is
  // durable with that at the latest. If the append is refused, the pin goes with it.
  if (auto place = pins_.find(file, info.hash)) {
    pins_.pin(file, info.hash, *place);
  } else {
    auto placed = std::make_shared<Lsn>();
    *placed = append_chunk(file, std::move(hashed[0]),
                           [this, file, hash = info.hash, placed](const Status& status) {
                             if (status) return;
                             pins_.drop(file, hash, *placed);
                             chunk_refused_ = status.error();
                           });
    pins_.pin(file, info.hash, {*placed, info.size});
  }
  co_return info;
}

void StoreEngine::unpin(FileId file, const std::vector<ChunkRefInfo>& chunks) {
  for (const auto& chunk : chunks) pins_.unpin(file, chunk.hash);
}

// Where each of the chunks stands: pinned, or part of `head` (may be null).
Result<StoreEngine::Content> StoreEngine::content_of_chunks(FileId file,
                                                            const std::vector<ChunkRefInfo>& chunks,
                                                            StoredVersionRef head) {
  std::map<ChunkHash, ChunkPlace> of_head;
  for (int i = 0; head && i < head->record().chunks_size(); ++i) {
    of_head[head->hash(i)] = {head->chunk_lsn(i), head->record().chunks(i).size()};
  }
  Content content;
  for (const auto& chunk : chunks) {
    auto place = pins_.find(file, chunk.hash);
    if (auto found = of_head.find(chunk.hash); found != of_head.end() && !(place && is_damaged(found->second.lsn))) {
      place = found->second;
      content.shared_bytes += chunk.size;
    }
    if (!place || place->size != chunk.size) {
      // Why, if the disk refused it behind the back of whoever staged it.
      if (chunk_refused_) return std::unexpected(*std::exchange(chunk_refused_, std::nullopt));
      return fail(Code::kNotFound, fmt::format("{}: chunk {} of {} is not stored here", name_of(file),
                                               content.stored.size(), chunks.size()));
    }
    content.stored.emplace_back(chunk, place->lsn);
  }
  return content;
}

Task<Result<VersionInfo>> StoreEngine::commit(Change change, std::vector<ChunkRefInfo> chunks, bool append) {
  if (append) change.kind = wire::CHANGE_APPEND;
  while (true) {
    if (change.request) {
      CO_ASSIGN_OR_RETURN(auto first, co_await first_answer(change.file, change.request));
      if (first) co_return *first;
    }
    CO_ASSIGN_OR_RETURN(StoredVersionRef before, co_await load_head(change.file));
    if (append && !before) co_return fail(Code::kNotFound, name_of(change.file) + ": no such file");
    std::vector<HashedChunk> small;
    if (append && before && !before->inline_content.empty())
      small = co_await hash_chunks(before->inline_content);
    CO_ASSIGN_OR_RETURN(Head head, head_of(change.file));
    if (head.version != (before ? before->version() : Version{})) continue;
    CO_ASSIGN_OR_RETURN(Content content, content_of_chunks(change.file, chunks, before));
    if (append && before) {
      content.before = before;
      content.kept = before->record().chunks_size();
    }
    if (!small.empty()) {
      // What stood inline becomes the first chunk.
      CO_RETURN_IF_ERROR(check_change(change, head));
      const ChunkRefInfo first{small[0].hash, static_cast<uint32_t>(small[0].bytes.size())};
      Lsn lsn = append_chunk(change.file, std::move(small[0]), nullptr);
      content.stored.insert(content.stored.begin(), {first, lsn});
    }
    co_return co_await submit(std::move(change), std::move(content));
  }
}

}  // namespace understudy
