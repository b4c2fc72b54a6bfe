#include "openai/request_options.h"

#include <fmt/format.h>

#include <charconv>

#include "io/json.h"

namespace qvl {
namespace {

using nlohmann::json;

/// {"1234": -5}
Status read_logit_bias(const FieldReader& fields, std::vector<LogitBias>& out) {
  const json* const object = fields.find("logit_bias");
  if (object == nullptr) return {};
  for (const auto& [name, value] : object->items()) {
    LogitBias bias;
    const char* const end = name.data() + name.size();
    const auto read = std::from_chars(name.data(), end, bias.token);
    if (read.ec != std::errc() || read.ptr != end || !value.is_number()) {
      return Error{ErrorCode::bad_request,
                   fmt::format("found {}: {}, expected a token id such as \"1234\" with a number",
                               in_quotes(name), describe(value)),
                   fields.path_of("logit_bias")};
    }
    bias.bias = value.get<float>();
    out.push_back(bias);
  }
  return {};
}

Status read_stream_options(const FieldReader& fields, const ParseOptions& options,
                           RequestOptions& out) {
  out.include_usage = out.stream && options.include_usage;
  const json* const object = fields.find("stream_options");
  if (object == nullptr) return {};
  const std::string path = fields.path_of("stream_options");
  if (!out.stream) return Error{ErrorCode::bad_request, "expected stream to be true with it", path};
  const Result<FieldReader> inner =
      FieldReader::check(*object, Place::stream_options, path + ".", options.fields, out.warnings);
  if (!inner) return inner.error();
  out.include_usage = options.include_usage || *inner->boolean("include_usage");
  out.continuous_usage_stats = *inner->boolean("continuous_usage_stats");
  return {};
}

template <class T>
void replace(T& value, const std::optional<double>& found) {
  if (found) value = static_cast<T>(*found);
}

RepetitionGuard guard_of(const std::string& text) {
  if (text == "on") return RepetitionGuard::on;
  return text == "off" ? RepetitionGuard::off : RepetitionGuard::automatic;
}

std::optional<int64_t> asked_max_tokens(const FieldReader& fields, Place place) {
  if (place == Place::chat) {
    if (const auto found = fields.integer("max_completion_tokens")) return found;
  }
  return fields.integer("max_tokens");
}

/// The name that a parameter of sampling has on the wire.
std::string wire_name(const std::string& parameter, const FieldReader& fields, Place place) {
  if (parameter == "top_logprobs" && place == Place::completions) return "logprobs";
  if (parameter == "max_tokens" && place == Place::chat &&
      fields.find("max_completion_tokens") != nullptr) {
    return "max_completion_tokens";
  }
  return parameter;
}

}  // namespace

Result<json> parse_body(std::string_view body, const WireLimits& limits) {
  if (body.size() > limits.max_body_bytes) {
    return Error{
        ErrorCode::request_too_large,
        fmt::format("found {} bytes, expected at most {}", body.size(), limits.max_body_bytes),
        {}};
  }
  Result<json> parsed = parse_json(body, {.max_bytes = limits.max_body_bytes,
                                          .max_values = limits.max_json_values,
                                          .max_depth = limits.max_json_depth});
  if (!parsed) return Error{ErrorCode::bad_request, "JSON: " + parsed.error().detail, {}};
  return parsed;
}

Status read_options(const FieldReader& fields, Place place, const ParseOptions& options,
                    RequestOptions& out) {
  out.model = fields.text("model").value_or("");
  out.stream = *fields.boolean("stream");
  Status streamed = read_stream_options(fields, options, out);
  if (!streamed) return streamed;
  out.tokens_as_ids = fields.boolean("return_tokens_as_token_ids").value_or(options.tokens_as_ids);
  out.skip_special_tokens = *fields.boolean("skip_special_tokens");
  out.echo = *fields.boolean("echo");
  out.priority = static_cast<int>(*fields.integer("priority"));
  out.cache_salt = fields.text("cache_salt").value_or("");
  out.request_id = fields.text("request_id").value_or("");
  out.user = fields.text("user").value_or("");

  SamplingParams& p = out.sampling;
  p = options.sampling;
  replace(p.temperature, fields.number("temperature"));
  replace(p.top_p, fields.number("top_p"));
  replace(p.min_p, fields.number("min_p"));
  replace(p.repetition_penalty, fields.number("repetition_penalty"));
  replace(p.presence_penalty, fields.number("presence_penalty"));
  replace(p.frequency_penalty, fields.number("frequency_penalty"));
  if (const auto top_k = fields.integer("top_k")) p.top_k = std::max(0, static_cast<int>(*top_k));
  if (fields.find("seed") != nullptr) p.seed = static_cast<uint64_t>(*fields.integer("seed"));
  p.n = static_cast<int>(*fields.integer("n"));
  p.min_tokens = *fields.integer("min_tokens");
  p.ignore_eos = *fields.boolean("ignore_eos");
  p.stop = fields.texts("stop");
  p.stop_token_ids = fields.tokens("stop_token_ids");
  p.include_stop_str_in_output = *fields.boolean("include_stop_str_in_output");
  p.repetition_guard = guard_of(*fields.text("repetition_guard"));
  Status biases = read_logit_bias(fields, p.logit_bias);
  if (!biases) return biases;

  out.max_tokens = asked_max_tokens(fields, place);
  if (!out.max_tokens) out.max_tokens = options.max_tokens;
  p.max_tokens = out.max_tokens.value_or(INT64_MAX);

  if (place == Place::chat) {
    const int64_t top = *fields.integer("top_logprobs");
    const bool wanted = *fields.boolean("logprobs");
    if (!wanted && top > 0) {
      return Error{ErrorCode::bad_request, "expected logprobs to be true with it", "top_logprobs"};
    }
    p.top_logprobs = wanted ? static_cast<int>(top) : -1;
  } else {
    p.top_logprobs = static_cast<int>(fields.integer("logprobs").value_or(-1));
  }
  const Status valid = validate(p);
  if (valid) return {};
  return Error{valid.error().code, valid.error().detail,
               wire_name(valid.error().field, fields, place)};
}

}  // namespace qvl
