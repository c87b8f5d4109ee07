// The layers and coroutine rules of docs/hacking.md, held by reading the sources: who may include what, which file
// owns which library, what may not be called where. Needs to run from the top of the tree, as `make test` does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;
using Sources = std::map<std::string, std::string>;  // Text by path.
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kLinesMax = 900;

// What a folder may include of ours. The longest folder that a path starts with counts; the mains and
// everything under tests/ and bench/ may include anything.
const std::vector<std::pair<std::string, Names>> kLayers = {
    {"common/base/", {"common/base/"}},
    {"common/env/", {"common/base/", "common/env/"}},
    {"common/wire/", {"common/base/", "common/env/", "common/wire/"}},
    {"common/uv/", {"common/base/", "common/env/", "common/uv/"}},
    // Refuses a plaintext client in its own frames.
    {"common/tls/", {"common/base/", "common/env/", "common/wire/", "common/tls/"}},
    {"common/sqlite/", {"common/base/", "common/env/", "common/sqlite/"}},
    {"common/segment_log/", {"common/base/", "common/env/", "common/segment_log/"}},
    {"common/crypto/", {"common/base/", "common/env/", "common/wire/", "common/crypto/"}},
    {"common/", {"common/base/", "common/env/", "common/wire/"}},
    {"nm/core/", {"common/base/", "common/wire/", "nm/core/"}},
    {"ss/core/", {"common/base/", "common/wire/", "ss/core/"}},
    {"nm/", {"common/base/", "common/env/", "common/wire/", "common/sqlite/", "common/segment_log/", "common/crypto/", "common/tls/", "nm/"}},
    {"ss/", {"common/base/", "common/env/", "common/wire/", "common/sqlite/", "common/segment_log/", "common/crypto/", "common/tls/", "ss/"}},
    // The client's inspector reads every on-disk format, through the formats' own headers.
    {"client/", {"common/", "client/", "nm/raft_format.h", "ss/records.h"}},
};

// The files that own a library: nobody else includes its headers. A header path is matched by its beginning.
const std::vector<std::pair<std::string, std::string>> kOwners = {
    {"raft.h", "nm/raft_[a-z_]*\\.(cc|h)"},
    {"raft/", "nm/raft_[a-z_]*\\.(cc|h)"},
    {"sqlite3", "common/sqlite/[a-z_]*\\.cc|tests/sim/.*|tests/test_sim_vfs\\.cc"},
    {"uv.h", "common/uv/.*"},
    {"openssl/", "common/base/chunk_hash\\.cc|common/crypto/.*|common/tls/[a-z_]*\\.(cc|h)"},
    {"xxhash.h", "common/base/checksum\\.cc"},
    {"spdlog/", "common/base/log\\.cc"},
    {"histedit.h", "client/line_editor\\.cc"},
    {"editline/", "client/line_editor\\.cc"},
    {"readline/", "client/line_editor\\.cc"},
    {"CLI/", "(nm|ss|client|bench)/(main|options)\\.cc|common/options/.*"},
    {"google/protobuf/", "common/wire/.*|tests/fuzz/messages\\.h|(nm|ss)/[a-z_]*\\.cc"},
};

// Where the system may be called: the two worlds, programs' mains, and the client's few files that start
// servers, sit on a terminal or walk the user's own files.
const std::string kSystemFiles = "common/uv/.*|tests/.*|bench/.*|(nm|ss|client)/main\\.cc|"
                                 "client/(spawn|trusted|local_cluster|line_editor|local_io|console|credentials)\\.(cc|h)";
const Names kSystemHeaders = {"unistd.h", "fcntl.h",   "signal.h", "csignal", "poll.h",  "dirent.h", "sys/",      "netinet/",
                              "arpa/",    "netdb.h",   "thread",   "mutex",   "future",  "iostream", "pthread.h", "linux/",
                              "spawn.h",  "termios.h", "random",   "atomic",  "condition_variable",  "filesystem", "fstream"};
const std::string kSystemCalls =
    "std::(cout|cerr|cin|this_thread|thread|random_device|ifstream|ofstream|filesystem)\\b|"
    "\\b(printf|puts|system|popen|fork|execv[a-z]*|execl[a-z]*|usleep|nanosleep|srand|getenv)\\(|"
    "(steady|high_resolution|system)_clock::now\\(|(^|[^A-Za-z0-9_>])::(sleep|time|rand|kill|open|write|fsync|fdatasync)\\(";

bool starts_with(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }
bool in(const std::string& path, const std::string& pattern) { return std::regex_match(path, std::regex(pattern)); }

