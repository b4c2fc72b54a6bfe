#include "openai/openapi.h"

#include <fmt/format.h>

#include "openai/fields.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

Json type_of(FieldKind kind) {
  switch (kind) {
    case FieldKind::boolean:
      return {{"type", "boolean"}};
    case FieldKind::integer:
      return {{"type", "integer"}};
    case FieldKind::number:
      return {{"type", "number"}};
    case FieldKind::text:
      return {{"type", "string"}};
    case FieldKind::text_or_texts:
      return {{"type", {"string", "array"}}, {"items", {{"type", "string"}}}};
    case FieldKind::tokens:
      return {{"type", "array"}, {"items", {{"type", "integer"}, {"minimum", 0}}}};
    case FieldKind::list:
      return {{"type", "array"}};
    case FieldKind::object:
      return {{"type", "object"}};
    case FieldKind::text_or_object:
      return {{"type", {"string", "object"}}};
    case FieldKind::any:
      break;
  }
  return Json::object();
}

/// A whole number of `limit`, if it is one that JSON readers take.
Json number_json(double limit, FieldKind kind) {
  if (kind == FieldKind::number) return limit;
  constexpr double kMost = 9223372036854774784.0;  // the largest double below 2^63
  return static_cast<int64_t>(std::max(-kMost, std::min(limit, kMost)));
}

void add_range(Json& schema, const Field& field, const WireLimits& limits) {
  if (!field.has_range()) return;
  const bool is_text = field.kind == FieldKind::text;
  const char* const least = is_text             ? "minLength"
                            : field.above_least ? "exclusiveMinimum"
                                                : "minimum";
  schema[least] = number_json(field.least, field.kind);
  schema[is_text ? "maxLength" : "maximum"] = number_json(field.highest(limits), field.kind);
}

Json schema_of(const Field& field, const WireLimits& limits) {
  Json schema = type_of(field.kind);
  add_range(schema, field, limits);
  if (!field.initial.empty()) schema["default"] = Json::parse(field.initial);
  if (!field.choices.empty()) schema["enum"] = Json::parse(field.choices);
  std::string text(field.meaning);
  if (field.support == Support::refused) text = "Refused: " + text;
  if (field.support == Support::ignored) text = "Ignored: " + text;
  if (!field.cost.empty()) text += fmt::format(". Cost: {}", field.cost);
  schema["description"] = text;
  if (field.support == Support::refused) schema["deprecated"] = true;
  return schema;
}

Json object_schema(Place place, const WireLimits& limits) {
  Json properties = Json::object();
  for (const Field& field : request_fields()) {
    if (field.is_in(place)) properties[std::string(field.name)] = schema_of(field, limits);
  }
  return {{"type", "object"}, {"properties", std::move(properties)}};
}

Json reference(const char* name) {
  return {{"$ref", fmt::format("#/components/schemas/{}", name)}};
}

Json json_content(const char* schema) {
  return {{"content", {{"application/json", {{"schema", reference(schema)}}}}}};
}

Json operation(const char* summary, const char* request) {
  Json body = json_content(request);
  body["required"] = true;
  Json answer = {
      {"description", "the answer; with stream, frames of text/event-stream that end with [DONE]"}};
  Json refusal = json_content("Error");
  refusal["description"] = "why there is no answer; code is the status";
  return {{"post",
           {{"summary", summary},
            {"requestBody", std::move(body)},
            {"responses", {{"200", std::move(answer)}, {"default", std::move(refusal)}}}}}};
}

}  // namespace

Json openapi_document(const WireLimits& limits, const std::string& version) {
  Json chat = object_schema(Place::chat, limits);
  chat["required"] = {"messages"};
  chat["properties"]["stream_options"] = reference("StreamOptions");
  Json kwargs = object_schema(Place::processor_kwargs, limits);
  kwargs["properties"]["size"] = object_schema(Place::pixel_size, limits);
  chat["properties"]["mm_processor_kwargs"] = std::move(kwargs);
  chat["properties"]["messages"]["maxItems"] = limits.max_messages;
  Json completion = object_schema(Place::completions, limits);
  completion["required"] = {"prompt"};
  completion["properties"]["stream_options"] = reference("StreamOptions");

  Json error = {{"message", {{"type", "string"}}},
                {"type", {{"type", "string"}}},
                {"param", {{"type", {"string", "null"}}}},
                {"code", {{"type", "integer"}}}};
  Json schemas;
  schemas["ChatCompletionRequest"] = std::move(chat);
  schemas["CompletionRequest"] = std::move(completion);
  schemas["ImagePart"] = object_schema(Place::image_part, limits);
  schemas["StreamOptions"] = object_schema(Place::stream_options, limits);
  schemas["Error"]["type"] = "object";
  schemas["Error"]["properties"]["error"]["type"] = "object";
  schemas["Error"]["properties"]["error"]["properties"] = std::move(error);

  Json document;
  document["openapi"] = "3.1.0";
  document["info"] = {{"title", "qvl"}, {"version", version}};
  document["paths"]["/v1/chat/completions"] =
      operation("answer a conversation with pictures", "ChatCompletionRequest");
  document["paths"]["/v1/completions"] = operation("go on with a text", "CompletionRequest");
  document["components"]["schemas"] = std::move(schemas);
  return document;
}

}  // namespace qvl
