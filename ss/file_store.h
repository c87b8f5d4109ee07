// The engine under a storage server: files as immutable versions made of
// checksummed chunks, in a segment log, with an index beside it.
//
// (What the server expects of it, written before the engine; the engine's author
// owns this file and changes it as building it teaches.)
//
// Order per file: the parent of a change is the newest appended version. A task
// that changes something ends when its record is durable (one sync serves all who
// wait); once it has begun to append, cancelling the waiting task does not undo it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/chunk_hash.h"
#include "common/base/chunk_list.h"
#include "common/base/result.h"
#include "common/base/retention.h"
#include "common/base/types.h"
#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/integrity.pb.h"
#include "common/wire/understudy.pb.h"

namespace understudy {

struct FileStoreOptions {
  std::string folder;
  // Called right before a change is appended, with no wait between: an error
  // refuses the change with that error and nothing is appended. (The epoch fence.)
  std::function<Status(Epoch)> may_append;
  // Read by compaction, at the most; 0: as fast as it can.
  uint64_t compaction_bytes_per_second = 32 << 20;
  uint64_t segment_size = 0;  // 0: what suits the disk.
  // The index is made anew from the log, whatever state it is in.
  bool rebuild_index = false;
};

// What a change says of itself.
struct Change {
  FileId file = kNoFile;
  Epoch epoch = kNoEpoch;
  RequestId request;
  wire::ChangeKind kind = wire::CHANGE_PUT;  // The engine makes it CREATE for a first version.
  std::string user;
  uint32_t mode = 0;
  int64_t modified_us = 0;
  wire::NameRecord name;
  uint64_t access_generation = UINT64_MAX;  // Of the capability; the name node's own changes have none.
  bool exclusive = false;  // EXISTS if there is a version.
  Version expected;        // If set: CONFLICT unless it is the newest.
  Bytes edit_record;
  std::string tag;         // Of a CHECKPOINT or REVERT.
  Version undo_target;     // The engine fills it in.
  bool sync = false;       // Its writer is promised two machines.
};

struct VersionInfo {
  Version version;
  Version parent;
  Lsn lsn{};                 // The end of its record: durable once durable_lsn() is there.
  uint64_t size_bytes = 0;
  int64_t time_us = 0;
  std::string user;
  uint32_t mode = 0;
  int64_t modified_us = 0;
  bool sync = false;         // It was written with sync durability.
  std::string second_holder;  // Of a change that was carried to one (ss/sync_writes.h).
  // info() only: the newest record of the file, which may be a checkpoint of this
  // version; the time of the file's first version; how many are kept.
  Version head;
  int64_t created_us = 0;
  uint64_t versions = 0;
};

// What one version did to the text of its parent.
struct TextStep {
  Version version;
  wire::ChangeKind kind = wire::CHANGE_NONE;
  uint64_t size_bytes = 0;
  std::string user;
  Bytes edit_record;  // Of an EDIT (ss/core/edit_trail.h).
};

struct AnnounceBatch {
  Lsn to{};  // Covers everything durable up to here.
  std::vector<wire::AnnounceItem> items;
};

struct ScrubOptions {
  uint64_t bytes_per_second = 8 << 20;        // 0: never.
  Duration interval = std::chrono::hours(24);  // From the end of one pass to the beginning of the next.
};

class Partner;

class FileStore {
 public:
  // LOCKED: another process has the folder. INVALID: not a storage server's
  // folder, or a newer format. Makes a missing folder.
  static Task<Result<std::unique_ptr<FileStore>>> open(Env& env, FileStoreOptions options);
  virtual ~FileStore() = default;

  // ---- What it is
  virtual const StoreId& store_id() const = 0;
  virtual std::string cluster_id() const = 0;                      // Empty: new.
  virtual std::string server_name() const = 0;                     // Empty: new.
  virtual Task<Status> set_identity(std::string cluster_id, std::string server_name) = 0;
  virtual bool empty() const = 0;                                  // Holds nothing at all.
  virtual Lsn durable_lsn() const = 0;                             // End of what is durable.
  virtual Epoch greatest_epoch() const = 0;                        // Served or applied under; durable.
  virtual Epoch served_epoch() const = 0;                          // The last one served under; 0: never.
  virtual uint64_t file_count() const = 0;
  virtual uint64_t byte_count() const = 0;
  virtual uint64_t divergent_count() const = 0;

  // ---- Changes (acting primary). A request id that is in the file's line of
  // versions gets the answer it got; NOT_FOUND behind a tombstone.
  virtual Task<Status> begin_epoch(Epoch epoch) = 0;               // The EPOCH record, durable.
  virtual Task<Result<VersionInfo>> put(Change change, Bytes content) = 0;     // At most one chunk.
  virtual Task<Result<VersionInfo>> append(Change change, Bytes content) = 0;  // At most kChunkSizeMax.
  virtual Task<Result<VersionInfo>> remove(Change change) = 0;     // A tombstone.
  // The content before the tombstone, as a new version; the newest if there is no tombstone.
  virtual Task<Result<VersionInfo>> undelete(Change change) = 0;
  // One change further back (ss/core/undo.h); CONFLICT when there is none.
  virtual Task<Result<VersionInfo>> undo(Change change) = 0;
  // Gives the newest version the change's tag, and answers with that version; EXISTS if the tag is taken.
  virtual Task<Result<VersionInfo>> checkpoint(Change change) = 0;
  // The content that the change's tag names, as a new version; NOT_FOUND if it names none.
  virtual Task<Result<VersionInfo>> revert(Change change) = 0;
  // A chunk of an upload: stored and pinned until unpin. Durable with the commit at the latest.
  virtual Task<Result<ChunkRefInfo>> stage(FileId file, Bytes content) = 0;
  virtual void unpin(FileId file, const ChunkRefs& chunks) = 0;
  // A version of chunks that are pinned or belong to the file; behind the newest version if `append`.
  virtual Task<Result<VersionInfo>> commit(Change change, ChunkRefs chunks, bool append) = 0;

