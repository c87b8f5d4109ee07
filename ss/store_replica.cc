// What the name node asks of a storage server: hand over versions and chunks, take
// them in, compare partitions, set a diverged branch aside.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/base/checksum.h"
#include "common/base/coding.h"
#include "ss/store_engine.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

// Of versions in one reply, about; a single one may be larger.
constexpr uint64_t kFetchBytesMax = 4 << 20;
constexpr size_t kAncestorsMax = 64;
constexpr size_t kLinksAtOnce = 256;  // Of a file's history, looked up in a row.
// A replicated chunk that no version asked for so long is forgotten.
constexpr Duration kKeepChunks = 10min;

std::string name_of(FileId file) { return fmt::format("file {:016x}", number(file)); }

}  // namespace

// Versions (from, to] of one file, parents first, until `bytes_max` is reached; at least one, so that
// whoever asks again comes to an end.
Task<Result<wire::FetchedFile>> StoreEngine::fetch_file(wire::FetchItem item, Fetching* fetching) {
  const FileId file{item.file_id()};
  const Version from = version_from_wire(item.from());
  wire::FetchedFile fetched;
  fetched.set_file_id(item.file_id());
  CO_ASSIGN_OR_RETURN(auto head, index_->head(file));
  if (head) *fetched.mutable_head() = version_to_wire(head->version);
  const Version to = version_from_wire(item.to());
  auto row = head;
  if (to && (!head || head->version != to)) {
    CO_ASSIGN_OR_RETURN(row, index_->version(file, to));
  }
  if (!row) {
    fetched.set_outcome(wire::FetchedFile::GONE);
  } else if (item.alone()) {
    CO_RETURN_IF_ERROR(co_await add_fetched(*row, {}, &fetched, fetching));
  } else if (row->version != from) {
    auto outcome = row->aside || fetching->for_repair ? fetch_back(from, *row, &fetched, fetching)
                                                      : fetch_line(from, *row, &fetched, fetching);
    CO_ASSIGN_OR_RETURN(auto ended, co_await outcome);
    // What was found stays good; whoever asks for the rest is told then.
    fetched.set_outcome(ended != wire::FetchedFile::OK && fetched.versions_size() > 0 ? wire::FetchedFile::NOT_YET : ended);
  }
  co_return fetched;
}

// In the file's line, where the numbers tell the order: forward from `from`, some at a time, so that each
// page of a long history costs what is in it.
Task<Result<wire::FetchedFile::Outcome>> StoreEngine::fetch_line(Version from, VersionRow to, wire::FetchedFile* fetched,
                                                                 Fetching* fetching) {
  if (from) {
    CO_ASSIGN_OR_RETURN(auto base, index_->version(to.file, from));
    if (!base || base->aside || from > to.version) {
      // It may have been there before the oldest one of which anything is left.
      CO_ASSIGN_OR_RETURN(auto next, index_->newer(to.file, from, to.version, 1));
      if (base || next.empty() || !next[0].parent) co_return wire::FetchedFile::NOT_A_DESCENDANT;
      CO_ASSIGN_OR_RETURN(auto parent, index_->version(to.file, next[0].parent));
      co_return parent ? wire::FetchedFile::NOT_A_DESCENDANT : wire::FetchedFile::GONE;
    }
  }
  for (Version at = from; at != to.version;) {
    CO_ASSIGN_OR_RETURN(auto rows, index_->newer(to.file, at, to.version, kLinksAtOnce));
    if (rows.empty()) co_return wire::FetchedFile::GONE;  // Set aside, or trimmed, meanwhile.
    CO_ASSIGN_OR_RETURN(bool linked, are_linked(at, rows));
    if (!linked) {
      if (at != from) co_return wire::FetchedFile::NOT_YET;
      auto back = fetch_back(from, to, fetched, fetching);
      co_return co_await back;
    }
    for (const VersionRow& row : rows) {
      if (fetching->bytes_used >= fetching->bytes_max) co_return wire::FetchedFile::NOT_YET;
      std::optional<Version> onto;
      if (row.parent != at) onto = at;
      CO_RETURN_IF_ERROR(co_await add_fetched(row, onto, fetched, fetching));
      at = row.version;
    }
    auto turn = yield_now(env_);
    co_await turn;
  }
  co_return wire::FetchedFile::OK;
}

