#pragma once

#include <cstddef>
#include <cstdint>

namespace qvl {

/// How large a request may be. Counts and sizes are checked before the memory for them is taken,
/// pixels in the header of a picture. Limits of sampling (stop strings, logit_bias) are those of
/// SamplingParams.
struct WireLimits {
  size_t max_body_bytes = size_t{64} << 20;
  size_t max_json_values = size_t{1} << 20;  ///< of all kinds, in one body
  size_t max_json_depth = 64;

  int64_t max_messages = 4096;
  int64_t max_parts_per_message = 256;
  int64_t max_parts = 1024;  ///< of all messages

  int64_t max_images = 64;
  int64_t max_image_bytes = 20LL << 20;    ///< of one encoded picture
  int64_t max_image_pixels = 64'000'000;   ///< of one decoded picture
  int64_t max_total_pixels = 256'000'000;  ///< of all pictures of a request

  int64_t max_n = 8;          ///< answers to one prompt
  int64_t max_prompts = 128;  ///< of one /v1/completions request
  int64_t max_logprobs = 20;  ///< alternatives for a token; SamplingParams allows no more
};

}  // namespace qvl
