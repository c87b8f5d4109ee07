// Who is writing which sentence. Pure; one for all files of an acting primary, alive
// as long as its process: a lock does not outlive a failover.
//
// A sentence is locked by identity: as the run of bytes that it is in the newest
// version. Every commit is a splice somewhere else, which moves that run exactly;
// whoever asks for a sentence is refused if its bytes meet a locked run.
//
// What is asked of one file costs what is open in that file, however much is open in all.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"
#include "ss/core/edit_trail.h"

namespace understudy {

// One WRITE, from opening to ETIRW; chosen by the caller, never 0.
enum class WriteId : uint64_t {};

struct SentenceLock {
  WriteId id{};
  FileId file = kNoFile;
  std::string user;
  SentencePlace place;  // Now.
  WallTime since{};
  Instant last_used{};
};

class SentenceLocks {
 public:
  explicit SentenceLocks(Duration idle_limit) : idle_limit_(idle_limit) {}

  // LOCKED, saying by whom. Locking again under the same id is the same lock.
  Status lock(SentenceLock wanted);
  // nullptr if it was released or has expired. Until the next call that changes anything.
  const SentenceLock* find(WriteId id) const;
  // The holder did something: its idle time begins anew.
  void touch(WriteId id, Instant now);
  // False if there was none.
  bool release(WriteId id);
  // Releases those idle for longer than the limit.
  std::vector<WriteId> expire(Instant now);
  void set_idle_limit(Duration limit) { idle_limit_ = limit; }
  Duration idle_limit() const { return idle_limit_; }

  // A WRITE was committed to `file`: release its own lock first.
  void on_commit(FileId file, const Splice& splice);

  // LOCKED while any sentence of the file is open: PUT, REVERT, UNDO and DELETE.
  Status may_replace(FileId file) const;
  // APPEND of bytes that begin with `first` to a file of `size_bytes`: LOCKED while the last sentence is open and
  // they would go on with it: it is not closed, or they prolong the run that closes it.
  Status may_append(FileId file, uint64_t size_bytes, char first) const;
  // Somebody writes a new sentence behind the last; its number once others have come before it.
  bool end_is_open(FileId file) const;
  void end_moved(FileId file, uint64_t ordinal);

  size_t size() const { return files_of_.size(); }
  // By file and opening; of all files if none is given.
  std::vector<SentenceLock> list(std::optional<FileId> file) const;
  std::vector<WriteId> of_file(FileId file) const;

 private:
  using Locks = std::vector<SentenceLock>;  // Of one file, never empty.
  const Locks& of(FileId file) const;
  SentenceLock* at(WriteId id);

  Duration idle_limit_;
  std::map<FileId, Locks> locks_;
  std::unordered_map<WriteId, FileId> files_of_;  // Never iterated.
};

}  // namespace understudy
