// What users do with the past of a file. Contents are taken over by naming their
// chunks once more, so an old content that returns costs a record, not its bytes.
#include <fmt/format.h>

#include <algorithm>

#include "ss/core/undo.h"
#include "ss/store_engine.h"

namespace understudy {
namespace {

constexpr uint32_t kHistoryMax = 1000;  // Entries in one reply.

std::string name_of(FileId file) { return fmt::format("file {:016x}", number(file)); }

}  // namespace

// NOT_FOUND if there is none, or a tombstone. Durable: all its ancestors are in the index.
Task<Result<StoredVersionRef>> StoreEngine::load_durable_head(FileId file) {
  CO_ASSIGN_OR_RETURN(StoredVersionRef head, co_await load_head(file));
  if (!head) co_return fail(Code::kNotFound, name_of(file) + ": no such file");
  auto durable = log_->durable(head->end);
  CO_RETURN_IF_ERROR(co_await durable);
  if (head->deleted()) co_return fail(Code::kNotFound, name_of(file) + ": deleted");
  co_return head;
}

Task<Result<StoredVersionRef>> StoreEngine::load_version(FileId file, Version version) {
  CO_ASSIGN_OR_RETURN(VersionRow row, durable_row(file, version));
  co_return co_await load(row.lsn, kInlineSizeMax);
}

StoreEngine::Content StoreEngine::content_of(StoredVersionRef version) {
  Content content;
  if (version->is_inline()) {
    content.inline_content = version->inline_content;
  } else {
    content.kept = version->record().chunks_size();
    content.before = std::move(version);
  }
  return content;
}

Task<Result<VersionInfo>> StoreEngine::undo(Change change) {
  change.kind = wire::CHANGE_UNDO;
  while (true) {
    if (change.request) {
      CO_ASSIGN_OR_RETURN(auto first, co_await first_answer(change.file, change.request));
      if (first) co_return *first;
    }
    CO_ASSIGN_OR_RETURN(StoredVersionRef head, co_await load_durable_head(change.file));
    StoredVersionRef standing = head;
    if (Version at = stands_at(head->record()); at != head->version()) {
      CO_ASSIGN_OR_RETURN(standing, co_await load_version(change.file, at));
    }
    if (!standing->parent()) {
      co_return fail(Code::kConflict, fmt::format("{}: nothing is left to undo, it stands at its first version {}",
                                                  name_of(change.file), standing->version().to_string()));
    }
    CO_ASSIGN_OR_RETURN(StoredVersionRef before, co_await load_version(change.file, standing->parent()));
    CO_ASSIGN_OR_RETURN(Head now, head_of(change.file));
    // Somebody else's change came first: that one is the last.
    if (now.version != head->version()) continue;
    change.undo_target = stands_at(before->record());
    co_return co_await submit(std::move(change), content_of(before));
  }
}

Task<Result<wire::HistoryReply>> StoreEngine::history(wire::HistoryRequest request) {
  const FileId file{request.file_id()};
  const Version before = version_from_wire(request.before());
  wire::HistoryReply reply;
  CO_ASSIGN_OR_RETURN(VersionRow found, durable_row(file, before));
  if (!before && found.deleted()) co_return fail(Code::kNotFound, name_of(file) + ": deleted");
  std::optional<VersionRow> row = found;
  if (before) {
    CO_ASSIGN_OR_RETURN(row, index_->version(file, found.parent));
  }
  const auto limit = static_cast<int>(std::clamp<uint32_t>(request.limit(), 1, kHistoryMax));
  while (row && reply.entries_size() < limit) {
    auto* entry = reply.add_entries();
    *entry->mutable_version() = version_to_wire(row->version);
    entry->set_time_us(row->time_us);
    entry->set_user(row->user);
    entry->set_size_bytes(row->size_bytes);
    entry->set_kind(static_cast<wire::ChangeKind>(row->kind));
    if (row->kind == wire::CHANGE_UNDO) {
      CO_ASSIGN_OR_RETURN(StoredVersionRef version, co_await load(row->lsn, kInlineSizeMax));
      *entry->mutable_undo_target() = version->record().undo_target();
    }
    CO_ASSIGN_OR_RETURN(row, index_->version(file, row->parent));
  }
  reply.set_more(row.has_value());
  co_return reply;
}

}  // namespace understudy
