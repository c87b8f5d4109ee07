#include "nm/rescue.h"

#include <algorithm>

#include "common/base/log.h"
#include "common/base/recovered.h"
#include "nm/catalogue_db.h"
#include "nm/replication_worker.h"

namespace understudy {
namespace {

constexpr uint64_t kFetchBytes = 4 << 20;
constexpr uint32_t kFilesInPage = 2000;
constexpr int kAttempts = 3;  // The file may change at the acting primary while it is being brought.

// Its content does not travel with the record.
bool is_big(const wire::VersionRecord& record) { return record.chunks_size() > 0 && record.inline_content().empty(); }

// The primary may just be getting its lease, or be giving it away: to be tried again.
Error as_passing(const Error& error) {
  const bool passing = error.code == Code::kMoved || error.code == Code::kStaleEpoch;
  return passing ? Error{Code::kUnavailable, error.message} : error;
}

Fate fate_of(const wire::VersionRecord& version, Version as) {
  Fate fate{.as = as};
  if (version.kind() == wire::CHANGE_CHECKPOINT) fate.tag = fate.kept_as = version.tag();
  return fate;
}

}  // namespace

Result<uint64_t> Rescue::epoch() const {
  const Server* server = catalogue_->server(target_);
  const Pair* pair = server == nullptr ? nullptr : catalogue_->pair(server->pair);
  if (pair == nullptr) return fail(Code::kInternal, target_ + " has no pair");
  return number(pair->epoch);
}

Task<Result<Rescue::Records>> Rescue::headers(std::string server, FileId file, Version from, Version to) {
  Records all;
  while (from != to) {
    wire::FetchRequest fetch;
    fetch.set_bytes_max(kFetchBytes);
    fetch.set_headers_only(true);
    auto* item = fetch.add_items();
    item->set_file_id(number(file));
    to_wire(from, item->mutable_from());
    to_wire(to, item->mutable_to());
    CO_ASSIGN_OR_RETURN(auto fetched, co_await call_server<wire::FetchReply>(links_, server, wire::FETCH, fetch));
    if (fetched.files_size() != 1 || fetched.files(0).versions_size() == 0) {
      co_return fail(Code::kConflict, "what only " + server + " has cannot be fetched");
    }
    for (auto& version : *fetched.mutable_files(0)->mutable_versions()) {
      from = from_wire(version.version());
      all.push_back(std::move(version));
    }
  }
  co_return all;
}

Task<Result<wire::VersionRecord>> Rescue::record(std::string server, FileId file, Version version) {
  wire::FetchRequest fetch;
  fetch.set_bytes_max(kFetchBytes);
  auto* item = fetch.add_items();
  item->set_file_id(number(file));
  to_wire(version, item->mutable_to());
  item->set_alone(true);
  CO_ASSIGN_OR_RETURN(auto fetched, co_await call_server<wire::FetchReply>(links_, server, wire::FETCH, fetch));
  if (fetched.files_size() != 1 || fetched.files(0).versions_size() != 1) {
    co_return fail(Code::kNotFound, "version " + version.to_string() + " is not on " + server + " any more");
  }
  co_return std::move(*fetched.mutable_files(0)->mutable_versions(0));
}

Task<Status> Rescue::bring_back(std::string source, Ahead ahead) {
  CO_ASSIGN_OR_RETURN(Records versions, co_await headers(target_, ahead.file, ahead.common, ahead.newest));
  Version head = ahead.head;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    auto changes = co_await headers(source, ahead.file, ahead.common, head);
    if (!changes && changes.error().code == Code::kUnavailable) co_return std::unexpected(changes.error());
    // A line with a gap is one that has changed.
    RescuePlan plan{.came = std::vector<Version>(versions.size())};
    if (changes) plan = plan_rescue(*changes, versions);
    for (size_t i = 0; i < versions.size(); ++i) {
      if (plan.came[i]) fates_[{ahead.file, from_wire(versions[i].version())}] = fate_of(versions[i], plan.came[i]);
    }
    auto node = catalogue_->node(ahead.file);
    if (plan.bring && node && node->kind == NodeKind::kFile && node->state != NodeState::kDeleting) {
      Status brought = co_await bring(source, *node, head, versions, std::move(plan));
      if (brought || brought.error().code == Code::kUnavailable) co_return brought;
      log_info("set aside without a rescue: " + brought.error().to_string());
    }
    // What came of it, and what else came there.
    wire::MemberStatRequest ask;
    ask.set_file_id(number(ahead.file));
    CO_ASSIGN_OR_RETURN(auto stat, co_await call_server<wire::MemberStatReply>(links_, source, wire::MEMBER_STAT, ask));
    const Version now = from_wire(stat.head());
    if (now == head) break;
    head = now;
  }
  for (const auto& header : versions) {
    const Version version = from_wire(header.version());
    if (fates_.contains({ahead.file, version})) continue;
    if (header.kind() == wire::CHANGE_DELETE) {
      fates_[{ahead.file, version}] = {.deletion = true};
      continue;
    }
    CO_ASSIGN_OR_RETURN(auto whole, co_await record(target_, ahead.file, version));
    CO_RETURN_IF_ERROR(co_await keep_beside(target_, source, std::move(whole)));
    Fate fate = fate_of(header, {});
    fate.kept_as = recovered_tag(header.time_us(), version);
    fates_[{ahead.file, version}] = std::move(fate);
  }
  co_return Status{};
}

