#include "client/grammar.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "common/base/path.h"

namespace understudy::client {
namespace {

bool is_separator(char c) { return c == ' ' || c == '\t'; }

std::unexpected<Refusal> bad_line(std::string message) {
  return std::unexpected(Refusal{{Code::kInvalid, std::move(message)}, true});
}

std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_separator(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_separator(text.back())) text.remove_suffix(1);
  return text;
}

bool equals_in_any_case(std::string_view text, std::string_view capitals) {
  return std::ranges::equal(text, capitals, [](char a, char b) {
    return std::toupper(static_cast<unsigned char>(a)) == b;
  });
}

// Takes a double-quoted part off `rest`, whose opening quote is gone already.
std::expected<std::string, Refusal> take_double_quoted(std::string_view& rest) {
  std::string text;
  while (!rest.empty()) {
    char c = rest.front();
    rest.remove_prefix(1);
    if (c == '"') return text;
    if (c != '\\') {
      text.push_back(c);
      continue;
    }
    char escape = rest.empty() ? '\0' : rest.front();
    if (!rest.empty()) rest.remove_prefix(1);
    switch (escape) {
      case '"': text.push_back('"'); break;
      case '\\': text.push_back('\\'); break;
      case 'n': text.push_back('\n'); break;
      case 't': text.push_back('\t'); break;
      case 'x': {
        uint8_t byte = 0;
        auto digits = rest.substr(0, 2);
        auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
        if (digits.size() != 2 || error != std::errc() || end != digits.data() + 2) {
          return bad_line("\\x needs two hexadecimal digits");
        }
        text.push_back(static_cast<char>(byte));
        rest.remove_prefix(2);
        break;
      }
      default: return bad_line("unknown escape in double quotes; use \\\" \\\\ \\n \\t \\xHH");
    }
  }
  return bad_line("a double quote is not closed");
}

const OptionSpec* find_option(const CommandSpec& command, std::string_view name) {
  for (const OptionSpec& option : command.options) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

std::unexpected<Refusal> bad_usage(const CommandSpec& command, const std::string& what) {
  return bad_line(what + "; use: " + std::string(command.usage));
}

// The options that one word stands for: "-al" is "-a -l", "--range=1-2" has its value.
struct OptionWord {
  std::vector<const OptionSpec*> options;
  std::optional<std::string> value;
};

OptionWord match_option(const CommandSpec& command, std::string_view word) {
  OptionWord match;
  if (word.starts_with("--")) {
    size_t equals = word.find('=');
    if (const OptionSpec* option = find_option(command, word.substr(0, equals))) {
      match.options.push_back(option);
      if (equals != word.npos) match.value = word.substr(equals + 1);
    }
    return match;
  }
  for (char letter : word.substr(1)) {
    const OptionSpec* option = find_option(command, std::string("-") + letter);
    if (option == nullptr) return {};
    match.options.push_back(option);
  }
  return match;
}

}  // namespace

std::optional<std::string> Command::value(std::string_view option) const {
  for (auto at = options.rbegin(); at != options.rend(); ++at) {
    if (at->first == option) return at->second;
  }
  return std::nullopt;
}

std::vector<std::string> Command::values(std::string_view option) const {
  std::vector<std::string> all;
  for (const auto& [name, value] : options) {
    if (name == option) all.push_back(value);
  }
  return all;
}

std::expected<std::vector<Word>, Refusal> split_line(std::string_view line) {
  std::vector<Word> words;
  std::string_view rest = trimmed(without_line_end(line));
  if (rest.starts_with('#')) return words;
  while (!rest.empty()) {
    Word word;
    while (!rest.empty() && !is_separator(rest.front())) {
      char c = rest.front();
      rest.remove_prefix(1);
      if (c == '\'') {
        size_t end = rest.find('\'');
        if (end == rest.npos) return bad_line("a single quote is not closed");
        word.text.append(rest.substr(0, end));
        word.quoted = true;
        rest.remove_prefix(end + 1);
      } else if (c == '"') {
        auto quoted = take_double_quoted(rest);
        if (!quoted) return std::unexpected(std::move(quoted).error());
        word.text.append(*quoted);
        word.quoted = true;
      } else {
        word.text.push_back(c);
      }
    }
    words.push_back(std::move(word));
    rest = trimmed(rest);
  }
  return words;
}

std::expected<Command, Refusal> parse_command(const std::vector<Word>& words) {
  Command command;
  command.spec = find_command(words.front().text);
  if (command.spec == nullptr) {
    return bad_line(printable(words.front().text) + " is no command; HELP lists them");
  }
  const CommandSpec& spec = *command.spec;
  bool options_ended = false;
  for (size_t i = 1; i < words.size(); ++i) {
    const Word& word = words[i];
    bool may_be_option = !options_ended && !word.quoted && word.text.size() > 1 && word.text[0] == '-' &&
                         !(spec.text_last && !command.arguments.empty());
    if (!may_be_option) {
      command.arguments.push_back(word.text);
      continue;
    }
    if (word.text == "--") {
      options_ended = true;
      continue;
    }
    OptionWord match = match_option(spec, word.text);
    if (match.options.empty()) {
      return bad_usage(spec, std::string(spec.name) + " has no option " + printable(word.text));
    }
    for (const OptionSpec* option : match.options) {
      std::string name(option->name);
      std::string value;
      if (!option->value.empty() && !match.value) {
        if (i + 1 == words.size()) return bad_usage(spec, name + " needs " + std::string(option->value));
        value = words[++i].text;
      } else if (!option->value.empty()) {
        value = *match.value;
      } else if (match.value) {
        return bad_usage(spec, name + " takes no value");
      }
      command.options.emplace_back(std::move(name), std::move(value));
    }
  }
  size_t count = command.arguments.size();
  if (count < spec.arguments_min) return bad_usage(spec, std::string(spec.name) + " needs more arguments");
  if (spec.arguments_max != 255 && count > spec.arguments_max) {
    return bad_usage(spec, std::string(spec.name) + " takes fewer arguments");
  }
  return command;
}

Result<EditLine> parse_edit_line(std::string_view line) {
  line = without_line_end(line);
  std::string_view word = trimmed(line);
  if (word.empty() || word.front() == '#') return EditLine{};
  if (equals_in_any_case(word, "ETIRW")) return EditLine{.kind = EditLine::Kind::kCommit};
  if (equals_in_any_case(word, "ABORT")) return EditLine{.kind = EditLine::Kind::kAbort};
  while (is_separator(line.front())) line.remove_prefix(1);
  size_t digits = 0;
  while (digits < line.size() && std::isdigit(static_cast<unsigned char>(line[digits]))) ++digits;
  if (digits == 0 || digits + 1 >= line.size() || !is_separator(line[digits])) {
    return fail(Code::kInvalid, "an edit line is <word index> <content>; ETIRW commits, ABORT drops");
  }
  EditLine edit{.kind = EditLine::Kind::kInsert};
  auto [end, error] = std::from_chars(line.data(), line.data() + digits, edit.word);
  // An index that no number holds is out of every sentence's range.
  if (error != std::errc()) edit.word = UINT64_MAX;
  std::string_view content = line.substr(digits + 1);
  for (size_t i = 0; i < content.size(); ++i) {
    char next = content[i] == '\\' && i + 1 < content.size() ? content[i + 1] : '\0';
    if (next == 'n' || next == 't' || next == '\\') {
      edit.content.push_back(next == 'n' ? '\n' : next == 't' ? '\t' : '\\');
      ++i;
    } else {
      edit.content.push_back(content[i]);
    }
  }
  return edit;
}

Result<uint64_t> parse_number(std::string_view text, std::string_view what) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return fail(Code::kInvalid, std::string(what) + " is a whole number from 0 on, not " + printable(text));
  }
  return value;
}

