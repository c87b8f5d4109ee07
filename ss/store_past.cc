// What users do with the past of a file. Contents are taken over by naming their
// chunks once more, so an old content that returns costs a record, not its bytes.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/base/path.h"
#include "common/base/recovered.h"
#include "ss/core/undo.h"
#include "ss/store_engine.h"

namespace understudy {
namespace {

constexpr uint32_t kHistoryMax = 1000;  // Entries in one reply.
constexpr size_t kLookedUpAtOnce = 256;  // Versions that HISTORY passes over, in a row.
constexpr size_t kTextStepsMax = 10'000;

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
  if (row.trimmed) co_return std::unexpected(content_gone(row));
  co_return co_await load(row.lsn, kInlineSizeMax);
}

StoreEngine::Content StoreEngine::content_of(StoredVersionRef version) {
  Content content;
  if (version->is_inline()) {
    content.inline_content = version->inline_content;
  } else {
    content.same = std::move(version);
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
    const Version standing = stands_at(head->record());
    CO_ASSIGN_OR_RETURN(auto stands, index_->version(change.file, standing));
    if (stands && !stands->parent) {
      co_return fail(Code::kConflict, fmt::format("{}: nothing is left to undo, it stands at its first version {}",
                                                  name_of(change.file), standing.to_string()));
    }
    std::optional<VersionRow> parent;
    if (stands) {
      CO_ASSIGN_OR_RETURN(parent, index_->version(change.file, stands->parent));
    }
    if (!parent || parent->trimmed) {
      co_return fail(Code::kConflict, fmt::format("{}: nothing is left to undo, what came before version {} is kept no more",
                                                  name_of(change.file), standing.to_string()));
    }
    CO_ASSIGN_OR_RETURN(StoredVersionRef before, co_await load(parent->lsn, kInlineSizeMax));
    CO_ASSIGN_OR_RETURN(Head now, head_of(change.file));
    // Somebody else's change came first: that one is the last.
    if (now.version != head->version()) continue;
    CO_ASSIGN_OR_RETURN(bool stays, content_stays(change.file, before->version()));
    if (!stays) {
      co_await not_trimming(change.file);
      continue;
    }
    change.undo_target = stands_at(before->record());
    co_return co_await submit(std::move(change), content_of(before));
  }
}

Task<Result<VersionInfo>> StoreEngine::undelete(Change change) {
  change.kind = wire::CHANGE_UNDELETE;
  while (true) {
    if (change.request) {
      CO_ASSIGN_OR_RETURN(auto first, co_await first_answer(change.file, change.request));
      if (first) co_return *first;
    }
    CO_ASSIGN_OR_RETURN(StoredVersionRef head, co_await load_head(change.file));
    if (!head) co_return fail(Code::kNotFound, name_of(change.file) + ": no such file");
    if (!head->deleted()) co_return co_await finish(head);
    auto durable = log_->durable(head->end);
    CO_RETURN_IF_ERROR(co_await durable);
    if (!head->parent()) co_return fail(Code::kNotFound, name_of(change.file) + ": it never had a content");
    co_await not_trimming(change.file);
    CO_ASSIGN_OR_RETURN(StoredVersionRef before, co_await load_version(change.file, head->parent()));
    CO_ASSIGN_OR_RETURN(Head now, head_of(change.file));
    if (now.version != head->version()) continue;
    CO_ASSIGN_OR_RETURN(bool stays, content_stays(change.file, before->version()));
    if (!stays) continue;
    change.undo_target = stands_at(before->record());
    change.modified_us = before->record().modified_us();
    co_return co_await submit(std::move(change), content_of(before));
  }
}

Result<VersionRow> StoreEngine::named_row(VersionRow row) {
  while (row.checkpoint()) {
    ASSIGN_OR_RETURN(auto parent, index_->version(row.file, row.parent));
    if (!parent) return fail(Code::kCorrupt, name_of(row.file) + ": a checkpoint of a version that is not here");
    row = *std::move(parent);
  }
  return row;
}

Result<Version> StoreEngine::newest_version(FileId file, const Head& head) {
  Version at = head.version;
  if (head.loaded) {
    if (head.loaded->record().kind() != wire::CHANGE_CHECKPOINT) return at;
    at = head.loaded->parent();  // Durable before its checkpoint was appended.
  }
  ASSIGN_OR_RETURN(auto row, index_->version(file, at));
  if (!row) return at;
  ASSIGN_OR_RETURN(VersionRow named, named_row(*std::move(row)));
  return named.version;
}

Task<Result<VersionInfo>> StoreEngine::append_checkpoint(Change change) {
  change.kind = wire::CHANGE_CHECKPOINT;
  while (true) {
    if (change.request) {
      CO_ASSIGN_OR_RETURN(auto first, co_await first_answer(change.file, change.request));
      if (first) co_return *first;
    }
    CO_ASSIGN_OR_RETURN(StoredVersionRef head, co_await load_durable_head(change.file));
    CO_ASSIGN_OR_RETURN(Head now, head_of(change.file));
    if (now.version != head->version()) continue;
    CO_ASSIGN_OR_RETURN(auto taken, index_->checkpoints(change.file, change.tag));
    if (!taken.empty()) {
      co_return fail(Code::kExists, name_of(change.file) + ": has a checkpoint " + printable(change.tag) + " already");
    }
    change.undo_target = stands_at(head->record());
    co_return co_await submit(std::move(change), content_of(head));
  }
}

Task<Result<VersionInfo>> StoreEngine::checkpoint(Change change) {
  const FileId file = change.file;
  CO_ASSIGN_OR_RETURN(VersionInfo made, co_await append_checkpoint(std::move(change)));
  CO_ASSIGN_OR_RETURN(VersionRow row, durable_row(file, made.version));
  CO_ASSIGN_OR_RETURN(VersionRow named, named_row(std::move(row)));
  VersionInfo info = info_of(named);
  info.lsn = made.lsn;
  co_return info;
}

Task<Result<VersionInfo>> StoreEngine::revert(Change change) {
  change.kind = wire::CHANGE_REVERT;
  while (true) {
    if (change.request) {
      CO_ASSIGN_OR_RETURN(auto first, co_await first_answer(change.file, change.request));
      if (first) co_return *first;
    }
    CO_ASSIGN_OR_RETURN(StoredVersionRef head, co_await load_durable_head(change.file));
    CO_ASSIGN_OR_RETURN(auto found, checkpoints(change.file, change.tag));
    const Version target = version_from_wire(found[0].version());
    CO_ASSIGN_OR_RETURN(StoredVersionRef named, co_await load_version(change.file, target));
    CO_ASSIGN_OR_RETURN(Head now, head_of(change.file));
    if (now.version != head->version()) continue;
    CO_ASSIGN_OR_RETURN(bool stays, content_stays(change.file, target));
    if (!stays) {
      co_await not_trimming(change.file);
      continue;
    }
    change.undo_target = target;
    co_return co_await submit(std::move(change), content_of(named));
  }
}

Result<std::vector<wire::Checkpoint>> StoreEngine::checkpoints(FileId file, std::string tag) {
  ASSIGN_OR_RETURN(auto rows, index_->checkpoints(file, tag));
  ASSIGN_OR_RETURN(auto recovered, index_->recovered(file));
  for (VersionRow& row : recovered) {
    row.tag = recovered_tag(row.time_us, row.version);
    // A checkpoint's record has the content that it named, which may be kept nowhere else.
    row.kind = wire::CHANGE_PUT;
    if (tag.empty() || row.tag == tag) rows.push_back(std::move(row));
  }
  if (!tag.empty() && rows.empty()) {
    return fail(Code::kNotFound, name_of(file) + ": no checkpoint " + printable(tag) + "; LISTCHECKPOINTS lists them");
  }
  std::vector<wire::Checkpoint> all;
  for (const auto& row : rows) {
    ASSIGN_OR_RETURN(VersionRow named, named_row(row));
    wire::Checkpoint checkpoint;
    checkpoint.set_tag(row.tag);
    *checkpoint.mutable_version() = version_to_wire(named.version);
    checkpoint.set_time_us(row.time_us);
    checkpoint.set_user(row.user);
    checkpoint.set_size_bytes(named.size_bytes);
    all.push_back(std::move(checkpoint));
  }
  return all;
}

Task<Result<wire::HistoryReply>> StoreEngine::history(wire::HistoryRequest request) {
  const FileId file{request.file_id()};
  const Version before = version_from_wire(request.before());
  wire::HistoryReply reply;
  CO_ASSIGN_OR_RETURN(VersionRow found, durable_row(file, before));
  if (!before && found.deleted()) co_return fail(Code::kNotFound, name_of(file) + ": deleted");
  std::optional<VersionRow> row = found;
  if (before) {
    CO_ASSIGN_OR_RETURN(row, index_->older(file, found.version));
  }
  std::map<Version, std::vector<std::string>> tags;
  CO_ASSIGN_OR_RETURN(auto checkpoints, this->checkpoints(file, ""));
  for (const auto& checkpoint : checkpoints) tags[version_from_wire(checkpoint.version())].push_back(checkpoint.tag());
  const auto limit = static_cast<int>(std::clamp<uint32_t>(request.limit(), 1, kHistoryMax));
  for (size_t looked_up = 1; row && reply.entries_size() < limit; ++looked_up) {
    if (looked_up % kLookedUpAtOnce == 0) {
      auto turn = yield_now(env_);
      co_await turn;
    }
    if (row->trimmed) {
      CO_ASSIGN_OR_RETURN(row, index_->older(file, row->version));
      continue;
    }
    CO_ASSIGN_OR_RETURN(row, named_row(*std::move(row)));
    auto* entry = reply.add_entries();
    *entry->mutable_version() = version_to_wire(row->version);
    entry->set_time_us(row->time_us);
    entry->set_user(row->user);
    entry->set_size_bytes(row->size_bytes);
    entry->set_kind(static_cast<wire::ChangeKind>(row->kind));
    entry->set_durability(row->sync ? wire::DURABILITY_SYNC : wire::DURABILITY_ASYNC);
    if (auto named = tags.find(row->version); named != tags.end()) {
      entry->mutable_checkpoints()->Assign(named->second.begin(), named->second.end());
    }
    if (row->kind == wire::CHANGE_UNDO || row->kind == wire::CHANGE_REVERT) {
      CO_ASSIGN_OR_RETURN(StoredVersionRef version, co_await load(row->lsn, kInlineSizeMax));
      *entry->mutable_undo_target() = version->record().undo_target();
      entry->set_tag(version->record().tag());
    }
    CO_ASSIGN_OR_RETURN(row, index_->older(file, row->version));
  }
  reply.set_more(row.has_value());
  co_return reply;
}

Task<Result<std::vector<TextStep>>> StoreEngine::text_steps(FileId file, Version since) {
  std::vector<TextStep> steps;
  CO_ASSIGN_OR_RETURN(std::optional<VersionRow> row, index_->head(file));
  while (row && row->version != since && steps.size() < kTextStepsMax) {
    TextStep step{.version = row->version, .kind = static_cast<wire::ChangeKind>(row->kind),
                  .size_bytes = row->size_bytes, .user = row->user};
    if (step.kind == wire::CHANGE_EDIT) {
      CO_ASSIGN_OR_RETURN(StoredVersionRef version, co_await load(row->lsn, kInlineSizeMax));
      step.edit_record = version->record().edit_record();
    }
    steps.push_back(std::move(step));
    CO_ASSIGN_OR_RETURN(row, index_->version(file, row->parent));
  }
  if (!row || row->version != since) {
    co_return fail(Code::kNotFound, name_of(file) + ": no version " + since.to_string() + " behind the newest one");
  }
  std::ranges::reverse(steps);
  co_return steps;
}

}  // namespace understudy
