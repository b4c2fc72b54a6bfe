#include "io/processor_config.h"

#include <fmt/format.h>

#include <limits>

#include "io/json.h"

namespace qvl {
namespace {

using nlohmann::json;

// Budgets above this would overflow the products of frames, sides and channels further on.
constexpr IntRange kPixels = {1, int64_t{1} << 40};
constexpr IntRange kFrames = {1, 1'000'000};
constexpr IntRange kTokenIds = {0, std::numeric_limits<int32_t>::max()};
constexpr size_t kMaxEosIds = 64;

/// Parses a document and reads it with `read(JsonReader&)`.
template <class Read>
auto read_document(std::string_view text, const char* file, Read&& read)
    -> Result<decltype(read(std::declval<JsonReader&>()))> {
  const Result<json> document = parse_json(text);
  if (!document) return Error{document.error().code, document.error().detail, file};
  std::optional<Error> error;
  JsonReader reader(*document, file, error);
  auto config = read(reader);
  if (error) return *error;
  return config;
}

void expect_integer(JsonReader& reader, std::string_view field, int64_t expected) {
  if (reader.integer(field, {0, 1024}, expected) != expected) {
    reader.fail(field, fmt::to_string(expected), ErrorCode::unsupported_model);
  }
}

void read_pixel_limits(JsonReader& reader, ProcessorConfig& config) {
  JsonReader size = reader.optional_object("size");
  config.min_pixels = size.integer("shortest_edge", kPixels, config.min_pixels);
  config.max_pixels = size.integer("longest_edge", kPixels, config.max_pixels);
  config.min_pixels = reader.integer("min_pixels", kPixels, config.min_pixels);
  config.max_pixels = reader.integer("max_pixels", kPixels, config.max_pixels);
  if (config.min_pixels > config.max_pixels) {
    reader.fail("size", fmt::format("the smallest area, {}, not above the largest, {}",
                                    config.min_pixels, config.max_pixels));
  }
}

std::array<float, 3> read_channels(JsonReader& reader, std::string_view field, NumberRange range,
                                   const std::array<float, 3>& fallback) {
  const auto values =
      reader.numbers(field, range, 3, std::vector<double>(fallback.begin(), fallback.end()));
  return {static_cast<float>(values[0]), static_cast<float>(values[1]),
          static_cast<float>(values[2])};
}

/// The fields that pictures and videos share; `config` holds the defaults.
ProcessorConfig read_common(JsonReader& reader, ProcessorConfig config) {
  read_pixel_limits(reader, config);
  config.patch_size = static_cast<int>(reader.integer("patch_size", {1, 64}, config.patch_size));
  expect_integer(reader, "temporal_patch_size", config.temporal_patch_size);
  expect_integer(reader, "merge_size", config.merge_size);
  config.image_mean = read_channels(reader, "image_mean", {-1e3, 1e3}, config.image_mean);
  config.image_std = read_channels(reader, "image_std", {1e-6, 1e3}, config.image_std);
  config.rescale_factor = static_cast<float>(
      reader.number("rescale_factor", {1e-9, 1e3}, double{config.rescale_factor}));
  for (const char* step : {"do_resize", "do_rescale", "do_normalize", "do_convert_rgb"}) {
    if (!reader.boolean(step, true)) reader.fail(step, "true", ErrorCode::unsupported_model);
  }
  constexpr int64_t kBicubic = 3;  // PIL's number of the filter
  expect_integer(reader, "resample", kBicubic);
  return config;
}

ProcessorConfig read_video(JsonReader& reader) {
  // The video class of the reference has budgets of its own: 128 and 768 tokens of 32 × 32 pixels.
  ProcessorConfig config = read_common(reader, {.min_pixels = 131'072, .max_pixels = 786'432});
  config.fps = reader.number("fps", {1e-3, 1e3}, config.fps);
  config.min_frames = static_cast<int>(reader.integer("min_frames", kFrames, config.min_frames));
  config.max_frames = static_cast<int>(reader.integer("max_frames", kFrames, config.max_frames));
  if (config.min_frames > config.max_frames) {
    reader.fail("min_frames", fmt::format("at most max_frames, {}", config.max_frames));
  }
  return config;
}

GenerationConfig read_generation(JsonReader& reader) {
  GenerationConfig config;
  if (const json* const eos = reader.find("eos_token_id"); eos != nullptr && eos->is_array()) {
    for (const int64_t id : reader.integers("eos_token_id", kTokenIds, kMaxEosIds)) {
      config.eos_token_ids.push_back(static_cast<int32_t>(id));
    }
  } else if (eos != nullptr) {
    config.eos_token_ids = {static_cast<int32_t>(reader.integer("eos_token_id", kTokenIds))};
  }
  config.do_sample = reader.boolean("do_sample", config.do_sample);
  const auto number = [&](const char* field, NumberRange range) -> std::optional<float> {
    if (!reader.has(field)) return {};
    return static_cast<float>(reader.number(field, range));
  };
  config.temperature = number("temperature", {0, 100});
  config.top_p = number("top_p", {0, 1});
  config.min_p = number("min_p", {0, 1});
  config.repetition_penalty = number("repetition_penalty", {1e-3, 1e3});
  config.presence_penalty = number("presence_penalty", {-100, 100});
  config.frequency_penalty = number("frequency_penalty", {-100, 100});
  if (reader.has("top_k")) config.top_k = static_cast<int>(reader.integer("top_k", kTokenIds));
  if (reader.has("max_new_tokens")) {
    config.max_new_tokens = reader.integer("max_new_tokens", {1, kTokenIds.max});
  }
  return config;
}

}  // namespace

Result<ProcessorConfig> parse_image_processor(std::string_view text) {
  return read_document(text, "preprocessor_config.json",
                       [](JsonReader& reader) { return read_common(reader, {}); });
}

Result<ProcessorConfig> parse_video_processor(std::string_view text) {
  return read_document(text, "video_preprocessor_config.json", read_video);
}

Result<GenerationConfig> parse_generation_config(std::string_view text) {
  return read_document(text, "generation_config.json", read_generation);
}

}  // namespace qvl
