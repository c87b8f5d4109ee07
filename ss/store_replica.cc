// What the name node asks of a storage server: hand over versions and chunks, take
// them in, compare partitions, set a diverged branch aside.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "ss/store_engine.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

// Of versions in one reply, about; a single one may be larger.
constexpr uint64_t kFetchBytesMax = 4 << 20;
constexpr size_t kAncestorsMax = 64;
constexpr uint64_t kBufferedMax = 16 << 20;
// A replicated chunk that no version asked for so long is forgotten.
constexpr Duration kKeepChunks = 10min;

std::string name_of(FileId file) { return fmt::format("file {:016x}", number(file)); }

}  // namespace

// Versions (from, to] of one file, parents first. The walk goes back by numbers only;
// then the versions are loaded one by one until `bytes_max` is reached.
Task<Result<wire::FetchedFile>> StoreEngine::fetch_file(wire::FetchItem item, bool for_repair, uint64_t bytes_max,
                                                        uint64_t* bytes_used) {
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
    co_return fetched;
  }
  std::vector<Lsn> chain;
  while (row && row->version != from) {
    chain.push_back(row->lsn);
    if (!row->parent) break;
    CO_ASSIGN_OR_RETURN(row, index_->version(file, row->parent));
  }
  const bool reached = row && (row->version == from || (!from && !row->parent));
  if (!reached) {
    fetched.set_outcome(row ? wire::FetchedFile::NOT_A_DESCENDANT : wire::FetchedFile::GONE);
    co_return fetched;
  }
  for (auto lsn = chain.rbegin(); lsn != chain.rend(); ++lsn) {
    // A reply brings at least one version, so whoever asks again comes to an end.
    if (*bytes_used >= bytes_max) {
      fetched.set_outcome(wire::FetchedFile::NOT_YET);
      co_return fetched;
    }
    auto loading = for_repair ? load_here(*lsn, kInlineSizeMax) : load(*lsn, kInlineSizeMax);
    CO_ASSIGN_OR_RETURN(StoredVersionRef version, co_await loading);
    *bytes_used += version->memory_bytes();
    *fetched.add_versions() = version->to_wire();
  }
  co_return fetched;
}

Task<Result<wire::FetchReply>> StoreEngine::fetch(wire::FetchRequest request) {
  wire::FetchReply reply;
  const uint64_t bytes_max =
      std::min(request.bytes_max() ? request.bytes_max() : kFetchBytesMax, kFetchBytesMax);
  uint64_t bytes_used = 0;
  for (const auto& item : request.items()) {
    CO_ASSIGN_OR_RETURN(*reply.add_files(), co_await fetch_file(item, request.for_repair(), bytes_max, &bytes_used));
  }
  co_return reply;
}

Task<Result<Bytes>> StoreEngine::fetch_chunk(wire::FetchChunkRequest request) {
  const FileId file{request.file_id()};
  ChunkHash hash;
  if (!parse_chunk_hash(request.hash(), hash)) co_return fail(Code::kInvalid, "no chunk hash");
  auto place = pins_.find(file, hash);
  if (!place) {
    CO_ASSIGN_OR_RETURN(VersionRow row, durable_row(file, version_from_wire(request.version())));
    CO_ASSIGN_OR_RETURN(StoredVersionRef version, co_await load(row.lsn, 0));
    for (int i = 0; i < version->record().chunks_size() && !place; ++i) {
      if (version->record().chunks(i).hash() == request.hash()) {
        place = ChunkPlace{version->chunk_lsn(i), version->record().chunks(i).size()};
      }
    }
  }
  if (!place) co_return fail(Code::kNotFound, fmt::format("{}: no chunk {}", name_of(file), hash.to_hex()));
  auto reading = request.for_repair() ? read_chunk_here(file, hash, *place) : read_chunk(file, hash, *place);
  co_return co_await reading;
}

