#pragma once

/// What /v1/chat/completions and /v1/completions have in common.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "openai/fields.h"
#include "qvl/sampling.h"

namespace qvl {

struct ParseOptions {
  FieldOptions fields;
  SamplingParams sampling;            ///< where a request says nothing
  std::optional<int64_t> max_tokens;  ///< the same, for chat; empty: what the context has room for
  bool tokens_as_ids = false;         ///< the same
  bool include_usage = false;         ///< in every stream, whatever the request says
  /// Of the chat template; those of the request go before them.
  nlohmann::ordered_json template_variables = nlohmann::ordered_json::object();
};

struct RequestOptions {
  std::string model;  ///< empty: the one there is
  /// max_tokens of it counts only if max_tokens below is not empty.
  SamplingParams sampling;
  std::optional<int64_t> max_tokens;
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage_stats = false;
  bool tokens_as_ids = false;  ///< in log probabilities
  bool skip_special_tokens = true;
  bool echo = false;
  int priority = 0;  ///< lower goes first
  std::string cache_salt;
  std::string request_id;             ///< a label; never a key
  std::string user;                   ///< the same
  std::vector<std::string> warnings;  ///< about fields that change nothing
};

/// Body of a request → JSON within the limits. Errors: request_too_large; bad_request with the byte
/// for what is no JSON, invalid UTF-8 and lone surrogates, also for names that appear twice.
Result<nlohmann::json> parse_body(std::string_view body, const WireLimits& limits);

/// Reads the shared fields of a checked body. `place` is chat or completions.
Status read_options(const FieldReader& fields, Place place, const ParseOptions& options,
                    RequestOptions& out);

}  // namespace qvl
