// What stands before a command, and how results are put.
#include <gtest/gtest.h>

#include "client/json.h"
#include "client/local_cluster.h"
#include "client/options.h"
#include "client/output.h"

namespace understudy::client {
namespace {

std::string refusal(const std::vector<std::string>& arguments) {
  auto options = parse_options(arguments);
  if (options) return "accepted";
  return (options.error().usage ? "usage " : "") + options.error().error.to_string();
}

TEST(Options, before_the_command_and_nowhere_else) {
  auto options = parse_options({"--nm", "a:1,b:2", "--json", "--timeout=500ms", "-q", "READ", "--range", "1-2", "f"});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->name_nodes, (std::vector<Address>{"a:1", "b:2"}));
  EXPECT_TRUE(options->json && options->quiet && !options->keep_going);
  EXPECT_EQ(options->timeout, std::chrono::milliseconds(500));
  EXPECT_EQ(options->command, (std::vector<std::string>{"READ", "--range", "1-2", "f"}));
  EXPECT_EQ(parse_options({"--", "--json"})->command, std::vector<std::string>{"--json"});
}

TEST(Options, what_is_not_built_is_refused_by_name) {
  EXPECT_EQ(refusal({"--durability", "sync"}), "accepted");
  EXPECT_NE(refusal({"--durability", "twice"}), "accepted");
  EXPECT_EQ(refusal({"--user", ""}), "usage INVALID: --user needs NAME");
  EXPECT_EQ(refusal({"--user", "bob"}), "accepted");
  EXPECT_EQ(refusal({"--user", "admin", "--durability", "async", "--read-from", "any"}), "accepted");
  EXPECT_TRUE(refusal({"--read-from", "sky"}).starts_with("usage "));
  EXPECT_TRUE(refusal({"--nosuch"}).starts_with("usage "));
  EXPECT_TRUE(refusal({"--nm"}).starts_with("usage "));
  EXPECT_TRUE(refusal({"--json=1"}).starts_with("usage "));
  EXPECT_FALSE(parse_up({"--name-nodes", "3"}, "d"));
  EXPECT_EQ(parse_up({"--heartbeat-interval", "5s", "--pairs", "2"}, "d")->name_node_options,
            (std::vector<std::string>{"--heartbeat-interval", "5s"}));
}

TEST(Json, text_that_is_not_utf8_goes_in_base64) {
  Json object;
  object.text("a", "q\"\\\n\x01 é").text("b", "\xff\xfe").number("n", -3).truth("t", true).time("at", 0);
  object.time("then", 1'700'000'000'123'456).list("l", {Json().count("x", 1)}).texts("s", {"u", "v"});
  EXPECT_EQ(object.str(),
            "{\"a\":\"q\\\"\\\\\\n\\u0001 é\",\"b_base64\":\"//4=\",\"n\":-3,\"t\":true,\"at\":null,"
            "\"then\":\"2023-11-14T22:13:20.123456Z\",\"l\":[{\"x\":1}],\"s\":[\"u\",\"v\"]}");
  EXPECT_EQ(base64("a"), "YQ==");
  EXPECT_EQ(base64("abc"), "YWJj");
}

TEST(Output, sizes_and_ages_for_people) {
  EXPECT_EQ(format_size(1), "1 byte");
  EXPECT_EQ(format_size(999), "999 bytes");
  EXPECT_EQ(format_size(3'000'000), "3 MB");
  EXPECT_EQ(format_size(999'999), "1 MB");
  EXPECT_EQ(format_age(120), "120 ms");
  EXPECT_EQ(format_age(4'000), "4 s");
  EXPECT_EQ(format_age(7'200'000), "2 h");
}

}  // namespace
}  // namespace understudy::client
