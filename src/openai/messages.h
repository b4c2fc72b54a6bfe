#pragma once

/// The messages of a chat request, part by part.

#include "openai/chat_request.h"

namespace qvl {

/// The pixel limits that hold for all pictures of the request; from mm_processor_kwargs.
Result<ImageOptions> read_processor_kwargs(const FieldReader& fields, const FieldOptions& options,
                                           std::vector<std::string>& warnings);

/// Reads body.messages into `out.messages` and `out.images`; a picture's own limits go before
/// `defaults`. Decodes base64, no pictures.
Status read_messages(const nlohmann::json& messages, const FieldOptions& options,
                     const ImageOptions& defaults, ChatRequest& out);

}  // namespace qvl
