// PROMOTE, HANDBACK, DRAIN, REPLACE: who acts as primary, and in whose place.
#include <fmt/format.h>

#include <algorithm>

#include "client/commands/commands.h"

namespace understudy::client {

using namespace std::chrono_literals;

namespace {

Task<Status> force(Shell* shell, Command command) {
  wire::PromoteRequest request;
  request.set_pair(command.arguments[0]);
  request.set_force(true);
  *request.mutable_request() = shell->session.next_request();
  auto asking = shell->session.ask<wire::PromoteReply>(wire::PROMOTE, request.SerializeAsString());
  CO_ASSIGN_OR_RETURN(wire::PromoteReply reply, co_await asking);
  if (shell->out.json()) {
    shell->out.object(Json().text("pair", request.pair()).text("acting_primary", reply.acting_primary())
                          .count("epoch", reply.epoch()).count("files_maybe_lost", reply.files_maybe_lost())
                          .text("text", reply.text()));
  } else {
    shell->out.line(fmt::format("{} acts as primary of {} under epoch {}; {} may have lost newer versions",
                                reply.acting_primary(), request.pair(), reply.epoch(),
                                counted(reply.files_maybe_lost(), "file")));
    if (!reply.text().empty()) shell->out.line(reply.text());
  }
  co_return Status{};
}

// Asks until the move is done. It goes on without us: who acts is committed first.
Task<Result<wire::MovePrimaryReply>> move_primary(Shell* shell, wire::MovePrimaryRequest request) {
  *request.mutable_request() = shell->session.next_request();
  Instant begun = shell->env.clock.now();
  for (;;) {
    Duration left = begun + shell->session.options().timeout - shell->env.clock.now();
    Duration patience = std::clamp<Duration>(left, 0ms, 1s);
    request.set_wait_ms(static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(patience).count()));
    auto asking = shell->session.ask<wire::MovePrimaryReply>(wire::MOVE_PRIMARY, request.SerializeAsString(), patience);
    CO_ASSIGN_OR_RETURN(wire::MovePrimaryReply reply, co_await asking);
    if (reply.done()) co_return reply;
    if (left <= 0ms) {
      co_return fail(Code::kUnavailable, fmt::format("{} does not act yet: {}; it will as soon as it can, see STATUS",
                                                     request.to() == wire::MovePrimaryRequest::HOME ? reply.pair() : "the other half",
                                                     reply.why()));
    }
  }
}

Task<Status> show_move(Shell* shell, wire::MovePrimaryRequest request, std::string note) {
  auto moving = move_primary(shell, std::move(request));
  CO_ASSIGN_OR_RETURN(wire::MovePrimaryReply reply, co_await moving);
  shell->out.done(fmt::format("{} acts as primary of {} under epoch {}{}", reply.acting_primary(), reply.pair(), reply.epoch(), note),
                  Json().text("pair", reply.pair()).text("acting_primary", reply.acting_primary()).count("epoch", reply.epoch()));
  co_return Status{};
}

}  // namespace

Task<Status> run_promote(Shell* shell, Command command) {
  if (command.has("--force")) {
    auto forcing = force(shell, std::move(command));
    co_return co_await forcing;
  }
  wire::MovePrimaryRequest request;
  request.set_to(wire::MovePrimaryRequest::BACKUP);
  request.set_pair(command.arguments[0]);
  auto moving = show_move(shell, request, "; it stays so until HANDBACK " + request.pair());
  co_return co_await moving;
}

Task<Status> run_handback(Shell* shell, Command command) {
  wire::MovePrimaryRequest request;
  request.set_to(wire::MovePrimaryRequest::HOME);
  request.set_pair(command.arguments[0]);
  auto moving = show_move(shell, request, "");
  co_return co_await moving;
}

Task<Status> run_drain(Shell* shell, Command command) {
  wire::MovePrimaryRequest request;
  request.set_to(wire::MovePrimaryRequest::AWAY);
  request.set_server(command.arguments[0]);
  auto moving = show_move(shell, request, "; " + request.server() + " may be stopped");
  co_return co_await moving;
}

Task<Status> run_replace(Shell* shell, Command command) {
  wire::ReplaceRequest request;
  request.set_server(command.arguments[0]);
  request.set_force(command.has("--force"));
  auto asking = shell->session.change(wire::REPLACE, request);
  CO_ASSIGN_OR_RETURN(wire::ChangeReply reply, co_await asking);
  shell->out.done(request.server() + " may be started with an empty data folder now" + (reply.text().empty() ? "" : "; " + reply.text()),
                  Json().text("server", request.server()).text("text", reply.text()));
  co_return Status{};
}

}  // namespace understudy::client
