#include "cli/serve_flag_values.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>

#include "cli/sampling_settings.h"
#include "openai/chat_request.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

Error bad(std::string detail) { return {ErrorCode::bad_flag, std::move(detail), ""}; }

std::optional<int64_t> whole_number(const std::string& text) {
  int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  if (read.ec != std::errc() || read.ptr != end) return {};
  return value;
}

std::string quoted(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// image=4,video=1 as an object; null if it is not that.
Json old_media_limits(const std::string& text) {
  Json out = Json::object();
  size_t at = 0;
  while (at <= text.size()) {
    const std::string part = text.substr(at, text.find(',', at) - at);
    at += part.size() + 1;
    const size_t equals = part.find('=');
    if (equals == std::string::npos) return nullptr;
    const auto count = whole_number(part.substr(equals + 1));
    if (!count) return nullptr;
    out[part.substr(0, equals)] = *count;
  }
  return out;
}

}  // namespace

Result<Json> parse_flag_json(const std::string& text) {
  constexpr int kMaxDepth = 32;
  bool is_deep = false;
  const auto keep = [&](int depth, Json::parse_event_t, Json&) {
    is_deep = is_deep || depth > kMaxDepth;
    return !is_deep;
  };
  Json json = Json::parse(text, keep, false);
  if (is_deep) return bad(fmt::format("found more than {} levels of JSON", kMaxDepth));
  if (json.is_discarded()) return bad(fmt::format("found '{}', expected JSON", text));
  return json;
}

Result<Json> parse_flag_object(const std::string& text) {
  Result<Json> json = parse_flag_json(text);
  if (json && json->is_object()) return json;
  return bad(fmt::format("found '{}', expected a JSON object", text));
}

Status set_media_limits(ServeFlags& flags, const std::string& text) {
  Json limits = old_media_limits(text);
  if (limits.is_null()) {
    Result<Json> parsed = parse_flag_object(text);
    if (!parsed) {
      return bad(fmt::format("found '{}', expected an object such as {{\"image\": 4}}", text));
    }
    limits = std::move(*parsed);
  }
  constexpr int64_t kMost = 1'000'000;
  std::optional<int64_t> images = flags.max_images_per_prompt;
  for (const auto& [kind, value] : limits.items()) {
    const Json& count = value.is_object() && value.contains("count") ? value.at("count") : value;
    // Sizes without a count, which vLLM reserves memory by, limit nothing.
    if (count.is_object()) continue;
    if (!count.is_number_integer() || count < 0 || count > kMost) {
      return bad(fmt::format("found {} {}, expected 0 to {}", kind, quoted(count), kMost));
    }
    if (kind == "image") images = count.get<int64_t>();
  }
  flags.max_images_per_prompt = images;
  return {};
}

Status set_generation_overrides(ServeFlags& flags, const std::string& text) {
  const Result<Json> object = parse_flag_object(text);
  if (!object) return object.error();
  SamplingFlags sampling = flags.sampling;
  for (const auto& [key, value] : object->items()) {
    if (!value.is_number() && !value.is_boolean()) {
      return bad(fmt::format("found {} {}, expected a number", key, quoted(value)));
    }
    const Status set =
        set_sampling(sampling, key == "max_new_tokens" ? "max_tokens" : key, quoted(value));
    if (!set) return bad(fmt::format("{} {}: {}", key, quoted(value), set.error().detail));
  }
  flags.sampling = std::move(sampling);
  return {};
}

Status set_feature_cache(ServeFlags& flags, const std::string& text) {
  constexpr double kMost = 1 << 16;
  char* end = nullptr;
  const double gib = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(gib >= 0 && gib <= kMost)) {
    return bad(fmt::format("found '{}', expected a number of GiB from 0 to {}", text, kMost));
  }
  flags.feature_cache_bytes = std::llround(gib * (1 << 30));
  return {};
}

Status set_quantization(ServeFlags& flags, const std::string& text) {
  static const std::map<std::string, std::string> names = {
      {"awq", "awq"},          {"awq_marlin", "awq"}, {"gptq", "gptq"},
      {"gptq_marlin", "gptq"}, {"fp8", "fp8"},        {"compressed-tensors", "compressed-tensors"},
      {"int8", "int8"},        {"none", ""},          {"None", ""},
  };
  const auto it = names.find(text);
  if (it == names.end()) {
    return bad(
        fmt::format("found '{}', expected awq, gptq, fp8, compressed-tensors or int8, as the "
                    "checkpoint is",
                    text));
  }
  flags.quantization = it->second;
  return {};
}

Status set_template_kwargs(ServeFlags& flags, const std::string& text) {
  const Result<Json> object = parse_flag_object(text);
  if (!object) return object.error();
  for (const auto& [name, value] : object->items()) {
    if (is_template_field(name)) return bad(fmt::format("found {}, which requests set", name));
  }
  flags.default_chat_template_kwargs = object->empty() ? "" : quoted(*object);
  return {};
}

Result<std::string> translate_dtype(const std::string& text) {
  if (text == "float") return std::string("float32");
  if (text == "half" || text == "float16") {
    return bad(
        fmt::format("found '{}', expected auto, bfloat16 or float32: checkpoints in F16 are read, "
                    "activations are never float16",
                    text));
  }
  return text;
}

Result<std::string> translate_load_format(const std::string& text) {
  const bool is_file = text == "safetensors" || text == "hf" || text == "mmap";
  return is_file ? std::string("auto") : text;
}

Result<std::string> translate_max_model_len(const std::string& text) {
  const bool is_open = text == "auto" || text == "-1" || text == "0";
  return is_open ? std::string() : text;
}

}  // namespace qvl
