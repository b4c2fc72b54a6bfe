#pragma once

/// Lines of OpenAI's batch files: a request, and what became of it.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "openai/wire_limits.h"
#include "qvl/result.h"

namespace qvl {

// NOLINTNEXTLINE(bugprone-exception-escape): the JSON library allocates in its move constructor
struct BatchLine {
  enum class Kind : uint8_t { chat, completion };

  std::string custom_id;  ///< 1 to 512 bytes
  Kind kind = Kind::chat;
  nlohmann::json body;
};

/// Reads {"custom_id", "method", "url", "body"} into `out`. After an error out.custom_id is as far
/// known.
Status parse_batch_line(std::string_view text, const WireLimits& limits, BatchLine& out);

/// The line for a request that was answered or refused; `body` is JSON.
std::string batch_response_line(const std::string& custom_id, int status_code,
                                const std::string& body);

/// The line for what is no request; `custom_id` may be empty, `line` counts from 1.
std::string batch_error_line(const std::string& custom_id, const Error& error, int64_t line);

/// What a line of an output file says.
struct BatchRecord {
  std::string custom_id;  ///< of an answered request, else empty
  int64_t bad_line = 0;   ///< of an error line, else 0
};

/// bad_json if it is no line that the two above have written.
Result<BatchRecord> parse_batch_record(std::string_view text);

/// What every line of an output file begins with.
inline constexpr std::string_view kBatchLineStart = R"({"id":"batch_req_)";

}  // namespace qvl
