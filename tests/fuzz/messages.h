// Messages out of a fuzzer's bytes: any bytes at all, or field by field, so that most of them are well formed and
// some mean something: numbers and texts that the scene knows come up often.
#pragma once

#include <google/protobuf/message.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"
#include "common/wire/identity.pb.h"
#include "common/wire/integrity.pb.h"
#include "common/wire/durability.pb.h"
#include "common/wire/trust.pb.h"
#include "common/wire/understudy.pb.h"
#include "tests/fuzz/input.h"

namespace understudy::fuzz {

// What is worth saying in a scene.
struct Words {
  std::vector<uint64_t> numbers;
  std::vector<std::string> texts;
  std::vector<std::string> bytes;
};

// LIST_FOLDER -> ListFolder.
inline std::string camel_case(std::string_view name) {
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

inline std::unique_ptr<google::protobuf::Message> message_named(const std::string& name) {
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  const auto* descriptor = pool->FindMessageTypeByName("understudy.wire." + name);
  if (descriptor == nullptr) return nullptr;
  return std::unique_ptr<google::protobuf::Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
}

// Every type there is, in the order of MessageType.
inline const std::vector<uint16_t>& message_types() {
  static const std::vector<uint16_t> types = [] {
    wire::EnrollRequest trust;             // So that all files of messages are linked in, and known by name.
    wire::ReplicateRequest durability;
    wire::PartnerFetchRequest integrity;
    wire::LoginRequest identity;
    std::vector<uint16_t> all;
    const auto* known = wire::MessageType_descriptor();
    for (int i = 0; i < known->value_count(); ++i) {
      if (known->value(i)->number() != 0) all.push_back(static_cast<uint16_t>(known->value(i)->number()));
    }
    return all;
  }();
  return types;
}

inline std::unique_ptr<google::protobuf::Message> message_of_type(uint16_t type, const char* ending) {
  if (!wire::MessageType_IsValid(type)) return nullptr;
  return message_named(camel_case(wire::MessageType_Name(static_cast<wire::MessageType>(type))) + ending);
}

class MessageMaker {
 public:
  explicit MessageMaker(Words* words) : words_(words) {}

  void fill(google::protobuf::Message* message, Input* input, int depth = 0) const {
    const auto* descriptor = message->GetDescriptor();
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const auto* field = descriptor->field(i);
      const uint8_t wish = input->byte();
      if (wish % 2 == 0) continue;
      const int count = field->is_repeated() ? 1 + wish / 2 % 3 : 1;
      for (int n = 0; n < count; ++n) fill_field(message, field, input, depth);
    }
  }

 private:
  using Field = google::protobuf::FieldDescriptor;
  static constexpr int kDepthMax = 4;

  uint64_t number(Input* input) const {
    const uint8_t choice = input->byte();
    if (choice < words_->numbers.size()) return words_->numbers[choice];
    if (choice < 200) return choice % 16u;
    uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | input->byte();
    return value;
  }
  std::string text(const std::vector<std::string>& known, Input* input) const {
    const uint8_t choice = input->byte();
    if (choice < known.size()) return known[choice];
    return input->text(choice < 250 ? 40 : 5000);
  }

  void fill_field(google::protobuf::Message* message, const Field* field, Input* input, int depth) const {
    const auto* reflection = message->GetReflection();
#define SET(Kind, value) \
  field->is_repeated() ? reflection->Add##Kind(message, field, value) : reflection->Set##Kind(message, field, value)
    switch (field->cpp_type()) {
      case Field::CPPTYPE_MESSAGE: {
        if (depth >= kDepthMax) return;
        auto* inner = field->is_repeated() ? reflection->AddMessage(message, field) : reflection->MutableMessage(message, field);
        return fill(inner, input, depth + 1);
      }
      case Field::CPPTYPE_STRING:
        return SET(String, text(field->type() == Field::TYPE_BYTES ? words_->bytes : words_->texts, input));
      case Field::CPPTYPE_BOOL: return SET(Bool, true);
      case Field::CPPTYPE_ENUM: return SET(EnumValue, input->byte() % (field->enum_type()->value_count() + 1));
      case Field::CPPTYPE_UINT32: return SET(UInt32, static_cast<uint32_t>(number(input)));
      case Field::CPPTYPE_INT32: return SET(Int32, static_cast<int32_t>(number(input)));
      case Field::CPPTYPE_UINT64: return SET(UInt64, number(input));
      case Field::CPPTYPE_INT64: return SET(Int64, static_cast<int64_t>(number(input)));
      default: return;
    }
#undef SET
  }

  Words* words_;
};

// Sets a field, if the message has one of that name.
inline void set_number(google::protobuf::Message* message, const char* name, uint64_t value) {
  const auto* field = message->GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->is_repeated()) return;
  if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_UINT64) message->GetReflection()->SetUInt64(message, field, value);
}
inline void set_text(google::protobuf::Message* message, const char* name, const std::string& value) {
  const auto* field = message->GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->is_repeated()) return;
  if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING) message->GetReflection()->SetString(message, field, value);
}
inline void set_bytes(google::protobuf::Message* message, const char* name, const Bytes& value) { set_text(message, name, value); }
inline void set_request(google::protobuf::Message* message, uint64_t client, uint64_t sequence) {
  const auto* field = message->GetDescriptor()->FindFieldByName("request");
  if (field == nullptr || field->is_repeated() || field->message_type() != wire::RequestNumber::descriptor()) return;
  auto* request = static_cast<wire::RequestNumber*>(message->GetReflection()->MutableMessage(message, field));
  request->set_client(client);
  request->set_sequence(sequence);
}

}  // namespace understudy::fuzz
