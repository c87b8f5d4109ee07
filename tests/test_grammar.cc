// The client's grammar: lines, words, commands, options, edit lines, refusals.
#include <gtest/gtest.h>

#include "client/grammar.h"

namespace understudy::client {
namespace {

using Strings = std::vector<std::string>;

Strings words(std::string_view line) {
  auto split = split_line(line);
  if (!split) return {"refused: " + split.error().error.message};
  Strings all;
  for (auto& word : *split) all.push_back(word.text);
  return all;
}

std::expected<Command, Refusal> parse(std::string_view line) {
  auto split = split_line(line);
  if (!split) return std::unexpected(split.error());
  return parse_command(*split);
}

std::string refusal(std::string_view line) {
  auto command = parse(line);
  if (command) return "accepted";
  return (command.error().usage ? "usage " : "") + command.error().error.to_string();
}

TEST(Grammar, words_quotes_and_comments) {
  EXPECT_EQ(words(""), Strings{});
  EXPECT_EQ(words(" \t\r\n"), Strings{});
  EXPECT_EQ(words("# CREATE a"), Strings{});
  EXPECT_EQ(words("read  a.txt\t--range 1-2 \r"), (Strings{"read", "a.txt", "--range", "1-2"}));
  EXPECT_EQ(words(R"(APPEND f 'it is "so" \n' "a \"b\" \\ \n\t\x41" x'y z'"!" '')"),
            (Strings{"APPEND", "f", R"(it is "so" \n)", "a \"b\" \\ \n\tA", "xy z!", ""}));
  EXPECT_EQ(words(R"(a\b # no comment)"), (Strings{R"(a\b)", "#", "no", "comment"}));
  EXPECT_TRUE(words("a 'b")[0].starts_with("refused"));
  EXPECT_TRUE(words("a \"b")[0].starts_with("refused"));
  EXPECT_TRUE(words(R"(a "\x4")")[0].starts_with("refused"));
  EXPECT_TRUE(words(R"(a "\q")")[0].starts_with("refused"));
}

TEST(Grammar, commands_in_any_case_with_their_options) {
  auto read = parse("rEaD a --range 3- --version=12.3");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->spec->id, CommandId::kRead);
  EXPECT_EQ(read->arguments, Strings{"a"});
  EXPECT_EQ(read->value("--range"), "3-");
  EXPECT_EQ(read->value("--version"), "12.3");
  auto view = parse("VIEW -al");
  ASSERT_TRUE(view);
  EXPECT_TRUE(view->has("-a"));
  EXPECT_TRUE(view->has("-l"));
  EXPECT_EQ(parse("PUT - f")->arguments, (Strings{"-", "f"}));
  EXPECT_EQ(parse("DELETE -- -f")->arguments, Strings{"-f"});
  EXPECT_EQ(parse("DELETE '-f'")->arguments, Strings{"-f"});
  EXPECT_EQ(parse("APPEND f - item --x -- y")->arguments, (Strings{"f", "-", "item", "--x", "--", "y"}));
  EXPECT_EQ(parse("WRITE f 0 --edit '3 deeply mistaken' --edit '0 But,'")->values("--edit"),
            (Strings{"3 deeply mistaken", "0 But,"}));
}

TEST(Grammar, refusals_say_what_to_do) {
  EXPECT_EQ(refusal("FOO a"), "usage INVALID: FOO is no command; HELP lists them");
  EXPECT_EQ(refusal("CREATE"), "usage INVALID: CREATE needs more arguments; use: CREATE f");
  EXPECT_EQ(refusal("CREATE a b"), "usage INVALID: CREATE takes fewer arguments; use: CREATE f");
  EXPECT_EQ(refusal("DELETE -x a"), "usage INVALID: DELETE has no option -x; use: DELETE f");
  EXPECT_EQ(refusal("READ a --range"),
            "usage INVALID: --range needs A-B; use: READ f [--version V] [--range A-B]");
  EXPECT_EQ(refusal("ADDACCESS -R /f"), "usage INVALID: ADDACCESS needs more arguments; use: ADDACCESS -R|-W f user");
  EXPECT_EQ(refusal("PROMOTE ss1"), "accepted");
  EXPECT_EQ(refusal("PROMOTE ss1 --force"), "accepted");
}

TEST(Grammar, edit_lines_are_content_as_they_stand) {
  auto insert = [](uint64_t word, std::string content) {
    return EditLine{EditLine::Kind::kInsert, word, std::move(content)};
  };
  EXPECT_EQ(parse_edit_line("3 T-T\r\n"), insert(3, "T-T"));
  EXPECT_EQ(parse_edit_line(R"(0  it's "so"\n\t\\n \q )"), insert(0, " it's \"so\"\n\t\\n \\q "));
  EXPECT_EQ(parse_edit_line("99999999999999999999999 x"), insert(UINT64_MAX, "x"));
  EXPECT_EQ(parse_edit_line(" etirw \r")->kind, EditLine::Kind::kCommit);
  EXPECT_EQ(parse_edit_line("ABORT")->kind, EditLine::Kind::kAbort);
  EXPECT_EQ(parse_edit_line("  ")->kind, EditLine::Kind::kNothing);
  for (std::string_view bad : {"x y", "3", "3 ", "-1 x", "3x y", "ETIRW now"}) {
    EXPECT_FALSE(parse_edit_line(bad)) << bad;
  }
}

TEST(Grammar, values) {
  using namespace std::chrono_literals;
  EXPECT_EQ(parse_duration("500ms"), 500ms);
  EXPECT_EQ(parse_duration("2"), 2s);
  EXPECT_EQ(parse_duration("0.25s"), 250ms);
  EXPECT_EQ(parse_duration("24h"), 24h);
  for (std::string_view bad : {"", "s", "-1s", "5x", "inf", "1e300h", "9999999999999h"}) EXPECT_FALSE(parse_duration(bad)) << bad;
  EXPECT_EQ(parse_version("12.3"), (Version{Epoch{12}, 3}));
  for (std::string_view bad : {"12", "1.0", ".1", "1.", "a.b", "1.2.3"}) EXPECT_FALSE(parse_version(bad)) << bad;
  EXPECT_EQ(parse_range("2-5"), (ByteRange{2, 5}));
  EXPECT_EQ(parse_range("2-"), (ByteRange{2, std::nullopt}));
  EXPECT_EQ(parse_range("-5"), (ByteRange{std::nullopt, 5}));
  for (std::string_view bad : {"", "-", "5", "5-2", "a-b", "1--2", "1-2-3"}) EXPECT_FALSE(parse_range(bad)) << bad;
}

TEST(Grammar, help_comes_from_the_table) {
  EXPECT_NE(help_text().find("READ f [--version V] [--range A-B]"), std::string::npos);
  EXPECT_NE(help_text(*find_command("addaccess")).find("ADDACCESS -R|-W f user"), std::string::npos);
  for (const CommandSpec& command : command_table()) {
    EXPECT_NE(help_text().find(command.usage), std::string::npos) << command.name;
    EXPECT_TRUE(command.usage.starts_with(command.name) && !command.help.empty()) << command.name;
    for (const OptionSpec& option : command.options) {
      EXPECT_NE(help_text(command).find("\n    " + std::string(option.name)), std::string::npos) << command.name;
      EXPECT_FALSE(option.help.empty()) << command.name << " " << option.name;
    }
  }
}

}  // namespace
}  // namespace understudy::client
