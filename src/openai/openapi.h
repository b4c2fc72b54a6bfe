#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "openai/wire_limits.h"

namespace qvl {

/// An OpenAPI 3.1 document of /v1/chat/completions and /v1/completions, made from the table of
/// fields.
nlohmann::ordered_json openapi_document(const WireLimits& limits, const std::string& version);

}  // namespace qvl
