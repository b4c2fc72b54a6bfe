#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/philox.h"

namespace qvl {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool ranks_before(const TokenLogit& a, const TokenLogit& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

bool is_allowed(const SampleState& state, int64_t token) {
  const auto bit = static_cast<size_t>(token);
  return state.allowed.empty() || ((state.allowed[bit / 64] >> (bit % 64)) & 1U) != 0;
}

bool has_penalties(const SamplingParams& params) {
  return params.repetition_penalty != 1.0F || params.presence_penalty != 0.0F ||
         params.frequency_penalty != 0.0F;
}

/// Where a token occurs: in the prompt by the top bit, how often in the answer by the others.
constexpr uint32_t kInPrompt = 1U << 31;

/// Source of the repetition penalty: RepetitionPenaltyLogitsProcessor, transformers
/// logits_process.py.
float penalised(float logit, uint32_t seen, const SamplingParams& params) {
  if (seen == 0) return logit;
  const float penalty = params.repetition_penalty;
  logit = logit < 0 ? logit * penalty : logit / penalty;
  const uint32_t count = seen & ~kInPrompt;
  if (count == 0) return logit;
  logit -= params.frequency_penalty * static_cast<float>(count);
  return logit - params.presence_penalty;
}

/// The prompt counts for the repetition penalty alone.
std::span<const int32_t> penalised_prompt(const SamplingParams& params, const SampleState& state) {
  return params.repetition_penalty == 1.0F ? std::span<const int32_t>() : state.prompt;
}

double weight(double logit, double best, const SamplingParams& params) {
  return std::exp((logit - best) / params.temperature);
}

}  // namespace

CandidateRequest candidates_for(const SamplingParams& params, int64_t row) {
  const bool from_all = params.top_k == 0 || params.top_k > kCandidates;
  return {.row = static_cast<int32_t>(row),
          .temperature = from_all ? params.temperature : 0.0F,
          .log_sum = params.top_logprobs >= 0};
}

Sampler::Sampler(int64_t vocab_size) : marks_(static_cast<size_t>(vocab_size)) {
  candidates_.reserve(static_cast<size_t>(vocab_size));
}

TokenLogit* Sampler::find(int32_t token) {
  const auto it = std::lower_bound(candidates_.begin(), candidates_.end(), token,
                                   [](const TokenLogit& c, int32_t t) { return c.token < t; });
  return it == candidates_.end() || it->token != token ? nullptr : &*it;
}

size_t Sampler::forbid_end(const SamplingParams& params) {
  size_t tokens = 0;
  const auto mark = [&](const std::vector<int32_t>& list, uint32_t value) {
    for (const int32_t t : list) {
      if (is_in_vocabulary(t)) marks_[static_cast<size_t>(t)] = value;
    }
    tokens += list.size() * value;
  };
  const auto mark_all = [&](uint32_t value) {
    if (!params.ignore_eos) mark(params.eos_token_ids, value);
    mark(params.stop_token_ids, value);
  };
  mark_all(1);
  std::erase_if(candidates_,
                [&](const TokenLogit& c) { return marks_[static_cast<size_t>(c.token)] != 0; });
  mark_all(0);
  return tokens;
}

void Sampler::adjust(const SamplingParams& params, const SampleState& state) {
  for (const LogitBias& bias : params.logit_bias) {
    if (TokenLogit* const c = find(bias.token)) c->logit += bias.bias;
  }
  if (!has_penalties(params)) return;
  const auto prompt = penalised_prompt(params, state);
  for (const int32_t t : prompt) marks_[static_cast<size_t>(t)] |= kInPrompt;
  for (const int32_t t : state.generated) ++marks_[static_cast<size_t>(t)];
  for (TokenLogit& c : candidates_) {
    c.logit = penalised(c.logit, marks_[static_cast<size_t>(c.token)], params);
  }
  for (const int32_t t : prompt) marks_[static_cast<size_t>(t)] = 0;
  for (const int32_t t : state.generated) marks_[static_cast<size_t>(t)] = 0;
}

Sample Sampler::sample(Vec<const float> logits, const SamplingParams& params,
                       const SampleState& state) {
  candidates_.clear();
  for (int64_t i = 0; i < logits.size; ++i) {
    if (is_allowed(state, i) && std::isfinite(logits[i])) {
      candidates_.push_back({logits[i], static_cast<int32_t>(i)});
    }
  }
  Sample out;
  if (params.top_logprobs > 0) {
    std::vector<TokenLogit> best(
        std::min(static_cast<size_t>(params.top_logprobs), candidates_.size()));
    std::partial_sort_copy(candidates_.begin(), candidates_.end(), best.begin(), best.end(),
                           ranks_before);
    for (const TokenLogit& c : best) out.top.push_back({c.token, c.logit});
  }
  if (!state.may_end) forbid_end(params);
  if (candidates_.empty()) return {.token = -1};
  adjust(params, state);
  ranked_ = 0;
  out.token = params.temperature == 0.0F
                  ? std::min_element(candidates_.begin(), candidates_.end(), ranks_before)->token
                  : *draw(params, state.index, {});
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

bool Sampler::adjust_candidates(const SamplingParams& params, const SampleState& state) {
  for (size_t i = 0; i < candidates_.size(); ++i) {
    marks_[static_cast<size_t>(candidates_[i].token)] = static_cast<uint32_t>(i + 1);
  }
  const float bound = outside_.bound;
  for (const LogitBias& bias : params.logit_bias) {
    if (!is_in_vocabulary(bias.token)) continue;
    if (const uint32_t place = marks_[static_cast<size_t>(bias.token)]) {
      candidates_[place - 1].logit += bias.bias;
      continue;
    }
    ++outside_.changed;
    if (bias.bias > 0) outside_.raised.push_back(bound + bias.bias);
  }
  bool is_bounded = true;
  if (has_penalties(params)) {
    const bool raises = params.repetition_penalty < 1.0F || params.presence_penalty < 0.0F ||
                        params.frequency_penalty < 0.0F;
    seen_.assign(candidates_.size(), 0);
    const auto visit = [&](std::span<const int32_t> tokens, auto&& count) {
      for (const int32_t t : tokens) {
        if (const uint32_t place = marks_[static_cast<size_t>(t)]) {
          count(seen_[place - 1]);
        } else {
          ++outside_.changed;
          is_bounded &= !raises;
        }
      }
    };
    visit(penalised_prompt(params, state), [](uint32_t& seen) { seen |= kInPrompt; });
    visit(state.generated, [](uint32_t& seen) { ++seen; });
    for (size_t i = 0; i < candidates_.size(); ++i) {
      candidates_[i].logit = penalised(candidates_[i].logit, seen_[i], params);
    }
  }
  for (const float raised : outside_.raised) outside_.bound = std::max(outside_.bound, raised);
  for (const TokenLogit& c : candidates_) marks_[static_cast<size_t>(c.token)] = 0;
  return is_bounded;
}

std::optional<Sample> Sampler::sample(const Candidates& row, const SamplingParams& params,
                                      const SampleState& state) {
  const bool is_whole = row.count < kCandidates;
  const std::span<const TokenLogit> best(row.best.data(), static_cast<size_t>(row.count));
  candidates_.clear();
  for (const TokenLogit& c : best) {
    if (is_allowed(state, c.token)) candidates_.push_back(c);
  }
  if (candidates_.empty()) return is_whole ? std::optional(Sample{.token = -1}) : std::nullopt;
  Sample out;
  if (params.top_logprobs >= 0) {
    if (!std::isfinite(row.log_sum)) return std::nullopt;
    const auto wanted = static_cast<size_t>(params.top_logprobs);
    if (!is_whole && wanted > candidates_.size()) return std::nullopt;
    for (size_t i = 0; i < std::min(wanted, candidates_.size()); ++i) {
      out.top.push_back(
          {candidates_[i].token, static_cast<float>(candidates_[i].logit - row.log_sum)});
    }
  }
  outside_.bound = best.back().logit;
  outside_.changed = state.may_end ? 0 : forbid_end(params);
  outside_.raised.clear();
  size_t known = candidates_.size();
  if (!params.logit_bias.empty() || has_penalties(params)) {
    if (!adjust_candidates(params, state) && !is_whole) return std::nullopt;
    std::sort(candidates_.begin(), candidates_.end(), ranks_before);
    const auto is_above = [&](const TokenLogit& c) { return c.logit > outside_.bound; };
    known =
        static_cast<size_t>(std::partition_point(candidates_.begin(), candidates_.end(), is_above) -
                            candidates_.begin());
  }
  Rest rest;
  if (is_whole) {
    if (candidates_.empty()) return Sample{.token = -1};
    std::sort(candidates_.begin(), candidates_.end(),
              [](const TokenLogit& a, const TokenLogit& b) { return a.token < b.token; });
    ranked_ = 0;
  } else {
    if (known == 0) return std::nullopt;
    if (params.temperature > 0.0F) rest = rest_behind(known, row, params, state);
    candidates_.resize(known);
    ranked_ = known;
  }
  if (params.temperature == 0.0F) {
    out.token = std::min_element(candidates_.begin(), candidates_.end(), ranks_before)->token;
  } else {
    const std::optional<int32_t> token = draw(params, state.index, rest);
    if (!token) return std::nullopt;
    out.token = *token;
  }
  if (params.top_logprobs >= 0) {
    const auto chosen = std::find_if(best.begin(), best.end(),
                                     [&](const TokenLogit& c) { return c.token == out.token; });
    out.logprob = static_cast<float>(chosen->logit - row.log_sum);
  }
  return out;
}

/// The tokens outside have what weight_sum has beyond the candidates, but for what biases and
/// penalties made of them.
Sampler::Rest Sampler::rest_behind(size_t known, const Candidates& row,
                                   const SamplingParams& params, const SampleState& state) const {
  Rest rest{.is_empty = false};
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) <= known) return rest;
  const double row_best = row.best.front().logit;
  const double best = candidates_.front().logit;
  double inside = 0;
  for (const TokenLogit& c : row.best) inside += weight(c.logit, row_best, params);
  const double changed =
      static_cast<double>(outside_.changed) * weight(row.best.back().logit, row_best, params);
  const double scale = weight(row_best, best, params);
  rest.most = scale * std::max(0.0, row.weight_sum * (1 + kWeightSumError) - inside);
  if (state.allowed.empty()) {
    rest.least = scale * std::max(0.0, row.weight_sum * (1 - kWeightSumError) - inside - changed);
  }
  for (const float raised : outside_.raised) rest.most += weight(raised, best, params);
  for (size_t i = known; i < candidates_.size(); ++i) {
    const double w = weight(candidates_[i].logit, best, params);
    rest.least += w;
    rest.most += w;
  }
  const bool is_known = std::isfinite(row.weight_sum) && rest.least <= rest.most;
  return is_known ? rest : Rest{.is_empty = false, .most = kInfinity};
}

