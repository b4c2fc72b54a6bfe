#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "openai/api_error.h"
#include "openai/completion_request.h"
#include "openai/responses.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer asks for this name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto request = qvl::parse_completion_request(body, {});
  if (!request) {
    const int status = qvl::http_status(request.error().code);
    if (status != 400 && status != 413) std::abort();
    if (qvl::dump(qvl::error_json(request.error())).empty()) std::abort();
    return 0;
  }
  if (request->prompts.empty() || !qvl::validate(request->options.sampling)) std::abort();
  return 0;
}