// Again as versions of the acting primary, compare-and-set on what it has, each under the request that
// made it: so a client that repeats one of them still gets one answer, and each checkpoint names
// what it named. Nobody reads them before the newest is there: an older content would have
// a newer number than what a session saw.
Task<Status> Rescue::bring(std::string source, Node node, Version head, Records versions, RescuePlan plan) {
  std::map<Version, Version> came;
  size_t last = versions.size();  // The newest content that is yet to come.
  for (size_t i = 0; i < versions.size(); ++i) {
    if (plan.came[i]) {
      came[from_wire(versions[i].version())] = plan.came[i];
    } else if (versions[i].kind() != wire::CHANGE_CHECKPOINT) {
      last = i;
    }
  }
  for (size_t i = 0; i < versions.size(); ++i) {
    const Version version = from_wire(versions[i].version());
    if (plan.came[i]) continue;
    const bool checkpoint = versions[i].kind() == wire::CHANGE_CHECKPOINT;
    CO_ASSIGN_OR_RETURN(auto whole, co_await record(target_, node.id, version));
    if (whole.trimmed()) co_return fail(Code::kNotFound, "the content of version " + version.to_string() + " is gone");
    if (auto target = came.find(from_wire(whole.undo_target())); target != came.end()) {
      to_wire(target->second, whole.mutable_undo_target());
    }
    std::string tag = whole.tag();
    if (checkpoint) {
      auto named = co_await bring_checkpoint(source, node, head, whole);
      if (!named && named.error().code == Code::kExists) {
        // Somebody gave that name to another content since.
        tag = recovered_tag(whole.time_us(), version);
        whole.set_tag(tag);
        named = co_await bring_checkpoint(source, node, head, std::move(whole));
      }
      if (!named) co_return std::unexpected(as_passing(named.error()));
      head = *named;
    } else {
      auto brought = co_await bring_version(source, node, head, std::move(whole), i < last);
      if (!brought) co_return std::unexpected(as_passing(brought.error()));
      head = came[version] = *brought;
    }
    Fate fate = fate_of(versions[i], head);
    if (checkpoint) fate.kept_as = tag;
    fates_[{node.id, version}] = std::move(fate);
  }
  co_return Status{};
}

Task<Result<Version>> Rescue::bring_checkpoint(std::string source, Node node, Version expected, wire::VersionRecord record) {
  CO_ASSIGN_OR_RETURN(uint64_t under, epoch());
  wire::CheckpointRequest request;
  request.set_file_id(number(node.id));
  request.set_epoch(under);
  *request.mutable_request() = record.request();
  *request.mutable_name() = short_name_record(*catalogue_, node);
  request.set_user(record.user());
  request.set_tag(record.tag());
  to_wire(expected, request.mutable_expected());
  CO_ASSIGN_OR_RETURN(auto done, co_await call_server<wire::VersionReply>(links_, source, wire::CHECKPOINT, request));
  co_return from_wire(done.version());
}

