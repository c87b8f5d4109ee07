// The WRITE sessions of an acting primary, from EDIT_OPEN to EDIT_COMMIT: which
// sentence each one holds, and the flows that read the file for it and merge it
// into the newest version.
//
// Sessions live in memory, belong to one connection and one epoch, and end with
// either, or when idle for too long.
#pragma once

#include <map>

#include "common/env/env.h"
#include "ss/core/epoch_fence.h"
#include "ss/core/sentence_locks.h"
#include "ss/core/write_session.h"
#include "ss/file_gates.h"
#include "ss/file_store.h"

namespace understudy {

// A connection, as long as it lives.
enum class ConnectionId : uint64_t {};

class EditSessions {
 public:
  static constexpr size_t kSessionsMax = 4096;
  // A sentence's text is sent back up to this size; a longer one only in numbers.
  static constexpr size_t kTextShownMax = 64 << 10;

  EditSessions(Env& env, FileStore* store, FileGates* gates, EpochFence* fence, Duration idle_limit);

  // LOCKED: somebody writes that sentence; OUT_OF_RANGE: no such sentence.
  Task<Result<wire::EditOpenReply>> open(ConnectionId owner, wire::EditOpenRequest request);
  Result<wire::EditInsertReply> insert(ConnectionId owner, const wire::EditInsertRequest& request);
  void abort(ConnectionId owner, uint64_t session);
  // Merges the session into the newest version and ends it; a refusal leaves it as it
  // was. To be run by the ChangeTable. `file` may be 0 while the session lives.
  Task<Result<VersionInfo>> commit(ConnectionId owner, wire::EditCommitRequest request);
  // 0 if there is none.
  FileId file_of(ConnectionId owner, uint64_t session) const;

  // An APPEND made `appended` the end of the version `done`.
  void on_append(FileId file, const VersionInfo& done, BytesView appended);

  Status may_replace(FileId file) const { return locks_.may_replace(file); }
  Status may_append(FileId file) const { return locks_.may_append(file); }
  bool none() const { return sessions_.empty(); }

  void connection_closed(ConnectionId owner);
  // The epoch is over: every session with it.
  void drop_all();
  void expire(Instant now);

 private:
  struct Session {
    ConnectionId owner{};
    FileId file = kNoFile;
    Epoch epoch = kNoEpoch;
    std::string user;
    wire::NameRecord name;
    Bytes original;
    WriteSession writing;
  };
  Result<Session*> find(ConnectionId owner, uint64_t session);
  void end(WriteId id);

  Env& env_;
  FileStore* store_;
  FileGates* gates_;
  EpochFence* fence_;
  std::map<WriteId, Session> sessions_;
  SentenceLocks locks_;
};

}  // namespace understudy
