#include "ss/core/sentence_locks.h"

#include <algorithm>

namespace understudy {
namespace {

Status refuse(const SentenceLock& held) {
  return fail(Code::kLocked, "sentence " + std::to_string(held.place.ordinal) + " is being written by " + held.user +
                                 "; try again when that is done");
}

}  // namespace

const SentenceLocks::Locks& SentenceLocks::of(FileId file) const {
  static const Locks kNone;
  auto found = locks_.find(file);
  return found == locks_.end() ? kNone : found->second;
}

SentenceLock* SentenceLocks::at(WriteId id) {
  auto file = files_of_.find(id);
  if (file == files_of_.end()) return nullptr;
  return &*std::ranges::find(locks_[file->second], id, &SentenceLock::id);
}

Status SentenceLocks::lock(SentenceLock wanted) {
  for (const auto& held : of(wanted.file)) {
    if (held.id != wanted.id && meet(held.place, wanted.place)) return refuse(held);
  }
  if (files_of_.try_emplace(wanted.id, wanted.file).second) locks_[wanted.file].push_back(std::move(wanted));
  return {};
}

const SentenceLock* SentenceLocks::find(WriteId id) const {
  return const_cast<SentenceLocks*>(this)->at(id);
}

void SentenceLocks::touch(WriteId id, Instant now) {
  if (SentenceLock* held = at(id)) held->last_used = now;
}

bool SentenceLocks::release(WriteId id) {
  auto file = files_of_.find(id);
  if (file == files_of_.end()) return false;
  auto locks = locks_.find(file->second);
  std::erase_if(locks->second, [&](const SentenceLock& held) { return held.id == id; });
  if (locks->second.empty()) locks_.erase(locks);
  files_of_.erase(file);
  return true;
}

std::vector<WriteId> SentenceLocks::expire(Instant now) {
  std::vector<WriteId> expired;
  for (const auto& [file, locks] : locks_) {
    for (const auto& held : locks) {
      if (now - held.last_used > idle_limit_) expired.push_back(held.id);
    }
  }
  for (WriteId id : expired) release(id);
  return expired;
}

void SentenceLocks::on_commit(FileId file, const Splice& splice) {
  auto locks = locks_.find(file);
  if (locks == locks_.end()) return;
  // Invariant: a splice never cuts into a locked run: its sentence was locked too,
  // or it is an insertion at the end of the file. So the answer does not matter.
  for (auto& held : locks->second) (void)follow(held.place, splice);
}

Status SentenceLocks::may_replace(FileId file) const {
  const Locks& locks = of(file);
  return locks.empty() ? Status{} : refuse(locks.front());
}

Status SentenceLocks::may_append(FileId file, uint64_t size_bytes, char first) const {
  for (const auto& held : of(file)) {
    if (held.place.at_end) continue;
    const bool prolonged = closes_sentence(first) && held.place.span.end() == size_bytes;
    if (!held.place.closed || prolonged) return refuse(held);
  }
  return {};
}

bool SentenceLocks::end_is_open(FileId file) const {
  return std::ranges::any_of(of(file), [](const SentenceLock& held) { return held.place.at_end; });
}

void SentenceLocks::end_moved(FileId file, uint64_t ordinal) {
  auto locks = locks_.find(file);
  if (locks == locks_.end()) return;
  for (auto& held : locks->second) {
    if (held.place.at_end) held.place.ordinal = std::max(held.place.ordinal, ordinal);
  }
}

std::vector<SentenceLock> SentenceLocks::list(std::optional<FileId> file) const {
  if (file) return of(*file);
  std::vector<SentenceLock> all;
  for (const auto& [id, locks] : locks_) all.insert(all.end(), locks.begin(), locks.end());
  return all;
}

std::vector<WriteId> SentenceLocks::of_file(FileId file) const {
  std::vector<WriteId> ids;
  for (const auto& held : of(file)) ids.push_back(held.id);
  return ids;
}

}  // namespace understudy
