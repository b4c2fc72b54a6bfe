#include "openai/chat_request.h"

#include <fmt/format.h>

#include <array>

#include "io/json.h"
#include "openai/messages.h"

namespace qvl {
namespace {

using nlohmann::json;

Status read_template_variables(const FieldReader& fields, PromptOptions& out) {
  const json* const object = fields.find("chat_template_kwargs");
  if (object == nullptr) return {};
  for (const auto& [name, value] : object->items()) {
    if (is_template_field(name)) {
      return Error{ErrorCode::bad_request, "the field of the request of this name sets it",
                   fields.path_of("chat_template_kwargs.") + name};
    }
    out.template_variables[name] = value;
  }
  return {};
}

}  // namespace

bool is_template_field(std::string_view name) {
  return name == "messages" || name == "tools" || name == "add_generation_prompt";
}

Result<ChatRequest> read_chat_request(const json& body, const ParseOptions& options) {
  ChatRequest out;
  const Result<FieldReader> fields =
      FieldReader::check(body, Place::chat, "", options.fields, out.options.warnings);
  if (!fields) return fields.error();
  const Status common = read_options(*fields, Place::chat, options, out.options);
  if (!common) return common.error();
  out.include_reasoning = *fields->boolean("include_reasoning");
  out.prompt.add_generation_prompt = *fields->boolean("add_generation_prompt");
  out.prompt.continue_final_message = *fields->boolean("continue_final_message");
  if (out.prompt.add_generation_prompt && out.prompt.continue_final_message) {
    return Error{ErrorCode::bad_request, "expected add_generation_prompt to be false with it",
                 "continue_final_message"};
  }
  out.prompt.template_variables = options.template_variables;
  const Status variables = read_template_variables(*fields, out.prompt);
  if (!variables) return variables.error();
  const Result<ImageOptions> defaults =
      read_processor_kwargs(*fields, options.fields, out.options.warnings);
  if (!defaults) return defaults.error();
  const json* const messages = fields->find("messages");
  if (messages == nullptr) {
    return Error{ErrorCode::bad_request, "found nothing, expected a list of messages", "messages"};
  }
  const Status read = read_messages(*messages, options.fields, *defaults, out);
  if (!read) return read.error();
  return out;
}

Result<ChatRequest> parse_chat_request(std::string_view body, const ParseOptions& options) {
  const Result<json> parsed = parse_body(body, options.fields.limits);
  if (!parsed) return parsed.error();
  return read_chat_request(*parsed, options);
}

}  // namespace qvl
