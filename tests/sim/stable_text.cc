#include "tests/sim/stable_text.h"

#include <functional>
#include <regex>

namespace understudy::sim {
namespace {

std::string replace_all(const std::string& text, const std::regex& pattern,
                        const std::function<std::string(const std::smatch&)>& replacement) {
  std::string result;
  auto rest = text.cbegin();
  for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at) {
    result.append(rest, text.cbegin() + at->position());
    result += replacement(*at);
    rest = text.cbegin() + at->position() + at->length();
  }
  return result.append(rest, text.cend());
}

}  // namespace

std::string StableText::epoch_name(uint64_t epoch) {
  if (epoch == 0) return "none";
  auto [at, fresh] = names_.try_emplace(epoch);
  if (fresh) at->second = "E" + std::to_string(names_.size());
  return at->second;
}

std::string StableText::from_cluster(std::string_view given) {
  static const std::regex kTime(R"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)");
  static const std::regex kPort(R"((\w):\d{4,5}\b)");
  // Before versions: "1.5 KB" is none.
  static const std::regex kAge(R"(\b\d+ (ms|s|min|h|days)\b)");
  static const std::regex kVersion(R"(\b(\d+)\.(\d+)\b(?! (KB|MB|GB)))");
  static const std::regex kEpoch(R"(\bepoch (\d+)\b)");
  static const std::regex kIndex(R"(\b(log index) \d+)");
  std::string text(given);
  text = replace_all(text, kTime, [](const std::smatch&) { return "<time>"; });
  text = replace_all(text, kPort, [](const std::smatch& m) { return m[1].str() + ":<port>"; });
  text = replace_all(text, kAge, [](const std::smatch&) { return "<age>"; });
  text = replace_all(text, kIndex, [](const std::smatch& m) { return m[1].str() + " <n>"; });
  text = replace_all(text, kVersion, [this](const std::smatch& m) {
    return epoch_name(std::stoull(m[1].str())) + "." + m[2].str();
  });
  return replace_all(text, kEpoch, [this](const std::smatch& m) { return "epoch " + epoch_name(std::stoull(m[1].str())); });
}

std::string StableText::to_cluster(std::string_view given) const {
  static const std::regex kVersion(R"(\b(E\d+)\.(\d+)\b)");
  return replace_all(std::string(given), kVersion, [this](const std::smatch& m) {
    for (auto& [epoch, name] : names_) {
      if (name == m[1].str()) return std::to_string(epoch) + "." + m[2].str();
    }
    return m[0].str();
  });
}

}  // namespace understudy::sim
