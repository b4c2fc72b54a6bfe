#pragma once

#include <cstdint>
#include <vector>

#include "qvl/result.h"

namespace qvl {

struct SamplingParams {
  float temperature = 0.0F;  ///< 0: greedy; [0, 2]
  int top_k = 0;             ///< keep the k most likely tokens; 0: all
  float top_p = 1.0F;        ///< then the smallest set with this much probability; (0, 1]
  uint64_t seed = 0;         ///< with the token's index it fixes every random number
  int64_t max_tokens = 512;  ///< to generate; at least 1
  int top_logprobs = -1;     ///< -1: none, 0: of the chosen token, up to 20 alternatives
  std::vector<int32_t> stop_token_ids;  ///< end the answer; not part of it
};

/// bad_sampling with field, found and range, if a number is out of range.
Status validate(const SamplingParams& params);

}  // namespace qvl
