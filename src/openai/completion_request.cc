#include "openai/completion_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "io/json.h"

namespace qvl {
namespace {

using nlohmann::json;

bool is_token(const json& value) {
  return value.is_number_unsigned() &&
         value.get<uint64_t>() <= uint64_t{std::numeric_limits<int32_t>::max()};
}

/// A picture has no place in a text.
bool holds_picture(std::string_view text) {
  return text.find("data:image/") != std::string_view::npos &&
         text.find(";base64,") != std::string_view::npos;
}

Result<CompletionPrompt> read_prompt(const json& value, const std::string& path) {
  if (const auto* const text = value.get_ptr<const std::string*>()) {
    if (holds_picture(*text)) {
      return Error{ErrorCode::unsupported_field,
                   "found a picture in a text; pictures are parts of messages of "
                   "/v1/chat/completions",
                   path};
    }
    return CompletionPrompt(*text);
  }
  if (value.is_array() && !value.empty() && std::all_of(value.begin(), value.end(), is_token)) {
    return CompletionPrompt(value.get<std::vector<int32_t>>());
  }
  return Error{ErrorCode::bad_request,
               fmt::format("found {}, expected a string or a list of token ids", describe(value)),
               path};
}

}  // namespace

Result<CompletionRequest> read_completion_request(const json& body, const ParseOptions& options) {
  CompletionRequest out;
  const Result<FieldReader> fields =
      FieldReader::check(body, Place::completions, "", options.fields, out.options.warnings);
  if (!fields) return fields.error();
  const Status common = read_options(*fields, Place::completions, options, out.options);
  if (!common) return common.error();
  if (out.options.echo && out.options.sampling.top_logprobs >= 0) {
    return Error{ErrorCode::unsupported_field, "prompts have no log probabilities", "echo"};
  }
  const json* const prompt = fields->find("prompt");
  if (prompt == nullptr) {
    return Error{ErrorCode::bad_request, "found nothing, expected a string or a list", "prompt"};
  }
  const bool is_one = !prompt->is_array() ||
                      (!prompt->empty() && std::all_of(prompt->begin(), prompt->end(), is_token));
  if (is_one) {
    Result<CompletionPrompt> read = read_prompt(*prompt, "prompt");
    if (!read) return read.error();
    out.prompts.push_back(std::move(*read));
    return out;
  }
  const auto count = static_cast<int64_t>(prompt->size());
  if (count == 0 || count > options.fields.limits.max_prompts) {
    return Error{
        ErrorCode::bad_request,
        fmt::format("found {} prompts, expected 1 to {}", count, options.fields.limits.max_prompts),
        "prompt"};
  }
  for (size_t i = 0; i < prompt->size(); ++i) {
    Result<CompletionPrompt> read = read_prompt((*prompt)[i], fmt::format("prompt[{}]", i));
    if (!read) return read.error();
    out.prompts.push_back(std::move(*read));
  }
  return out;
}

Result<CompletionRequest> parse_completion_request(std::string_view body,
                                                   const ParseOptions& options) {
  const Result<json> parsed = parse_body(body, options.fields.limits);
  if (!parsed) return parsed.error();
  return read_completion_request(*parsed, options);
}

}  // namespace qvl