// Whether each goes onto the one before it (the first onto `at`), or onto one that retention has taken. It is
// so, unless a record that set some of them aside was lost.
Result<bool> StoreEngine::are_linked(Version at, const std::vector<VersionRow>& rows) {
  for (const VersionRow& row : rows) {
    if (row.parent != at) {
      ASSIGN_OR_RETURN(auto parent, index_->version(row.file, row.parent));
      if (parent || !row.parent) return false;
    }
    at = row.version;
  }
  return true;
}

// From `to` back, link by link: what was set aside stands in no line.
Task<Result<wire::FetchedFile::Outcome>> StoreEngine::fetch_back(Version from, VersionRow to, wire::FetchedFile* fetched,
                                                                 Fetching* fetching) {
  struct Link {
    VersionRow row;
    std::optional<Version> onto;  // Of one whose parent is gone: what is left before it.
  };
  std::vector<Link> chain;
  bool reached = false;
  std::optional<VersionRow> row = to;
  while (row && row->version != from && !reached) {
    chain.push_back({*row, {}});
    reached = !from && !row->parent;
    if (!row->parent) break;
    if (fetching->for_repair && row->parent == from) {
      // Whether the parent itself is still here does not matter.
      reached = true;
      break;
    }
    CO_ASSIGN_OR_RETURN(auto parent, index_->version(to.file, row->parent));
    if (!parent) {
      CO_ASSIGN_OR_RETURN(parent, index_->older(to.file, row->version));
      // What a half may lack is never taken from between, so this goes to one that has nothing.
      chain.back().onto = parent ? parent->version : Version{};
      if (from && parent && parent->version < from) parent.reset();
      reached = !from && !parent;
    }
    row = std::move(parent);
    if (chain.size() % kLinksAtOnce != 0) continue;
    auto turn = yield_now(env_);
    co_await turn;
  }
  reached = reached || (row && row->version == from);
  if (!reached) co_return row ? wire::FetchedFile::NOT_A_DESCENDANT : wire::FetchedFile::GONE;
  for (auto link = chain.rbegin(); link != chain.rend(); ++link) {
    if (fetching->bytes_used >= fetching->bytes_max) co_return wire::FetchedFile::NOT_YET;
    CO_RETURN_IF_ERROR(co_await add_fetched(link->row, link->onto, fetched, fetching));
  }
  co_return wire::FetchedFile::OK;
}

// `onto`: in the place of its parent, which is gone.
Task<Status> StoreEngine::add_fetched(VersionRow row, std::optional<Version> onto, wire::FetchedFile* fetched,
                                      Fetching* fetching) {
  auto loading = fetching->for_repair ? load_here(row.lsn, kInlineSizeMax) : load(row.lsn, kInlineSizeMax);
  CO_ASSIGN_OR_RETURN(StoredVersionRef version, co_await loading);
  fetching->bytes_used += row.trimmed || fetching->headers_only ? 1024 : version->memory_bytes();
  auto* record = fetched->add_versions();
  *record = fetching->headers_only ? version->record() : version->to_wire();
  if (row.trimmed) strip_content(*record);
  if (onto) {
    *record->mutable_parent() = version_to_wire(*onto);
    record->set_parent_trimmed(true);
  }
  co_return Status{};
}

Task<Result<wire::FetchReply>> StoreEngine::fetch(wire::FetchRequest request) {
  wire::FetchReply reply;
  Fetching fetching{.for_repair = request.for_repair(), .headers_only = request.headers_only()};
  fetching.bytes_max = std::min(request.bytes_max() ? request.bytes_max() : kFetchBytesMax, kFetchBytesMax);
  for (const auto& item : request.items()) {
    CO_ASSIGN_OR_RETURN(*reply.add_files(), co_await fetch_file(item, &fetching));
  }
  co_return reply;
}

