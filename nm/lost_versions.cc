#include "nm/lost_versions.h"

#include <algorithm>

#include "common/base/path.h"
#include "nm/catalogue_db.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

constexpr uint32_t kJobsAtOnce = 256;
constexpr int kRecentMax = 64;  // Beyond, who holds the newest is taken to hold it.

bool holds(const wire::MemberStatReply& stat, Version version) {
  auto is_it = [&](const auto& one) { return from_wire(one) == version; };
  return is_it(stat.head()) || stat.recent_size() >= kRecentMax || std::ranges::any_of(stat.recent(), is_it) ||
         std::ranges::any_of(stat.divergent(), is_it);
}

Task<Result<wire::MemberStatReply>> stat_of(ServerLinks* links, std::string server, FileId file) {
  wire::MemberStatRequest ask;
  ask.set_file_id(number(file));
  co_return co_await call_server<wire::MemberStatReply>(links, server, wire::MEMBER_STAT, ask);
}

void tell_lost(Catalogue* catalogue, const Job& job, const std::string& target, const wire::MemberStatReply& left,
               wire::Command* command) {
  auto path = catalogue->path_of(job.object);
  auto* event = command->add_events();
  event->set_kind("lost");
  event->set_server(target);
  event->set_file_id(number(job.object));
  event->set_path(path ? *path : "");
  to_wire(job.to, event->mutable_version());
  const bool something = left.has_file() && !left.deleted();
  event->set_text(printable(event->path()) + ": version " + job.to.to_string() + " was only on the earlier disk of " + target +
                  ", and is lost with it; " +
                  (something ? "the newest is version " + from_wire(left.head()).to_string() + " now" : "nothing is left of it"));
}

}  // namespace

Task<Status> settle_lost(Catalogue* catalogue, Proposer* proposer, ServerLinks* links, std::string source, std::string target,
                         bool gone) {
  const Server* acting = catalogue->server(source);
  if (acting == nullptr) co_return fail(Code::kInternal, source + " is unknown");
  ServerId id = acting->id;
  uint64_t after = 0;
  while (true) {
    std::vector<Job> page = catalogue->jobs(id, after, kJobsAtOnce);
    if (page.empty()) co_return Status{};
    after = page.back().sequence;
    wire::Command ended;
    ended.mutable_jobs_done()->set_target(source);
    ended.mutable_jobs_done()->set_lost_disk(target);
    for (const Job& job : page) {
      if (!job.to || job.kind == JobKind::kDelete) continue;
      CO_ASSIGN_OR_RETURN(auto here, co_await stat_of(links, source, job.object));
      bool is_lost = !holds(here, job.to);
      if (is_lost && !gone) {
        CO_ASSIGN_OR_RETURN(auto there, co_await stat_of(links, target, job.object));
        is_lost = !holds(there, job.to);
      }
      auto* item = ended.mutable_jobs_done()->add_items();
      item->set_object_id(number(job.object));
      to_wire(job.to, item->mutable_to());
      item->set_newest_lsn(number(job.newest_lsn));
      item->set_bytes(job.bytes);
      item->set_lost(is_lost);
      if (is_lost) tell_lost(catalogue, job, target, here, &ended);
    }
    if (ended.jobs_done().items_size() == 0) continue;
    auto outcome = co_await proposer->propose(std::move(ended));
    if (!outcome) co_return std::unexpected(outcome.error());
  }
}

}  // namespace understudy
