// What all parts of one running storage server share, between opening its store
// and closing it.
#pragma once

#include <string>
#include <unordered_map>

#include "common/env/env.h"
#include "common/env/sync.h"
#include "ss/capability_guard.h"
#include "ss/change_table.h"
#include "ss/core/document.h"
#include "ss/core/epoch_fence.h"
#include "ss/edit_sessions.h"
#include "ss/file_gates.h"
#include "ss/file_store.h"
#include "ss/uploads.h"

namespace understudy {

class Enrollment;
class SyncWrites;

inline constexpr uint32_t kProtocolVersion = 1;

class RequestObserver;

struct StorageServerOptions {
  std::string name;                      // ss1, ss1_backup, ...
  std::string backup_of;                 // Empty: by the name's _backup ending.
  std::string folder;                    // The data folder; made if missing.
  std::vector<Address> name_nodes;       // Tried in turn.
  Address listen = "127.0.0.1:0";
  Address advertise;                     // Empty: what listen came to.
  size_t clients_max = 8000;             // Connections at once.
  uint64_t compaction_mib_per_second = 32;         // 0: no limit.
  uint64_t segment_size = 0;                       // As in FileStoreOptions, and the next one.
  uint64_t checkpoint_records = 10'000;
  Duration edit_idle_limit = std::chrono::minutes(10);
  Duration upload_idle_limit = std::chrono::minutes(10);
  Duration stop_limit = std::chrono::seconds(10);  // For draining, at a stop.
  Enrollment* enrollment = nullptr;      // Outlives the server; nullptr: it shows no certificate (--insecure, the simulator).
  ScrubOptions scrub;
};

struct ServerState {
  // Bodies of STAGE that are being stored, of all clients together; and what one
  // connection may have under way before no more of it is read.
  static constexpr uint64_t kStagingBytesMax = 48 << 20;
  static constexpr uint64_t kClientBytesMax = 12 << 20;
  static constexpr uint64_t kNameNodeBytesMax = 32 << 20;

  ServerState(Env& environment, StorageServerOptions server_options, FileStore* file_store)
      : env(environment),
        options(std::move(server_options)),
        store(file_store),
        fence(file_store->greatest_epoch(), file_store->served_epoch()),
        gates(environment.executor),
        uploads(environment, file_store, options.upload_idle_limit),
        text_index(environment, file_store),
        edits(environment, file_store, &gates, &fence, &text_index, options.edit_idle_limit),
        staging(environment.executor, kStagingBytesMax),
        applies_ended(environment.executor),
        serving_changed(environment.executor),
        changes(environment.executor) {}

  // To be called whenever the fence may have stopped serving: what belonged to the
  // epoch goes with it.
  void epoch_ended() {
    if (fence.serving() == kNoEpoch) edits.drop_all();
    if (sync_writes) end_sync_writes();
    serving_changed.notify_all();
  }

  Env& env;
  StorageServerOptions options;
  FileStore* store;
  EpochFence fence;
  CapabilityGuard guard;
  FileGates gates;
  Uploads uploads;
  TextIndex text_index;
  EditSessions edits;
  Semaphore staging;

  bool stopping = false;  // No new epoch is taken.
  RequestObserver* observer = nullptr;

  // APPLY and SET_ASIDE under way: a new epoch begins behind them.
  uint32_t applies = 0;
  Notifier applies_ended;
  Notifier serving_changed;

  // Who looked at a file last, since this process began.
  struct Access {
    int64_t time_us = 0;
    std::string user;
  };
  static constexpr size_t kRememberedMax = 1 << 16;
  std::unordered_map<FileId, Access> accesses;  // Never iterated; emptied when full.

  // Of versions that the name node brings back, oldest first, none is read before the newest has come, or
  // whoever brings them is gone for so long.
  static constexpr int64_t kHiddenMaxUs = 30'000'000;

  std::string cluster_id;
  std::string pair;     // As the name node says,
  std::string partner;  // and its other half; empty: none yet.

  SyncWrites* sync_writes = nullptr;  // Set before anything is served.

  ChangeTable changes;  // Last: its tasks use all of the above.

 private:
  void end_sync_writes();
};

}  // namespace understudy
