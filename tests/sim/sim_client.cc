#include "tests/sim/sim_client.h"

#include "client/output.h"
#include "client/shell.h"

namespace understudy::sim {

Task<Result<Bytes>> CommandRun::read(Env&) {
  auto piece = co_await input_.pop();
  co_return piece ? *std::move(piece) : Bytes();
}

Task<Result<std::string>> CommandRun::read_secret(Env&, std::string, std::string variable) {
  while (secrets_.find('\n') == Bytes::npos) {
    auto piece = co_await input_.pop();
    if (!piece) co_return fail(Code::kInvalid, "there is no terminal to ask for the password at; give it in " + variable);
    secrets_ += *piece;
  }
  std::string secret = secrets_.substr(0, secrets_.find('\n'));
  secrets_.erase(0, secret.size() + 1);
  co_return secret;
}

bool CommandRun::write(Stream stream, std::string_view text) {
  // A content need not end its line; what is said about it stands on its own.
  if (stream == Stream::kError && !output_.empty() && !output_.ends_with('\n')) output_ += '\n';
  output_ += text;
  return true;
}

Task<Status> CommandRun::write_result(Env&, Bytes bytes) {
  output_ += bytes;
  co_return Status{};
}

SimClient::SimClient(SimWorld& world, const std::string& name, client::SessionOptions options) : world_(world) {
  process_ = &world.start(world.host(name), name, [this, options](Env& env) { return live(env, this, options); });
}

client::Session& SimClient::session() {
  CHECK(living_ != nullptr);
  return living_->session;
}

Task<void> SimClient::live(Env& env, SimClient* self, client::SessionOptions options) {
  Living living(env, std::move(options));
  self->living_ = &living;
  Promise<Unit> never(env.executor);
  auto future = never.future();
  co_await future;
}

Task<void> SimClient::adopt(SimClient* self, Task<void> task) {
  self->living_->tasks.spawn(std::move(task));
  co_return;
}

void SimClient::spawn(Task<void> task) { process_->spawn(adopt(this, std::move(task))); }

Task<void> SimClient::run(SimClient* self, CommandRun* command) {
  client::Output output(false, false, *command);
  client::Shell shell(self->env(), &self->living_->session, &output);
  shell.folder = self->folder_;
  int status = client::kExitUsage;
  auto words = client::split_line(command->line_);
  if (!words) {
    output.error(words.error().error);
  } else {
    status = co_await shell.run_one(*std::move(words));
  }
  self->folder_ = shell.folder;
  output.flush();
  command->status_ = status;
}

CommandRun& SimClient::begin(std::string line) {
  commands_.push_back(std::make_unique<CommandRun>(env(), std::move(line)));
  CommandRun& command = *commands_.back();
  spawn(run(this, &command));
  return command;
}

}  // namespace understudy::sim
