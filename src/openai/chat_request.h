#pragma once

/// Body of /v1/chat/completions → what the chat template and the processor take.

#include <span>

#include "media/image_options.h"
#include "model/processor.h"
#include "openai/request_options.h"

namespace qvl {

/// A picture that came with a request.
struct ImageInput {
  std::string path;  ///< of its part, for messages: "messages[2].content[1]"
  std::vector<uint8_t> bytes;
  ImageOptions options;
};

struct ChatRequest {
  RequestOptions options;
  /// Roles system, user, assistant and tool; a picture part is {"type": "image"}.
  nlohmann::ordered_json messages;
  std::vector<ImageInput> images;  ///< in the order of their parts
  PromptOptions prompt;
  bool include_reasoning = true;
};

/// A variable of the chat template that is a field of the request: chat_template_kwargs must not
/// set it.
bool is_template_field(std::string_view name);

/// Errors bad_request, unsupported_field, bad_sampling, bad_image, image_too_large,
/// and request_too_large; Error::field names the field, such as "messages[2].content[1]".
Result<ChatRequest> parse_chat_request(std::string_view body, const ParseOptions& options);
/// The same for a body that is parsed already.
Result<ChatRequest> read_chat_request(const nlohmann::json& body, const ParseOptions& options);

}  // namespace qvl
