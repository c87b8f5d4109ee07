// What clients ask of names: locating, creating, moving, removing, listing.
#pragma once

#include <functional>
#include <string>

#include "common/base/retention.h"
#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/durability.pb.h"
#include "common/wire/understudy.pb.h"
#include "nm/proposer.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;
class Capabilities;
class FailoverDriver;
struct Node;

class NamespaceCalls {
 public:
  // All pointers outlive it.
  NamespaceCalls(Env& env, Catalogue* catalogue, Proposer* proposer, ServerLinks* links, FailoverDriver* failover,
                 Capabilities* capabilities, Retention retention, bool sync_by_default);
  // Why an acting primary has no second holder for what is to be on two machines; empty: it has one.
  void set_second_copy_refusal(std::function<std::string(const std::string& server)> ask) { second_copy_refusal_ = std::move(ask); }

  Task<Result<wire::LocateReply>> locate(wire::LocateRequest request, std::string user);
  Task<Result<wire::ChangeReply>> create_folder(wire::CreateFolderRequest request, std::string user);
  Task<Result<wire::ChangeReply>> create_link(wire::CreateLinkRequest request, std::string user);
  Task<Result<wire::ChangeReply>> remove(wire::RemoveRequest request, std::string user);
  // A deleted file comes back under its name, with its past.
  Task<Result<wire::ChangeReply>> undelete(wire::UndeleteRequest request, std::string user);
  Result<wire::ListDeletedReply> list_deleted(const wire::ListDeletedRequest& request, const std::string& user);
  Task<Result<wire::ChangeReply>> move(wire::MoveRequest request, std::string user);
  Task<Result<wire::ChangeReply>> set_durability(wire::SetDurabilityRequest request, std::string user);
  Task<Result<wire::ChangeReply>> set_attributes(wire::SetAttributesRequest request, std::string user);
  Result<wire::EntriesReply> list_folder(const wire::ListFolderRequest& request, const std::string& user);
  Result<wire::EntriesReply> view(const wire::ViewRequest& request, const std::string& user);
  Result<wire::EntriesReply> search(const wire::SearchRequest& request);

  // With what `user` may do there, and a capability to show for it.
  wire::Location location(const Node& node, const std::string& user);

  // Ends removals that were begun, empties the trash, expires names that never got a
  // version. True: there may be more to do at once.
  Task<bool> keep_house();

 private:
  Task<Result<wire::ChangeReply>> change(wire::Command command, wire::RequestNumber request, std::string user);
  Task<Result<wire::ChangeReply>> remove_file(wire::RemoveRequest request, std::string user);
  Task<Result<wire::RemovedFile>> remove_at_primary(uint64_t object_id, wire::RequestNumber request, std::string user,
                                                    Instant end, bool only_unborn = false);
  Task<Result<wire::ChangeReply>> forget_unborn(uint64_t object_id, std::string user, Instant end);
  Task<Result<wire::ChangeReply>> end_undelete(uint64_t object_id, wire::RequestNumber request, std::string user,
                                               Instant end, bool sync = false);
  bool is_sync(const wire::UndeleteRequest& request);
  std::string no_second_copy(const std::string& path);
  Task<bool> keep_deleted();
  Task<bool> end_removals();
  Task<bool> empty_trash();
  // DENIED if in that folder there is something of another's.
  Task<Status> all_is_of(FileId folder, std::string user);
  wire::Location place_of(const Node& node);
  wire::Entry entry(const Node& node, std::string name, bool with_location, const std::string& user);

  Env& env_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  FailoverDriver* failover_;
  Capabilities* capabilities_;
  Retention retention_;
  bool sync_by_default_;  // Of the cluster.
  std::function<std::string(const std::string&)> second_copy_refusal_;
};

}  // namespace understudy
