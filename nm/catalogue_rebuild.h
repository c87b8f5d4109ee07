// Makes a catalogue anew from what storage servers keep of names, when every name node's
// disk is lost. Fed with their registrations and listings in any order; finish() decides.
//
// Of each name the record with the greatest meta_version counts, whoever has it; a file
// whose newest version is a tombstone is gone. What cannot be put where it says (its folder
// is not known, a circle of folders) comes under /lost+found. Of a pair, the half that
// served last is the acting primary; the other one is compared when it registers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/integrity.pb.h"
#include "nm/catalogue_store.h"

namespace understudy {

struct RebuildSummary {
  uint64_t files = 0;
  uint64_t folders = 0;
  uint64_t deleted = 0;
  uint64_t found = 0;      // Under /lost+found.
  uint64_t renamed = 0;    // Two had one name.
  uint64_t users = 0;      // Without their passwords.
  uint64_t index = 0;      // The catalogue is as if commands up to here had made it.
  std::string cluster_id;
  std::string database_id;
  std::string to_string() const;
};

class CatalogueRebuild {
 public:
  // `path`: of the new catalogue; `scratch`: of a database that is of no use afterwards.
  static Result<std::unique_ptr<CatalogueRebuild>> begin(Env& env, std::string path, std::string scratch);
  ~CatalogueRebuild();

  // INVALID, CONFLICT: it cannot be of this cluster. Again: the later one counts.
  Status add_server(const wire::RegisterRequest& request);
  // One that may come later, with what it has.
  Status add_absent(const std::string& name);
  Status add_objects(const std::string& server, const wire::ListObjectsReply& page);
  const std::string& cluster_id() const { return cluster_id_; }

  // The catalogue is durable when it ends; then its folder may be used.
  Task<Result<RebuildSummary>> finish(int64_t now_us);

 private:
  struct Member {
    wire::RegisterRequest request;
    bool absent = false;
    ServerId id = kNoServer;
    PairId pair = kNoPair;
  };
  struct Seen;  // One object on one server.

  CatalogueRebuild() = default;
  void make_members();
  Status insert_objects();
  void insert_object(const std::vector<Seen>& all);
  void note_user(const std::string& name);
  void insert_named(Node node);
  void settle_folders();
  void bring_back(FileId id);
  FileId lost_and_found();
  void tell_all_names();
  FileId new_id();

  std::unique_ptr<CatalogueStore> store_;
  std::unique_ptr<SqliteDb> scratch_;
  std::string cluster_id_;
  std::map<std::string, Member> members_;
  uint64_t greatest_ = 0;  // Epoch, version or meta_version.
  uint64_t greatest_object_ = 16;
  int64_t now_us_ = 0;
  FileId lost_and_found_ = kNoFile;
  RebuildSummary summary_;
};

}  // namespace understudy
