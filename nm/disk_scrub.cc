#include "nm/disk_scrub.h"

#include <fmt/format.h>

#include "common/base/log.h"
#include "common/env/env_util.h"
#include "common/segment_log/log_verify.h"
#include "common/sqlite/sqlite_db.h"
#include "nm/hint_store.h"
#include "nm/proposer.h"
#include "nm/raft_bridge.h"

namespace understudy {
namespace {

constexpr Duration kFirstLook = std::chrono::seconds(2);
constexpr Duration kAfterFailure = std::chrono::minutes(1);

}  // namespace

Task<void> DiskScrub::run() {
  if (options_.bytes_per_second == 0) co_return;
  Duration wait = kFirstLook;
  while (true) {
    auto moment = sleep_for(env_, wait);
    co_await moment;
    auto passed = co_await pass();
    if (!passed) log_warning("verifying the name node's disk: " + passed.error().to_string());
    wait = passed ? options_.interval : std::min<Duration>(options_.interval, kAfterFailure);
  }
}

Task<Status> DiskScrub::pass() {
  CO_RETURN_IF_ERROR(co_await look_at_raft());
  for (bool sync : {false, true}) CO_RETURN_IF_ERROR(co_await look_at_hints(sync));
  CO_RETURN_IF_ERROR(co_await look_at_catalogue());
  log_debug("the name node's disk is verified");
  co_return Status{};
}

Task<Status> DiskScrub::look_at_raft() {
  CO_ASSIGN_OR_RETURN(auto damaged, co_await verify_log(env_, &raft_->log(), raft_->replay_from(), options_.bytes_per_second));
  if (damaged.empty()) co_return Status{};
  // The event is an entry of its own, behind which the log begins anew.
  raft_->snapshot_soon();
  co_await tell("repaired", fmt::format("the name node's Raft log was damaged at position {}; nothing is lost: the catalogue has what stood "
                                        "there, and the log begins anew behind it", number(damaged.front().first)));
  co_return Status{};
}

Task<Status> DiskScrub::look_at_hints(bool sync) {
  CO_ASSIGN_OR_RETURN(auto damaged, co_await hints_->verify(sync, options_.bytes_per_second));
  for (auto [from, to] : damaged) {
    co_await tell("damaged", fmt::format("the name node's {} hints are damaged at position {}: {}", sync ? "promised" : "expiring", number(from),
                                         sync ? "an acknowledged write may stand on one storage server only until its other half is back"
                                              : "what stood there comes by comparing the halves instead"));
  }
  co_return Status{};
}

Task<Status> DiskScrub::look_at_catalogue() {
  CO_ASSIGN_OR_RETURN(std::string problems, co_await verify_pages(env_, catalogue_path_, options_.bytes_per_second));
  if (problems.empty()) co_return Status{};
  co_await tell("damaged", catalogue_path_ + ": " + problems + "; keep the name node running if you can, and see \"The name node's disk is "
                                             "damaged\" in docs/operations.md");
  co_return Status{};
}

Task<void> DiskScrub::tell(std::string kind, std::string text) {
  if (!told_.insert(text).second) co_return;
  log_error(kind + ": " + text);
  wire::Command command;
  auto* event = command.add_events();
  event->set_kind(std::move(kind));
  event->set_text(std::move(text));
  command.mutable_add_events();
  auto added = co_await proposer_->propose(std::move(command));
  if (!added) log_warning("an event is not noted: " + added.error().to_string());
}

}  // namespace understudy