// What is here is also kept findable until the versions that name it come.
Task<Result<wire::MissingChunksReply>> StoreEngine::missing_chunks(wire::MissingChunksRequest request) {
  const FileId file{request.file_id()};
  const Instant now = env_.clock.now();
  pins_.forget_idle(now);
  std::map<ChunkHash, ChunkPlace> known;
  CO_ASSIGN_OR_RETURN(StoredVersionRef head, co_await load_head(file));
  for (int i = 0; head && i < head->record().chunks_size(); ++i) {
    known[head->hash(i)] = {head->chunk_lsn(i), head->record().chunks(i).size()};
  }
  if (Version source = version_from_wire(request.source())) {
    CO_ASSIGN_OR_RETURN(auto row, index_->version(file, source));
    StoredVersionRef taken;
    if (row) {
      CO_ASSIGN_OR_RETURN(taken, co_await load(row->lsn, 0));
    }
    for (int i = 0; taken && i < taken->record().chunks_size(); ++i) {
      known[taken->hash(i)] = {taken->chunk_lsn(i), taken->record().chunks(i).size()};
    }
  }
  wire::MissingChunksReply reply;
  for (int i = 0; i < request.hashes_size(); ++i) {
    ChunkHash hash;
    if (!parse_chunk_hash(request.hashes(i), hash)) co_return fail(Code::kInvalid, "no chunk hash");
    auto place = pins_.find(file, hash);
    if (auto found = known.find(hash); !place && found != known.end()) place = found->second;
    if (place && is_damaged(place->lsn)) place.reset();
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
  auto hashed = co_await hash_chunks(std::move(content));
  if (hashed[0].hash != hash)
    co_return fail(Code::kCorrupt, name_of(file) + ": a chunk arrived that has another hash");
  co_await log_->room(kBufferedMax);
  const Instant until = env_.clock.now() + kKeepChunks;
  pins_.forget_idle(env_.clock.now());
  if (auto place = pins_.find(file, hash)) {
    pins_.keep(file, hash, *place, until);
    co_return Status{};
  }
  const auto size = static_cast<uint32_t>(hashed[0].bytes.size());
  auto placed = std::make_shared<Lsn>();
  *placed = append_chunk(file, std::move(hashed[0]), [this, file, hash, placed](const Status& status) {
    if (!status) pins_.drop(file, hash, *placed);
  });
  // Durable with its version at the latest, as in stage().
  pins_.keep(file, hash, {*placed, size}, until);
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

  StoredVersionRef before;
  if (record.chunks_size() > 0) {
    CO_ASSIGN_OR_RETURN(before, co_await load_head(file));
  }
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
  std::map<ChunkHash, ChunkPlace> of_parent;
  for (int i = 0; before && before->version() == parent && i < before->record().chunks_size(); ++i) {
    of_parent[before->hash(i)] = {before->chunk_lsn(i), before->record().chunks(i).size()};
  }
  uint64_t size = stored->inline_content.size(), new_bytes = size;
  for (const auto& chunk : record.chunks()) {
    ChunkHash hash;
    if (!parse_chunk_hash(chunk.hash(), hash)) co_return fail(Code::kInvalid, "no chunk hash");
    auto place = pins_.find(file, hash);
    auto shared = of_parent.find(hash);
    if (!place && shared != of_parent.end()) place = shared->second;
    if (!place || place->size != chunk.size()) {
      outcome.set_outcome(wire::ApplyOutcome::CHUNK_MISSING);
      outcome.set_text(name_of(file) + ": chunk " + hash.to_hex() + " is not here");
      co_return outcome;
    }
    size += chunk.size();
    if (shared == of_parent.end()) new_bytes += chunk.size();
    stored->local.add_chunk_lsns(number(place->lsn));
  }
  if (size != record.size_bytes() || record.chunks_size() > static_cast<int>(kChunksMax)) {
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
    co_await log_->room(kBufferedMax);
  }
  // ALREADY may mean that it was appended a moment ago.
  auto flush = log_->flush();
  CO_RETURN_IF_ERROR(co_await flush);
  reply.set_lsn(number(log_->durable_end()));
  co_return reply;
}

Task<Result<wire::DigestReply>> StoreEngine::digest() {
  wire::DigestReply reply;
  for (uint64_t digest : index_->digests()) reply.add_partitions(digest);
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
  }
  return versions;
}

Task<Result<wire::SetAsideDone>> StoreEngine::set_aside_file(FileId file, Version keep) {
  auto flush = log_->flush();
  CO_RETURN_IF_ERROR(co_await flush);
  wire::SetAsideDone done;
  done.set_file_id(number(file));
  CO_ASSIGN_OR_RETURN(auto object, index_->object(file));
  if (!object) co_return done;
  CO_ASSIGN_OR_RETURN(std::string name, co_await name_at(object->name_lsn));
  done.set_name(name);
  StoredVersionRef kept;
  if (keep) {
    CO_ASSIGN_OR_RETURN(VersionRow row, durable_row(file, keep));
    CO_ASSIGN_OR_RETURN(kept, co_await load(row.lsn, kInlineSizeMax));
  }
  // From here to the append nothing waits.
  CO_ASSIGN_OR_RETURN(auto versions, behind(file, keep));
  if (versions.empty()) co_return done;
  wire::AsideRecord aside;
  aside.set_file_id(number(file));
  *aside.mutable_keep() = version_to_wire(keep);
  for (Version version : versions) *aside.add_versions() = *done.add_versions() = version_to_wire(version);
  aside.set_time_us(env_.clock.wall().time_since_epoch().count());
  OpenFile& open = open_[file];
  open.head = kept;
  ++open.in_flight;
  auto appended =
      append_record(RecordType::kAside, aside.SerializeAsString(), {{}, AsideRow{file, keep, versions}});
  CO_RETURN_IF_ERROR(co_await appended);
  co_return done;
}

Task<Result<wire::SetAsideReply>> StoreEngine::set_aside(wire::SetAsideRequest request) {
  CO_RETURN_IF_ERROR(writable());
  wire::SetAsideReply reply;
  for (const auto& item : request.items()) {
    CO_ASSIGN_OR_RETURN(*reply.add_files(),
                        co_await set_aside_file(FileId{item.file_id()}, version_from_wire(item.keep())));
  }
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
