#include "tests/sim/sim_verbs.h"

#include <charconv>

namespace understudy::sim {
namespace {

using Output = Result<std::string>;

Result<int64_t> parse_number(const std::string& text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return fail(Code::kInvalid, text + ": not a number");
  return value;
}

Result<SimProcess*> living(SimWorld* world, const std::string& name) {
  SimProcess* process = world->find_process(name);
  if (process == nullptr || !process->alive()) return fail(Code::kNotFound, name + " does not run");
  return process;
}

void add_process_verbs(ScriptRunner& runner, SimWorld* world, ProgramResolver resolve) {
  runner.add_verb("start", "start NAME [ARGUMENT...]", 1, [world, resolve](const ScriptCommand& command) -> Output {
    const std::string& name = command.words[0];
    if (living(world, name)) return fail(Code::kExists, name + " runs already");
    ASSIGN_OR_RETURN(SimMain main, resolve(name, {command.words.begin() + 1, command.words.end()}));
    world->start(world->host(name), name, std::move(main));
    return "";
  });
  runner.add_verb("kill", "kill NAME", 1, [world](const ScriptCommand& command) -> Output {
    ASSIGN_OR_RETURN(SimProcess* process, living(world, command.words[0]));
    world->kill(*process);
    return "";
  });
  runner.add_verb("pause", "pause NAME", 1, [world](const ScriptCommand& command) -> Output {
    ASSIGN_OR_RETURN(SimProcess* process, living(world, command.words[0]));
    world->pause(*process);
    return "";
  });
  runner.add_verb("resume", "resume NAME", 1, [world](const ScriptCommand& command) -> Output {
    ASSIGN_OR_RETURN(SimProcess* process, living(world, command.words[0]));
    world->resume(*process);
    return "";
  });
  runner.add_verb("power-cut", "power-cut HOST", 1, [world](const ScriptCommand& command) -> Output {
    world->power_cut(world->host(command.words[0]));
    return "";
  });
  runner.add_verb("power-on", "power-on HOST", 1, [world](const ScriptCommand& command) -> Output {
    world->power_on(world->host(command.words[0]));
    return "";
  });
  runner.add_verb("same-machine", "same-machine HOST HOST", 2, [world](const ScriptCommand& command) -> Output {
    const std::string& machine = world->host(command.words[0]).machine;
    for (auto& name : command.words) {
      if (world->host(name, machine).machine != machine) return fail(Code::kInvalid, name + " is a machine already");
    }
    return "";
  });
  runner.add_verb("alive", "alive [NAME]", 0, [world](const ScriptCommand& command) -> Output {
    if (!command.words.empty()) return living(world, command.words[0]) ? "yes" : "no";
    std::string names;
    for (auto& process : world->processes()) {
      if (process->alive()) names += (names.empty() ? "" : " ") + process->name() + (process->running() ? "" : " (paused)");
    }
    return names.empty() ? "nobody" : names;
  });
}

void add_net_verbs(ScriptRunner& runner, SimWorld* world) {
  runner.add_verb("partition", "partition A B | partition A -> B", 2, [world](const ScriptCommand& command) -> Output {
    if (command.words[1] != "->") {
      world->net().partition(command.words[0], command.words[1]);
    } else if (command.words.size() == 3) {
      world->net().partition_one_way(command.words[0], command.words[2]);
    } else {
      return fail(Code::kInvalid, "partition A -> B");
    }
    return "";
  });
  runner.add_verb("isolate", "isolate HOST", 1, [world](const ScriptCommand& command) -> Output {
    world->net().isolate(command.words[0]);
    return "";
  });
  runner.add_verb("heal", "heal [A B]", 0, [world](const ScriptCommand& command) -> Output {
    if (command.words.size() == 2) {
      world->net().heal(command.words[0], command.words[1]);
    } else {
      world->net().heal_all();
    }
    return "";
  });
  runner.add_verb("cut", "cut A B", 2, [world](const ScriptCommand& command) -> Output {
    world->net().cut(command.words[0], command.words[1]);
    return "";
  });
  runner.add_verb("slow", "slow A B LATENCY", 3, [world](const ScriptCommand& command) -> Output {
    ASSIGN_OR_RETURN(Duration latency, parse_duration(command.words[2]));
    world->net().set_link(command.words[0], command.words[1], {.latency_min = latency, .latency_max = latency * 2});
    return "";
  });
}

void add_time_verbs(ScriptRunner& runner, SimWorld* world) {
  runner.add_verb("run", "run TIME", 1, [world](const ScriptCommand& command) -> Output {
    ASSIGN_OR_RETURN(Duration duration, parse_duration(command.words[0]));
    world->run_for(duration);
    return "";
  });
  runner.add_verb("clock", "clock HOST PERCENT", 2, [world](const ScriptCommand& command) -> Output {
    ASSIGN_OR_RETURN(int64_t percent, parse_number(command.words[1]));
    world->set_clock_rate(world->host(command.words[0]), 1'000'000 + percent * 10'000);
    return "";
  });
  runner.add_verb("jump", "jump HOST TIME", 2, [world](const ScriptCommand& command) -> Output {
    ASSIGN_OR_RETURN(Duration forward, parse_duration(command.words[1]));
    world->jump_clock(world->host(command.words[0]), forward);
    return "";
  });
}

void add_disk_verbs(ScriptRunner& runner, SimWorld* world) {
  runner.add_verb("disk-quota", "disk-quota HOST BYTES|none", 2, [world](const ScriptCommand& command) -> Output {
    SimDisk& disk = world->host(command.words[0]).disk;
    if (command.words[1] == "none") {
      disk.set_quota(std::nullopt);
    } else {
      ASSIGN_OR_RETURN(int64_t bytes, parse_number(command.words[1]));
      disk.set_quota(static_cast<uint64_t>(bytes));
    }
    return "";
  });
  runner.add_verb("disk-fail", "disk-fail HOST read|write|sync|name N", 3, [world](const ScriptCommand& command) -> Output {
    static const std::map<std::string, DiskCall> kCalls = {{"read", DiskCall::kRead},
                                                           {"write", DiskCall::kWrite},
                                                           {"sync", DiskCall::kSync},
                                                           {"name", DiskCall::kName}};
    auto call = kCalls.find(command.words[1]);
    if (call == kCalls.end()) return fail(Code::kInvalid, command.words[1] + ": not a kind of call");
    ASSIGN_OR_RETURN(int64_t n, parse_number(command.words[2]));
    world->host(command.words[0]).disk.fail_call(call->second, static_cast<uint64_t>(n));
    return "";
  });
  runner.add_verb("bit-rot", "bit-rot HOST FILE BYTE", 3, [world](const ScriptCommand& command) -> Output {
    ASSIGN_OR_RETURN(int64_t byte, parse_number(command.words[2]));
    if (!world->host(command.words[0]).disk.flip_bit(command.words[1], static_cast<uint64_t>(byte))) {
      return fail(Code::kNotFound, command.words[1] + ": no such byte");
    }
    return "";
  });
  runner.add_verb("rot", "rot HOST TEXT", 2, [world](const ScriptCommand& command) -> Output {
    // Wherever the text stands in a segment of the storage server's log.
    auto& disk = world->host(command.words[0]).disk;
    auto folder = disk.find("/data/segments");
    uint64_t places = 0;
    for (const auto& [name, inode] : folder ? folder->entries : SimInode::Entries{}) {
      const Bytes content = inode->content;
      for (size_t at = 0; (at = content.find(command.words[1], at)) != Bytes::npos; ++at, ++places) {
        (void)disk.flip_bit("/data/segments/" + name, at);
      }
    }
    if (places == 0) return fail(Code::kNotFound, "it stands nowhere in the log");
    return std::to_string(places) + " places";
  });
  runner.add_verb("cut-power-at", "cut-power-at HOST N", 2, [world](const ScriptCommand& command) -> Output {
    ASSIGN_OR_RETURN(int64_t n, parse_number(command.words[1]));
    world->host(command.words[0]).disk.cut_power_at(static_cast<uint64_t>(n));
    return "";
  });
}

}  // namespace

void add_sim_verbs(ScriptRunner& runner, SimWorld* world, ProgramResolver resolve) {
  add_process_verbs(runner, world, std::move(resolve));
  add_net_verbs(runner, world);
  add_time_verbs(runner, world);
  add_disk_verbs(runner, world);
}

}  // namespace understudy::sim
