#include "common/wire/audit.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <array>
#include <vector>

#include "common/base/path.h"
#include "common/env/env_util.h"
#include "common/wire/identity.pb.h"
#include "common/wire/trust.pb.h"
#include "common/wire/understudy.pb.h"

namespace understudy {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Longer requests are between servers: what they hold is audited where it was asked for.
constexpr size_t kParsedBytesMax = 64 * 1024;
constexpr size_t kShownBytesMax = 2048;

// Texts that say what is asked for. Any other is left out, whatever is added to the messages.
constexpr std::array<std::string_view, 16> kShownTexts = {"path", "from", "to",     "pair",       "server",    "tag",
                                                          "user", "name", "text",   "second_holder", "durability", "owner",
                                                          "store_id", "cluster_id", "address", "acting_primary"};
// Numbers that are noise: how much is asked for at once, how long to wait.
constexpr std::array<std::string_view, 5> kHiddenNumbers = {"protocol_version", "limit", "wait_ms", "after", "mode"};

// CREATE_FOLDER -> CreateFolder.
std::string camel_case(std::string_view name) {
  std::string text;
  bool start = true;
  for (char c : name) {
    if (c == '_') {
      start = true;
      continue;
    }
    text += start ? c : static_cast<char>(c | 0x20);
    start = false;
  }
  return text;
}

const Message* prototype_named(const std::string& name) {
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  const auto* descriptor = pool->FindMessageTypeByName("understudy.wire." + name);
  if (descriptor == nullptr) return nullptr;
  return google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor);
}

// Of every type: looked up once.
const Message* request_prototype(uint16_t type) {
  static std::vector<const Message*> known(wire::MessageType_MAX + 1);
  if (type >= known.size() || !wire::MessageType_IsValid(type)) return nullptr;
  if (known[type] == nullptr) {
    std::string name = camel_case(wire::MessageType_Name(static_cast<wire::MessageType>(type)));
    known[type] = prototype_named(name + "Request");
  }
  return known[type];
}

bool answers_with_a_version(uint16_t type) {
  switch (type) {
    case wire::PUT:
    case wire::APPEND:
    case wire::COMMIT:
    case wire::UNDO:
    case wire::REVERT:
    case wire::CHECKPOINT:
    case wire::EDIT_COMMIT: return true;
    default: return false;
  }
}

template <class Names>
bool contains(const Names& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

void show(std::string& text, std::string_view name, std::string_view value) {
  if (text.size() > kShownBytesMax) return;
  text += ' ';
  text += name;
  text += '=';
  text += value;
}

// One word: what could be taken for two is put in quotes.
std::string word(std::string_view value) {
  std::string shown = printable_whole(value.substr(0, kShownBytesMax));
  if (!shown.empty() && shown.find_first_of(" \"=:") == std::string::npos) return shown;
  std::string quoted = "\"";
  for (char c : shown) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

void show_message(std::string& text, const std::string& name, const Message& message) {
  if (auto* version = dynamic_cast<const wire::VersionNumber*>(&message)) {
    show(text, name, fmt::format("{}.{}", version->epoch(), version->counter()));
  } else if (auto* request = dynamic_cast<const wire::RequestNumber*>(&message)) {
    show(text, name, fmt::format("{:x}.{}", request->client(), request->sequence()));
  } else if (auto* record = dynamic_cast<const wire::NameRecord*>(&message)) {
    show(text, "name", word(record->name()));
  }
}

void show_fields(std::string& text, const Message& message) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string& name = field->name();
    if (field->is_repeated()) {
      show(text, name, std::to_string(reflection->FieldSize(message, field)));
      continue;
    }
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        if (field->type() == FieldDescriptor::TYPE_STRING && contains(kShownTexts, name)) {
          show(text, name, word(reflection->GetString(message, field)));
        }
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE: show_message(text, name, reflection->GetMessage(message, field)); break;
      case FieldDescriptor::CPPTYPE_ENUM: show(text, name, reflection->GetEnum(message, field)->name()); break;
      case FieldDescriptor::CPPTYPE_BOOL: show(text, name, "yes"); break;
      case FieldDescriptor::CPPTYPE_UINT64:
        if (!contains(kHiddenNumbers, name)) show(text, name, std::to_string(reflection->GetUInt64(message, field)));
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        if (!contains(kHiddenNumbers, name)) show(text, name, std::to_string(reflection->GetUInt32(message, field)));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        if (!contains(kHiddenNumbers, name)) show(text, name, std::to_string(reflection->GetInt64(message, field)));
        break;
      default: break;
    }
  }
}