Task<Result<Version>> Rescue::bring_version(std::string source, Node node, Version expected, wire::VersionRecord record,
                                            bool more_follow) {
  if (is_big(record)) CO_RETURN_IF_ERROR(co_await worker_of_(source)->carry_big(target_, record));
  CO_ASSIGN_OR_RETURN(uint64_t under, epoch());
  wire::PutRequest put;
  put.set_file_id(number(node.id));
  put.set_epoch(under);
  *put.mutable_request() = record.request();
  *put.mutable_name() = short_name_record(*catalogue_, node);
  put.set_mode(record.mode());
  put.set_modified_us(record.modified_us());
  put.set_user(record.user());
  put.set_exclusive(!expected);
  if (expected) to_wire(expected, put.mutable_expected());
  put.set_more_follow(more_follow);
  auto* brought = put.mutable_brought();
  brought->set_kind(record.kind());
  *brought->mutable_undo_target() = record.undo_target();
  brought->set_tag(record.tag());
  brought->set_edit_record(record.edit_record());
  if (is_big(record)) {
    *brought->mutable_chunks() = std::move(*record.mutable_chunks());
    brought->set_list_level(record.list_level());
    brought->set_size_bytes(record.size_bytes());
  }
  std::shared_ptr<Peer> primary = links_->peer(source);
  if (!primary) co_return fail(Code::kUnavailable, source + " is not connected");
  CO_ASSIGN_OR_RETURN(auto done, co_await call<wire::VersionReply>(primary.get(), wire::PUT, put, kServerCallTimeout,
                                                                  std::move(*record.mutable_inline_content())));
  co_return from_wire(done.version());
}

// Not in the line of the head: nobody sees it who does not ask for it by its number or name.
Task<Status> Rescue::keep_beside(std::string from, std::string to, wire::VersionRecord record) {
  if (is_big(record)) {
    Status carried = co_await worker_of_(to)->carry_big(from, record);
    if (!carried) co_return std::unexpected(as_passing(carried.error()));
  }
  CO_ASSIGN_OR_RETURN(uint64_t under, epoch());
  wire::KeepAsideRequest request;
  request.set_epoch(under);
  *request.add_versions() = std::move(record);
  auto kept = co_await call_server<wire::KeepAsideReply>(links_, to, wire::KEEP_ASIDE, request);
  if (!kept) co_return std::unexpected(as_passing(kept.error()));
  co_return Status{};
}

Task<Result<Rescue::AsideFiles>> Rescue::list_aside(std::string server) {
  AsideFiles files;
  wire::ListAsideRequest request;
  request.set_limit(kFilesInPage);
  while (true) {
    CO_ASSIGN_OR_RETURN(auto page, co_await call_server<wire::ListAsideReply>(links_, server, wire::LIST_ASIDE, request));
    for (const auto& file : page.files()) {
      request.set_after_file_id(file.file_id());
      for (const auto& version : file.versions()) files[file.file_id()].push_back(from_wire(version));
    }
    if (!page.more() || page.files_size() == 0) co_return files;
  }
}

Task<Status> Rescue::copy_aside(std::string from, std::string to, AsideFiles has, AsideFiles known) {
  for (const auto& [file, versions] : has) {
    for (Version version : versions) {
      if (std::ranges::find(known[file], version) != known[file].end()) continue;
      auto whole = co_await record(from, FileId{file}, version);
      Status copied = whole ? co_await keep_beside(from, to, *std::move(whole)) : std::unexpected(whole.error());
      if (copied) continue;
      if (copied.error().code == Code::kUnavailable) co_return copied;
      // It is readable where it is; a later comparison tries again.
      log_warning("kept on " + from + " only: version " + version.to_string() + ": " + copied.error().to_string());
    }
  }
  co_return Status{};
}

Task<Status> Rescue::even_out(std::string source) {
  auto here = co_await call_server<wire::DigestReply>(links_, source, wire::DIGEST, wire::DigestRequest());
  if (!here) co_return std::unexpected(here.error());
  auto there = co_await call_server<wire::DigestReply>(links_, target_, wire::DIGEST, wire::DigestRequest());
  if (!there) co_return std::unexpected(there.error());
  if (here->aside() == there->aside()) co_return Status{};
  CO_ASSIGN_OR_RETURN(AsideFiles at_source, co_await list_aside(source));
  CO_ASSIGN_OR_RETURN(AsideFiles at_target, co_await list_aside(target_));
  CO_RETURN_IF_ERROR(co_await copy_aside(source, target_, at_source, at_target));
  co_return co_await copy_aside(target_, source, std::move(at_target), std::move(at_source));
}

}  // namespace understudy
