#include "ss/core/sentence_locks.h"

#include <algorithm>

namespace understudy {
namespace {

bool meet(const SentenceLock& a, const SentenceLock& b) {
  if (a.file != b.file) return false;
  if (a.at_end || b.at_end) return a.at_end && b.at_end;
  return a.span.offset < b.span.end() && b.span.offset < a.span.end();
}

Status refuse(const SentenceLock& held) {
  return fail(Code::kLocked, "sentence " + std::to_string(held.ordinal) + " is being written by " + held.user +
                                 "; try again when that is done");
}

}  // namespace

Status SentenceLocks::lock(SentenceLock wanted) {
  for (const auto& [id, held] : locks_) {
    if (id != wanted.id && meet(held, wanted)) return refuse(held);
  }
  locks_.try_emplace(wanted.id, wanted);
  return {};
}

const SentenceLock* SentenceLocks::find(WriteId id) const {
  auto found = locks_.find(id);
  return found == locks_.end() ? nullptr : &found->second;
}

void SentenceLocks::touch(WriteId id, Instant now) {
  auto found = locks_.find(id);
  if (found != locks_.end()) found->second.last_used = now;
}

bool SentenceLocks::release(WriteId id) { return locks_.erase(id) > 0; }

std::vector<WriteId> SentenceLocks::expire(Instant now) {
  std::vector<WriteId> expired;
  for (const auto& [id, held] : locks_) {
    if (now - held.last_used > idle_limit_) expired.push_back(id);
  }
  for (WriteId id : expired) locks_.erase(id);
  return expired;
}

std::optional<Instant> SentenceLocks::next_expiry() const {
  std::optional<Instant> next;
  for (const auto& [id, held] : locks_) {
    Instant at = held.last_used + idle_limit_ + Duration(1);
    next = next ? std::min(*next, at) : at;
  }
  return next;
}

void SentenceLocks::on_commit(FileId file, const Splice& splice) {
  for (auto& [id, held] : locks_) {
    if (held.file != file) continue;
    // Invariant: a splice never cuts into a locked run: its sentence was locked too,
    // or it is an insertion at the end of the file.
    bool behind = held.at_end || held.span.offset >= splice.replaced.end();
    if (!behind) continue;
    held.ordinal += splice.sentence_shift;
    if (!held.at_end) held.span.offset += splice.inserted_size - splice.replaced.size;
  }
}

Status SentenceLocks::may_replace(FileId file) const {
  for (const auto& [id, held] : locks_) {
    if (held.file == file) return refuse(held);
  }
  return {};
}

Status SentenceLocks::may_append(FileId file) const {
  for (const auto& [id, held] : locks_) {
    if (held.file == file && !held.at_end && !held.closed) return refuse(held);
  }
  return {};
}

std::vector<SentenceLock> SentenceLocks::list(std::optional<FileId> file) const {
  std::vector<SentenceLock> all;
  for (const auto& [id, held] : locks_) {
    if (!file || held.file == *file) all.push_back(held);
  }
  std::ranges::sort(all, [](const SentenceLock& a, const SentenceLock& b) {
    return std::tie(a.file, a.since, a.ordinal) < std::tie(b.file, b.since, b.ordinal);
  });
  return all;
}

}  // namespace understudy
