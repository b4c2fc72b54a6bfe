#pragma once

/// Body of /v1/completions: prompts as they are, without a chat template.

#include <variant>

#include "openai/request_options.h"

namespace qvl {

/// Text, which never becomes control tokens, or token ids.
using CompletionPrompt = std::variant<std::string, std::vector<int32_t>>;

struct CompletionRequest {
  RequestOptions options;
  std::vector<CompletionPrompt> prompts;  ///< at least one
};

/// Errors bad_request, unsupported_field, bad_sampling and request_too_large;
/// Error::field names the field, such as "prompt[2]".
Result<CompletionRequest> parse_completion_request(std::string_view body,
                                                   const ParseOptions& options);
/// The same for a body that is parsed already.
Result<CompletionRequest> read_completion_request(const nlohmann::json& body,
                                                  const ParseOptions& options);

}  // namespace qvl
