// The command parser: any line is words or a refusal in one line, any words a command or a refusal; what was
// split comes back out of quotes unchanged, and an edit line is what it would be typed as.
#include <string>

#include "client/grammar.h"
#include "common/base/path.h"
#include "common/base/result.h"
#include "tests/fuzz/input.h"

namespace understudy::client {
namespace {

void check_refusal(const Error& error) {
  CHECK(!error.message.empty() && error.message.find('\n') == error.message.npos);
  CHECK(error.code == Code::kInvalid);
}

// As a user would put any word so that it is kept.
std::string quoted(const std::string& word) {
  std::string text = "\"";
  for (unsigned char c : word) {
    if (c == '"' || c == '\\') text += '\\';
    if (c == '\n') text += "\\n";
    else if (c == '\r' || c == '\0') text += c == '\r' ? "\\x0d" : "\\x00";
    else text += static_cast<char>(c);
  }
  return text + '"';
}

void check_line(std::string_view line) {
  auto words = split_line(line);
  if (!words) return check_refusal(words.error().error);
  std::string again;
  for (const Word& word : *words) again += quoted(word.text) + "\t ";
  auto same = split_line(again);
  CHECK(same.has_value() && same->size() == words->size());
  for (size_t i = 0; i < words->size(); ++i) CHECK((*same)[i].text == (*words)[i].text);
  if (words->empty()) return;
  auto command = parse_command(*words);
  if (!command) return check_refusal(command.error().error);
  CHECK(command->spec != nullptr && command->arguments.size() >= command->spec->arguments_min);
  for (const auto& argument : command->arguments) {
    auto path = resolve_path("/some/folder", argument);
    CHECK(!path || path->starts_with("/"));
    // What was resolved stays what it is.
    if (path) CHECK(resolve_path("/elsewhere", *path) == *path);
  }
}

void check_edit_line(std::string_view line) {
  auto edit = parse_edit_line(line);
  if (!edit) return check_refusal(edit.error());
  if (edit->kind != EditLine::Kind::kInsert) return;
  CHECK(!edit->content.empty());
  std::string typed = std::to_string(edit->word) + " ";
  for (char c : edit->content) {
    if (c == '\\') typed += '\\';
    if (c == '\n') typed += "\\n";
    else typed += c;
  }
  // With the line end that leaves a last \r to the content.
  auto same = parse_edit_line(typed + "\r\n");
  CHECK(same.has_value() && same->word == edit->word && same->content == edit->content);
}

}  // namespace
}  // namespace understudy::client

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace understudy::client;
  std::string_view line(reinterpret_cast<const char*>(data), size);
  check_line(line);
  check_edit_line(line);
  (void)parse_number(line, "a number");
  (void)parse_range(line);
  (void)parse_version(line);
  (void)parse_duration(line);
  return 0;
}
