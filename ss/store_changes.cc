// Changes of an acting primary. All waiting (hashing, reading the end of the
// version before) comes first; then, without a wait, the request is looked up
// once more, the parent is taken, the fence is asked and the records are appended.
#include <fmt/format.h>

#include "ss/core/version.h"
#include "ss/store_engine.h"

namespace understudy {
namespace {

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

// Appends the fresh chunks and the version. Nothing waits, and on an error no version was appended.
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
  if (change.sync) record.set_durability(wire::DURABILITY_SYNC);
  record.set_more_follow(change.more_follow);
  if (change.undo_target) *record.mutable_undo_target() = version_to_wire(change.undo_target);

  if (change.edit_record.size() > (1 << 20)) return fail(Code::kInvalid, name_of(change.file) + ": an edit record too long");
  uint64_t new_bytes = 0;
  RETURN_IF_ERROR(append_content(change.file, content, record, &new_bytes));
  version->local.set_new_bytes(new_bytes);
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
  if (status && !open_.contains(file)) pins_.end_kept(file);
}

Task<Result<VersionInfo>> StoreEngine::finish(StoredVersionRef version) {
  auto durable = log_->durable(version->end);
  CO_RETURN_IF_ERROR(co_await durable);
  if (failure_) co_return fail(Code::kUnavailable, "outcome unknown: " + failure_->message);
  const auto& record = version->record();
  VersionInfo info{version->version(), version->parent(), version->end,  record.size_bytes(),
                   record.time_us(),   record.user(),     record.mode(), record.modified_us(),
                   record.durability() == wire::DURABILITY_SYNC, record.more_follow()};
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

}  // namespace understudy
