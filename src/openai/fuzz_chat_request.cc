#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "openai/api_error.h"
#include "openai/chat_request.h"
#include "openai/responses.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer asks for this name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const auto unknown : {qvl::UnknownFields::warn, qvl::UnknownFields::refuse}) {
    const auto request = qvl::parse_chat_request(body, {.fields = {.unknown = unknown}});
    if (!request) {
      // Whatever was refused, the error is one that a client caused, and can be written.
      const int status = qvl::http_status(request.error().code);
      if (status != 400 && status != 413) std::abort();
      if (qvl::dump(qvl::error_json(request.error())).empty()) std::abort();
      continue;
    }
    if (!qvl::validate(request->options.sampling)) std::abort();
    size_t pictures = 0;
    for (const auto& message : request->messages) {
      if (!message["content"].is_array()) continue;
      for (const auto& part : message["content"]) pictures += part["type"] == "image" ? 1 : 0;
    }
    if (pictures != request->images.size()) std::abort();
  }
  return 0;
}