Task<Result<Bytes>> StoreEngine::fetch_chunk(wire::FetchChunkRequest request) {
  const FileId file{request.file_id()};
  ChunkHash hash;
  if (!parse_chunk_hash(request.hash(), hash)) co_return fail(Code::kInvalid, "no chunk hash");
  CO_ASSIGN_OR_RETURN(auto place, place_of(file, hash));
  if (!place) co_return fail(Code::kNotFound, fmt::format("{}: no chunk {}", name_of(file), hash.to_hex()));
  const ChunkRefInfo ref{hash, place->size};
  auto reading = request.for_repair() ? read_chunk_here(file, ref) : read_chunk(file, ref);
  co_return co_await reading;
}

// What is here is also kept findable until the versions that name it come.
Task<Result<wire::MissingChunksReply>> StoreEngine::missing_chunks(wire::MissingChunksRequest request) {
  const FileId file{request.file_id()};
  const Instant now = env_.clock.now();
  pins_.forget_idle(now);
  wire::MissingChunksReply reply;
  for (int i = 0; i < request.hashes_size(); ++i) {
    ChunkHash hash;
    if (!parse_chunk_hash(request.hashes(i), hash)) co_return fail(Code::kInvalid, "no chunk hash");
    CO_ASSIGN_OR_RETURN(auto place, whole_place_of(file, hash));
    if (place)
      pins_.keep(file, hash, *place, now + kKeepChunks);
    else
      reply.add_missing(static_cast<uint32_t>(i));
  }
  co_return reply;
}

Task<Status> StoreEngine::store_chunk(FileId file, ChunkHash hash, Bytes content) {
  if (content.empty() || content.size() > kChunkSizeMax)
    co_return fail(Code::kInvalid, "a chunk has 1 byte to 1 MiB");
  CO_RETURN_IF_ERROR(has_room());
  auto hashed = co_await hash_chunks(std::move(content), /*whole=*/true);
  if (hashed[0].hash != hash)
    co_return fail(Code::kCorrupt, name_of(file) + ": a chunk arrived that has another hash");
  co_await log_->room(kBufferedMax);
  const Instant until = env_.clock.now() + kKeepChunks;
  pins_.forget_idle(env_.clock.now());
  // Durable with its version at the latest, as in stage().
  CO_ASSIGN_OR_RETURN(ChunkPlace place, store_once(file, std::move(hashed[0]), nullptr));
  pins_.keep(file, hash, place, until);
  co_return Status{};
}

