#include "runtime/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/philox.h"

namespace qvl {

Status validate(const SamplingParams& p) {
  const auto out_of_range = [](const char* field, const std::string& found, const char* range) {
    return Error{ErrorCode::bad_sampling, fmt::format("found {}, expected {}", found, range),
                 field};
  };
  if (!(p.temperature >= 0.0F && p.temperature <= 2.0F)) {
    return out_of_range("temperature", fmt::format("{}", p.temperature), "0 to 2");
  }
  if (p.top_k < 0) return out_of_range("top_k", fmt::format("{}", p.top_k), "0 (all) or more");
  if (!(p.top_p > 0.0F && p.top_p <= 1.0F)) {
    return out_of_range("top_p", fmt::format("{}", p.top_p), "more than 0, at most 1");
  }
  if (p.max_tokens < 1) {
    return out_of_range("max_tokens", fmt::format("{}", p.max_tokens), "1 or more");
  }
  if (p.top_logprobs < -1 || p.top_logprobs > 20) {
    return out_of_range("top_logprobs", fmt::format("{}", p.top_logprobs), "0 to 20");
  }
  return {};
}

Sampler::Sampler(int64_t vocab_size) { candidates_.reserve(static_cast<size_t>(vocab_size)); }

Sample Sampler::sample(Vec<const float> logits, const SamplingParams& params, uint64_t index,
                       std::span<const uint64_t> allowed) {
  candidates_.clear();
  for (int64_t i = 0; i < logits.size; ++i) {
    const auto bit = static_cast<size_t>(i);
    if (!allowed.empty() && ((allowed[bit / 64] >> (bit % 64)) & 1U) == 0) continue;
    if (std::isfinite(logits[i])) candidates_.push_back({logits[i], static_cast<int32_t>(i)});
  }
  Sample out;
  if (candidates_.empty()) {
    out.token = -1;
    return out;
  }
  const auto want_top = static_cast<size_t>(std::max(0, params.top_logprobs));
  if (params.top_logprobs >= 0) {
    const auto n = static_cast<std::ptrdiff_t>(std::min(want_top, candidates_.size()));
    std::partial_sort(candidates_.begin(), candidates_.begin() + n, candidates_.end(), better);
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      out.top.push_back(
          {candidates_[static_cast<size_t>(i)].token, candidates_[static_cast<size_t>(i)].logit});
    }
  }
  out.token = params.temperature == 0.0F
                  ? std::min_element(candidates_.begin(), candidates_.end(), better)->token
                  : draw(params, index);
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

int32_t Sampler::draw(const SamplingParams& params, uint64_t index) {
  auto end = candidates_.end();
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < candidates_.size()) {
    end = candidates_.begin() + params.top_k;
    std::nth_element(candidates_.begin(), end, candidates_.end(), better);
  }
  // Descending order makes the draw a function of the logits alone, however the buffer was arranged
  // before.
  std::sort(candidates_.begin(), end, better);
  const float max = candidates_.front().logit;
  const auto weight = [&](const Candidate& c) {
    return std::exp((static_cast<double>(c.logit) - max) / params.temperature);
  };
  double total = 0;
  for (auto it = candidates_.begin(); it != end; ++it) total += weight(*it);
  if (params.top_p < 1.0F) {
    double kept = 0;
    for (auto it = candidates_.begin(); it != end; ++it) {
      kept += weight(*it);
      if (kept >= params.top_p * total) {
        end = it + 1;
        total = kept;
        break;
      }
    }
  }
  double left = uniform(params.seed, index) * total;
  for (auto it = candidates_.begin(); it != end; ++it) {
    left -= weight(*it);
    if (left < 0) return it->token;
  }
  return (end - 1)->token;
}

}  // namespace qvl
