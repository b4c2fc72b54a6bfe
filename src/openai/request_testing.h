#pragma once

/// For tests: bodies of requests.

#include <fmt/format.h>

#include <string>

#include "openai/chat_request.h"
#include "openai/completion_request.h"

namespace qvl {

/// A PNG of 1 × 1 pixels.
inline const std::string kTinyPng =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJg"
    "gg==";

/// A chat request with one message and more fields, such as R"(, "n": 2)".
inline std::string chat_with(const std::string& fields) {
  return R"({"messages": [{"role": "user", "content": "hi"}])" + fields + "}";
}
inline std::string completion_with(const std::string& fields) {
  return R"({"prompt": "hi")" + fields + "}";
}
/// A chat request whose only message has this content.
inline std::string chat_of(const std::string& content) {
  return R"({"messages": [{"role": "user", "content": )" + content + "}]}";
}
/// A picture part with more fields.
inline std::string picture_part(const std::string& fields = "") {
  return R"({"type": "image_url", "image_url": {"url": "data:image/png;base64,)" + kTinyPng +
         "\"}" + fields + "}";
}

/// "accepted", or "field: code: detail".
template <class T>
std::string outcome(const Result<T>& result) {
  if (result) return "accepted";
  return fmt::format("{}: {}: {}", result.error().field, error_info(result.error().code).name,
                     result.error().detail);
}
inline std::string chat_outcome(const std::string& body, const ParseOptions& options = {}) {
  return outcome(parse_chat_request(body, options));
}
inline std::string completion_outcome(const std::string& body, const ParseOptions& options = {}) {
  return outcome(parse_completion_request(body, options));
}

/// `item` `count` times with commas between.
inline std::string repeated(const std::string& item, int64_t count) {
  std::string out;
  for (int64_t i = 0; i < count; ++i) out += (i > 0 ? "," : "") + item;
  return out;
}

}  // namespace qvl