/// Puts at least `count` of the best candidates in front, in order.
void Sampler::rank(size_t count) {
  constexpr size_t kFirst = 256;  // hold nearly all probability, as a rule
  while (ranked_ < count) {
    const size_t next = std::min(candidates_.size(), std::max({count, kFirst, 8 * ranked_}));
    const auto begin = candidates_.begin() + static_cast<std::ptrdiff_t>(ranked_);
    const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(next);
    if (next - ranked_ > kFirst) {
      std::nth_element(begin, end - 1, candidates_.end(), ranks_before);
      std::sort(begin, end, ranks_before);
    } else {
      std::partial_sort(begin, end, candidates_.end(), ranks_before);
    }
    ranked_ = next;
  }
}

/// Weights are summed in the order of the candidates, by rank once a filter has ranked them; the
/// draw goes by rank, so that a few tokens decide it. Where tokens behind the candidates take part,
/// there is a token only if all sums within the bounds give the same.
std::optional<int32_t> Sampler::draw(const SamplingParams& params, uint64_t index,
                                     const Rest& rest) {
  const double best = std::min_element(candidates_.begin(), candidates_.end(), ranks_before)->logit;
  const auto weight_of = [&](size_t i) { return weight(candidates_[i].logit, best, params); };
  constexpr double kRounding = 1e-9;  // of any order of a sum
  size_t end = candidates_.size();
  bool is_open = !rest.is_empty;  // tokens behind the candidates take part
  double most_behind = rest.most;
  double least_behind = rest.least;
  if (params.top_k > 0) {
    const auto k = static_cast<size_t>(params.top_k);
    if (k <= end) {
      end = k;
      is_open = false;
    } else if (is_open) {
      most_behind = std::min(most_behind, static_cast<double>(k - end) * weight_of(end - 1));
      least_behind = 0;
    }
    rank(end);
  }
  double low = 0;
  for (size_t i = 0; i < end; ++i) low += weight_of(i);
  double high = low;
  if (is_open) {
    low = (low + least_behind) * (1 - kRounding);
    high = (high + most_behind) * (1 + kRounding);
  }
  if (params.top_p < 1.0F) {
    double kept = 0;
    size_t i = 0;
    do {
      rank(i + 1);
      kept += weight_of(i++);
    } while (i < end && kept < params.top_p * low);
    if (is_open && !(kept >= params.top_p * high)) return std::nullopt;
    is_open = false;
    end = i;
    low = high = kept;
  }
  if (params.min_p > 0.0F) {  // the best one's weight is 1
    double kept = 0;
    size_t i = 0;
    rank(1);
    do {
      kept += weight_of(i++);
      if (i < end) rank(i + 1);
    } while (i < end && weight_of(i) >= params.min_p);
    if (is_open && i == end) return std::nullopt;
    is_open = false;
    end = i;
    low = high = kept;
  }
  const double u = uniform(params.seed, index);
  low *= u;
  high *= u;
  for (size_t i = 0; i < end; ++i) {
    rank(i + 1);
    const double w = weight_of(i);
    low -= w;
    high -= w;
    if (low < 0) return high < 0 ? std::optional(candidates_[i].token) : std::nullopt;
  }
  return is_open ? std::nullopt : std::optional(candidates_[end - 1].token);
}

}  // namespace qvl
