// What each server still lacks: one job an object and target, the newest wanted.
#include <fmt/format.h>

#include "nm/catalogue_change.h"

namespace understudy {
namespace {

JobKind kind_of_version(Version from) { return from ? JobKind::kWrite : JobKind::kCreate; }

}  // namespace

void Catalogue::queue(Job wanted) {
  auto waiting = store_->job(wanted.target, wanted.object);
  if (!waiting) {
    if (wanted.sequence == 0) wanted.sequence = next_job();
    store_->put_job(std::nullopt, wanted);
    return;
  }
  Job job = *waiting;
  bool only_names = !wanted.to;
  if (job.kind == JobKind::kDelete && wanted.kind != JobKind::kDelete) {
    // A DELETE absorbs all else, but not what came back behind it: that travels with the tombstone.
    if (!wanted.to || wanted.to <= job.to) return;
    job.kind = wanted.kind;
  }
  if (!only_names) {
    if (!job.to) {
      job.from = wanted.from;
      job.announce_lsn = wanted.announce_lsn;
      if (wanted.kind != JobKind::kDelete) job.kind = wanted.kind;
    }
    job.to = std::max(job.to, wanted.to);
    job.newest_lsn = std::max(job.newest_lsn, wanted.newest_lsn);
    job.bytes += wanted.bytes;
  }
  job.meta_version = std::max(job.meta_version, wanted.meta_version);
  if (wanted.kind == JobKind::kDelete) {
    end_hints(job.target, job.object, job.to);
    job.kind = JobKind::kDelete;
    job.bytes = 0;
  }
  if (wanted.kind == JobKind::kSync) {
    // What the target lacks was looked up just now.
    job.kind = JobKind::kSync;
    job.from = wanted.from;
  }
  store_->put_job(waiting, job);
}

uint64_t Catalogue::names_settled() {
  constexpr uint64_t kLookedAtMax = 20'000;
  uint64_t jobs = 0;
  for (const auto& [id, lag] : store_->lags) jobs += lag.jobs;
  if (jobs == 0) return applied_index();
  if (jobs > kLookedAtMax) return 0;
  const uint64_t oldest = answered(store_->oldest_meta_version());
  return oldest == 0 ? applied_index() : oldest - 1;
}

void Catalogue::queue_name(const Node& node, const Change& change) {
  for (const auto& [id, server] : store_->servers) {
    if (node.kind == NodeKind::kFile && server.pair != node.pair) continue;
    queue({.target = id,
           .object = node.id,
           .kind = JobKind::kMetadata,
           .meta_version = change.index,
           .created_us = change.now_us});
  }
}

void Catalogue::queue_all_names(ServerId target, const Change& change) {
  for (const auto& [id, meta_version] : store_->names()) {
    queue({.target = target,
           .object = id,
           .kind = JobKind::kMetadata,
           .meta_version = meta_version,
           .created_us = change.now_us});
  }
}

void Catalogue::drop_jobs(FileId object) {
  constexpr Version kAll{Epoch{UINT64_MAX}, UINT64_MAX};
  for (const auto& job : store_->jobs_of(object)) {
    end_hints(job.target, object, kAll);
    store_->erase_job(job);
  }
}

void Catalogue::announced(const wire::Announced& command, Change& change) {
  Server* server = store_->server_named(command.server());
  if (!server) return change.refuse(Code::kNotFound, command.server() + ": no such server");
  change.outcome.set_announced_lsn(number(server->announced_lsn));
  const Pair& pair = store_->pairs[server->pair];
  if (server->store_id != command.store_id() || pair.acting != server->id || number(pair.epoch) != command.epoch()) {
    return change.refuse(Code::kStaleEpoch, fmt::format("{} does not act in epoch {}", server->name, command.epoch()));
  }
  if (command.from_lsn() != number(server->announced_lsn) || command.to_lsn() < command.from_lsn()) {
    return change.refuse(Code::kConflict, fmt::format("{} announced up to {} so far", server->name,
                                                      number(server->announced_lsn)));
  }
  for (const auto& item : command.items()) announce_item(*server, pair, item, change);
  server->announced_lsn = Lsn{command.to_lsn()};
  change.outcome.set_announced_lsn(command.to_lsn());
  change.outcome.set_count(static_cast<uint64_t>(command.items_size()));
}

void Catalogue::announce_item(const Server& server, const Pair& pair, const wire::AnnounceItem& item,
                              const Change& change) {
  FileId id{item.file_id()};
  Version version = version_of(item.version());
  auto old = store_->node(id);
  if (!old || old->kind != NodeKind::kFile) return;  // Removed by now: its DELETE job is there.
  if (version <= old->announced) return;  // Of a file that has come back: its tombstone, told late.
  if (item.kind() == wire::CHANGE_DELETE) return erase_file(*old, version, Lsn{item.lsn()}, change);
  store_->erase_lost(id);
  Node node = *old;
  if (node.state == NodeState::kPending || node.state == NodeState::kReturning) node.state = NodeState::kLive;
  node.announced = version;
  node.size_bytes = item.size_bytes();
  node.announced_by = server.id;
  node.announced_lsn = Lsn{item.lsn()};
  if (item.time_us()) node.modified_us = item.time_us();
  store_->update_node(*old, node);

  ServerId target = pair.other_half(server.id);
  if (target == kNoServer) return;
  if (item.held()) {
    // It has this one and all before.
    auto job = store_->job(target, id);
    if (job && job->to && job->kind != JobKind::kDelete) {
      wire::JobDone done;
      done.set_object_id(item.file_id());
      *done.mutable_to() = item.version();
      done.set_newest_lsn(number(job->newest_lsn));
      done.set_bytes(job->bytes);
      job_done(target, done);
      end_hints(target, id, version);
    }
    return;
  }
  Version parent = version_of(item.parent());
  queue({.target = target,
         .object = id,
         .kind = kind_of_version(parent),
         .from = parent,
         .to = version,
         .bytes = item.bytes(),
         .announce_lsn = Lsn{item.lsn()},
         .newest_lsn = Lsn{item.lsn()},
         .created_us = change.now_us});
}

void Catalogue::jobs_done(const wire::JobsDone& command, Change& change) {
  Server* target = store_->server_named(command.target());
  if (!target) return change.refuse(Code::kNotFound, command.target() + ": no such server");
  target->confirmed_lsn = std::max(target->confirmed_lsn, Lsn{command.confirmed_lsn()});
  uint64_t gone = 0;
  for (const auto& item : command.items()) {
    const FileId file{item.object_id()};
    auto node = item.lost() ? store_->node(file) : std::nullopt;
    if (node && node->announced <= version_of(item.to())) {
      store_->put_lost(file, {node->pair, version_of(item.to()), command.lost_disk(), change.now_us});
    }
    gone += job_done(target->id, item);
    end_hints(target->id, FileId{item.object_id()}, version_of(item.to()));
  }
  change.outcome.set_count(gone);
}

// Whether nothing of it is left.
bool Catalogue::job_done(ServerId target, const wire::JobDone& item) {
  auto old = store_->job(target, FileId{item.object_id()});
  if (!old) return false;
  Version to = version_of(item.to());
  bool versions_done = !old->to || to >= old->to;
  bool name_done = item.meta_version() >= old->meta_version;
  if (versions_done && name_done) {
    store_->erase_job(*old);
    return true;
  }
  Job job = *old;
  if (!item.partial()) job.sequence = next_job();  // What came since queues up behind the others.
  if (name_done && job.kind != JobKind::kDelete) job.meta_version = 0;
  if (versions_done) {
    if (job.kind != JobKind::kDelete) job.kind = JobKind::kMetadata;
    job.from = job.to = {};
    job.bytes = 0;
    job.announce_lsn = job.newest_lsn = kNoLsn;
  } else if (to > job.from) {
    job.from = to;
    if (job.kind == JobKind::kCreate) job.kind = JobKind::kWrite;
    job.bytes -= std::min(job.bytes, item.bytes());
    // What is left was announced behind all that the job held when it was taken.
    if (item.newest_lsn() >= number(job.announce_lsn)) job.announce_lsn = Lsn{item.newest_lsn() + 1};
  }
  store_->put_job(old, job);
  return false;
}

void Catalogue::add_jobs(const wire::AddJobs& command, Change& change) {
  Server* target = store_->server_named(command.target());
  if (!target) return change.refuse(Code::kNotFound, command.target() + ": no such server");
  for (const auto& item : command.items()) {
    auto kind = static_cast<JobKind>(item.kind());
    if (kind < JobKind::kCreate || kind > JobKind::kSync) {
      return change.refuse(Code::kInvalid, fmt::format("{}: no kind of job", static_cast<int>(item.kind())));
    }
  }
  // What takes a job's place stands in its place: whoever waits for all that was queued by now waits for it.
  std::map<uint64_t, uint64_t> places;
  for (const auto& item : command.done()) {
    auto job = store_->job(target->id, FileId{item.object_id()});
    if (job) places[item.object_id()] = job->sequence;
    job_done(target->id, item);
  }
  for (const auto& item : command.items()) {
    auto kind = static_cast<JobKind>(item.kind());
    FileId object{item.object_id()};
    if (kind != JobKind::kDelete && !store_->node(object)) continue;  // Removed meanwhile, with a job of its own.
    queue({.target = target->id,
           .object = object,
           .sequence = places[item.object_id()],
           .kind = kind,
           .from = version_of(item.from()),
           .to = version_of(item.to()),
           .meta_version = item.meta_version(),
           .bytes = item.bytes(),
           .announce_lsn = Lsn{item.lsn()},
           .newest_lsn = Lsn{item.lsn()},
           .created_us = change.now_us});
  }
  for (const auto& item : command.done()) {
    // What has no version job any more needs no hints. (What was queued anew does.)
    auto job = store_->job(target->id, FileId{item.object_id()});
    if (!job || !job->to) end_hints(target->id, FileId{item.object_id()}, version_of(item.to()));
  }
  change.outcome.set_count(static_cast<uint64_t>(command.items_size()));
}

}  // namespace understudy
