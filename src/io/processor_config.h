#pragma once

/// preprocessor_config.json, video_preprocessor_config.json and generation_config.json as plain
/// numbers; fields that a file leaves out have the defaults of the reference's classes. A sampling
/// limit that generation_config.json leaves out is no limit.

#include <array>
#include <cstdint>
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

struct GenerationConfig {
  std::vector<int32_t> eos_token_ids;
  bool do_sample = false;
  float temperature = 1.0F;
  float top_p = 1.0F;
  int top_k = 0;  ///< 0: no limit
  float repetition_penalty = 1.0F;
};

Result<GenerationConfig> parse_generation_config(std::string_view json);

}  // namespace qvl
