// HELP and EXIT.
#include "client/commands/commands.h"

namespace understudy::client {

Task<Status> run_help(Shell* shell, Command command) {
  const CommandSpec* one = nullptr;
  if (!command.arguments.empty()) {
    one = find_command(command.arguments[0]);
    if (one == nullptr) co_return fail(Code::kNotFound, printable(command.arguments[0]) + " is no command; HELP lists them");
  }
  if (shell->out.json()) {
    for (const CommandSpec& spec : command_table()) {
      if (one && &spec != one) continue;
      shell->out.object(Json().text("command", spec.name).text("usage", spec.usage).text("help", spec.help));
    }
    co_return Status{};
  }
  std::string text = one ? help_text(*one) : help_text();
  text.pop_back();
  shell->out.line(text);
  co_return Status{};
}

Task<Status> run_exit(Shell* shell, Command command) {
  shell->exiting = true;
  co_return Status{};
}

}  // namespace understudy::client