// Appends the version if it fits; does not wait for it to be durable.
Task<Result<wire::ApplyOutcome>> StoreEngine::apply_version(wire::VersionRecord record) {
  const FileId file{record.file_id()};
  const Version wanted = version_from_wire(record.version());
  const Version parent = version_from_wire(record.parent());
  wire::ApplyOutcome outcome;
  auto stored = std::make_shared<StoredVersion>();
  stored->inline_content = std::move(*record.mutable_inline_content());
  record.clear_inline_content();

  // From here on nothing waits.
  CO_RETURN_IF_ERROR(record.kind() == wire::CHANGE_DELETE ? writable() : has_room());
  CO_ASSIGN_OR_RETURN(Head head, head_of(file));
  *outcome.mutable_head() = version_to_wire(head.version);
  CO_ASSIGN_OR_RETURN(auto known, index_->version(file, wanted));
  if (head.version == wanted || (known && !known->aside)) {
    outcome.set_outcome(wire::ApplyOutcome::ALREADY);
    co_return outcome;
  }
  if (known || head.version != parent) {
    outcome.set_outcome(wire::ApplyOutcome::NOT_ON_HEAD);
    outcome.set_text(fmt::format("{}: {} goes onto {}, but the head is {}{}", name_of(file),
                                 wanted.to_string(), parent.to_string(), head.version.to_string(),
                                 known ? "; it was set aside" : ""));
    co_return outcome;
  }
  uint64_t size = stored->inline_content.size(), new_bytes = size;
  // Under a list chunk that is here everything is.
  for (const auto& chunk : record.chunks()) {
    ChunkRefInfo ref;
    if (!chunk_ref_from_wire(chunk, record.list_level(), ref)) co_return fail(Code::kInvalid, "no chunk of a list");
    CO_ASSIGN_OR_RETURN(auto place, whole_place_of(file, ref.hash));
    if (!place || place->size != ref.size) {
      outcome.set_outcome(wire::ApplyOutcome::CHUNK_MISSING);
      outcome.set_text(name_of(file) + ": chunk " + ref.hash.to_hex() + " is not here");
      co_return outcome;
    }
    size += ref.file_bytes();
    if (place->lsn > head.lsn) new_bytes += ref.size;
  }
  if ((size != record.size_bytes() && !(size == 0 && record.trimmed())) || record.chunks_size() > kRecordChunksMax) {
    co_return fail(Code::kInvalid, name_of(file) + ": a version whose parts do not add up to its size");
  }
  stored->local.set_new_bytes(new_bytes);
  *stored->local.mutable_version() = std::move(record);
  append_version(stored);
  *outcome.mutable_head() = version_to_wire(wanted);
  outcome.set_outcome(wire::ApplyOutcome::APPLIED);
  co_return outcome;
}

Task<Result<wire::ApplyReply>> StoreEngine::apply(wire::ApplyRequest request) {
  CO_RETURN_IF_ERROR(writable());
  if (Epoch epoch{request.epoch()}; epoch > greatest_epoch()) {
    wire::EpochRecord record;
    record.set_epoch(request.epoch());
    auto seen = append_record(RecordType::kEpoch, record.SerializeAsString(), {{}, EpochRow{epoch, false}});
    CO_RETURN_IF_ERROR(co_await seen);
  }
  wire::ApplyReply reply;
  std::vector<Future<Status>> done;
  for (auto& item : *request.mutable_items()) {
    if (item.has_version()) {
      auto outcome = co_await apply_version(std::move(*item.mutable_version()));
      if (outcome) {
        *reply.add_outcomes() = *std::move(outcome);
      } else {
        // One bad file must not hold up the others.
        auto* refused = reply.add_outcomes();
        refused->set_outcome(wire::ApplyOutcome::REFUSED);
        refused->set_text(outcome.error().to_string());
      }
    } else {
      const auto& name = item.name();
      NameRow row{{}, FileId{name.object_id()}, static_cast<uint32_t>(name.kind()), name.meta_version()};
      (void)append_record(RecordType::kName, name.SerializeAsString(), {{}, row});
      reply.add_outcomes()->set_outcome(wire::ApplyOutcome::APPLIED);
    }
    // Asked before anything waits: a full disk takes positions back, and gives them out again. (ALREADY may mean
    // that it was appended a moment ago.)
    done.push_back(log_->flush());
    co_await log_->room(kBufferedMax);
  }
  CO_RETURN_IF_ERROR(co_await all_of(std::move(done)));
  reply.set_lsn(number(log_->durable_end()));
  co_return reply;
}

