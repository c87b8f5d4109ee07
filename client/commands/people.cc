// ADDUSER, DELUSER, PASSWD, LOGIN, LOGOUT, WHOAMI, LIST; ADDACCESS, REMACCESS, REQUESTACCESS,
// VIEWREQUESTS, APPROVE, DENY; ROTATEKEYS.
#include <fmt/format.h>

#include "client/commands/commands.h"

namespace understudy::client {
namespace {

constexpr char kOldPassword[] = "UNDERSTUDY_PASSWORD";
constexpr char kNewPassword[] = "UNDERSTUDY_NEW_PASSWORD";

// Twice, where it is typed.
Task<Result<std::string>> read_new_password(Shell* shell, std::string user) {
  auto& console = shell->out.console();
  auto reading = console.read_secret(shell->env, "New password of " + user + ": ", kNewPassword);
  CO_ASSIGN_OR_RETURN(std::string password, co_await reading);
  auto repeating = console.read_secret(shell->env, "Once more: ", kNewPassword);
  CO_ASSIGN_OR_RETURN(std::string again, co_await repeating);
  if (password != again) co_return fail(Code::kInvalid, "the two passwords differ; nothing was changed");
  co_return password;
}

Result<wire::Right> right_of(const Command& command) {
  bool read = command.has("-R");
  bool write = command.has("-W");
  if (read != write) return write ? wire::RIGHT_WRITE : wire::RIGHT_READ;
  return fail(Code::kInvalid, std::string(command.spec->name) + " takes either -R (to read) or -W (to write, and read)");
}

std::string_view to_do(wire::Right right) { return right == wire::RIGHT_WRITE ? "write" : "read"; }

}  // namespace

Task<Status> run_add_user(Shell* shell, Command command) {
  const std::string& name = command.arguments[0];
  auto reading = read_new_password(shell, name);
  CO_ASSIGN_OR_RETURN(std::string password, co_await reading);
  wire::AddUserRequest request;
  request.set_name(name);
  request.set_password(std::move(password));
  request.set_administrator(command.has("--admin"));
  auto adding = shell->session.change(wire::ADD_USER, request);
  CO_RETURN_IF_ERROR(co_await adding);
  shell->out.done("added user " + name, Json().text("user", name).truth("administrator", request.administrator()));
  co_return Status{};
}

Task<Status> run_passwd(Shell* shell, Command command) {
  std::string self = shell->session.options().user;
  std::string user = command.arguments.empty() ? self : command.arguments[0];
  std::string old;
  if (user == self) {
    auto reading = shell->out.console().read_secret(shell->env, "Password of " + user + ", as it is now: ", kOldPassword);
    CO_ASSIGN_OR_RETURN(old, co_await reading);
  }
  auto reading = read_new_password(shell, user);
  CO_ASSIGN_OR_RETURN(std::string password, co_await reading);
  auto setting = shell->session.set_password(user, std::move(old), std::move(password));
  CO_RETURN_IF_ERROR(co_await setting);
  shell->out.done("the password of " + user + " is changed; its other sessions are over", Json().text("user", user));
  co_return Status{};
}

Task<Status> run_login(Shell* shell, Command command) {
  const std::string& user = command.arguments[0];
  auto reading = shell->out.console().read_secret(shell->env, "Password of " + user + ": ", kOldPassword);
  CO_ASSIGN_OR_RETURN(std::string password, co_await reading);
  auto entering = shell->session.login(user, std::move(password));
  CO_RETURN_IF_ERROR(co_await entering);
  shell->out.done("logged in as " + user, Json().text("user", user));
  co_return Status{};
}

Task<Status> run_logout(Shell* shell, Command command) {
  std::string user = shell->session.options().user;
  bool all = command.has("--all");
  auto leaving = shell->session.logout(all);
  CO_RETURN_IF_ERROR(co_await leaving);
  shell->out.done(all ? "every session of " + user + " is over" : "the session of " + user + " is over; LOGIN begins another",
                  Json().text("user", user).truth("all", all));
  co_return Status{};
}

Task<Status> run_del_user(Shell* shell, Command command) {
  wire::RemoveUserRequest request;
  request.set_name(command.arguments[0]);
  request.set_give_to(command.value("--give-to").value_or(""));
  auto removing = shell->session.change(wire::REMOVE_USER, request);
  CO_ASSIGN_OR_RETURN(auto reply, co_await removing);
  std::string text = "removed user " + request.name();
  if (reply.count() > 0) text += fmt::format("; {} of theirs belong to {} now", reply.count(), request.give_to());
  shell->out.done(text, Json().text("user", request.name()).text("given_to", request.give_to()).count("given", reply.count()));
  co_return Status{};
}

Task<Status> run_who_am_i(Shell* shell, Command command) {
  auto asking = shell->session.ask<wire::WhoAmIReply>(wire::WHO_AM_I, {});
  CO_ASSIGN_OR_RETURN(wire::WhoAmIReply reply, co_await asking);
  if (shell->out.json()) {
    shell->out.object(Json().text("user", reply.user()).truth("administrator", reply.administrator()).number("session_left_ms", reply.left_ms()));
  } else {
    shell->out.line(reply.user());
  }
  co_return Status{};
}

Task<Status> run_list(Shell* shell, Command command) {
  wire::ListUsersRequest request;
  for (bool more = true; more;) {
    auto asking = shell->session.ask<wire::ListUsersReply>(wire::LIST_USERS, request.SerializeAsString());
    CO_ASSIGN_OR_RETURN(wire::ListUsersReply reply, co_await asking);
    for (const auto& user : reply.users()) {
      if (shell->out.json()) {
        shell->out.object(Json().text("user", user.name()).truth("administrator", user.administrator()).time("created", user.created_us())
                              .truth("removed", user.removed()));
      } else {
        shell->out.line(user.name() + (user.removed() ? "  (removed)" : ""));
      }
      request.set_after(user.name());
    }
    more = reply.more();
  }
  co_return Status{};
}

Task<Status> run_add_access(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(wire::Right right, right_of(command));
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  wire::SetAccessRequest request;
  request.set_path(path);
  request.set_user(command.arguments[1]);
  request.set_right(right);
  auto changing = shell->session.change(wire::SET_ACCESS, request);
  CO_RETURN_IF_ERROR(co_await changing);
  shell->out.done(fmt::format("{} may {} {}", request.user(), to_do(right), printable(path)),
                  Json().text("path", path).text("user", request.user()).text("access", to_do(right)));
  co_return Status{};
}

Task<Status> run_rem_access(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  wire::SetAccessRequest request;
  request.set_path(path);
  request.set_user(command.arguments[1]);
  auto changing = shell->session.change(wire::SET_ACCESS, request);
  CO_RETURN_IF_ERROR(co_await changing);
  shell->out.done(fmt::format("{} has no access to {} any more", request.user(), printable(path)),
                  Json().text("path", path).text("user", request.user()).text("access", "none"));
  co_return Status{};
}

Task<Status> run_request_access(Shell* shell, Command command) {
  CO_ASSIGN_OR_RETURN(wire::Right right, right_of(command));
  CO_ASSIGN_OR_RETURN(std::string path, shell->path(command.arguments[0]));
  wire::RequestAccessRequest request;
  request.set_path(path);
  request.set_right(right);
  auto changing = shell->session.change(wire::REQUEST_ACCESS, request);
  CO_ASSIGN_OR_RETURN(auto reply, co_await changing);
  shell->out.done(fmt::format("request {}: to {} {}; its owner sees it in VIEWREQUESTS", reply.count(), to_do(right), printable(path)),
                  Json().count("id", reply.count()).text("path", path).text("access", to_do(right)));
  co_return Status{};
}

Task<Status> run_view_requests(Shell* shell, Command command) {
  wire::ListRequestsRequest request;
  for (bool more = true; more;) {
    auto asking = shell->session.ask<wire::ListRequestsReply>(wire::LIST_REQUESTS, request.SerializeAsString());
    CO_ASSIGN_OR_RETURN(wire::ListRequestsReply reply, co_await asking);
    for (const auto& one : reply.requests()) {
      request.set_after(one.id());
      if (shell->out.json()) {
        shell->out.object(Json().count("id", one.id()).text("path", one.path()).text("user", one.user())
                              .text("access", to_do(one.right())).time("asked", one.time_us()).truth("own", one.own()));
      } else {
        shell->out.line(fmt::format("{}  {}  {} asks to {} {}{}", one.id(), format_time(one.time_us()), one.user(), to_do(one.right()),
                                    printable(one.path()), one.own() ? " (yours; it waits for the owner)" : ""));
      }
    }
    more = reply.more() && reply.requests_size() > 0;
  }
  co_return Status{};
}

namespace {

Task<Status> answer(Shell* shell, Command command, bool approve) {
  wire::AnswerRequestRequest request;
  CO_ASSIGN_OR_RETURN(uint64_t id, parse_number(command.arguments[0], "a request's number"));
  request.set_id(id);
  request.set_approve(approve);
  auto changing = shell->session.change(wire::ANSWER_REQUEST, request);
  CO_ASSIGN_OR_RETURN(auto reply, co_await changing);
  shell->out.done(fmt::format("request {} of {} is {}", id, printable(reply.path()), approve ? "approved" : "denied"),
                  Json().count("id", id).text("path", reply.path()).truth("approved", approve));
  co_return Status{};
}

}  // namespace

Task<Status> run_approve(Shell* shell, Command command) { return answer(shell, std::move(command), true); }
Task<Status> run_deny(Shell* shell, Command command) { return answer(shell, std::move(command), false); }

Task<Status> run_rotate_keys(Shell* shell, Command command) {
  wire::RotateKeysRequest request;
  auto changing = shell->session.change(wire::ROTATE_KEYS, request);
  CO_ASSIGN_OR_RETURN(auto reply, co_await changing);
  shell->out.done(fmt::format("{} new keys; those before hold until the next ROTATEKEYS", reply.count()), Json().count("keys", reply.count()));
  co_return Status{};
}

}  // namespace understudy::client
