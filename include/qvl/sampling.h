#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "qvl/result.h"

namespace qvl {

/// Ends an answer that has fallen into a loop. `automatic`: on for answers that may grow longer
/// than 512 tokens, unless ignore_eos asks for a fixed length.
enum class RepetitionGuard : uint8_t { automatic, on, off };

/// Added to the logit of `token` before everything else.
struct LogitBias {
  int32_t token = 0;
  float bias = 0;  ///< [-100, 100]

  bool operator==(const LogitBias&) const = default;
};

/// How tokens are chosen and when an answer ends. Logits pass logit_bias, repetition_penalty,
/// frequency_penalty and presence_penalty; then temperature, top_k, top_p and min_p. Order as in
/// transformers (GenerationMixin._get_logits_processor); formulas of the penalties that it lacks as
/// in vLLM (model_executor/layers/utils.py, apply_penalties).
struct SamplingParams {
  float temperature = 0.0F;         ///< 0: greedy; [0, 2]
  int top_k = 0;                    ///< keep the k most likely tokens; 0: all
  float top_p = 1.0F;               ///< then the smallest set with this much probability; (0, 1]
  float min_p = 0.0F;               ///< then those with this share of the best one's; [0, 1]
  float repetition_penalty = 1.0F;  ///< logits of tokens of prompt and answer: divided if positive,
                                    ///< else multiplied; [0.01, 10], 1: none
  float presence_penalty = 0.0F;    ///< subtracted from logits of tokens of the answer; [-2, 2]
  float frequency_penalty = 0.0F;   ///< the same, times how often each occurred; [-2, 2]
  std::vector<LogitBias> logit_bias;  ///< each token once, at most 1024

  uint64_t seed = 0;  ///< with the token's index it fixes every random number
  int n = 1;          ///< independent answers, [1, 128]; see answer_seed

  int64_t max_tokens = 512;             ///< to generate; at least 1
  int64_t min_tokens = 0;               ///< before, nothing ends the answer; [0, max_tokens]
  std::vector<int32_t> eos_token_ids;   ///< the model's own end; not part of the answer
  bool ignore_eos = false;              ///< eos_token_ids are tokens as others
  std::vector<int32_t> stop_token_ids;  ///< end the answer; not part of it
  /// End the answer; at most 16, of 1 to 1024 bytes of UTF-8. The engine knows no text: who reads
  /// the events finds them (runtime/answer.h) and cancels the request.
  std::vector<std::string> stop;
  bool include_stop_str_in_output = false;
  RepetitionGuard repetition_guard = RepetitionGuard::automatic;

  int top_logprobs = -1;  ///< -1: none, 0: of the chosen token, up to 20 alternatives
};

/// bad_sampling with field, found and range, if a number is out of range.
Status validate(const SamplingParams& params);

/// Seed of answer `index` of n: the first is that of the same request with n = 1; later ones are
/// the first 64 bits of Philox4x32-10 with key `seed` and counter (index, 1).
uint64_t answer_seed(uint64_t seed, int index);

/// What RepetitionGuard::automatic means for these parameters.
bool repetition_guard_is_on(const SamplingParams& params);

}  // namespace qvl
