// LOCKS: who writes which sentence is known to acting primaries only; what the files
// are called, and who owns them, to the name node only.
#include "nm/catalogue_db.h"
#include "nm/cluster_calls.h"
#include "nm/failover_driver.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

// A pair that does not answer this soon is named instead.
constexpr Duration kAskFor = std::chrono::seconds(3);

}  // namespace

Task<Result<wire::LocksReply>> ClusterCalls::locks(wire::LocksRequest request, std::string user) {
  if (request.path().empty()) {
    if (request.break_lock()) co_return fail(Code::kInvalid, "LOCKS --break needs a file");
    auto listing = all_locks(std::move(user));
    co_return co_await listing;
  }
  CO_ASSIGN_OR_RETURN(Node node, catalogue_->find(request.path(), /*follow_link=*/true));
  if (node.kind != NodeKind::kFile) co_return fail(Code::kIsFolder, request.path() + " is a folder; name a file");
  const Pair* pair = catalogue_->pair(node.pair);
  const Server* acting = pair == nullptr ? nullptr : catalogue_->server(pair->acting);
  if (acting == nullptr || !failover_->monitor().serving(pair->name)) {
    co_return fail(Code::kUnavailable, "nobody serves " + request.path() + " now, so nobody writes in it; try again");
  }
  std::string name = acting->name;
  if (request.break_lock()) {
    CO_RETURN_IF_ERROR(catalogue_->check_right(node, request.path(), user, Right::kOwn));
    wire::BreakLockRequest order;
    order.set_file_id(number(node.id));
    order.set_sentence(request.sentence());
    order.set_epoch(number(pair->epoch));
    auto breaking = call_server<wire::Done>(links_, name, wire::BREAK_LOCK, order, kAskFor);
    auto broken = co_await breaking;
    if (!broken) co_return std::unexpected(std::move(broken).error());
    co_return wire::LocksReply();
  }
  CO_RETURN_IF_ERROR(catalogue_->check_right(node, request.path(), user, Right::kRead));
  wire::ListLocksRequest question;
  question.set_file_id(number(node.id));
  auto asking = call_server<wire::LocksReply>(links_, name, wire::LIST_LOCKS, question, kAskFor);
  auto reply = co_await asking;
  if (!reply) co_return std::unexpected(std::move(reply).error());
  for (auto& open : *reply->mutable_locks()) open.set_path(request.path());
  co_return reply;
}

// Whoever may not read a file is not told who writes in it.
Task<Result<wire::LocksReply>> ClusterCalls::all_locks(std::string user) {
  std::vector<std::pair<std::string, std::string>> acting;  // Pair and server.
  wire::LocksReply all;
  for (const auto& [id, pair] : catalogue_->pairs()) {
    const Server* server = catalogue_->server(pair.acting);
    if (server != nullptr && failover_->monitor().serving(pair.name)) acting.emplace_back(pair.name, server->name);
    else all.add_unanswered(pair.name);
  }
  for (const auto& [pair, server] : acting) {
    auto asking = call_server<wire::LocksReply>(links_, server, wire::LIST_LOCKS, wire::ListLocksRequest(), kAskFor);
    auto reply = co_await asking;
    if (!reply) {
      all.add_unanswered(pair);
      continue;
    }
    for (auto& open : *reply->mutable_locks()) {
      auto node = catalogue_->node(FileId{open.file_id()});
      auto path = catalogue_->path_of(FileId{open.file_id()});
      if (!node || !path || catalogue_->right_of(*node, user) < Right::kRead) continue;  // Or deleted by now.
      open.set_path(*std::move(path));
      *all.add_locks() = std::move(open);
    }
  }
  co_return all;
}

}  // namespace understudy
