#pragma once

/// From logits to a token. Knows no model and no backend. One sampler per engine thread: it keeps
/// its buffers.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/view.h"
#include "kernels/candidates.h"
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

/// What Sampler::sample wants to know of row `row` of the logits.
CandidateRequest candidates_for(const SamplingParams& params, int64_t row);

class Sampler {
 public:
  /// Buffers for `vocab_size` logits.
  explicit Sampler(int64_t vocab_size);

  /// Tokens of the state are inside the vocabulary; biases outside it are ignored. Equal logits
  /// rank by smaller id. Order of the steps: SamplingParams. The random number is a function of
  /// params.seed and state.index alone.
  Sample sample(Vec<const float> logits, const SamplingParams& params, const SampleState& state);

  /// The same token, with logprobs that differ by rounding alone, from the candidates of the row
  /// that candidates_for() asks for; nothing if they leave it open. Tokens beyond the limit of the
  /// candidates are not allowed.
  std::optional<Sample> sample(const Candidates& row, const SamplingParams& params,
                               const SampleState& state);

 private:
  /// What is known of tokens that rank behind candidates_.
  struct Rest {
    bool is_empty = true;
    double least = 0;  ///< bounds of the sum of their weights
    double most = 0;
  };
  /// What is known of tokens that are not among a row's candidates.
  struct Outside {
    float bound = 0;            ///< of their logits after biases and penalties
    size_t changed = 0;         ///< at most so many are forbidden, biased or penalised
    std::vector<float> raised;  ///< bounds of those that a bias raises
  };

  bool is_in_vocabulary(int32_t token) const {
    return token >= 0 && static_cast<size_t>(token) < marks_.size();
  }
  TokenLogit* find(int32_t token);
  /// Takes out the tokens that end the answer. Returns how many there may be.
  size_t forbid_end(const SamplingParams& params);
  /// Adds the biases and takes off the penalties; candidates_ are in order of their tokens.
  void adjust(const SamplingParams& params, const SampleState& state);
  /// The same of candidates in any order. False: the others may have any logit.
  bool adjust_candidates(const SamplingParams& params, const SampleState& state);
  Rest rest_behind(size_t known, const Candidates& row, const SamplingParams& params,
                   const SampleState& state) const;
  std::optional<int32_t> draw(const SamplingParams& params, uint64_t index, const Rest& rest);
  void rank(size_t count);

  std::vector<TokenLogit> candidates_;
  size_t ranked_ = 0;            ///< the first of candidates_ that are its best, in order
  std::vector<uint32_t> marks_;  ///< [vocab_size]; zero between calls
  std::vector<uint32_t> seen_;   ///< of a row's candidates
  Outside outside_;
};

}  // namespace qvl
