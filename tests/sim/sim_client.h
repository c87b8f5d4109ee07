// One user at one machine of the simulator: a process that lives as long as the
// story, with one session of the client library, so that what a session promises,
// and repeats with one request id, is what is tried. Commands run through the real
// shell; what they print is caught.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "client/console.h"
#include "client/session.h"
#include "common/env/sync.h"
#include "tests/sim/sim_world.h"

namespace understudy::sim {

// One command: its standard streams, and how it ends.
class CommandRun final : public client::Console {
 public:
  CommandRun(Env& env, std::string line) : line_(std::move(line)), input_(env.executor) {}

  const std::string& line() const { return line_; }
  bool ended() const { return status_.has_value(); }
  int status() const { return *status_; }
  // Standard output and error together, in the order they were written.
  const std::string& output() const { return output_; }

  void type(Bytes text) { input_.push(std::move(text)); }
  void end_input() { input_.close(); }

  Task<Result<Bytes>> read(Env& env) override;
  bool write(Stream stream, std::string_view text) override;
  Task<Status> write_result(Env& env, Bytes bytes) override;
  bool on_terminal(Stream) const override { return false; }
  // The next line of the input; secrets are not shown.
  Task<Result<std::string>> read_secret(Env& env, std::string prompt, std::string variable) override;

 private:
  friend class SimClient;
  std::string line_;
  Queue<Bytes> input_;
  Bytes secrets_;  // Read, not asked for yet.
  std::string output_;
  std::optional<int> status_;
};

class SimClient {
 public:
  // Starts its process, on a host of its name.
  SimClient(SimWorld& world, const std::string& name, client::SessionOptions options);
  SimClient(const SimClient&) = delete;

  SimProcess& process() { return *process_; }
  Env& env() { return process_->env(); }
  SimWorld& world() { return world_; }
  client::Session& session();

  // Begins a command line of the shell; it goes on while time passes.
  CommandRun& begin(std::string line);

  // A task among the process's own.
  void spawn(Task<void> task);
  // Runs `task` until it is done; nothing if `limit` passed first. It is not cancelled then.
  template <class T>
  std::optional<T> await(Task<T> task, Duration limit) {
    auto slot = std::make_shared<std::optional<T>>();
    spawn(fill(std::move(task), slot));
    world_.run_until([&] { return slot->has_value(); }, limit);
    return std::move(*slot);
  }

 private:
  // What lives in the process's frame: tasks go before the session they use.
  struct Living {
    Living(Env& env, client::SessionOptions options) : session(env, std::move(options)), tasks(env.executor) {}
    client::Session session;
    TaskGroup tasks;
  };
  static Task<void> live(Env& env, SimClient* self, client::SessionOptions options);
  static Task<void> adopt(SimClient* self, Task<void> task);
  static Task<void> run(SimClient* self, CommandRun* command);
  template <class T>
  static Task<void> fill(Task<T> task, std::shared_ptr<std::optional<T>> slot) {
    slot->emplace(co_await task);
  }

  SimWorld& world_;
  SimProcess* process_ = nullptr;
  Living* living_ = nullptr;
  std::string folder_ = "/";
  std::deque<std::unique_ptr<CommandRun>> commands_;
};

}  // namespace understudy::sim
