#pragma once

/// From logits to a token. Knows no model and no backend. One sampler per engine thread: it keeps
/// its buffers.

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
};

class Sampler {
 public:
  /// Buffers for `vocab_size` logits.
  explicit Sampler(int64_t vocab_size);

  /// `index` numbers the generated tokens of a request from 0. `allowed` has one bit per token,
  /// least significant first, or is empty: all allowed (grammars set it). Equal logits rank by
  /// smaller id. Order of filters as in transformers: temperature, top_k, top_p.
  Sample sample(Vec<const float> logits, const SamplingParams& params, uint64_t index,
                std::span<const uint64_t> allowed = {});

 private:
  struct Candidate {
    float logit;
    int32_t token;
  };
  static bool better(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  }

  int32_t draw(const SamplingParams& params, uint64_t index);

  std::vector<Candidate> candidates_;
};

}  // namespace qvl
