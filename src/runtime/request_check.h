#pragma once

#include "io/model_config.h"
#include "qvl/request.h"

namespace qvl {

/// What a request has to fit.
struct RequestLimits {
  int64_t max_tokens = 0;   ///< of prompt and answer together
  int64_t max_patches = 0;  ///< of one picture or video
};

/// Prompt, spans, media and sampling against the model and the limits: field, found, expected.
/// Safe to call from any thread.
Status check_request(const Request& request, const ModelConfig& model, const RequestLimits& limits);

}  // namespace qvl
