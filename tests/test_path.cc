// Names and paths: what is one, what is none, and where ".." leads.
#include <gtest/gtest.h>

#include "common/base/path.h"

namespace understudy {
namespace {

using namespace std::string_literals;
using Names = std::vector<std::string>;

bool is_name(std::string_view name) {
  auto status = check_name(name);
  if (!status) EXPECT_EQ(status.error().code, Code::kInvalid);
  return status.has_value();
}

TEST(Path, Names) {
  for (auto name : {"a"s, "..."s, ".hidden"s, "two words"s, "ä€𝄞"s, "\\"s, std::string(255, 'x')}) {
    EXPECT_TRUE(is_name(name)) << name;
  }
  for (auto name : {""s, "."s, ".."s, "a/b"s, "a\0b"s, "a\nb"s, "\x7f"s, "\xc2\x85"s, std::string(256, 'x')}) {
    EXPECT_FALSE(is_name(name)) << printable(name);
  }
}

TEST(Path, NamesMustBeUtf8) {
  // Stray continuation, cut short, overlong '/', surrogate, past U+10FFFF, Latin-1.
  for (auto name : {"\x80"s, "a\xe2\x82"s, "\xc0\xaf"s, "\xed\xa0\x80"s, "\xf4\x90\x80\x80"s, "caf\xe9"s}) {
    EXPECT_FALSE(is_name(name)) << printable(name);
    EXPECT_FALSE(is_valid_utf8(name));
  }
}

TEST(Path, Split) {
  EXPECT_EQ(split_path("/").value(), Names{});
  EXPECT_EQ(split_path("/a/b c/d").value(), (Names{"a", "b c", "d"}));
  EXPECT_EQ(split_path("//a///b/").value(), (Names{"a", "b"}));
  for (auto path : {""s, "a"s, "/a/../b"s, "/a/./b"s, "/a\0"s, "/" + std::string(256, 'x')}) {
    EXPECT_FALSE(split_path(path)) << printable(path);
  }
  std::string deep;
  while (deep.size() <= kPathSizeMax) deep += "/folder";
  EXPECT_FALSE(split_path(deep));
}

TEST(Path, ResolveNeverLeavesTheRoot) {
  EXPECT_EQ(resolve_path("/a/b", "c").value(), "/a/b/c");
  EXPECT_EQ(resolve_path("/a/b", "../c/.").value(), "/a/c");
  EXPECT_EQ(resolve_path("/a/b", "../../../../c").value(), "/c");
  EXPECT_EQ(resolve_path("/a/b", "/..").value(), "/");
  EXPECT_EQ(resolve_path("/a/b", ".").value(), "/a/b");
  EXPECT_EQ(resolve_path("/a", "/x//y/").value(), "/x/y");
  EXPECT_FALSE(resolve_path("/a", ""));
  EXPECT_FALSE(resolve_path("/a", "b\tc"));
  EXPECT_EQ(join_path(split_path("/a/b").value()), "/a/b");
}

TEST(Path, PrintableIsOneShortLine) {
  EXPECT_EQ(printable("a\nb\xff"), "a\\x0ab\\xff");
  EXPECT_EQ(printable("ä"), "ä");
  EXPECT_LT(printable(std::string(10000, 'x')).size(), 100u);
  EXPECT_EQ(printable_whole(std::string(300, 'x') + "\n"), std::string(300, 'x') + "\\x0a");
}

}  // namespace
}  // namespace understudy
