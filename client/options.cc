#include "client/options.h"

#include <functional>

#include "common/base/path.h"

namespace understudy::client {
namespace {

std::unexpected<Refusal> bad_option(std::string message) {
  return std::unexpected(Refusal{{Code::kInvalid, std::move(message)}, true});
}

constexpr OptionSpec kOptions[] = {
    {"--nm", "HOST:PORT[,...]", "the name node(s); or UNDERSTUDY_NM"},
    {"--data", "DIR", "a local cluster's folder; default $XDG_DATA_HOME/understudy"},
    {"--ca", "FILE|sha256:...", "whom to believe; or UNDERSTUDY_CA; a local cluster's folder has its own"},
    {"--trust-first", "", "believe and remember whoever answers at --nm"},
    {"--insecure", "", "plaintext, to this machine only (--insecure=force: to any)"},
    {"--user", "NAME", "who it is; the password is asked for, or in UNDERSTUDY_PASSWORD"},
    {"--json", "", "results as one JSON object a line"},
    {"--keep-going", "", "a script goes on after a failure"},
    {"--read-from", "primary|any|backup", "who answers reads"},
    {"--durability", "async|sync", "sync: written means on two machines; async never lowers what a folder says"},
    {"--timeout", "TIME", "how long without progress; default 30s"},
    {"-q", "", "no notes and no progress"},
    {"--help", "", "this"},
    {"--version", "", "the program's version"},
};

}  // namespace

std::vector<Address> split_addresses(std::string_view list) {
  std::vector<Address> addresses;
  while (!list.empty()) {
    size_t comma = list.find(',');
    if (comma != 0) addresses.emplace_back(list.substr(0, comma));
    list = comma == list.npos ? "" : list.substr(comma + 1);
  }
  return addresses;
}

std::expected<ClientOptions, Refusal> parse_options(const std::vector<std::string>& arguments) {
  ClientOptions options;
  size_t at = 0;
  for (; at < arguments.size() && arguments[at].starts_with('-'); ++at) {
    std::string name = arguments[at];
    if (name == "--") {
      ++at;
      break;
    }
    std::optional<std::string> value;
    size_t equals = name.find('=');
    if (equals != name.npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    const OptionSpec* spec = nullptr;
    for (const OptionSpec& option : kOptions) {
      if (option.name == name) spec = &option;
    }
    if (spec == nullptr) return bad_option("unknown option " + printable(name) + "; see understudy --help");
    if (spec->value.empty() && value && name != "--insecure") return bad_option(name + " takes no value");
    if (!spec->value.empty() && !value) {
      if (at + 1 == arguments.size()) return bad_option(name + " needs " + std::string(spec->value));
      value = arguments[++at];
    }
    if (name == "--nm") {
      options.name_nodes = split_addresses(*value);
      if (options.name_nodes.empty()) return bad_option("--nm needs HOST:PORT");
    } else if (name == "--data") {
      options.data = *value;
    } else if (name == "--ca") {
      options.ca = *value;
    } else if (name == "--trust-first") {
      options.trust_first = true;
    } else if (name == "--insecure") {
      options.insecure = value.value_or("yes");
      if (value && *value != "force") return bad_option("--insecure takes nothing, or =force");
    } else if (name == "--user") {
      if (value->empty()) return bad_option("--user needs NAME");
      options.user = *value;
    } else if (name == "--json") {
      options.json = true;
    } else if (name == "--keep-going") {
      options.keep_going = true;
    } else if (name == "--read-from") {
      if (*value != "primary" && *value != "any" && *value != "backup") {
        return bad_option("--read-from takes primary, any or backup");
      }
      options.read_from = *value == "any"      ? ReadFrom::kAny
                          : *value == "backup" ? ReadFrom::kBackup
                                               : ReadFrom::kPrimary;
    } else if (name == "--durability") {
      if (*value != "async" && *value != "sync") return bad_option("--durability takes async or sync");
      options.sync = *value == "sync";
    } else if (name == "--timeout") {
      auto timeout = parse_duration(*value);
      if (!timeout) return std::unexpected(Refusal{std::move(timeout).error(), true});
      if (*timeout <= Duration::zero()) return bad_option("--timeout takes more than 0");
      options.timeout = *timeout;
    } else if (name == "-q") {
      options.quiet = true;
    } else if (name == "--help") {
      options.help = true;
    } else {
      options.version = true;
    }
  }
  options.command.assign(arguments.begin() + at, arguments.end());
  return options;
}

std::string options_help() {
  std::string text =
      "understudy [options] COMMAND arguments...   one command\n"
      "understudy [options]                        a shell, or a script on standard input\n"
      "understudy up [--data DIR] [--pairs N]      starts a local cluster; further options go to understudy-nm,\n"
      "                                            --insecure to all servers\n"
      "understudy down [--data DIR]                stops it\n"
      "understudy inspect FILE                     an on-disk file in words\n\noptions:\n";
  for (const OptionSpec& option : kOptions) {
    std::string name = "  " + std::string(option.name) + " " + std::string(option.value);
    name.resize(std::max<size_t>(name.size() + 1, 34), ' ');
    text += name + std::string(option.help) + "\n";
  }
  return text + "\ncommands (in any case):\n" + help_text();
}

}  // namespace understudy::client
