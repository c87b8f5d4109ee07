// One line of --json: an object whose fields stand in the order they were added.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::client {

class Json {
 public:
  // Text that is not UTF-8 goes in base64 under the name plus "_base64".
  Json& text(std::string_view name, std::string_view value);
  Json& number(std::string_view name, int64_t value);
  Json& count(std::string_view name, uint64_t value);
  Json& truth(std::string_view name, bool value);
  Json& object(std::string_view name, const Json& value);
  Json& list(std::string_view name, const std::vector<Json>& values);
  Json& texts(std::string_view name, const std::vector<std::string>& values);
  // Microseconds since 1970, as "2026-01-31T12:00:00.000000Z"; null for 0.
  Json& time(std::string_view name, int64_t microseconds);
  std::string str() const { return "{" + fields_ + "}"; }

 private:
  void name(std::string_view name);
  std::string fields_;
};

// In quotes; control characters escaped. `text` is UTF-8.
std::string json_string(std::string_view text);
std::string base64(std::string_view bytes);

}  // namespace understudy::client
