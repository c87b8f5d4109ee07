// Sync durability at the acting primary: what was written with it is acknowledged, and
// read, only once a second holder has the whole version durably too. That is the other
// half, reached directly or through the name node, or, while it is away, the name
// node's hint store.
//
// The second holder is asked only after the version is durable here, so that whoever
// reads it there reads what two machines hold. While a file has a version that is not
// held twice yet, readers here are given the one before, and every further change of
// the file waits for it too, whatever its own durability is.
//
// One push of small versions is under way at a time and takes all that wait, parents
// first; big ones go beside it. A push that fails is tried again until the epoch ends.
// Nothing here survives a restart but the flag in the version records: resume() finds
// what may not be held twice.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "common/env/task.h"
#include "ss/file_store.h"

namespace understudy {

class EpochFence;
class Peer;

// How versions get to another machine: the name node's connection, the other half's.
class SecondHolders {
 public:
  struct Answer {
    std::vector<wire::ApplyOutcome> outcomes;  // As many as versions.
    std::string holder;
    bool other_half = false;  // Not a hint.
  };
  virtual ~SecondHolders() = default;
  // Why no second holder can be had now; ok: one may.
  virtual Status possible() const = 0;
  // Parents first. UNAVAILABLE, or a refusal of all of it.
  virtual Task<Result<Answer>> hold(Epoch epoch, std::vector<wire::VersionRecord> versions) = 0;
};

class SyncWrites {
 public:
  // All pointers outlive it. Nothing is pushed before run().
  SyncWrites(Env& env, FileStore* store, EpochFence* fence, SecondHolders* holders);

  // Ends with `change`, which is a change of the file under that epoch; if it is `sync`, or an
  // earlier version waits, once a second holder has it (or: outcome unknown).
  // STALE_EPOCH, before anything is appended, where no second holder can be had for it or for what waits.
  Task<Result<VersionInfo>> carry(FileId file, Epoch epoch, bool sync, Task<Result<VersionInfo>> change);

  // Nothing: readers get the newest. Else the version that they get instead; {}: none yet.
  std::optional<Version> readable(FileId file) const;
  // Since this epoch began here nobody has confirmed what was written before it, and may have been acknowledged:
  // readers wait until it is settled(), for an older version may be too old, and the newest too new.
  bool in_doubt(FileId file) const;
  // Until the newest version is held twice. UNAVAILABLE if that takes too long.
  Task<Status> settled(FileId file);

  // An epoch is about to be served here: finds what was not held twice when this server stopped.
  Status resume();
  // Keeps up to where all is held twice, so that the next start need not ask; by itself soon after each write.
  Task<void> remember();
  // What waited is told that its outcome is unknown.
  void epoch_ended();
  // It is served now.
  void wake();
  Task<void> run();

  // For ANNOUNCE: is the version (or one behind it) held by the other half?
  enum class Held : uint8_t { kNo, kNotYet, kByOtherHalf };
  Held held(FileId file, Version version) const;
  void announced(FileId file, Version version);

  size_t waiting() const { return files_.size(); }

 private:
  struct File {
    explicit File(Executor& executor) : changed(executor) {}
    bool is_due(Instant now) const;
    Version readable;       // What readers are given,
    Version held;           // and the record up to which it is held twice.
    Version doubted;        // Up to here it may have been acknowledged before this epoch.
    Version from;           // What the second holder has, as far as it is known.
    Version wanted;         // The newest durable record.
    uint32_t changes = 0;   // Under way.
    Lsn settled = kNoLsn;   // What is sync and below is held twice,
    Version settled_with;   // as was seen when this was held.
    bool pushing = false;
    bool big = false;       // Its versions do not travel with others.
    Instant not_before{};   // No push before.
    Duration retry = std::chrono::milliseconds(10);
    std::string holder;
    Notifier changed;
  };
  class Hold;
  // Versions of one file in a push, and which of them are checkpoints.
  struct Pushed {
    FileId file = kNoFile;
    size_t first = 0;
    std::vector<std::pair<Version, bool>> versions;
  };

  File& open(FileId file);
  Result<std::optional<Version>> kept_content(FileId file, Version version) const;
  void want(FileId file);
  void close_if_settled(FileId file);
  Task<Status> until_held(FileId file, Version version, Epoch epoch, Duration limit);
  std::vector<FileId> take_small();
  std::optional<FileId> take_big();
  Task<void> push(Epoch epoch, std::vector<FileId> files, bool alone);
  Task<void> push_once(Epoch epoch, std::vector<FileId> files, bool alone);
  void take_answer(const Pushed& pushed, const SecondHolders::Answer& answer);
  void put_off(FileId file, const std::string& why);
  Task<void> wake_after(Duration delay);
  Task<void> look_at_limits();
  Lsn settled_position();

  Env& env_;
  FileStore* store_;
  EpochFence* fence_;
  SecondHolders* holders_;
  std::map<FileId, File> files_;
  // Up to which version the other half holds a file in this epoch, until that is announced.
  std::unordered_map<FileId, Version> held_by_other_;  // Never iterated.
  std::string why_;           // The last push that failed.
  bool small_push_ = false;   // One is under way.
  size_t big_pushes_ = 0;
  Lsn remembered_ = kNoLsn;   // Up to here the store says that all is held twice.
  bool unremembered_ = false;  // There may be more to say,
  bool not_remembered_ = false;  // and it could not be said.
  Notifier work_;
  TaskGroup tasks_;
};

}  // namespace understudy
