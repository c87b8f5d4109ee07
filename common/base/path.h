// Names and paths in the store: the one set of rules for the client, the name
// node and the storage servers. Pure.
//
// A name is 1 to 255 bytes of valid UTF-8 without '/', NUL or control characters
// (U+0000 to U+001F, U+007F to U+009F); "." and ".." are no names. An absolute
// path is '/' and names with '/' between; doubled and trailing slashes mean nothing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace understudy {

inline constexpr size_t kNameSizeMax = 255;
inline constexpr size_t kPathSizeMax = 8192;

// INVALID, with what is wrong, for what is no name.
[[nodiscard]] Status check_name(std::string_view name);

// The names of an absolute path, outermost first; none for "/". INVALID for a
// relative path, an impossible name ("." and ".." among them) or one too long.
[[nodiscard]] Result<std::vector<std::string>> split_path(std::string_view absolute);

// "/" for no names.
std::string join_path(const std::vector<std::string>& names);

// What `path`, as a user typed it, means in `folder` (absolute): "." and ".." are
// followed, and ".." never leaves the root. The answer is absolute and normal:
// split_path takes it, and join_path gives it back.
[[nodiscard]] Result<std::string> resolve_path(std::string_view folder, std::string_view path);

bool is_valid_utf8(std::string_view text);

// A name as one line may show it: control characters and bytes that are not UTF-8
// as \xHH, a long one shortened.
std::string printable(std::string_view text);
// The same in full, where the line is what was asked for.
std::string printable_whole(std::string_view text);

}  // namespace understudy