// The text without comments and without what stands in quotes; lines stay lines.
std::string code_only(const std::string& text) {
  std::string code;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '/' && i + 1 < text.size() && text[i + 1] == '/') {
      while (i < text.size() && text[i] != '\n') ++i;
      code += '\n';
    } else if (c == '/' && i + 1 < text.size() && text[i + 1] == '*') {
      for (i += 2; i + 1 < text.size() && !(text[i] == '*' && text[i + 1] == '/'); ++i) {
        if (text[i] == '\n') code += '\n';
      }
      ++i;
    } else if (c == '"' && i > 0 && text[i - 1] == 'R') {
      size_t open = text.find('(', i);
      std::string closing = ")" + text.substr(i + 1, open - i - 1) + "\"";
      size_t end = text.find(closing, open);
      code += "\"\"";
      code.append(std::count(text.begin() + i, text.begin() + std::min(end, text.size()), '\n'), '\n');
      if (end == std::string::npos) break;
      i = end + closing.size() - 1;
    } else if (c == '"' || (c == '\'' && (i == 0 || !isalnum(static_cast<unsigned char>(text[i - 1]))))) {
      code += c;
      for (++i; i < text.size() && text[i] != c && text[i] != '\n'; ++i) {
        if (text[i] == '\\') ++i;
      }
      code += c;
    } else {
      code += c;
    }
  }
  return code;
}

struct Includes {
  Names ours;
  Names libraries;
};

Includes includes_of(const std::string& text) {
  Includes includes;
  static const std::regex line("^[ \\t]*#[ \\t]*include[ \\t]*([<\"])([^>\"]*)[>\"]", std::regex::multiline);
  for (std::sregex_iterator at(text.begin(), text.end(), line), end; at != end; ++at) {
    ((*at)[1] == "\"" ? includes.ours : includes.libraries).push_back((*at)[2]);
  }
  return includes;
}

// Just behind the bracket that closes the one at `open`.
size_t closing(const std::string& code, size_t open) {
  int depth = 0;
  for (size_t i = open; i < code.size(); ++i) {
    if (code[i] == '(' || code[i] == '{') ++depth;
    if ((code[i] == ')' || code[i] == '}') && --depth == 0) return i + 1;
  }
  return code.size();
}

// Whether a parameter list, without its brackets, has a reference other than Env&.
bool takes_reference(const std::string& parameters) {
  int depth = 0;
  std::string parameter;
  for (char c : parameters + ",") {
    if (c == '(' || c == '<' || c == '{') ++depth;
    if (c == ')' || c == '>' || c == '}') --depth;
    if (depth == 0 && c == ',') {
      static const std::regex env("\\bEnv& *[a-z_]*$");
      if (parameter.find('&') != std::string::npos && !std::regex_search(parameter, env)) return true;
      parameter.clear();
    } else if (depth == 0) {
      parameter += c;
    }
  }
  return false;
}

// Whether a function's body makes it a coroutine: what its lambdas do is theirs.
bool is_coroutine(std::string body) {
  static const std::regex lambda("\\[[^\\]]*\\]\\s*(\\([^)]*\\))?[^{};()]*\\{");
  std::smatch match;
  while (std::regex_search(body, match, lambda)) {
    size_t begin = static_cast<size_t>(match.position());
    size_t open = begin + static_cast<size_t>(match.length()) - 1;
    body.erase(begin, closing(body, open) - begin);
  }
  static const std::regex keyword("\\bco_(await|return|yield)\\b");
  return std::regex_search(body, keyword);
}

int line_of(const std::string& text, size_t position) {
  return 1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<long>(position), '\n'));
}

Names find_all(const std::string& path, const std::string& code, const std::string& pattern, const std::string& what) {
  Names problems;
  std::regex regex(pattern);
  for (std::sregex_iterator at(code.begin(), code.end(), regex), end; at != end; ++at) {
    problems.push_back(path + ":" + std::to_string(line_of(code, static_cast<size_t>(at->position()))) + ": " + what + ": " + at->str());
  }
  return problems;
}

