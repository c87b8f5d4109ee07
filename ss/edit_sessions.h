// The WRITE sessions of an acting primary, from EDIT_OPEN to EDIT_COMMIT: which
// sentence each one holds, and the flows that find the sentence and merge what was
// written into the newest version.
//
// Sessions live in memory, belong to one connection and one epoch, and end with
// either, or when idle for too long. Whoever lost one with its server or connection
// takes the sentence again by (version, number), if nobody changed it since.
#pragma once

#include <deque>
#include <map>
#include <unordered_map>

#include "common/env/env.h"
#include "ss/core/epoch_fence.h"
#include "ss/core/sentence_locks.h"
#include "ss/core/write_session.h"
#include "ss/file_gates.h"
#include "ss/file_store.h"
#include "ss/text_index.h"

namespace understudy {

// A connection, as long as it lives.
enum class ConnectionId : uint64_t {};

class EditSessions {
 public:
  static constexpr size_t kSessionsMax = 16'384;
  // Of all sentences that are open, as they stand.
  static constexpr uint64_t kTextBytesMax = 128 << 20;
  // A sentence's text is sent back up to this size; a longer one only in numbers.
  static constexpr size_t kTextShownMax = 64 << 10;

  EditSessions(Env& env, FileStore* store, FileGates* gates, EpochFence* fence, TextIndex* index, Duration idle_limit);

  // LOCKED: somebody writes that sentence; OUT_OF_RANGE: no such sentence. Of a sentence that is taken
  // again CONFLICT: it was changed, or the version is not here.
  Task<Result<wire::EditOpenReply>> open(ConnectionId owner, wire::EditOpenRequest request);
  Result<wire::EditInsertReply> insert(ConnectionId owner, const wire::EditInsertRequest& request);
  void abort(ConnectionId owner, uint64_t session);
  // Merges the session into the newest version and ends it; a refusal leaves it as it
  // was. To be run by the ChangeTable. `file` may be 0 while the session lives.
  Task<Result<VersionInfo>> commit(ConnectionId owner, wire::EditCommitRequest request);
  // 0 if there is none.
  FileId file_of(ConnectionId owner, uint64_t session) const;

  // An APPEND made the version `done`. Those who write behind the last sentence learn its new number.
  Task<void> on_append(FileId file, VersionInfo done);

  Status may_replace(FileId file) const { return locks_.may_replace(file); }
  // `first`: what is appended begins with it.
  Status may_append(FileId file, char first) const;
  // Whether may_append() has anything to say of the file.
  bool open_in(FileId file) const { return !locks_.may_replace(file).has_value(); }
  bool none() const { return sessions_.empty(); }
  bool has_sessions(ConnectionId owner) const { return owners_.contains(owner); }

  // Of all files, if none is given.
  wire::LocksReply list(std::optional<FileId> file) const;
  // NOT_FOUND: nobody writes that sentence.
  Status break_lock(FileId file, uint64_t sentence);

  // The user may not write that file any more.
  void drop(FileId file, const std::string& user);
  void connection_closed(ConnectionId owner);
  // A version that only the other half had comes back: what is being written was begun without it.
  void give_way(FileId file);
  // Hears of every session that drop_all() ends.
  using OnDropped = std::function<void(ConnectionId owner, uint64_t session, FileId file)>;
  void on_dropped(OnDropped hear) { on_dropped_ = std::move(hear); }
  // The epoch is over: every session with it.
  void drop_all();
  void expire(Instant now);
  void set_idle_limit(Duration limit) { locks_.set_idle_limit(limit); }

 private:
  struct Session {
    ConnectionId owner{};
    FileId file = kNoFile;
    Epoch epoch = kNoEpoch;
    std::string user;
    wire::NameRecord name;
    int64_t begun = 0;  // sentences_begun() of the text that was opened.
    WriteSession writing;
  };
  // Where a sentence stands in the newest version, and its text.
  struct Opened {
    SentencePlace place;
    Bytes text;
  };
  Result<Session*> find(ConnectionId owner, uint64_t session);
  Task<Result<Opened>> place_in(FileId file, Version head, uint64_t sentence);
  Task<Result<Opened>> place_again(FileId file, Version head, uint64_t size_bytes, Version then, uint64_t sentence);
  // `why`: for its writer, once; empty if there is nobody to tell.
  void end(WriteId id, std::string why);

  Env& env_;
  FileStore* store_;
  FileGates* gates_;
  EpochFence* fence_;
  TextIndex* index_;
  std::map<WriteId, Session> sessions_;
  std::unordered_map<ConnectionId, std::vector<WriteId>> owners_;  // Never iterated.
  uint64_t text_bytes_ = 0;
  OnDropped on_dropped_;
  SentenceLocks locks_;
  // Why sessions ended that their writers do not know the end of; the last few.
  static constexpr size_t kEndedMax = 1024;
  std::map<WriteId, std::string> ended_;
  std::deque<WriteId> ended_order_;
};

}  // namespace understudy
