#include "common/base/path.h"

#include <cstdint>

namespace understudy {
namespace {

constexpr uint32_t kNoCharacter = UINT32_MAX;

// Takes one UTF-8 character off the front of `text`; kNoCharacter, with one byte
// taken, for a byte sequence that is none (overlong, surrogate, cut short).
uint32_t take_character(std::string_view& text) {
  uint8_t first = static_cast<uint8_t>(text.front());
  int following = first < 0x80 ? 0 : first >> 5 == 6 ? 1 : first >> 4 == 14 ? 2 : first >> 3 == 30 ? 3 : -1;
  if (following < 0 || text.size() <= static_cast<size_t>(following)) {
    text.remove_prefix(1);
    return kNoCharacter;
  }
  uint32_t character = following == 0 ? first : first & (0x3fu >> following);
  for (int i = 1; i <= following; ++i) {
    uint8_t byte = static_cast<uint8_t>(text[i]);
    if (byte >> 6 != 2) {
      text.remove_prefix(1);
      return kNoCharacter;
    }
    character = character << 6 | (byte & 0x3f);
  }
  constexpr uint32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
  if (character < kSmallest[following] || character > 0x10ffff || (character >= 0xd800 && character < 0xe000)) {
    text.remove_prefix(1);
    return kNoCharacter;
  }
  text.remove_prefix(1 + following);
  return character;
}

bool is_control(uint32_t character) { return character < 0x20 || (character >= 0x7f && character < 0xa0); }

// Calls `visit` with each part between slashes; empty parts are skipped.
template <class Visit>
Status for_each_part(std::string_view path, Visit visit) {
  while (!path.empty()) {
    size_t slash = path.find('/');
    auto part = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (!part.empty()) RETURN_IF_ERROR(visit(part));
  }
  return {};
}

}  // namespace

Status check_name(std::string_view name) {
  if (name.empty()) return fail(Code::kInvalid, "a name cannot be empty");
  if (name == "." || name == "..") return fail(Code::kInvalid, "'" + std::string(name) + "' is no name");
  if (name.size() > kNameSizeMax) {
    return fail(Code::kInvalid, printable(name) + ": a name has at most 255 bytes, this one has " +
                                    std::to_string(name.size()));
  }
  auto rest = name;
  while (!rest.empty()) {
    uint32_t character = take_character(rest);
    if (character == kNoCharacter) return fail(Code::kInvalid, printable(name) + ": a name must be valid UTF-8");
    if (character == '/') return fail(Code::kInvalid, printable(name) + ": a name cannot contain '/'");
    if (is_control(character)) {
      return fail(Code::kInvalid, printable(name) + ": a name cannot contain control characters");
    }
  }
  return {};
}

Result<std::vector<std::string>> split_path(std::string_view absolute) {
  if (absolute.size() > kPathSizeMax) {
    return fail(Code::kInvalid, "a path has at most " + std::to_string(kPathSizeMax) + " bytes");
  }
  if (absolute.empty() || absolute.front() != '/') {
    return fail(Code::kInvalid, printable(absolute) + ": not an absolute path");
  }
  std::vector<std::string> names;
  RETURN_IF_ERROR(for_each_part(absolute, [&](std::string_view part) -> Status {
    RETURN_IF_ERROR(check_name(part));
    names.emplace_back(part);
    return {};
  }));
  return names;
}

std::string join_path(const std::vector<std::string>& names) {
  if (names.empty()) return "/";
  std::string path;
  for (const auto& name : names) path.append("/").append(name);
  return path;
}

Result<std::string> resolve_path(std::string_view folder, std::string_view path) {
  if (path.empty()) return fail(Code::kInvalid, "a path cannot be empty");
  std::vector<std::string> names;
  if (path.front() != '/') {
    ASSIGN_OR_RETURN(names, split_path(folder));
  }
  RETURN_IF_ERROR(for_each_part(path, [&](std::string_view part) -> Status {
    if (part == ".") return {};
    if (part == "..") {
      if (!names.empty()) names.pop_back();
      return {};
    }
    RETURN_IF_ERROR(check_name(part));
    names.emplace_back(part);
    return {};
  }));
  auto resolved = join_path(names);
  if (resolved.size() > kPathSizeMax) {
    return fail(Code::kInvalid, "a path has at most " + std::to_string(kPathSizeMax) + " bytes");
  }
  return resolved;
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    if (take_character(text) == kNoCharacter) return false;
  }
  return true;
}

namespace {

std::string printable_up_to(std::string_view text, size_t shown_max) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string shown;
  auto rest = text;
  while (!rest.empty()) {
    if (shown.size() >= shown_max) return shown + "...";
    auto before = rest;
    uint32_t character = take_character(rest);
    auto bytes = before.substr(0, before.size() - rest.size());
    if (character != kNoCharacter && !is_control(character)) {
      shown.append(bytes);
      continue;
    }
    for (char byte : bytes) {
      shown.append("\\x");
      shown.push_back(kDigits[static_cast<uint8_t>(byte) >> 4]);
      shown.push_back(kDigits[byte & 15]);
    }
  }
  return shown;
}

}  // namespace

std::string printable(std::string_view text) { return printable_up_to(text, 80); }

std::string printable_whole(std::string_view text) { return printable_up_to(text, text.npos); }

}  // namespace understudy