void add(Names& problems, Names more) {
  problems.insert(problems.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

Names broken_layers(const std::string& path, const Includes& includes) {
  Names problems;
  if (starts_with(path, "tests/") || starts_with(path, "bench/") || in(path, "(nm|ss|client)/main\\.cc")) return problems;
  auto layer = std::find_if(kLayers.begin(), kLayers.end(), [&](auto& l) { return starts_with(path, l.first); });
  if (layer == kLayers.end()) return {path + ": is in no layer that docs/hacking.md knows"};
  const std::string own = path.substr(0, path.rfind('/') + 1);
  for (const auto& header : includes.ours) {
    bool allowed = header.find('/') != std::string::npos &&
                   (starts_with(header, own) || std::any_of(layer->second.begin(), layer->second.end(),
                                                            [&](auto& prefix) { return starts_with(header, prefix); }));
    // Only mains choose the world that they run in.
    if (starts_with(header, "common/uv/") && !starts_with(path, "common/uv/") && !in(path, kSystemFiles)) allowed = false;
    if (!allowed) problems.push_back(path + ": may not include " + header);
  }
  return problems;
}

// A core has no clock, no I/O and no coroutine, not even through a header that it includes.
Names broken_core(const Sources& sources, const std::string& path) {
  if (!in(path, "(nm|ss)/core/.*")) return {};
  Names problems = find_all(path, code_only(sources.at(path)), "\\bco_(await|return|yield)\\b", "a coroutine in a core");
  std::set<std::string> seen;
  Names left = {path};
  while (!left.empty()) {
    std::string next = left.back();
    left.pop_back();
    if (!sources.contains(next) || !seen.insert(next).second) continue;
    if (starts_with(next, "common/env/")) problems.push_back(path + ": reaches " + next);
    add(left, includes_of(sources.at(next)).ours);
  }
  return problems;
}

Names problems_in(const Sources& sources) {
  Names problems;
  for (const auto& [path, text] : sources) {
    const Includes includes = includes_of(text);
    const std::string code = code_only(text);
    add(problems, broken_layers(path, includes));
    add(problems, broken_core(sources, path));
    for (const auto& header : includes.libraries) {
      for (const auto& [library, owners] : kOwners) {
        if (starts_with(header, library) && !in(path, owners)) problems.push_back(path + ": does not own <" + header + ">");
      }
      if (in(path, kSystemFiles)) continue;
      for (const auto& system : kSystemHeaders) {
        bool match = system.back() == '/' ? starts_with(header, system) : header == system;
        if (match) problems.push_back(path + ": may not include <" + header + ">; common/env has it");
      }
    }
    if (!in(path, kSystemFiles)) add(problems, find_all(path, code, kSystemCalls, "common/env has it"));
    add(problems, find_all(path, code, "\\[[^\\]\\n]+\\]\\s*(\\([^)]*\\))?\\s*(mutable\\s*)?->\\s*Task<", "a capturing lambda coroutine"));
    if (!starts_with(path, "tests/")) {
      static const std::regex task("\\bTask<[^;(){}]*>\\s+[A-Za-z_:]+\\(");
      for (std::sregex_iterator at(code.begin(), code.end(), task), end; at != end; ++at) {
        size_t open = static_cast<size_t>(at->position() + at->length() - 1);
        size_t close = closing(code, open);
        size_t body = code.find_first_of("{;", close);
        if (body == std::string::npos || code[body] == ';') continue;  // Its definition is looked at.
        if (takes_reference(code.substr(open + 1, close - open - 2)) && is_coroutine(code.substr(body, closing(code, body) - body))) {
          problems.push_back(path + ":" + std::to_string(line_of(code, open)) + ": a coroutine with a reference parameter: " + at->str());
        }
      }
    }
    size_t lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
    if (lines > kLinesMax) problems.push_back(path + ": " + std::to_string(lines) + " lines; is it two ideas?");
  }
  return problems;
}

Names problems_in(const std::string& path, const std::string& text) { return problems_in(Sources{{path, text}}); }

TEST(Layers, TheTreeKeepsThem) {
  Sources sources;
  for (const char* folder : {"common", "nm", "ss", "client", "bench", "tests"}) {
    if (!fs::exists(folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.path().extension() != ".cc" && entry.path().extension() != ".h") continue;
      std::ostringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      sources[entry.path().string()] = text.str();
    }
  }
  ASSERT_TRUE(sources.contains("common/base/result.h")) << "run from the top of the tree";
  for (const auto& problem : problems_in(sources)) ADD_FAILURE() << problem;
}

TEST(Layers, LowerNeverIncludesHigher) {
  EXPECT_THAT(problems_in("common/base/a.cc", "#include \"common/env/env.h\"\n"), ElementsAre(HasSubstr("common/env/env.h")));
  EXPECT_THAT(problems_in("nm/a.cc", "#include \"ss/core/version.h\"\n"), ElementsAre(HasSubstr("ss/core/version.h")));
  EXPECT_THAT(problems_in("ss/a.h", "#include \"nm/name_node.h\"\n"), ElementsAre(HasSubstr("nm/name_node.h")));
  EXPECT_THAT(problems_in("ss/a.cc", "#include \"common/uv/loop.h\"\n"), ElementsAre(HasSubstr("common/uv/loop.h")));
  EXPECT_THAT(problems_in("nm/a.cc", "#include \"a.h\"\n"), ElementsAre(HasSubstr("a.h")));
  EXPECT_THAT(problems_in("odd/a.cc", ""), ElementsAre(HasSubstr("no layer")));
  EXPECT_THAT(problems_in("nm/a.cc", "#include \"nm/core/b.h\"\n#include \"common/env/env.h\"\n"), IsEmpty());
  EXPECT_THAT(problems_in("ss/main.cc", "#include \"common/uv/loop.h\"\n"), IsEmpty());
}

TEST(Layers, ACoreIsPure) {
  EXPECT_THAT(problems_in("nm/core/a.h", "#include \"nm/name_node.h\"\n"), ElementsAre(HasSubstr("nm/name_node.h")));
  EXPECT_THAT(problems_in("nm/core/a.cc", "int f() { co_await g(); }\n"), ElementsAre(HasSubstr("nm/core/a.cc:1: a coroutine")));
  Sources through_wire = {{"ss/core/a.h", "#include \"common/wire/peer.h\"\n"},
                          {"common/wire/peer.h", "#include \"common/env/env.h\"\n"},
                          {"common/env/env.h", ""}};
  EXPECT_THAT(problems_in(through_wire), ElementsAre(HasSubstr("ss/core/a.h: reaches common/env/env.h")));
}

TEST(Layers, OneOwnerForEachLibrary) {
  for (const char* header : {"raft.h", "sqlite3.h", "uv.h", "openssl/evp.h", "spdlog/spdlog.h", "histedit.h", "xxhash.h", "google/protobuf/message.h"}) {
    EXPECT_THAT(problems_in("client/session.cc", "#include <" + std::string(header) + ">\n"), ElementsAre(HasSubstr("does not own"))) << header;
  }
  EXPECT_THAT(problems_in("nm/raft_io.cc", "#include <raft.h>\n"), IsEmpty());
  EXPECT_THAT(problems_in("common/sqlite/sqlite_db.h", "#include <sqlite3.h>\n"), ElementsAre(HasSubstr("does not own")));
}

TEST(Layers, TheWorldIsReachedThroughEnv) {
  EXPECT_THAT(problems_in("nm/a.cc", "void f() { std::cout << 1; }\n"), ElementsAre(HasSubstr("std::cout")));
  EXPECT_THAT(problems_in("nm/a.cc", "auto f() { return std::chrono::steady_clock::now(); }\n"), ElementsAre(HasSubstr("steady_clock")));
  EXPECT_THAT(problems_in("ss/a.cc", "#include <unistd.h>\n"), ElementsAre(HasSubstr("unistd.h")));
  EXPECT_THAT(problems_in("ss/a.cc", "// std::cout\nauto a = \"system(\"; auto b = R\"(fork()\n)\"; int c = 1'000;\n"), IsEmpty());
  EXPECT_THAT(problems_in("client/spawn.cc", "#include <unistd.h>\nint f() { return fork(); }\n"), IsEmpty());
}

TEST(Layers, CoroutinesOwnWhatTheyUse) {
  EXPECT_THAT(problems_in("nm/a.cc", "Task<void> f(const std::string& name) { co_await g(); }\n"), ElementsAre(HasSubstr("reference parameter")));
  EXPECT_THAT(problems_in("nm/a.cc", "Task<Result<int>> A::f(Env& env, int a,\n    Peer& peer) const { co_return 1; }\n"), ElementsAre(HasSubstr("reference parameter")));
  EXPECT_THAT(problems_in("nm/a.cc", "auto f = [this, x]() -> Task<void> { co_return; };\n"), ElementsAre(HasSubstr("lambda")));
  EXPECT_THAT(problems_in("nm/a.h", "Task<Result<int>> f(Env& env, std::function<void(const A&)> g, B* b) { co_return 1; }\n"), IsEmpty());
  EXPECT_THAT(problems_in("nm/a.h", "Task<void> f(const A& a) { return g(A(a)); }\nTask<void> h(const A& a) { return [](A b) -> Task<void> { co_return; }(a); }\n"), IsEmpty());
  EXPECT_THAT(problems_in("nm/a.cc", "auto f = [](A a) -> Task<void> { co_return; };\n"), IsEmpty());
}

TEST(Layers, NoFileBecomesAGiant) {
  EXPECT_THAT(problems_in("nm/a.cc", std::string(kLinesMax, '\n')), IsEmpty());
  EXPECT_THAT(problems_in("nm/a.cc", std::string(kLinesMax + 1, '\n')), ElementsAre(HasSubstr("901 lines")));
}

}  // namespace
