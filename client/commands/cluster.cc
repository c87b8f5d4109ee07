// STATUS, EVENTS, WAIT.
#include <fmt/format.h>

#include "client/commands/commands.h"
#include "common/wire/durability.pb.h"

namespace understudy::client {
namespace {

using namespace std::chrono_literals;

int64_t milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

// What of this pair is not on two running machines that have everything; empty: nothing.
std::string summary(const wire::PairStatus& pair) {
  if (pair.members_size() < 2) {
    std::string alone = "pair " + pair.pair() + " has one server only";
    if (pair.files_at_risk() == 0) return alone;
    return fmt::format("{}, {} only on {}: {}", counted(pair.files_at_risk(), "file"), format_size(pair.bytes_at_risk()),
                       pair.members(0).server(), alone);
  }
  // What waits for one half stands only on the other.
  std::string holder = pair.members(0).jobs() > pair.members(1).jobs() ? pair.members(1).server() : pair.members(0).server();
  std::string text;
  if (pair.files_at_risk() > 0) {
    text = fmt::format("{}, {} only on {}; oldest {}", counted(pair.files_at_risk(), "file"),
                       format_size(pair.bytes_at_risk()), holder, format_age(pair.oldest_at_risk_ms()));
  }
  for (const auto& member : pair.members()) {
    std::string what;
    if (member.state() == wire::MemberStatus::FAILED) what = " has failed";
    else if (member.state() == wire::MemberStatus::ABSENT) what = " is not connected";
    else if (!member.in_sync()) what = " is not in sync yet";
    else if (member.scrub().damaged() > 0) what = " holds " + counted(member.scrub().damaged(), "damaged record") + ", see EVENTS";
    if (what.empty()) continue;
    text += (text.empty() ? "" : "; ") + member.server() + what;
  }
  return text;
}

// STATUS opens with this: is everything on two machines?
std::string summary(const wire::StatusReply& status) {
  if (status.pairs().empty()) return "no storage server is registered; nothing can be stored";
  std::string text;
  for (const auto& pair : status.pairs()) {
    std::string sentence = summary(pair);
    if (!sentence.empty()) text += (text.empty() ? "" : "; ") + sentence;
  }
  return text.empty() ? "all data is on both machines" : text;
}

bool all_on_both(const wire::StatusReply& status) {
  return !status.pairs().empty() && summary(status) == "all data is on both machines";
}

std::string_view state_name(wire::MemberStatus::State state) {
  switch (state) {
    case wire::MemberStatus::ALIVE: return "alive";
    case wire::MemberStatus::FAILED: return "failed";
    case wire::MemberStatus::FILLING: return "filling";
    case wire::MemberStatus::RETURNING: return "returning";
    default: return "absent";
  }
}

Json member_object(const wire::MemberStatus& member) {
  Json object;
  object.text("server", member.server()).text("address", member.address()).text("state", state_name(member.state()));
  object.truth("in_sync", member.in_sync()).truth("acting_primary", member.acting_primary());
  object.number("last_heartbeat_ms", member.last_heartbeat_ms()).count("files", member.files());
  object.count("bytes", member.bytes()).count("jobs", member.jobs()).count("job_bytes", member.job_bytes());
  object.number("oldest_job_ms", member.oldest_job_ms()).count("resync_done", member.resync_done());
  object.count("resync_bytes_done", member.resync_bytes_done()).count("resync_bytes_total", member.resync_bytes_total());
  object.number("resync_left_ms", member.resync_left_ms());
  object.count("resync_total", member.resync_total()).count("divergent", member.divergent());
  object.count("disk_free_bytes", member.disk_free_bytes()).text("store_id", member.store_id());
  object.count("hints", member.hints()).count("hint_bytes", member.hint_bytes()).count("sync_hints", member.sync_hints());
  object.number("oldest_hint_ms", member.oldest_hint_ms());
  object.number("certificate_expires_us", member.certificate_expires_us()).truth("old_authority", member.old_authority());
  const auto& space = member.space();
  object.count("stored_bytes", space.stored()).count("live_bytes", space.live());
  object.count("reclaimable_bytes", space.reclaimable()).count("compacted_bytes", space.compacted());
  object.count("held_past_bytes", space.past()).count("held_named_bytes", space.named());
  object.count("held_unreplicated_bytes", space.unreplicated()).count("held_read_bytes", space.read());
  object.count("held_deleted_bytes", space.deleted()).count("deleted_files", space.deleted_files());
  object.count("held_set_aside_bytes", space.set_aside());
  const auto& scrub = member.scrub();
  object.time("scrub_last", scrub.last_end_us()).count("scrub_last_bytes", scrub.last_bytes());
  object.count("scrub_bytes", scrub.pass_bytes()).count("scrub_total", scrub.pass_total());
  object.count("damaged", scrub.damaged()).count("repaired", scrub.repaired());
  return object;
}

// What its log takes on the disk, and what of that is held why.
std::string space_line(const wire::SpaceReport& space) {
  std::string line = "    " + format_size(space.stored()) + " stored";
  if (space.reclaimable() > 0) line += ", " + format_size(space.reclaimable()) + " to be given back";
  std::string held;
  auto hold = [&held](uint64_t bytes, const std::string& why) {
    if (bytes > 0) held += (held.empty() ? "" : ", ") + format_size(bytes) + " " + why;
  };
  hold(space.past(), "older versions");
  hold(space.named(), "checkpoints");
  hold(space.deleted(), "in " + counted(space.deleted_files(), "deleted file"));
  hold(space.unreplicated(), "past retention, not known to be on the other half");
  hold(space.read(), "past retention, being read");
  hold(space.set_aside(), "set aside");
  return held.empty() ? line : line + "; held: " + held;
}

std::string member_line(const wire::MemberStatus& member) {
  std::string line = fmt::format("  {:<16} {:<22} {}", member.server(),
                                 member.address().empty() ? "-" : member.address(), state_name(member.state()));
  if (member.acting_primary()) line += ", acting primary";
  line += member.in_sync() ? ", in sync" : ", not in sync";
  line += member.last_heartbeat_ms() < 0 ? ", no heartbeat yet"
                                         : ", heartbeat " + format_age(member.last_heartbeat_ms()) + " ago";
  line += ", " + counted(member.files(), "file") + ", " + format_size(member.bytes());
  if (member.jobs() > 0) {
    line += fmt::format(", lag {}, {}, oldest {}", counted(member.jobs(), "job"), format_size(member.job_bytes()),
                        format_age(member.oldest_job_ms()));
  }
  if (member.hints() > 0) {
    line += fmt::format(", {} kept for it ({} promised), {}, oldest {}", counted(member.hints(), "hint"), member.sync_hints(),
                        format_size(member.hint_bytes()), format_age(member.oldest_hint_ms()));
  }
  if (member.resync_total() > 0) {
    line += fmt::format(", resync {} of {} files, {} of {}", member.resync_done(), member.resync_total(),
                        format_size(member.resync_bytes_done()), format_size(member.resync_bytes_total()));
    if (member.resync_left_ms() >= 0) line += ", about " + format_age(member.resync_left_ms()) + " left";
  }
  if (member.divergent() > 0) line += ", " + counted(member.divergent(), "version") + " set aside";
  const auto& scrub = member.scrub();
  if (scrub.last_end_us() > 0) line += ", last scrubbed " + format_time(scrub.last_end_us()) + ", " + format_size(scrub.last_bytes());
  if (scrub.damaged() > 0) line += ", DAMAGED: " + counted(scrub.damaged(), "record") + ", see EVENTS";
  if (scrub.repaired() > 0) line += ", " + counted(scrub.repaired(), "record") + " repaired";
  return line;
}

void show_status(Shell* shell, const wire::StatusReply& status) {
  if (shell->out.json()) {
    std::vector<Json> name_nodes, pairs;
    for (const auto& node : status.name_nodes()) {
      name_nodes.push_back(Json().count("id", node.id()).text("address", node.address()).truth("leader", node.leader())
                               .count("raft_index", node.raft_index()));
    }
    for (const auto& pair : status.pairs()) {
      std::vector<Json> members;
      for (const auto& member : pair.members()) members.push_back(member_object(member));
      Json object;
      object.text("pair", pair.pair()).count("epoch", pair.epoch()).text("acting_primary", pair.acting_primary());
      object.truth("serving", pair.serving()).truth("stale", pair.stale()).text("preferred", pair.preferred());
      object.count("files_at_risk", pair.files_at_risk()).count("bytes_at_risk", pair.bytes_at_risk());
      object.number("oldest_at_risk_ms", pair.oldest_at_risk_ms()).text("relayed", pair.relayed()).list("members", members);
      object.time("compared", pair.compared_us()).truth("halves_differ", pair.halves_differ());
      object.count("lost_files", pair.lost_files()).text("lost_disk", pair.lost_disk().server());
      object.time("lost_disk_at", pair.lost_disk().time_us());
      pairs.push_back(object);
    }
    Json object;
    object.text("summary", summary(status)).truth("all_on_both", all_on_both(status));
    object.text("cluster_id", status.cluster_id()).count("files", status.files()).count("folders", status.folders());
    object.text("durability", status.durability()).number("heartbeat_interval_ms", status.heartbeat_interval_ms());
    object.number("failure_timeout_ms", status.failure_timeout_ms());
    object.text("replication_path", status.replication_path()).truth("hints", status.hints());
    object.count("hint_bytes", status.hint_bytes()).count("hint_bytes_max", status.hint_bytes_max());
    object.number("hint_interval_ms", status.hint_interval_ms()).number("hint_ttl_ms", status.hint_ttl_ms());
    object.list("name_nodes", name_nodes).list("pairs", pairs);
    shell->out.object(object);
    return;
  }
  shell->out.line(summary(status));
  for (const auto& node : status.name_nodes()) {
    std::string line = fmt::format("name node {} {}{}, log index {}", node.id(), node.address(),
                                   node.leader() ? ", leader" : "", node.raft_index());
    if (status.name_nodes_size() == 1) line += "; alone: a single point of failure";
    shell->out.line(line);
  }
  shell->out.line(fmt::format("{}, {}; durability {}; heartbeats every {}, failed after {}",
                              counted(status.files(), "file"), counted(status.folders(), "folder"),
                              status.durability(), format_age(status.heartbeat_interval_ms()),
                              format_age(status.failure_timeout_ms())));
  for (const auto& pair : status.pairs()) {
    std::string line = "pair " + pair.pair() + ": ";
    line += pair.acting_primary().empty() ? "no acting primary"
                                          : fmt::format("{} acts as primary, epoch {}", pair.acting_primary(), pair.epoch());
    if (!pair.serving()) line += ", writes wait";
    if (pair.stale()) line += ", reads may be old";
    if (!pair.preferred().empty()) line += fmt::format("; {} is to act by request, until HANDBACK {}", pair.preferred(), pair.pair());
    if (!pair.relayed().empty()) line += "; through the name node for now: " + pair.relayed();
    if (pair.compared_us() > 0) line += ", halves found equal " + format_time(pair.compared_us());
    if (pair.halves_differ()) line += ", HALVES DIFFER, being settled";
    shell->out.line(line);
    if (pair.lost_files() > 0) {
      shell->out.line(fmt::format("  {} lost the newest version with a disk, and {} not written since: EVENTS and INFO name {}",
                                  counted(pair.lost_files(), "file"), pair.lost_files() == 1 ? "is" : "are",
                                  pair.lost_files() == 1 ? "it" : "them"));
    }
    if (pair.has_lost_disk()) {
      shell->out.line(fmt::format("  the disk of {} was given up {}: what it acknowledged last and never announced may be lost",
                                  pair.lost_disk().server(), format_time(pair.lost_disk().time_us())));
    }
    for (const auto& member : pair.members()) {
      shell->out.line(member_line(member));
      if (member.space().stored() > 0) shell->out.line(space_line(member.space()));
    }
  }
}

void show_event(Shell* shell, const wire::Event& event) {
  if (!shell->out.json()) {
    std::string line = format_time(event.time_us()) + "  " + event.kind() + ": " + printable_whole(event.text());
    shell->out.line(line);
    return;
  }
  Json object;
  object.count("id", event.id()).time("time", event.time_us()).text("kind", event.kind());
  object.text("server", event.server()).text("pair", event.pair()).text("path", event.path());
  object.text("version", version_text(event.version())).text("text", event.text());
  shell->out.object(object);
}

bool is_seconds(const std::string& text) {
  return !text.empty() && text[0] >= '0' && text[0] <= '9' && parse_duration(text).has_value();
}

}  // namespace

Task<Status> run_status(Shell* shell, Command command) {
  bool watch = command.has("--watch");
  do {
    auto asking = shell->session.ask<wire::StatusReply>(wire::STATUS, {});
    CO_ASSIGN_OR_RETURN(wire::StatusReply status, co_await asking);
    if (watch && !shell->out.json() && shell->out.on_terminal()) shell->out.line("\x1b[H\x1b[J" + format_time(shell->env.clock.wall().time_since_epoch().count()));
    show_status(shell, status);
    if (!shell->out.flush()) break;
    if (watch) {
      auto pause = sleep_for(shell->env, 1s);
      co_await pause;
    }
  } while (watch);
  co_return Status{};
}

Task<Status> run_events(Shell* shell, Command command) {
  bool follow = command.has("--follow");
  wire::EventsRequest request;
  request.set_limit(1000);
  for (;;) {
    auto asking = shell->session.ask<wire::EventsReply>(wire::EVENTS, request.SerializeAsString(), 10s);
    CO_ASSIGN_OR_RETURN(wire::EventsReply reply, co_await asking);
    for (const auto& event : reply.events()) {
      show_event(shell, event);
      request.set_after(event.id());
    }
    if (!shell->out.flush()) break;
    if (reply.more()) continue;
    if (!follow) break;
    request.set_wait(true);
    request.set_wait_ms(5000);
  }
  co_return Status{};
}

Task<Status> run_wait(Shell* shell, Command command) {
  std::vector<std::string> arguments = command.arguments;
  std::optional<Duration> limit;
  // The last argument is a time if it looks like one; a file named 5 is ./5.
  if (!arguments.empty() && is_seconds(arguments.back())) {
    CO_ASSIGN_OR_RETURN(limit, parse_duration(arguments.back()));
    arguments.pop_back();
  }
  if (arguments.size() > 1) co_return fail(Code::kInvalid, "the time is a number of seconds; use: WAIT [path] [seconds]");
  wire::WaitRequest request;
  if (!arguments.empty()) {
    CO_ASSIGN_OR_RETURN(std::string path, shell->path(arguments[0]));
    request.set_path(path);
  }
  Instant begun = shell->env.clock.now();
  Instant progressed = begun;
  uint64_t left = UINT64_MAX;
  for (;;) {
    Instant now = shell->env.clock.now();
    // Without a time it waits as long as something still moves.
    Instant until = limit ? begun + *limit : progressed + shell->session.options().timeout;
    Duration patience = std::clamp<Duration>(until - now, 0ms, 1s);
    request.set_wait_ms(milliseconds(patience));
    auto asking = shell->session.ask<wire::WaitReply>(wire::WAIT, request.SerializeAsString(), patience);
    CO_ASSIGN_OR_RETURN(wire::WaitReply reply, co_await asking);
    request.set_token(reply.token());
    if (reply.done()) break;
    now = shell->env.clock.now();
    if (reply.bytes_left() + reply.files_left() < left) progressed = now;
    left = reply.bytes_left() + reply.files_left();
    if (now >= until) {
      co_return fail(Code::kUnavailable,
                     fmt::format("WAIT ran out: {}, {} are not yet on both halves{}; see STATUS",
                                 counted(reply.files_left(), "file"), format_size(reply.bytes_left()),
                                 reply.why().empty() ? "" : " (" + reply.why() + ")"));
    }
  }
  int64_t waited = milliseconds(shell->env.clock.now() - begun);
  Json object;
  object.truth("done", true).number("waited_ms", waited);
  shell->out.done("both halves hold it all, after " + format_age(waited), object);
  co_return Status{};
}

Task<Status> run_set_durability(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  const std::string& durability = command.arguments[1];
  if (durability != "async" && durability != "sync") {
    co_return fail(Code::kInvalid, "SETDURABILITY takes async or sync, not " + printable(durability));
  }
  wire::SetDurabilityRequest request;
  request.set_path(path);
  request.set_durability(durability == "sync" ? wire::DURABILITY_SYNC : wire::DURABILITY_ASYNC);
  auto asking = shell->session.change(wire::SET_DURABILITY, request);
  CO_RETURN_IF_ERROR(co_await asking);
  shell->out.done("durability of " + printable(path) + " is " + durability + " from now on",
                  Json().text("path", path).text("durability", durability));
  co_return Status{};
}

}  // namespace understudy::client