Result<Duration> parse_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    double nanoseconds;
  };
  constexpr Unit kUnits[] = {{"ms", 1e6}, {"s", 1e9}, {"m", 6e10}, {"h", 3.6e12}, {"", 1e9}};
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error == std::errc() && std::isfinite(value) && value >= 0) {
    std::string_view rest = text.substr(end - text.data());
    for (const Unit& unit : kUnits) {
      double nanoseconds = value * unit.nanoseconds;
      if (rest == unit.name && nanoseconds < 1e17) return Duration(static_cast<int64_t>(nanoseconds));
    }
  }
  return fail(Code::kInvalid, printable(text) + " is no length of time; use 500ms, 30s, 10m or 24h");
}

Result<Version> parse_version(std::string_view text) {
  size_t dot = text.find('.');
  if (dot != text.npos) {
    auto epoch = parse_number(text.substr(0, dot), "epoch");
    auto counter = parse_number(text.substr(dot + 1), "counter");
    if (epoch && counter && *counter > 0) return Version{Epoch{*epoch}, *counter};
  }
  return fail(Code::kInvalid, printable(text) + " is no version; use epoch.counter as INFO prints it");
}

Result<ByteRange> parse_range(std::string_view text) {
  size_t dash = text.find('-');
  ByteRange range;
  bool good = dash != text.npos && text.size() > 1;
  if (good && dash > 0) {
    auto first = parse_number(text.substr(0, dash), "range");
    good = first.has_value();
    if (good) range.first = *first;
  }
  if (good && dash + 1 < text.size()) {
    auto last = parse_number(text.substr(dash + 1), "range");
    good = last.has_value();
    if (good) range.last = *last;
  }
  if (!good || (range.first && range.last && *range.first > *range.last)) {
    return fail(Code::kInvalid, printable(text) + " is no range; use A-B, A- or -B with A not above B");
  }
  return range;
}

}  // namespace understudy::client
