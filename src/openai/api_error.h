#pragma once

/// Errors as clients of OpenAI's API read them: the shape of vLLM, `code` the HTTP status.

#include <nlohmann/json.hpp>
#include <string>

#include "qvl/error.h"

namespace qvl {

/// The status for an error that ends a request; one row per ErrorCode.
int http_status(ErrorCode code);

/// {"error": {"message", "type", "param", "code"}}. What only concerns the server (paths, devices)
/// is not told: of an error with a status of 500 only the fixed sentence.
nlohmann::ordered_json error_json(const Error& error);

}  // namespace qvl
