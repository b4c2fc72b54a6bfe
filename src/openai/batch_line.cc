#include "openai/batch_line.h"

#include <fmt/format.h>

#include "io/json.h"
#include "openai/responses.h"

namespace qvl {
namespace {

using nlohmann::json;

constexpr size_t kMaxIdBytes = 512;

const std::string* text_of(const json& object, const char* name) {
  const auto member = object.find(name);
  return member == object.end() ? nullptr : member->get_ptr<const std::string*>();
}

Error unexpected(const json& object, const char* name, std::string_view expected) {
  const auto member = object.find(name);
  return {
      ErrorCode::bad_request,
      fmt::format("found {}, expected {}",
                  member == object.end() ? std::string("nothing") : describe(*member), expected),
      name};
}

}  // namespace

Status parse_batch_line(std::string_view text, const WireLimits& limits, BatchLine& out) {
  // The body is as deep as one of its own request, and stands in an object.
  Result<json> parsed = parse_json(text, {.max_bytes = limits.max_body_bytes,
                                          .max_values = limits.max_json_values,
                                          .max_depth = limits.max_json_depth + 1});
  if (!parsed) return Error{ErrorCode::bad_request, "JSON: " + parsed.error().detail, ""};
  if (!parsed->is_object()) {
    return Error{ErrorCode::bad_request,
                 fmt::format("found {}, expected an object", describe(*parsed)), ""};
  }
  const std::string* const id = text_of(*parsed, "custom_id");
  if (id == nullptr || id->empty() || id->size() > kMaxIdBytes) {
    return unexpected(*parsed, "custom_id", fmt::format("a string of 1 to {} bytes", kMaxIdBytes));
  }
  out.custom_id = *id;
  const std::string* const method = text_of(*parsed, "method");
  if (method == nullptr ? parsed->contains("method") : *method != "POST") {
    return unexpected(*parsed, "method", "\"POST\"");
  }
  const std::string* const url = text_of(*parsed, "url");
  if (url != nullptr && *url == "/v1/chat/completions") {
    out.kind = BatchLine::Kind::chat;
  } else if (url != nullptr && *url == "/v1/completions") {
    out.kind = BatchLine::Kind::completion;
  } else {
    return unexpected(*parsed, "url", "/v1/chat/completions or /v1/completions");
  }
  const auto body = parsed->find("body");
  if (body == parsed->end() || !body->is_object()) {
    return unexpected(*parsed, "body", "an object");
  }
  out.body = std::move(*body);
  return {};
}

std::string batch_response_line(const std::string& custom_id, int status_code,
                                const std::string& body) {
  return fmt::format(
      R"({{"id":"{}","custom_id":{},"response":{{"status_code":{},"request_id":"{}","body":{}}},)"
      R"("error":null}})",
      make_id("batch_req_"), dump(custom_id), status_code, make_id("req_"), body);
}

std::string batch_error_line(const std::string& custom_id, const Error& error, int64_t line) {
  WireJson out;
  out["id"] = make_id("batch_req_");
  out["custom_id"] = nullptr;
  if (!custom_id.empty()) out["custom_id"] = custom_id;
  out["response"] = nullptr;
  WireJson& reason = out["error"];
  reason["code"] = error_info(error.code).name;
  reason["message"] = error.message();
  reason["param"] = nullptr;
  if (!error.field.empty()) reason["param"] = error.field;
  reason["line"] = line;
  return dump(out);
}

Result<BatchRecord> parse_batch_record(std::string_view text) {
  constexpr JsonLimits kLimits{
      .max_bytes = size_t{1} << 30, .max_values = size_t{1} << 26, .max_depth = 128};
  const Result<json> parsed = parse_json(text, kLimits);
  if (!parsed) return parsed.error();
  const Error other{ErrorCode::bad_json, "found a line that is not the output of a batch", ""};
  if (!parsed->is_object() || !parsed->contains("response") || !parsed->contains("error")) {
    return other;
  }
  BatchRecord out;
  if ((*parsed)["response"].is_object()) {
    const std::string* const id = text_of(*parsed, "custom_id");
    if (id == nullptr || id->empty()) return other;
    out.custom_id = *id;
    return out;
  }
  const json& error = (*parsed)["error"];
  if (!error.is_object() || !error.contains("line") || !error["line"].is_number_unsigned()) {
    return other;
  }
  out.bad_line = error["line"].get<int64_t>();
  return out;
}

}  // namespace qvl
