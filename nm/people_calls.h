// The calls of clients about users and access: ADD_USER ... ANSWER_REQUEST. What a
// caller may do is decided where the command is applied (catalogue_people.cc).
//
// Access that is taken away is gone for the name node once that is committed; the call
// answers when the servers of the file's pair know it too (docs/security.md).
#pragma once

#include <string>

#include "common/base/types.h"
#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/identity.pb.h"
#include "common/wire/understudy.pb.h"
#include "nm/capabilities.h"
#include "nm/people_store.h"
#include "nm/proposer.h"
#include "nm/server_links.h"
#include "nm/sessions.h"

namespace understudy {

class Catalogue;
class FailoverDriver;

class PeopleCalls {
 public:
  // All outlive it.
  PeopleCalls(Env& env, Catalogue* catalogue, Proposer* proposer, ServerLinks* links, FailoverDriver* failover,
              Sessions* sessions)
      : env_(env), catalogue_(catalogue), proposer_(proposer), links_(links), failover_(failover), sessions_(sessions) {}

  Task<Result<wire::ChangeReply>> add_user(wire::AddUserRequest request, std::string user);
  Task<Result<wire::ChangeReply>> set_password(wire::SetPasswordRequest request, std::string user, std::string host);
  Task<Result<wire::ChangeReply>> remove_user(wire::RemoveUserRequest request, std::string user);
  wire::ListUsersReply list_users(const wire::ListUsersRequest& request);
  Task<Result<wire::ChangeReply>> set_access(wire::SetAccessRequest request, std::string user);
  Task<Result<wire::ChangeReply>> request_access(wire::RequestAccessRequest request, std::string user);
  wire::ListRequestsReply list_requests(const wire::ListRequestsRequest& request, const std::string& user);
  Task<Result<wire::ChangeReply>> answer_request(wire::AnswerRequestRequest request, std::string user);

 private:
  using Look = PeopleStore::Held (Catalogue::*)(std::string_view user, int64_t after);
  // Some thousand rows at a time, so that nobody waits. first_only: whether there is any.
  Task<std::vector<uint64_t>> find_held(Look look, std::string user, bool first_only);
  Task<Result<wire::CommandOutcome>> change(wire::Command command, wire::RequestNumber request, std::string user);
  Task<Result<wire::ChangeReply>> end_removal(wire::RemoveUserRequest request, std::string user, uint64_t count);
  Task<Status> raise(wire::CommandOutcome done, std::string user);
  Task<bool> raise_at(std::string server, wire::RaiseAccessRequest request);

  Env& env_;
  Catalogue* catalogue_;
  Proposer* proposer_;
  ServerLinks* links_;
  FailoverDriver* failover_;
  Sessions* sessions_;
};

}  // namespace understudy
