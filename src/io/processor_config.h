#pragma once

/// preprocessor_config.json, video_preprocessor_config.json and generation_config.json as plain
/// numbers; fields that a file leaves out have the defaults of the reference's classes.

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "qvl/result.h"

namespace qvl {

struct ProcessorConfig {
  int64_t min_pixels = 65'536;  ///< areas; size.shortest_edge and size.longest_edge in the file
  int64_t max_pixels = 16'777'216;
  int patch_size = 16;
  int temporal_patch_size = 2;
  int merge_size = 2;
  std::array<float, 3> image_mean{0.5F, 0.5F, 0.5F};
  std::array<float, 3> image_std{0.5F, 0.5F, 0.5F};
  float rescale_factor = 1.0F / 255.0F;
  double fps = 2.0;  ///< videos only, as the two below
  int min_frames = 4;
  int max_frames = 768;
};

Result<ProcessorConfig> parse_image_processor(std::string_view json);
Result<ProcessorConfig> parse_video_processor(std::string_view json);

/// How the checkpoint's authors want it to be sampled; what the file leaves out is empty.
struct GenerationConfig {
  std::vector<int32_t> eos_token_ids;
  bool do_sample = false;
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<int> top_k;
  std::optional<float> repetition_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::optional<int64_t> max_new_tokens;
};

Result<GenerationConfig> parse_generation_config(std::string_view json);

}  // namespace qvl