  // The answer that this request got (or is getting durable), if it is in the file's line of versions.
  virtual std::optional<VersionInfo> answered(FileId file, RequestId request) = 0;

  // ---- Reads. Version {}: the newest durable one, which a checkpoint is not.
  // NOT_FOUND: no such file or version.
  virtual Result<VersionInfo> info(FileId file, Version version) = 0;
  virtual Task<Result<Bytes>> read(FileId file, Version version, uint64_t offset, uint32_t size) = 0;
  // The file's own chunks. Empty if the content stands inline (up to 64 KiB).
  virtual Task<Result<ChunkRefs>> chunks(FileId file, Version version) = 0;
  // From the one behind `since` to the newest durable one, oldest first. NOT_FOUND: `since` is not
  // in the newest one's line, or further back than any edit lasts.
  virtual Task<Result<std::vector<TextStep>>> text_steps(FileId file, Version since) = 0;
  virtual std::vector<Version> divergent(FileId file) = 0;
  // Oldest first. With a tag only that one, NOT_FOUND if there is none.
  virtual Result<std::vector<wire::Checkpoint>> checkpoints(FileId file, std::string tag) = 0;
  virtual Task<Result<wire::HistoryReply>> history(wire::HistoryRequest request) = 0;

  // ---- Sync durability (ss/sync_writes.h)
  // Originated versions of that durability from `from` on, in log order: file, version and parent.
  struct SyncVersion {
    FileId file = kNoFile;
    Version version;
    Version parent;
  };
  virtual Result<std::vector<SyncVersion>> sync_versions(Lsn from) = 0;
  // All of them below it are held twice; kNoLsn at first. Durable when set.
  virtual Result<Lsn> sync_settled() = 0;
  virtual Task<Status> set_sync_settled(Lsn lsn) = 0;
  // What readers are given for a version that may be a checkpoint.
  virtual Result<Version> content_version(FileId file, Version version) = 0;
  // ---- Space
  // From now on; before the first call nothing is trimmed.
  virtual void set_retention(Retention retention) = 0;
  // Up to `replicated` the other half has everything of this log; up to `announced` the name
  // node knows of it. What retention takes needs the one, deletions the other.
  virtual void may_trim(Lsn replicated, Lsn announced) = 0;
  virtual wire::SpaceReport space() = 0;

  // ---- Announcing
  // Originated, durable, not set-aside versions behind `from`, in log order.
  virtual AnnounceBatch announceable(Lsn from, size_t items_max) = 0;
  // Set whenever something became durable since it was asked for.
  virtual Future<Unit> durable_changed() = 0;

  // ---- The name node's calls; messages as the wire has them.
  virtual Task<Result<wire::FetchReply>> fetch(wire::FetchRequest request) = 0;
  virtual Task<Result<Bytes>> fetch_chunk(wire::FetchChunkRequest request) = 0;
  virtual Task<Result<wire::MissingChunksReply>> missing_chunks(wire::MissingChunksRequest request) = 0;
  virtual Task<Status> store_chunk(FileId file, ChunkHash hash, Bytes content) = 0;
  virtual Task<Result<wire::ApplyReply>> apply(wire::ApplyRequest request) = 0;  // Remembers the epoch.
  virtual Task<Result<wire::DigestReply>> digest() = 0;
  virtual Task<Result<wire::ListPartitionReply>> list_partition(wire::ListPartitionRequest request) = 0;
  virtual Task<Result<wire::SetAsideReply>> set_aside(wire::SetAsideRequest request) = 0;
  // Versions that diverged on the other half, beside the line of the head; what is known already stays.
  virtual Task<Result<wire::KeepAsideReply>> keep_aside(wire::KeepAsideRequest request) = 0;
  virtual Result<wire::MemberStatReply> member_stat(FileId file) = 0;
  // Every name there is, for rebuilding a name node.
  virtual Task<Result<wire::ListObjectsReply>> list_objects(wire::ListObjectsRequest request) = 0;

  // ---- Integrity. Who helps where something is damaged; outlives its use, null: nobody.
  virtual void set_partner(Partner* partner) = 0;
  // Reads and verifies everything, over and over; runs until destroyed.
  virtual Task<void> scrub(ScrubOptions options) = 0;
  virtual wire::ScrubStatus scrub_status() const = 0;
  // Opening met damage, and what stood there is not known.
  virtual bool damaged_at_start() const = 0;

  // Set when the log cannot be written any more: acknowledge nothing, end the process.
  virtual Future<Error> failed() = 0;

  // Syncs everything and closes; the folder's lock is freed by destruction.
  virtual Task<Status> close() = 0;
};

}  // namespace understudy
