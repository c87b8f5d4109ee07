// Who is writing which sentence. Pure; one for all files of an acting primary, alive
// as long as its process: a lock does not outlive a failover.
//
// A sentence is locked by identity: as the run of bytes that it is in the newest
// version. Every commit is a splice somewhere else, which moves that run exactly;
// whoever asks for a sentence is refused if its bytes meet a locked run.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"
#include "ss/core/document.h"

namespace understudy {

// One WRITE, from opening to ETIRW; chosen by the caller, never 0.
enum class WriteId : uint64_t {};

// A commit's replacement of bytes in a file.
struct Splice {
  ByteSpan replaced;
  uint64_t inserted_size = 0;
  int64_t sentence_shift = 0;  // See document.h.
};

struct SentenceLock {
  WriteId id{};
  FileId file = kNoFile;
  std::string user;
  uint64_t ordinal = 0;  // Which sentence it is now.
  ByteSpan span;         // Where it stands now; meaningless if at_end.
  bool at_end = false;   // A new sentence: it goes to wherever the file ends at the commit.
  bool closed = false;
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
  // When expire() would find the next one.
  std::optional<Instant> next_expiry() const;

  // A commit to `file`, by WRITE (release its own lock first) or APPEND.
  void on_commit(FileId file, const Splice& splice);

  // LOCKED while any sentence of the file is open: PUT, REVERT, UNDO and DELETE.
  Status may_replace(FileId file) const;
  // LOCKED while a last sentence that is not closed is open: APPEND.
  Status may_append(FileId file) const;

  // By file and opening; of all files if none is given.
  std::vector<SentenceLock> list(std::optional<FileId> file) const;

 private:
  Duration idle_limit_;
  std::map<WriteId, SentenceLock> locks_;
};

}  // namespace understudy