// The content of a version that only the other half had, and that is to be one of this half's line.
Task<Result<VersionInfo>> StoreEngine::take_back(Change change, wire::Brought brought) {
  const FileId file = change.file;
  auto content = std::make_shared<StoredVersion>();
  uint64_t size = 0;
  for (const auto& chunk : brought.chunks()) {
    ChunkRefInfo ref;
    if (!chunk_ref_from_wire(chunk, brought.list_level(), ref)) co_return fail(Code::kInvalid, "no chunk of a list");
    CO_ASSIGN_OR_RETURN(auto place, whole_place_of(file, ref.hash));
    if (!place || place->size != ref.size) {
      co_return fail(Code::kUnavailable, name_of(file) + ": chunk " + ref.hash.to_hex() + " is not here any more");
    }
    size += ref.file_bytes();
  }
  if (size != brought.size_bytes() || brought.chunks_size() > kRecordChunksMax) {
    co_return fail(Code::kInvalid, name_of(file) + ": a version whose parts do not add up to its size");
  }
  auto& record = *content->local.mutable_version();
  *record.mutable_chunks() = std::move(*brought.mutable_chunks());
  record.set_list_level(brought.list_level());
  record.set_size_bytes(size);
  co_return co_await submit(std::move(change), {.same = std::move(content), .new_bytes = size});
}

