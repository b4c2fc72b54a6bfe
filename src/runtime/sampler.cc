#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/philox.h"

namespace qvl {

namespace {

/// Source: RepetitionPenaltyLogitsProcessor, transformers logits_process.py.
float repetition_penalised(float logit, float penalty) {
  return logit < 0 ? logit * penalty : logit / penalty;
}

}  // namespace

Sampler::Sampler(int64_t vocab_size) : counts_(static_cast<size_t>(vocab_size)) {
  candidates_.reserve(static_cast<size_t>(vocab_size));
}

Sampler::Candidate* Sampler::find(int32_t token) {
  const auto it = std::lower_bound(candidates_.begin(), candidates_.end(), token,
                                   [](const Candidate& c, int32_t t) { return c.token < t; });
  return it == candidates_.end() || it->token != token ? nullptr : &*it;
}

void Sampler::adjust(const SamplingParams& params, const SampleState& state) {
  for (const LogitBias& bias : params.logit_bias) {
    if (Candidate* const c = find(bias.token)) c->logit += bias.bias;
  }
  if (params.repetition_penalty == 1.0F && params.presence_penalty == 0.0F &&
      params.frequency_penalty == 0.0F) {
    return;
  }
  // The prompt's tokens are marked by the top bit, the answer's counted in the others.
  constexpr uint32_t kInPrompt = 1U << 31;
  for (const int32_t t : state.prompt) counts_[static_cast<size_t>(t)] |= kInPrompt;
  for (const int32_t t : state.generated) ++counts_[static_cast<size_t>(t)];
  for (Candidate& c : candidates_) {
    const uint32_t mark = counts_[static_cast<size_t>(c.token)];
    if (mark == 0) continue;
    c.logit = repetition_penalised(c.logit, params.repetition_penalty);
    const uint32_t count = mark & ~kInPrompt;
    if (count == 0) continue;
    c.logit -= params.frequency_penalty * static_cast<float>(count);
    c.logit -= params.presence_penalty;
  }
  for (const int32_t t : state.prompt) counts_[static_cast<size_t>(t)] = 0;
  for (const int32_t t : state.generated) counts_[static_cast<size_t>(t)] = 0;
}

Sample Sampler::sample(Vec<const float> logits, const SamplingParams& params,
                       const SampleState& state) {
  candidates_.clear();
  for (int64_t i = 0; i < logits.size; ++i) {
    const auto bit = static_cast<size_t>(i);
    if (!state.allowed.empty() && ((state.allowed[bit / 64] >> (bit % 64)) & 1U) == 0) continue;
    if (std::isfinite(logits[i])) candidates_.push_back({logits[i], static_cast<int32_t>(i)});
  }
  Sample out;
  if (params.top_logprobs > 0) {
    std::vector<Candidate> best(
        std::min(static_cast<size_t>(params.top_logprobs), candidates_.size()));
    std::partial_sort_copy(candidates_.begin(), candidates_.end(), best.begin(), best.end(),
                           better);
    for (const Candidate& c : best) out.top.push_back({c.token, c.logit});
  }
  if (!state.may_end) {
    constexpr float kNever = -std::numeric_limits<float>::infinity();
    const auto forbid = [&](const std::vector<int32_t>& tokens) {
      for (const int32_t t : tokens) {
        if (Candidate* const c = find(t)) c->logit = kNever;
      }
    };
    if (!params.ignore_eos) forbid(params.eos_token_ids);
    forbid(params.stop_token_ids);
    std::erase_if(candidates_, [](const Candidate& c) { return c.logit == kNever; });
  }
  if (candidates_.empty()) {
    out.token = -1;
    return out;
  }
  adjust(params, state);
  out.token = params.temperature == 0.0F
                  ? std::min_element(candidates_.begin(), candidates_.end(), better)->token
                  : draw(params, state.index);
  if (params.top_logprobs >= 0) {
    const float max = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float v : logits) sum += std::exp(static_cast<double>(v) - max);
    const double log_sum = max + std::log(sum);
    out.logprob = static_cast<float>(logits[out.token] - log_sum);
    for (TokenLogprob& t : out.top) t.logprob = static_cast<float>(t.logprob - log_sum);
  }
  return out;
}

/// Candidates come in the order of their tokens and are ranked only as far as a filter needs it, so
/// the draw is a function of the logits alone.
int32_t Sampler::draw(const SamplingParams& params, uint64_t index) {
  const auto begin = candidates_.begin();
  auto end = candidates_.end();
  const float max = std::min_element(begin, end, better)->logit;
  const auto weight = [&](const Candidate& c) {
    return std::exp((static_cast<double>(c.logit) - max) / params.temperature);
  };
  auto ranked = begin;
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < candidates_.size()) {
    ranked = begin + params.top_k;
    std::partial_sort(begin, ranked, end, better);
    end = ranked;
  }
  double total = 0;
  for (auto it = begin; it != end; ++it) total += weight(*it);
  if (params.top_p < 1.0F) {
    constexpr std::ptrdiff_t kRankedAtOnce = 1024;  // hold nearly all probability, as a rule
    double kept = 0;
    auto it = begin;
    while (it != end && kept < params.top_p * total) {
      if (it >= ranked) {
        if (ranked == begin && end - it > kRankedAtOnce) {
          ranked = it + kRankedAtOnce;
          std::partial_sort(it, ranked, end, better);
        } else {
          ranked = end;
          std::sort(it, end, better);
        }
      }
      kept += weight(*it++);
    }
    end = it;
    total = kept;
  }
  if (params.min_p > 0.0F) {  // the best one's weight is 1
    end = std::remove_if(begin, end, [&](const Candidate& c) { return weight(c) < params.min_p; });
    total = 0;
    for (auto it = begin; it != end; ++it) total += weight(*it);
  }
  double left = uniform(params.seed, index) * total;
  for (auto it = begin; it != end; ++it) {
    left -= weight(*it);
    if (left < 0) return it->token;
  }
  return (end - 1)->token;
}

}  // namespace qvl
