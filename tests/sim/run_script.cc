#include "tests/sim/run_script.h"

#include <charconv>

#include "tests/sim/script.h"

namespace understudy::sim {
namespace {

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  while (!line.empty()) {
    size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.emplace_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

Result<uint64_t> number_of(std::string_view text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(Code::kInvalid, std::string(text) + ": not a number");
  }
  return value;
}

Status set_scene(Scene& scene, const std::vector<std::string>& words) {
  for (size_t i = 1; i < words.size(); ++i) {
    size_t equals = words[i].find('=');
    if (equals == std::string::npos) return fail(Code::kInvalid, words[i] + ": KEY=VALUE is expected");
    std::string key = words[i].substr(0, equals), value = words[i].substr(equals + 1);
    if (key == "seed") {
      ASSIGN_OR_RETURN(scene.seed, number_of(value));
    } else if (key == "pairs") {
      ASSIGN_OR_RETURN(uint64_t pairs, number_of(value));
      scene.pairs = static_cast<uint32_t>(pairs);
    } else if (key == "clients") {
      ASSIGN_OR_RETURN(uint64_t clients, number_of(value));
      scene.clients = static_cast<uint32_t>(clients);
    } else if (key == "machine") {
      scene.one_machine = value == "one";
    } else if (key == "heartbeat") {
      ASSIGN_OR_RETURN(scene.heartbeat, parse_duration(value));
    } else if (key == "for") {
      ASSIGN_OR_RETURN(scene.faulty_for, parse_duration(value));
    } else if (key == "durability") {
      scene.durability = value;
    } else if (key == "path") {
      scene.path = value;
    } else if (key == "hints") {
      scene.hints = value;
    } else if (key == "hint-ttl") {
      ASSIGN_OR_RETURN(scene.hint_ttl, parse_duration(value));
    } else if (key == "hint-bytes") {
      ASSIGN_OR_RETURN(scene.hint_bytes, number_of(value));
    } else if (key == "retain") {
      ASSIGN_OR_RETURN(scene.retain, number_of(value));
    } else if (key == "sync-clients") {
      ASSIGN_OR_RETURN(uint64_t clients, number_of(value));
      scene.sync_clients = static_cast<uint32_t>(clients);
    } else if (key == "guests") {
      ASSIGN_OR_RETURN(uint64_t guests, number_of(value));
      scene.guests = static_cast<uint32_t>(guests);
    } else {
      return fail(Code::kInvalid, key + ": no such part of a scene");
    }
  }
  if (scene.pairs < 1 || scene.pairs > 8 || scene.clients > 64) return fail(Code::kInvalid, "no such scene");
  return {};
}

}  // namespace

std::string render_duration(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) + "ms";
}

std::string render(const RunScript& script) {
  const Scene& scene = script.scene;
  std::string text = "scene seed=" + std::to_string(scene.seed) + " pairs=" + std::to_string(scene.pairs) +
                     " machine=" + (scene.one_machine ? "one" : "own") + " heartbeat=" + render_duration(scene.heartbeat) +
                     " clients=" + std::to_string(scene.clients) + " for=" + render_duration(scene.faulty_for) +
                     " durability=" + scene.durability + " path=" + scene.path;
  const Scene usual;
  auto add = [&text](const std::string& key, const std::string& value, const std::string& otherwise) {
    if (value != otherwise) text += " " + key + "=" + value;
  };
  add("hints", scene.hints, usual.hints);
  add("hint-ttl", render_duration(scene.hint_ttl), render_duration(usual.hint_ttl));
  add("hint-bytes", std::to_string(scene.hint_bytes), std::to_string(usual.hint_bytes));
  add("retain", std::to_string(scene.retain), std::to_string(usual.retain));
  add("sync-clients", std::to_string(scene.sync_clients), std::to_string(usual.sync_clients));
  add("guests", std::to_string(scene.guests), std::to_string(usual.guests));
  text += "\n";
  for (const Step& step : script.steps) {
    text += step.client < 0 ? "at " + render_duration(step.time)
                            : "client" + std::to_string(step.client) + " +" + render_duration(step.time);
    for (const std::string& word : step.words) text += " " + word;
    text += "\n";
  }
  return text;
}

Result<RunScript> parse_run_script(std::string_view text) {
  RunScript script;
  bool has_scene = false;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::vector<std::string> words = words_of(line);
    if (words.empty() || words[0].starts_with('#')) continue;
    if (words[0] == "scene") {
      RETURN_IF_ERROR(set_scene(script.scene, words));
      has_scene = true;
      continue;
    }
    bool fault = words[0] == "at";
    if (words.size() < 3 || (!fault && (!words[0].starts_with("client") || !words[1].starts_with('+')))) {
      return fail(Code::kInvalid, std::string(line) + ": neither \"at TIME …\" nor \"clientN +TIME …\"");
    }
    Step step;
    if (!fault) {
      ASSIGN_OR_RETURN(uint64_t client, number_of(std::string_view(words[0]).substr(6)));
      if (client >= 64) return fail(Code::kInvalid, words[0] + ": no such client");
      step.client = static_cast<int>(client);
    }
    ASSIGN_OR_RETURN(step.time, parse_duration(std::string_view(words[1]).substr(fault ? 0 : 1)));
    step.words.assign(words.begin() + 2, words.end());
    script.steps.push_back(std::move(step));
  }
  if (!has_scene) return fail(Code::kInvalid, "a run begins with its scene");
  return script;
}

bool is_guest(const Scene& scene, size_t client) { return client + scene.guests >= scene.clients; }

bool is_planned_move(const std::string& verb) { return verb == "move" || verb == "hand-back" || verb == "drain"; }

std::vector<std::string> pair_names(const Scene& scene) {
  std::vector<std::string> names;
  for (uint32_t i = 1; i <= scene.pairs; ++i) names.push_back("ss" + std::to_string(i));
  return names;
}

std::vector<std::string> server_names(const Scene& scene) {
  std::vector<std::string> names = {"nm"};
  for (const std::string& pair : pair_names(scene)) {
    names.push_back(pair);
    names.push_back(pair + "_backup");
  }
  return names;
}

}  // namespace understudy::sim
