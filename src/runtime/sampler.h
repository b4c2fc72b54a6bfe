#pragma once

/// From logits to a token. Knows no model and no backend. One sampler per engine thread: it keeps
/// its buffers.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/view.h"
#include "qvl/request.h"

namespace qvl {

struct Sample {
  int32_t token = 0;  ///< -1: no allowed token has a finite logit
  float logprob = 0;  ///< log softmax of the unmodified logits; only if top_logprobs >= 0
  std::vector<TokenLogprob> top;
  uint64_t logits_hash = 0;  ///< of the unmodified logits, bit by bit; if asked for
};

/// Tokens that are the end of an answer, not a part of it.
inline bool is_eos(const SamplingParams& params, int32_t token) {
  const auto& ids = params.eos_token_ids;
  return !params.ignore_eos && std::find(ids.begin(), ids.end(), token) != ids.end();
}
inline bool ends_answer(const SamplingParams& params, int32_t token) {
  const auto& ids = params.stop_token_ids;
  return is_eos(params, token) || std::find(ids.begin(), ids.end(), token) != ids.end();
}

/// True if the choice is the largest of the logits as they are, and nothing else is asked for.
inline bool takes_largest(const SamplingParams& params) {
  return params.temperature == 0.0F && params.top_logprobs < 0 && params.logit_bias.empty() &&
         params.repetition_penalty == 1.0F && params.presence_penalty == 0.0F &&
         params.frequency_penalty == 0.0F;
}

/// What a choice depends on besides logits and parameters.
struct SampleState {
  uint64_t index = 0;  ///< numbers the generated tokens of an answer from 0
  std::span<const int32_t> prompt;
  std::span<const int32_t> generated;
  /// One bit per token, least significant first; empty: all allowed.
  std::span<const uint64_t> allowed;
  bool may_end = true;  ///< false: tokens that end the answer are not allowed
};

class Sampler {
 public:
  /// Buffers for `vocab_size` logits.
  explicit Sampler(int64_t vocab_size);

  /// Tokens of the state are inside the vocabulary; biases outside it are ignored. Equal logits
  /// rank by smaller id. Order of the steps: SamplingParams. The random number is a function of
  /// params.seed and state.index alone.
  Sample sample(Vec<const float> logits, const SamplingParams& params, const SampleState& state);

 private:
  struct Candidate {
    float logit;
    int32_t token;
  };
  static bool better(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  }

  /// Adds the biases and takes the penalties off the logits of candidates_, which are in order of
  /// their tokens.
  void adjust(const SamplingParams& params, const SampleState& state);
  Candidate* find(int32_t token);
  int32_t draw(const SamplingParams& params, uint64_t index);

  std::vector<Candidate> candidates_;
  std::vector<uint32_t> counts_;  ///< [vocab_size]; zero between calls
};

}  // namespace qvl
