// Commands and questions about people: users, access lists, requests, keys. Who may
// do what is docs/security.md's table; a user's command is checked where it is applied,
// so nothing can come between.
#include <fmt/format.h>

#include <algorithm>

#include "common/wire/identity.pb.h"
#include "nm/catalogue_change.h"

namespace understudy {
namespace {

constexpr size_t kUserNameSizeMax = 64;
// What a folder's list has is copied to all that is made in it.
constexpr uint32_t kFolderListMax = 1000;
constexpr uint32_t kRequestsOfUserMax = 1000;

std::string_view doing(Right right, NodeKind kind) {
  bool folder = kind == NodeKind::kFolder;
  switch (right) {
    case Right::kRead: return "may not read it";
    case Right::kWrite: return folder ? "may not make or change names in it" : "may not write it";
    default: return "is not its owner";
  }
}

}  // namespace

Status check_user_name(std::string_view name) {
  auto alphanumeric = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  bool good = !name.empty() && name.size() <= kUserNameSizeMax && alphanumeric(name.front()) &&
              std::ranges::all_of(name, [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
  if (good) return {};
  return fail(Code::kInvalid, printable(name) + ": a user's name is 1 to 64 letters, digits, '.', '_' and '-', a letter or digit first");
}

// ---- Questions --------------------------------------------------------------------------

bool Catalogue::is_administrator(std::string_view name) {
  if (name.empty() || name == kFirstUser) return true;
  auto row = user(name);
  return row && row->administrator;
}

Right Catalogue::right_of(const Node& node, std::string_view user) {
  if (node.owner == user || is_administrator(user)) return Right::kOwn;
  Right right = answered(store_->people().access(node.id, user));
  // What is made in the root belongs to its makers; so anybody may begin.
  return node.id == kRootFolder ? std::max(right, Right::kWrite) : right;
}

Status Catalogue::check_right(const Node& node, std::string_view path, std::string_view user, Right wanted) {
  if (right_of(node, user) >= wanted) return {};
  std::string shown = printable(path);
  std::string text = fmt::format("{}: {} {}; ", shown, user, doing(wanted, node.kind));
  if (node.owner.empty()) {
    text += "it belongs to the administrators";
  } else if (wanted == Right::kOwn) {
    text += "ask " + node.owner + ", whose it is";
  } else {
    text += fmt::format("it belongs to {}: REQUESTACCESS -{} {} asks for it", node.owner, wanted == Right::kRead ? "R" : "W", shown);
  }
  return fail(Code::kDenied, std::move(text));
}

Status Catalogue::check_right(FileId folder, std::string_view user, Right wanted) {
  auto node = store_->node(folder);
  if (!node) return fail(Code::kNotFound, "no such folder any more");
  if (right_of(*node, user) >= wanted) return {};
  auto path = path_of(folder);
  return check_right(*node, path ? *path : node->name, user, wanted);
}

// ---- Commands ---------------------------------------------------------------------------

void Catalogue::add_user(const wire::AddUser& command, Change& change) {
  if (auto valid = check_user_name(command.name()); !valid) return change.refuse(valid.error());
  if (!is_administrator(change.user)) {
    return change.refuse(Code::kDenied, change.user + " may not add users; an administrator may");
  }
  auto before = store_->people().user_ever(command.name());
  if (before && !before->removed) {
    return change.refuse(Code::kExists, command.name() + ": there is such a user already");
  }
  // Sessions of the one who had the name before are over for good.
  store_->people().put_user({.name = command.name(),
                             .administrator = command.administrator() || command.name() == kFirstUser,
                             .generation = before ? before->generation + 1 : 1,
                             .created_us = change.now_us,
                             .password = command.password().SerializeAsString()});
  ++people_changes_;
  change.outcome.set_count(1);
}

void Catalogue::set_password(const wire::SetPassword& command, Change& change) {
  if (change.user != command.name() && !is_administrator(change.user)) {
    return change.refuse(Code::kDenied, change.user + " may not set another's password; an administrator may");
  }
  auto row = store_->people().user(command.name());
  if (!row) return change.refuse(Code::kNotFound, printable(command.name()) + ": no such user; LIST shows them");
  ++row->generation;
  row->password = command.password().SerializeAsString();
  store_->people().put_user(*row);
  ++people_changes_;
  change.outcome.set_count(1);
}

Status Catalogue::check_removal(std::string_view name, std::string_view give_to, std::string_view asker) {
  if (!is_administrator(asker)) return fail(Code::kDenied, std::string(asker) + " may not remove users; an administrator may");
  if (name == kFirstUser) return fail(Code::kInvalid, "admin stays an administrator for good");
  if (name == asker) return fail(Code::kInvalid, "you cannot remove yourself; another administrator can");
  if (!store_->people().user(name)) return fail(Code::kNotFound, printable(name) + ": no such user; LIST shows them");
  if (give_to == name) return fail(Code::kInvalid, "what a removed user owns cannot stay theirs; name another user");
  if (!give_to.empty() && !store_->people().user(give_to)) {
    return fail(Code::kNotFound, printable(give_to) + ": no such user; LIST shows them");
  }
  return {};
}

void Catalogue::remove_user(const wire::RemoveUser& command, Change& change) {
  if (auto may = check_removal(command.name(), command.give_to(), change.user); !may) return change.refuse(may.error());
  auto& people = store_->people();
  for (uint64_t object : command.objects()) {
    const FileId id{object};
    auto there = store_->node(id);
    if (!there || there->owner != command.name()) {
      // It may be deleted, and come back.
      if (!there && !command.give_to().empty()) people.give(id, command.name(), command.give_to());
      if (!there) people.erase_access(id, command.name());
      if (there && people.access(id, command.name()) != Right::kNone) change_access(*there, command.name(), Right::kNone, change);
      continue;
    }
    if (command.give_to().empty()) {
      return change.refuse(Code::kConflict, command.name() + " owns something; DELUSER --give-to says whose that is to be");
    }
    people.give(id, command.name(), command.give_to());
    Node given = *there;
    given.owner = command.give_to();
    if (people.access(id, command.give_to()) != Right::kNone) people.erase_access(id, command.give_to());
    given.meta_version = change.index;
    ++given.access_generation;
    store_->update_node(*there, given);
    queue_name(given, change);
  }
  change.outcome.set_count(static_cast<uint64_t>(command.objects_size()));
  if (command.objects_size() > 0) return;
  auto row = people.user(command.name());
  people.forget_requests_of(command.name());
  row->removed = true;
  row->administrator = false;
  ++row->generation;
  row->password.clear();
  people.put_user(*row);
  ++people_changes_;
}

void Catalogue::end_session(const wire::EndSession& command, Change& change) {
  store_->people().end_session(command.session(), command.expires_us(), change.now_us);
  ++people_changes_;
  change.outcome.set_count(1);
}

void Catalogue::add_keys(const wire::AddKeys& command, Change& change) {
  if (!is_administrator(change.user)) {
    return change.refuse(Code::kDenied, change.user + " may not change keys; an administrator may");
  }
  for (const auto& key : command.keys()) {
    auto known = store_->people().keys(key.pair());
    store_->people().put_key(key.pair(), {.id = known.empty() ? 1 : known.front().id + 1,
                                          .secret = key.secret(),
                                          .created_us = change.now_us});
  }
  ++people_changes_;
  change.outcome.set_count(command.keys_size());
}

void Catalogue::set_access(const wire::SetAccess& command, Change& change) {
  auto found = place(command.path(), false);
  if (!found) return change.refuse(found.error());
  if (!found->there) return change.refuse(Code::kNotFound, printable(command.path()) + ": no such file or folder");
  const Node& there = *found->there;
  if (auto may = check_right(there, command.path(), change.user, Right::kOwn); !may) return change.refuse(may.error());
  if (there.kind == NodeKind::kLink) return change.refuse(Code::kInvalid, printable(command.path()) + ": is a link; name what it leads to");
  auto& people = store_->people();
  auto shown = printable(command.user());
  if (command.user() == there.owner) return change.refuse(Code::kInvalid, shown + " is the owner, and may always");
  Right before = people.access(there.id, command.user());
  Right after = static_cast<Right>(command.right());
  if (after == Right::kNone && before == Right::kNone) {
    return change.refuse(Code::kNotFound, fmt::format("{}: {} has no access", printable(command.path()), shown));
  }
  if (after != Right::kNone && !people.user(command.user())) {
    return change.refuse(Code::kNotFound, shown + ": no such user; LIST shows them");
  }
  if (after > Right::kWrite) return change.refuse(Code::kInvalid, "access is to read or to write");
  change.outcome.set_object_id(number(there.id));
  change.outcome.set_kind(static_cast<wire::NodeKind>(there.kind));
  change.outcome.set_access_generation(there.access_generation);
  if (before == after) return;
  uint32_t most = there.kind == NodeKind::kFolder ? kFolderListMax : kAccessListMax;
  if (before == Right::kNone && people.access_list(there.id, "", most).size() >= most) {
    return change.refuse(Code::kOutOfRange, fmt::format("{}: its list has {} users already, the most there can be",
                                                        printable(command.path()), most));
  }
  change_access(there, command.user(), after, change);
}

// Whoever is left with less than before loses the capabilities given out so far.
void Catalogue::change_access(const Node& there, const std::string& user, Right after, Change& change) {
  auto& people = store_->people();
  Right before = people.access(there.id, user);
  if (after == Right::kNone) {
    people.erase_access(there.id, user);
  } else {
    people.put_access(there.id, user, after);
  }
  if (auto asked = people.request_of(there.id, user); asked && asked->right <= after) people.erase_request(asked->id);
  Node node = there;
  node.meta_version = change.index;
  if (after < before) ++node.access_generation;
  store_->update_node(there, node);
  queue_name(node, change);
  change.outcome.set_access_generation(node.access_generation);
  change.outcome.set_count(after < before ? 1 : 0);
  if (auto* pair = this->pair(node.pair)) change.outcome.set_pair(pair->name);
}

void Catalogue::ask_access(const wire::AskAccess& command, Change& change) {
  auto found = place(command.path(), true);
  if (!found) return change.refuse(found.error());
  if (!found->there) return change.refuse(Code::kNotFound, printable(command.path()) + ": no such file or folder");
  Right wanted = static_cast<Right>(command.right());
  if (wanted != Right::kRead && wanted != Right::kWrite) return change.refuse(Code::kInvalid, "access is to read or to write");
  const Node& there = *found->there;
  if (right_of(there, change.user) >= wanted) {
    return change.refuse(Code::kExists, fmt::format("{}: {} has that access already", printable(command.path()), change.user));
  }
  if (there.owner.empty()) return change.refuse(Code::kDenied, printable(command.path()) + ": belongs to the administrators");
  auto& people = store_->people();
  auto before = people.request_of(there.id, change.user);
  if (!before && people.count_requests_of(change.user, kRequestsOfUserMax) >= kRequestsOfUserMax) {
    return change.refuse(Code::kConflict, fmt::format("{} requests of {} wait for an answer already", kRequestsOfUserMax, change.user));
  }
  uint64_t id = people.put_request({.id = before ? before->id : 0,
                                    .object = there.id,
                                    .user = change.user,
                                    .owner = there.owner,
                                    .right = wanted,
                                    .time_us = change.now_us});
  change.outcome.set_object_id(number(there.id));
  change.outcome.set_count(id);
}

void Catalogue::answer_access(const wire::AnswerAccess& command, Change& change) {
  auto& people = store_->people();
  auto asked = people.request(command.id());
  auto there = asked ? store_->node(asked->object) : std::nullopt;
  // Of what is not one's own nothing is told, not even that it is there.
  if (!there || right_of(*there, change.user) < Right::kOwn) {
    return change.refuse(Code::kNotFound, fmt::format("{}: no such request for you to answer; VIEWREQUESTS shows them", command.id()));
  }
  people.erase_request(asked->id);
  change.outcome.set_object_id(number(there->id));
  change.outcome.set_user(asked->user);
  if (!command.approve()) return;
  Right before = people.access(there->id, asked->user);
  if (asked->right > before) change_access(*there, asked->user, asked->right, change);
}

// What is made in a folder gets its list; the folder's owner may write it too.
void Catalogue::inherit(FileId folder, const Node& made, const Change& change) {
  if (folder == kTrashFolder) return;
  auto& people = store_->people();
  uint64_t entries = people.copy_access(folder, made.id, made.owner);
  auto from = folder == kRootFolder ? std::nullopt : store_->node(folder);
  if (from && !from->owner.empty() && from->owner != made.owner) {
    people.put_access(made.id, from->owner, Right::kWrite);
    ++entries;
  }
  // A list that does not fit beside every version comes as a record of its own.
  if (entries > kNameRecordListMax && made.kind == NodeKind::kFile) queue_name(made, change);
}

}  // namespace understudy
