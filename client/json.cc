#include "client/json.h"

#include "client/output.h"
#include "common/base/path.h"

namespace understudy::client {

std::string json_string(std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string quoted = "\"";
  for (char c : text) {
    switch (c) {
      case '"': quoted += "\\\""; break;
      case '\\': quoted += "\\\\"; break;
      case '\n': quoted += "\\n"; break;
      case '\t': quoted += "\\t"; break;
      case '\r': quoted += "\\r"; break;
      default:
        if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) {
          quoted += "\\u00";
          quoted += kDigits[static_cast<uint8_t>(c) >> 4];
          quoted += kDigits[c & 15];
        } else {
          quoted += c;
        }
    }
  }
  return quoted + '"';
}

std::string base64(std::string_view bytes) {
  static constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t group = 0;
    size_t have = std::min<size_t>(3, bytes.size() - at);
    for (size_t i = 0; i < 3; ++i) group = group << 8 | (i < have ? static_cast<uint8_t>(bytes[at + i]) : 0);
    for (size_t i = 0; i < 4; ++i) text += i <= have ? kLetters[group >> (18 - 6 * i) & 63] : '=';
  }
  return text;
}

void Json::name(std::string_view name) {
  if (!fields_.empty()) fields_ += ',';
  fields_ += json_string(name) + ":";
}

Json& Json::text(std::string_view field, std::string_view value) {
  bool plain = is_valid_utf8(value);
  name(plain ? std::string(field) : std::string(field) + "_base64");
  fields_ += json_string(plain ? std::string(value) : base64(value));
  return *this;
}

Json& Json::number(std::string_view field, int64_t value) {
  name(field);
  fields_ += std::to_string(value);
  return *this;
}

Json& Json::count(std::string_view field, uint64_t value) {
  name(field);
  fields_ += std::to_string(value);
  return *this;
}

Json& Json::truth(std::string_view field, bool value) {
  name(field);
  fields_ += value ? "true" : "false";
  return *this;
}

Json& Json::object(std::string_view field, const Json& value) {
  name(field);
  fields_ += value.str();
  return *this;
}

Json& Json::list(std::string_view field, const std::vector<Json>& values) {
  name(field);
  fields_ += '[';
  for (size_t i = 0; i < values.size(); ++i) fields_ += (i ? "," : "") + values[i].str();
  fields_ += ']';
  return *this;
}

Json& Json::texts(std::string_view field, const std::vector<std::string>& values) {
  name(field);
  fields_ += '[';
  for (size_t i = 0; i < values.size(); ++i) fields_ += (i ? "," : "") + json_string(values[i]);
  fields_ += ']';
  return *this;
}

Json& Json::time(std::string_view field, int64_t microseconds) {
  name(field);
  fields_ += microseconds == 0 ? "null" : json_string(format_time_utc(microseconds));
  return *this;
}

}  // namespace understudy::client
