// understudy: the shell, its commands one-shot, scripts on standard input; and up,
// down and inspect.
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "client/console.h"
#include "client/credentials.h"
#include "client/inspect.h"
#include "client/line_editor.h"
#include "client/local_cluster.h"
#include "client/options.h"
#include "client/shell.h"
#include "client/trusted.h"
#include "common/base/log.h"
#include "common/base/version.h"
#include "common/uv/uv_runtime.h"

namespace understudy::client {
namespace {

using namespace std::chrono_literals;

// Ends the process as an interruption should: nothing half-written stays.
Task<void> end_on_signal(UvRuntime* runtime) {
  auto signal = runtime->signal({SIGINT, SIGTERM});
  int number = co_await signal;
  remove_unfinished_files();
  restore_terminal();
  _exit(number == SIGINT ? kExitInterrupted : 128 + number);
}

std::string history_file() {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  if ((!state || !*state) && !home) return {};
  std::string folder = state && *state ? state : std::string(home) + "/.local/state";
  folder += "/understudy";
  for (size_t slash = folder.find('/', 1);; slash = folder.find('/', slash + 1)) {
    mkdir(folder.substr(0, slash).c_str(), 0700);
    if (slash == folder.npos) break;
  }
  return folder + "/history";
}

std::string joined(const std::vector<Address>& addresses) {
  std::string text;
  for (const Address& address : addresses) text += (text.empty() ? "" : ",") + address;
  return text;
}

// By what is kept, else by a password that is given or asked for. With neither the name
// node refuses, and says what to do.
Task<Result<SessionOptions>> log_in(Env& env, ClientOptions options, Credentials* credentials, Console* console) {
  SessionOptions session;
  session.name_nodes = options.name_nodes;
  session.keeper = credentials;
  CO_ASSIGN_OR_RETURN(Login login, credentials->find(options.user));
  const char* given = std::getenv("UNDERSTUDY_PASSWORD");
  session.user = login.user;
  session.token = login.token;
  session.password = given && *given ? given : login.password;
  bool nobody = session.token.empty() && session.password.empty();
  // LOGIN asks for itself.
  const CommandSpec* command = options.command.empty() ? nullptr : find_command(options.command.front());
  if (command != nullptr && (command->id == CommandId::kLogin || command->id == CommandId::kHelp)) co_return session;
  if (!nobody || options.user.empty() || !console->on_terminal(Console::Stream::kInput)) co_return session;
  auto reading = console->read_secret(env, "Password of " + login.user + ": ", "UNDERSTUDY_PASSWORD");
  CO_ASSIGN_OR_RETURN(session.password, co_await reading);
  co_return session;
}

Task<void> run_client(UvRuntime* runtime, ClientNet* net, ClientOptions options, Output* out, int* status) {
  Env& env = net->env();
  Credentials credentials(options.data, joined(options.name_nodes));
  auto entering = log_in(env, options, &credentials, &out->console());
  auto entered = co_await entering;
  if (!entered) {
    out->error(entered.error());
    *status = exit_status(entered.error());
    co_return;
  }
  SessionOptions session_options = *std::move(entered);
  session_options.timeout = options.timeout;
  session_options.on_authorities = [net](std::vector<Bytes> fingerprints) { net->follow(std::move(fingerprints)); };
  session_options.read_from = options.read_from;
  session_options.sync = options.sync;
  Session session(env, session_options);
  Shell shell(env, &session, out);
  bool interactive = options.command.empty() && isatty(0);
  TaskGroup signals(env.executor);
  if (!interactive) signals.spawn(end_on_signal(runtime));
  if (interactive) {
    LineEditor editor(env, history_file());
    auto running = shell.run_interactive(&editor, [runtime] { return runtime->signal({SIGINT}); });
    *status = co_await running;
  } else if (options.command.empty()) {
    auto running = shell.run_script(options.keep_going);
    *status = co_await running;
  } else {
    // Arguments are taken as they are; only -- and options are looked for.
    std::vector<Word> words;
    for (const std::string& argument : options.command) words.push_back({argument, false});
    auto running = shell.run_one(std::move(words));
    *status = co_await running;
  }
  if (auto met = net->remember_whom_it_met(); !met) {
    out->error(met.error());
  } else if (!met->empty()) {
    out->note(*met);
  }
  if (!out->flush()) *status = *status == kExitDone ? 1 : *status;
}

bool is_up(const wire::StatusReply& status, uint32_t pairs) {
  if (static_cast<uint32_t>(status.pairs_size()) < pairs) return false;
  for (const auto& pair : status.pairs()) {
    if (!pair.serving()) return false;
    for (const auto& member : pair.members()) {
      bool here = member.state() != wire::MemberStatus::ABSENT && member.state() != wire::MemberStatus::FAILED;
      if (!here) return false;
    }
    if (pair.members_size() < 2) return false;
  }
  return true;
}

// Until every pair serves and both of its members are there.
Task<void> wait_until_up(Env& env, ClientOptions client, uint32_t pairs, Status* status) {
  Credentials credentials(client.data, "");
  auto entering = log_in(env, client, &credentials, &process_console());
  auto options = co_await entering;
  if (!options) {
    *status = std::unexpected(std::move(options).error());
    co_return;
  }
  Duration timeout = client.timeout;
  options->timeout = timeout;
  Session session(env, *options);
  Instant limit = env.clock.now() + timeout;
  for (;;) {
    auto asking = session.ask<wire::StatusReply>(wire::STATUS, {});
    auto reply = co_await asking;
    // Who may not see how it is sees at least that it answers.
    if (!reply && reply.error().code == Code::kUnauthenticated) co_return;
    if (!reply) {
      *status = std::unexpected(std::move(reply).error());
      co_return;
    }
    if (is_up(*reply, pairs)) co_return;
    if (env.clock.now() > limit) {
      *status = fail(Code::kUnavailable, "the servers run, but not every pair serves yet; see STATUS and the logs");
      co_return;
    }
    auto pause = sleep_for(env, 20ms);
    co_await pause;
  }
}

int fail_with(Output& out, const Error& error, bool usage = false) {
  out.error(error);
  return usage ? kExitUsage : exit_status(error);
}

int run_up(const ClientOptions& options, Output& out) {
  std::vector<std::string> arguments(options.command.begin() + 1, options.command.end());
  auto up = parse_up(arguments, options.data.empty() ? default_data_folder() : options.data);
  if (!up) return fail_with(out, up.error(), !up.error().message.contains("not available"));
  if (up->insecure.empty() && !options.insecure.empty()) up->insecure = options.insecure == "force" ? "--insecure=force" : "--insecure";
  auto cluster = start_cluster(*up);
  if (!cluster) return fail_with(out, cluster.error());
  UvRuntime runtime;
  ClientNet net(runtime.env());
  ClientOptions at_home = options;
  at_home.name_nodes = cluster->name_nodes;
  at_home.ca.clear();
  if (!up->insecure.empty()) at_home.insecure = up->insecure == "--insecure" ? "yes" : "force";
  if (auto set = net.set(at_home, up->data); !set) return fail_with(out, set.error());
  Status status;
  at_home.data = up->data;
  runtime.run(wait_until_up(net.env(), at_home, up->pairs, &status));
  if (!status) return fail_with(out, status.error());
  std::string started;
  for (const std::string& name : cluster->started) started += (started.empty() ? "" : ", ") + name;
  Json object;
  object.text("data", up->data).texts("name_nodes", cluster->name_nodes).texts("started", cluster->started);
  out.done(started.empty() ? "all servers were running already"
                           : "started " + started + " in " + up->data + "; the name node is at " +
                                 cluster->name_nodes.front(),
           object);
  return kExitDone;
}

int run_down(const ClientOptions& options, Output& out) {
  std::string data = options.data.empty() ? default_data_folder() : options.data;
  const auto& words = options.command;
  if (words.size() == 3 && words[1] == "--data") {
    data = words[2];
  } else if (words.size() != 1) {
    return fail_with(out, {Code::kInvalid, "use: understudy down [--data DIR]"}, true);
  }
  auto stopped = stop_cluster(data);
  if (!stopped) return fail_with(out, stopped.error());
  std::string names;
  for (const std::string& name : *stopped) names += (names.empty() ? "" : ", ") + name;
  out.done(names.empty() ? "no server was running" : "stopped " + names,
           Json().text("data", data).texts("stopped", *stopped));
  return kExitDone;
}

Task<void> run_inspect(Env& env, std::string path, Output* out, Status* status) {
  auto inspecting = inspect_file(env, std::move(path), out);
  *status = co_await inspecting;
}

// --nm, --data, UNDERSTUDY_NM, the default folder: in this order.
// The folder of the local cluster that they are of, if they are.
Result<std::string> find_name_nodes(ClientOptions& options) {
  if (!options.name_nodes.empty()) return options.data;
  const char* variable = std::getenv("UNDERSTUDY_NM");
  if (options.data.empty() && variable && *variable) {
    options.name_nodes = split_addresses(variable);
    if (!options.name_nodes.empty()) return "";
  }
  if (options.data.empty()) options.data = default_data_folder();
  ASSIGN_OR_RETURN(options.name_nodes, read_name_nodes(options.data));
  return options.data;
}

int run(const std::vector<std::string>& arguments) {
  auto parsed = parse_options(arguments);
  if (!parsed) {
    Output out(std::ranges::find(arguments, "--json") != arguments.end(), false);
    return fail_with(out, parsed.error().error, parsed.error().usage);
  }
  ClientOptions options = *std::move(parsed);
  Output out(options.json, options.quiet);
  (void)log_open({.level = LogLevel::kOff});  // Standard error cannot fail to open.
  if (options.help || options.version) {
    std::string text = options.version ? fmt::format("understudy {}\n", kVersion) : options_help();
    text.pop_back();
    out.line(text);
    return kExitDone;
  }
  std::string first = options.command.empty() ? "" : options.command.front();
  for (char& c : first) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (first == "up") return run_up(options, out);
  if (first == "down") return run_down(options, out);
  if (first == "inspect") {
    if (options.command.size() != 2) return fail_with(out, {Code::kInvalid, "use: understudy inspect FILE"}, true);
    UvRuntime runtime;
    Status status;
    runtime.run(run_inspect(runtime.env(), options.command[1], &out, &status));
    return status ? kExitDone : fail_with(out, status.error());
  }
  // What is wrong in itself needs no cluster to be refused.
  if (!options.command.empty()) {
    std::vector<Word> words;
    for (const std::string& argument : options.command) words.push_back({argument, false});
    if (auto command = parse_command(words); !command) {
      return fail_with(out, command.error().error, command.error().usage);
    }
  }
  auto local = find_name_nodes(options);
  if (!local) return fail_with(out, local.error());
  int status = kExitDone;
  UvRuntime runtime;
  ClientNet net(runtime.env());
  if (auto set = net.set(options, *local); !set) return fail_with(out, set.error());
  if (!options.insecure.empty()) out.note("warning: --insecure: what goes over this connection can be read and changed by others");
  runtime.run(run_client(&runtime, &net, std::move(options), &out, &status));
  out.flush();
  // Without waiting for a worker that may still read standard input.
  _exit(status);
}

}  // namespace
}  // namespace understudy::client

int main(int argc, char** argv) {
  return understudy::client::run({argv + 1, argv + argc});
}
