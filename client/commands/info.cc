// INFO and EXPLAIN: what is known of one file.
#include <fmt/format.h>

#include "client/commands/commands.h"

namespace understudy::client {
namespace {

std::string joined(const google::protobuf::RepeatedPtrField<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "-" : text;
}

std::vector<std::string> tags_of(const wire::StatReply& stat) {
  std::vector<std::string> tags;
  for (const auto& checkpoint : stat.checkpoints()) tags.push_back(checkpoint.tag());
  return tags;
}

std::vector<std::string> divergent_versions(const wire::CopyStatus& copy) {
  std::vector<std::string> versions;
  for (const auto& version : copy.divergent()) versions.push_back(version_text(version));
  return versions;
}

std::string durability_name(wire::Durability durability) { return durability == wire::DURABILITY_SYNC ? "sync" : "async"; }

std::string durability_text(const wire::Location& location) {
  std::string from = location.durability_from();
  return durability_name(location.durability()) + (from.empty() ? " (the cluster's)" : " (set for " + printable_whole(from) + ")");
}

Json copy_object(const wire::CopyStatus& copy) {
  Json object;
  object.text("server", copy.server()).text("address", copy.address()).truth("reachable", copy.reachable());
  object.truth("acting_primary", copy.acting_primary()).truth("in_sync", copy.in_sync());
  object.truth("has_file", copy.has_file()).text("version", version_text(copy.head()));
  object.count("size_bytes", copy.size_bytes()).truth("behind", copy.jobs() > 0);
  object.number("behind_ms", copy.behind_ms()).count("behind_bytes", copy.behind_bytes());
  object.texts("divergent", divergent_versions(copy));
  return object;
}

std::string copy_line(const wire::CopyStatus& copy) {
  std::string line = copy.server() + ": ";
  if (!copy.reachable()) {
    line += "not reachable";
  } else {
    line += copy.has_file() ? "version " + version_text(copy.head()) + ", " + format_size(copy.size_bytes())
                            : "nothing of it yet";
  }
  if (copy.acting_primary()) line += ", acting primary";
  if (copy.jobs() > 0) {
    line += fmt::format(", {} behind for {}", format_size(copy.behind_bytes()), format_age(copy.behind_ms()));
  } else if (copy.reachable() && !copy.acting_primary()) {
    line += copy.in_sync() ? ", nothing behind" : ", being compared";
  }
  const auto aside = divergent_versions(copy);
  if (aside.size() > 3) {
    line += fmt::format(", set aside: {} versions from {} to {} (READ --version reads each)", aside.size(), aside.front(), aside.back());
  } else {
    for (const std::string& version : aside) line += ", set aside: " + version + " (READ --version reads it)";
  }
  return line;
}

std::vector<Json> copy_objects(const wire::ExplainReply& reply) {
  std::vector<Json> copies;
  for (const auto& copy : reply.copies()) copies.push_back(copy_object(copy));
  return copies;
}

}  // namespace

Task<Status> run_info(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  auto looking = shell->session.look_up(path, true);
  CO_ASSIGN_OR_RETURN(wire::Location location, co_await looking);
  auto asking_stat = shell->session.stat(path, true);
  CO_ASSIGN_OR_RETURN(wire::StatReply stat, co_await asking_stat);
  wire::ExplainRequest explain;
  explain.set_path(path);
  auto explaining = shell->session.ask<wire::ExplainReply>(wire::EXPLAIN, explain.SerializeAsString());
  CO_ASSIGN_OR_RETURN(wire::ExplainReply copies, co_await explaining);

  const wire::NameRecord& name = location.name();
  if (shell->out.json()) {
    Json object;
    object.text("path", path).text("owner", name.owner()).text("id", fmt::format("{:016x}", location.file_id()));
    object.time("created", stat.created_us()).time("modified", stat.modified_us());
    object.text("modified_by", stat.modified_by()).time("accessed", stat.accessed_us());
    object.text("accessed_by", stat.accessed_by()).count("size_bytes", stat.size_bytes());
    object.count("words", stat.words()).count("characters", stat.characters()).count("sentences", stat.sentences());
    object.text("version", version_text(stat.version())).count("versions", stat.versions());
    object.texts("readers", {name.readers().begin(), name.readers().end()});
    object.texts("writers", {name.writers().begin(), name.writers().end()});
    object.text("pair", location.pair()).list("copies", copy_objects(copies));
    object.text("durability", durability_name(location.durability())).text("durability_from", location.durability_from());
    object.text("version_durability", durability_name(stat.durability())).texts("checkpoints", tags_of(stat));
    object.text("lost_version", copies.has_lost() ? version_text(copies.lost().version()) : "");
    object.text("lost_with", copies.lost().disk().server()).time("lost_at", copies.lost().disk().time_us());
    object.text("lost_disk", copies.lost_disk().server()).time("lost_disk_at", copies.lost_disk().time_us());
    shell->out.object(object);
    co_return Status{};
  }
  auto line = [shell](std::string_view field, const std::string& value) {
    shell->out.line(fmt::format("{:<14}{}", field, value));
  };
  line("path", printable_whole(path));
  line("owner", name.owner());
  line("created", format_time(stat.created_us()));
  line("modified", format_time(stat.modified_us()) + " by " + stat.modified_by());
  line("last access", stat.accessed_us() == 0 ? "-" : format_time(stat.accessed_us()) + " by " + stat.accessed_by());
  line("size", std::to_string(stat.size_bytes()) + " bytes");
  line("words", std::to_string(stat.words()));
  line("sentences", std::to_string(stat.sentences()));
  line("version", version_text(stat.version()));
  line("access", name.readers().empty() && name.writers().empty()
                     ? "owner only"
                     : "read: " + joined(name.readers()) + "; write: " + joined(name.writers()));
  line("pair", location.pair());
  for (const auto& copy : copies.copies()) line("copy", copy_line(copy));
  line("durability", fmt::format("{}; version {}: {}", durability_text(location), version_text(stat.version()),
                                 durability_name(stat.durability())));
  if (copies.has_lost()) {
    line("lost", fmt::format("version {} was lost with the disk of {}, given up {}; the newest is version {} now",
                             version_text(copies.lost().version()), copies.lost().disk().server(),
                             format_time(copies.lost().disk().time_us()), version_text(stat.version())));
  }
  if (copies.has_lost_disk()) {
    line("perhaps lost", fmt::format("what was written last before {} failed, and never announced: its disk was given up {}",
                                     copies.lost_disk().server(), format_time(copies.lost_disk().time_us())));
  }
  std::string checkpoints;
  for (const auto& checkpoint : stat.checkpoints()) {
    checkpoints += (checkpoints.empty() ? "" : ", ") + printable(checkpoint.tag()) + " (" + version_text(checkpoint.version()) + ")";
  }
  line("checkpoints", checkpoints.empty() ? "none" : checkpoints);
  co_return Status{};
}

Task<Status> run_explain(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  wire::ExplainRequest request;
  request.set_path(path);
  auto explaining = shell->session.ask<wire::ExplainReply>(wire::EXPLAIN, request.SerializeAsString());
  CO_ASSIGN_OR_RETURN(wire::ExplainReply reply, co_await explaining);
  if (shell->out.json()) {
    Json object;
    object.text("path", path).text("pair", reply.location().pair()).count("epoch", reply.location().epoch());
    object.text("durability", durability_name(reply.location().durability())).text("durability_from", reply.location().durability_from());
    object.list("copies", copy_objects(reply)).texts("lines", {reply.lines().begin(), reply.lines().end()});
    shell->out.object(object);
    co_return Status{};
  }
  for (const auto& copy : reply.copies()) shell->out.line(copy_line(copy));
  shell->out.line("durability of a write: " + durability_text(reply.location()));
  for (const std::string& line : reply.lines()) shell->out.line(line);
  co_return Status{};
}

}  // namespace understudy::client