std::string type_name(uint16_t type) {
  if (wire::MessageType_IsValid(type)) return wire::MessageType_Name(static_cast<wire::MessageType>(type));
  return "TYPE_" + std::to_string(type);
}

std::string json_text(std::string_view value) {
  std::string text = "\"";
  for (char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;  // printable: no control characters.
  }
  return text + '"';
}

}  // namespace

Audit::Audit(Env& env, LineSink* sink, bool json) : env_(env), sink_(sink), json_(json), flushing_(env.executor) {}

Audit::~Audit() {
  flushing_.cancel();
  sink_->flush();
}

std::string Audit::describe(uint16_t type, BytesView message) {
  std::string text;
  const Message* prototype = message.size() > kParsedBytesMax ? nullptr : request_prototype(type);
  if (prototype == nullptr) return text;
  std::unique_ptr<Message> request(prototype->New());
  if (request->ParseFromArray(message.data(), static_cast<int>(message.size()))) show_fields(text, *request);
  else text = " (damaged)";
  return text;
}

void Audit::answered(const Peer& peer, uint16_t type, const std::string& what, size_t body_bytes, const Result<Reply>& result,
                     Duration took) {
  std::string asked = what.empty() ? what : what.substr(1);
  if (body_bytes > 0) asked += fmt::format("{}bytes={}", asked.empty() ? "" : " ", body_bytes);
  std::string outcome;
  if (result && answers_with_a_version(type)) {
    wire::VersionReply reply;
    if (reply.ParseFromString(result->message)) show_fields(outcome, reply);
    if (!outcome.empty()) outcome.erase(0, 1);
  }
  int64_t us = env_.clock.wall().time_since_epoch().count();
  std::string time = fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(static_cast<std::time_t>(us / 1'000'000)), us % 1'000'000);
  int64_t took_us = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
  std::string_view kind = peer.identity().name.empty() ? "user" : "server";
  std::string who = printable(peer.identity().name.empty() ? peer.caller() : peer.identity().name);
  std::string line;
  if (json_) {
    line = fmt::format(R"({{"time":"{}","peer":"{}","{}":{},"operation":"{}","asked":{})", time, peer.address(), kind,
                       json_text(who), type_name(type), json_text(asked));
    if (result) line += fmt::format(R"(,"result":"done","answer":{})", json_text(outcome));
    else line += fmt::format(R"(,"result":"{}","message":{})", code_name(result.error().code), json_text(printable_whole(result.error().message)));
    line += fmt::format(R"(,"took_us":{}}})", took_us);
  } else {
    line = fmt::format("{} {} {}={} {}", time, peer.address(), kind, who.empty() ? "-" : word(who), type_name(type));
    if (!asked.empty()) line += " " + asked;
    if (result) line += outcome.empty() ? ": done" : ": done " + outcome;
    else line += fmt::format(": {} {}", code_name(result.error().code), word(result.error().message));
    line += fmt::format(" in {} us", took_us);
  }
  sink_->line(line);
  if (flush_waits_) return;
  flush_waits_ = true;
  flushing_.spawn(flush_soon());
}

Task<void> Audit::flush_soon() {
  co_await yield_now(env_);
  flush_waits_ = false;
  sink_->flush();
}

}  // namespace understudy