Result<wire::ListAsideReply> StoreEngine::list_aside(const wire::ListAsideRequest& request) {
  const size_t limit = std::clamp<size_t>(request.limit(), 1, 10'000);
  ASSIGN_OR_RETURN(auto all, index_->recovered_behind(FileId{request.after_file_id()}, limit));
  wire::ListAsideReply reply;
  for (const auto& [file, version] : all) {
    if (reply.files_size() == 0 || reply.files(reply.files_size() - 1).file_id() != number(file)) {
      reply.add_files()->set_file_id(number(file));
    }
    *reply.mutable_files(reply.files_size() - 1)->add_versions() = version_to_wire(version);
  }
  reply.set_more(all.size() >= limit);
  return reply;
}

Task<Result<wire::DigestReply>> StoreEngine::digest() {
  wire::DigestReply reply;
  for (uint64_t digest : index_->digests()) reply.add_partitions(digest);
  CO_ASSIGN_OR_RETURN(auto aside, index_->recovered_behind(kNoFile, SIZE_MAX));
  Bytes kept;
  for (const auto& [file, version] : aside) {
    for (uint64_t part : {number(file), number(version.epoch), version.counter}) put_fixed<uint64_t>(kept, part);
  }
  reply.set_aside(checksum(kept));
  reply.set_files(index_->totals().files);
  reply.set_lsn(number(log_->durable_end()));
  co_return reply;
}

Task<Result<wire::ListPartitionReply>> StoreEngine::list_partition(wire::ListPartitionRequest request) {
  wire::ListPartitionReply reply;
  std::set<uint32_t> partitions(request.partitions().begin(), request.partitions().end());
  const FileId after{request.after_file_id()};
  const size_t limit = std::clamp<size_t>(request.limit(), 1, 10'000);
  for (uint32_t partition : partitions) {
    if (partition >= kPartitions) co_return fail(Code::kInvalid, fmt::format("no partition {}", partition));
    if (after != kNoFile && partition < partition_of(after)) continue;
    const size_t left = limit - reply.files_size();
    CO_ASSIGN_OR_RETURN(auto objects, index_->partition(partition, after, left + 1));
    for (size_t i = 0; i < std::min(objects.size(), left); ++i) {
      auto* file = reply.add_files();
      file->set_file_id(number(objects[i].id));
      file->set_meta_version(objects[i].meta_version);
      if (!objects[i].head) continue;
      *file->mutable_head() = version_to_wire(objects[i].head->version);
      file->set_deleted(objects[i].head->deleted());
      CO_ASSIGN_OR_RETURN(auto recent,
                          index_->ancestors(objects[i].id, objects[i].head->version, kAncestorsMax));
      for (Version version : recent) *file->add_recent() = version_to_wire(version);
    }
    if (objects.size() > left) {
      reply.set_more(true);
      break;
    }
    auto turn = yield_now(env_);
    co_await turn;
  }
  co_return reply;
}

// The name of an object as it was last told, for the operator's eyes.
Task<Result<std::string>> StoreEngine::name_at(Lsn lsn) {
  if (lsn == kNoLsn) co_return std::string();
  CO_ASSIGN_OR_RETURN(LogRecord record, co_await log_->read(lsn, kInlineSizeMax));
  wire::NameRecord name;
  if (RecordType{record.type} == RecordType::kName && name.ParseFromString(record.head))
    co_return name.name();
  CO_ASSIGN_OR_RETURN(StoredVersionRef version, decode_stored_version(std::move(record)));
  co_return version->record().name().name();
}

// The versions from the head back to `keep`, which are to be set aside, newest first.
Result<std::vector<Version>> StoreEngine::behind(FileId file, Version keep) {
  ASSIGN_OR_RETURN(Head head, head_of(file));
  std::vector<Version> versions;
  for (Version at = head.version; at != keep;) {
    ASSIGN_OR_RETURN(auto row, at ? index_->version(file, at) : std::optional<VersionRow>());
    if (!row) {
      return fail(Code::kConflict, fmt::format("{}: {} is no ancestor of the head {}", name_of(file),
                                               keep.to_string(), head.version.to_string()));
    }
    versions.push_back(at);
    at = row->parent;
    if (keep || !at) continue;
    // Everything goes: also what is left behind a gap that retention made.
    ASSIGN_OR_RETURN(auto parent, index_->version(file, at));
    if (parent) continue;
    ASSIGN_OR_RETURN(parent, index_->older(file, row->version));
    at = parent ? parent->version : Version{};
  }
  return versions;
}

// Ends one append in flight of the file.
Future<Status> StoreEngine::append_aside(FileId file, Version keep, std::vector<Version> versions, bool rescued) {
  wire::AsideRecord aside;
  aside.set_file_id(number(file));
  *aside.mutable_keep() = version_to_wire(keep);
  for (Version version : versions) *aside.add_versions() = version_to_wire(version);
  aside.set_time_us(env_.clock.wall().time_since_epoch().count());
  aside.set_rescued(rescued);
  return append_record(RecordType::kAside, aside.SerializeAsString(), {{}, AsideRow{file, keep, std::move(versions), rescued}});
}

Task<Result<wire::SetAsideDone>> StoreEngine::set_aside_file(wire::SetAsideItem item) {
  const FileId file{item.file_id()};
  Version keep = version_from_wire(item.keep());
  auto flush = log_->flush();
  CO_RETURN_IF_ERROR(co_await flush);
  wire::SetAsideDone done;
  done.set_file_id(number(file));
  CO_ASSIGN_OR_RETURN(auto object, index_->object(file));
  if (!object) co_return done;
  CO_ASSIGN_OR_RETURN(std::string name, co_await name_at(object->name_lsn));
  done.set_name(name);
  co_await not_trimming(file);
  StoredVersionRef kept;
  if (keep) {
    CO_ASSIGN_OR_RETURN(VersionRow row, durable_row(file, keep));
    // Without its content it can be no head: the other half's comes as a whole.
    if (row.trimmed) keep = {};
    if (keep) {
      CO_ASSIGN_OR_RETURN(kept, co_await load(row.lsn, kInlineSizeMax));
      CO_ASSIGN_OR_RETURN(bool stays, content_stays(file, keep));
      if (!stays) co_return fail(Code::kUnavailable, name_of(file) + ": is being trimmed; try again");
    }
  }
  // From here to the append nothing waits.
  CO_ASSIGN_OR_RETURN(auto versions, behind(file, keep));
  if (versions.empty()) co_return done;
  std::set<Version> came;
  for (const auto& version : item.came()) came.insert(version_from_wire(version));
  std::vector<Version> rescued, others;
  for (Version version : versions) {
    *done.add_versions() = version_to_wire(version);
    (item.rescued() || came.contains(version) ? rescued : others).push_back(version);
  }
  OpenFile& open = open_[file];
  open.head = kept;
  open.in_flight += (rescued.empty() ? 0 : 1) + (others.empty() ? 0 : 1);
  std::vector<Future<Status>> appended;
  if (!rescued.empty()) appended.push_back(append_aside(file, keep, std::move(rescued), true));
  if (!others.empty()) appended.push_back(append_aside(file, keep, std::move(others), false));
  CO_RETURN_IF_ERROR(co_await all_of(std::move(appended)));
  co_return done;
}

Task<Result<wire::SetAsideReply>> StoreEngine::set_aside(wire::SetAsideRequest request) {
  CO_RETURN_IF_ERROR(writable());
  wire::SetAsideReply reply;
  for (const auto& item : request.items()) {
    CO_ASSIGN_OR_RETURN(*reply.add_files(), co_await set_aside_file(item));
  }
  reply.set_lsn(number(log_->durable_end()));
  co_return reply;
}

// Appends it; does not wait for it to be durable. Its chunks were brought before, and are pinned.
Status StoreEngine::keep_version_aside(wire::VersionRecord record) {
  const FileId file{record.file_id()};
  ASSIGN_OR_RETURN(auto known, index_->version(file, version_from_wire(record.version())));
  if (known) return {};
  auto stored = std::make_shared<StoredVersion>();
  stored->inline_content = std::move(*record.mutable_inline_content());
  record.clear_inline_content();
  uint64_t size = stored->inline_content.size();
  for (const auto& chunk : record.chunks()) {
    ChunkRefInfo ref;
    if (!chunk_ref_from_wire(chunk, record.list_level(), ref)) return fail(Code::kInvalid, "no chunk of a list");
    ASSIGN_OR_RETURN(auto place, whole_place_of(file, ref.hash));
    if (!place || place->size != ref.size) return fail(Code::kNotFound, name_of(file) + ": chunk " + ref.hash.to_hex() + " is not here");
    if (stored->inline_content.empty()) size += ref.file_bytes();
  }
  if ((size != record.size_bytes() && !(size == 0 && record.trimmed())) || record.chunks_size() > kRecordChunksMax) {
    return fail(Code::kInvalid, name_of(file) + ": a version whose parts do not add up to its size");
  }
  stored->local.set_aside(true);
  *stored->local.mutable_version() = std::move(record);
  LogEntry entry{static_cast<uint32_t>(RecordType::kVersion), stored->local.SerializeAsString(), stored->inline_content, {}};
  stored->lsn = log_->append(std::move(entry), [this, stored](const Status& status) {
    if (!status) return;
    VersionRow row = version_row(stored->local);
    row.lsn = stored->lsn;
    row.end = stored->end;
    feed_index({stored->end, std::move(row)});
  });
  stored->end = log_->end();
  return {};
}

Task<Result<wire::KeepAsideReply>> StoreEngine::keep_aside(wire::KeepAsideRequest request) {
  CO_RETURN_IF_ERROR(writable());
  CO_RETURN_IF_ERROR(has_room());
  // What is on its way is found by its number once it is durable.
  auto flush = log_->flush();
  CO_RETURN_IF_ERROR(co_await flush);
  for (auto& version : *request.mutable_versions()) CO_RETURN_IF_ERROR(keep_version_aside(std::move(version)));
  auto durable = log_->flush();
  CO_RETURN_IF_ERROR(co_await durable);
  wire::KeepAsideReply reply;
  reply.set_lsn(number(log_->durable_end()));
  co_return reply;
}

Result<wire::MemberStatReply> StoreEngine::member_stat(FileId file) {
  wire::MemberStatReply reply;
  ASSIGN_OR_RETURN(auto object, index_->object(file));
  if (!object) return reply;
  reply.set_meta_version(object->meta_version);
  for (Version version : divergent(file)) *reply.add_divergent() = version_to_wire(version);
  if (!object->head) return reply;
  reply.set_has_file(true);
  *reply.mutable_head() = version_to_wire(object->head->version);
  reply.set_size_bytes(object->head->size_bytes);
  reply.set_deleted(object->head->deleted());
  ASSIGN_OR_RETURN(auto recent, index_->ancestors(file, object->head->version, kAncestorsMax));
  for (Version version : recent) *reply.add_recent() = version_to_wire(version);
  return reply;
}

}  // namespace understudy
