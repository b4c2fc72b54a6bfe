#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "runtime/philox.h"

namespace qvl {
namespace {

Sample sample(const std::vector<float>& logits, const SamplingParams& params,
              const SampleState& state = {}) {
  Sampler sampler(static_cast<int64_t>(logits.size()));
  return sampler.sample({logits.data(), static_cast<int64_t>(logits.size())}, params, state);
}

Sample sample(const std::vector<float>& logits, const SamplingParams& params, uint64_t index) {
  return sample(logits, params, SampleState{.index = index});
}

TEST(Philox, GivesThePublishedNumbers) {  // known answers of the authors' Random123 library
  EXPECT_EQ(philox(0, 0, 0),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ULL, ~0ULL, ~0ULL),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Sampler, GreedyTakesTheLargestAndTheSmallerIdOfEquals) {
  EXPECT_EQ(sample({1, 5, 3, 5}, {}).token, 1);
  EXPECT_EQ(sample({-INFINITY, -2, NAN, -2}, {}).token, 1);
}

TEST(Sampler, WithoutAFiniteAllowedLogitThereIsNoToken) {
  const std::vector<uint64_t> allowed{0b10};
  EXPECT_EQ(sample({NAN, -INFINITY, INFINITY}, {}).token, -1);
  EXPECT_EQ(sample({1, NAN, 2}, {.temperature = 1.0F}, {.allowed = allowed}).token, -1);
}

TEST(Sampler, OnlyAllowedTokensAreDrawn) {
  const std::vector<uint64_t> allowed{0b0101};
  EXPECT_EQ(sample({1, 9, 3, 5}, {}, {.allowed = allowed}).token, 2);
  SamplingParams hot{.temperature = 2.0F};
  for (uint64_t i = 0; i < 200; ++i) {
    const int32_t token = sample({1, 9, 3, 5}, hot, {.index = i, .allowed = allowed}).token;
    EXPECT_TRUE(token == 0 || token == 2);
  }
}

TEST(Sampler, TopKKeepsTheKLargest) {
  SamplingParams p{.temperature = 2.0F, .top_k = 2};
  for (uint64_t i = 0; i < 200; ++i) {
    const int32_t token = sample({1, 1.1F, 1.2F, 1.3F}, p, i).token;
    EXPECT_GE(token, 2);
  }
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  // probabilities 0.5, 0.3, 0.2
  const std::vector<float> logits{std::log(0.2F), std::log(0.5F), std::log(0.3F)};
  SamplingParams p{.temperature = 1.0F, .top_p = 0.6F};
  std::map<int32_t, int> seen;
  for (uint64_t i = 0; i < 1000; ++i) ++seen[sample(logits, p, i).token];
  EXPECT_EQ(seen.count(0), 0U);
  EXPECT_GT(seen[1], seen[2]);
  EXPECT_GT(seen[2], 0);
}

TEST(Sampler, FrequenciesFollowTheSoftmaxAtTheTemperature) {
  const std::vector<float> logits{0, 1, 2, -1};
  SamplingParams p{.temperature = 0.5F, .seed = 7};
  std::vector<double> expected;
  expected.reserve(logits.size());
  double total = 0;
  for (const float v : logits) total += std::exp(v / 0.5);
  for (const float v : logits) expected.push_back(std::exp(v / 0.5) / total);
  std::vector<int> seen(4);
  constexpr int kDraws = 20000;
  for (uint64_t i = 0; i < kDraws; ++i) ++seen[static_cast<size_t>(sample(logits, p, i).token)];
  for (size_t t = 0; t < 4; ++t) EXPECT_NEAR(seen[t] / double{kDraws}, expected[t], 0.02) << t;
}

TEST(Sampler, ATokenDependsOnSeedAndIndexOnly) {
  const std::vector<float> logits{0, 0.1F, 0.2F, 0.3F, 0.4F, 0.5F};
  SamplingParams p{.temperature = 1.0F, .seed = 42};
  Sampler used(6);
  std::vector<int32_t> first;
  for (uint64_t i = 0; i < 50; ++i)
    first.push_back(used.sample({logits.data(), 6}, p, {.index = i}).token);
  for (uint64_t i = 50; i-- > 0;) {
    EXPECT_EQ(used.sample({logits.data(), 6}, p, {.index = i}).token, first[i]);
    EXPECT_EQ(sample(logits, p, i).token, first[i]);
  }
  p.seed = 43;
  std::vector<int32_t> other;
  for (uint64_t i = 0; i < 50; ++i) other.push_back(sample(logits, p, i).token);
  EXPECT_NE(first, other);
}

TEST(Sampler, LogprobsAreOfTheUnmodifiedLogits) {
  SamplingParams p{.temperature = 0.1F, .top_k = 1, .top_logprobs = 2};
  const Sample s = sample({std::log(0.25F), std::log(0.5F), std::log(0.25F)}, p);
  EXPECT_EQ(s.token, 1);
  EXPECT_NEAR(s.logprob, std::log(0.5), 1e-6);
  ASSERT_EQ(s.top.size(), 2U);
  EXPECT_EQ(s.top[0].token, 1);
  EXPECT_EQ(s.top[1].token, 0);
  EXPECT_NEAR(s.top[1].logprob, std::log(0.25), 1e-6);
}

/// The logit each token ends up with: by how much of a bias another token draws level.
class Adjusted {
 public:
  Adjusted(std::vector<float> logits, SamplingParams params, std::vector<int32_t> prompt,
           std::vector<int32_t> generated)
      : logits_(std::move(logits)),
        params_(std::move(params)),
        prompt_(std::move(prompt)),
        generated_(std::move(generated)) {
    logits_.push_back(0);  // the yardstick, a token that occurs nowhere
  }

  bool beats(int32_t token, float value) {
    SamplingParams p = params_;
    const auto yardstick = static_cast<int32_t>(logits_.size()) - 1;
    p.logit_bias.push_back({yardstick, value});
    for (int32_t t = 0; t < yardstick; ++t) {
      if (t != token) masked_ &= ~(uint64_t{1} << t);
    }
    const std::vector<uint64_t> allowed{masked_};
    masked_ = ~uint64_t{0};
    return sample(logits_, p, {.prompt = prompt_, .generated = generated_, .allowed = allowed})
               .token == token;
  }
  testing::AssertionResult is(int32_t token, float value) {
    if (beats(token, value - 1e-4F) && !beats(token, value + 1e-4F)) {
      return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << "token " << token << " has not logit " << value;
  }

 private:
  std::vector<float> logits_;
  SamplingParams params_;
  std::vector<int32_t> prompt_;
  std::vector<int32_t> generated_;
  uint64_t masked_ = ~uint64_t{0};
};

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogitsOnce) {
  Adjusted a({3, -3, 3, -3, 3}, {.repetition_penalty = 1.5F}, {0, 1, 0}, {2, 3, 2});
  EXPECT_TRUE(a.is(0, 2.0F));
  EXPECT_TRUE(a.is(1, -4.5F));
  EXPECT_TRUE(a.is(2, 2.0F));
  EXPECT_TRUE(a.is(3, -4.5F));
  EXPECT_TRUE(a.is(4, 3.0F));
}

TEST(Sampler, PresenceAndFrequencyCountTheAnswerOnly) {
  Adjusted a({1, 1, 1, 1}, {.presence_penalty = 0.5F, .frequency_penalty = 0.25F}, {0, 0},
             {1, 2, 2, 2});
  EXPECT_TRUE(a.is(0, 1.0F));
  EXPECT_TRUE(a.is(1, 0.25F));   // 1 − 0.5 − 0.25
  EXPECT_TRUE(a.is(2, -0.25F));  // 1 − 0.5 − 3 · 0.25
  EXPECT_TRUE(a.is(3, 1.0F));
}

TEST(Sampler, ABiasIsAddedBeforeThePenalties) {
  Adjusted a({1, 1},
             {.repetition_penalty = 2.0F, .presence_penalty = 1.0F, .logit_bias = {{0, -3}}}, {},
             {0, 1});
  EXPECT_TRUE(a.is(0, -5.0F));  // (1 − 3) · 2 − 1
  EXPECT_TRUE(a.is(1, -0.5F));  // 1 / 2 − 1
}

TEST(Sampler, PenaltiesLeaveNoTraceForTheNextCall) {
  const std::vector<float> logits{2, 1.9F};
  const std::vector<int32_t> seen{0};
  Sampler sampler(2);
  const SamplingParams p{.presence_penalty = 1.0F};
  EXPECT_EQ(sampler.sample({logits.data(), 2}, p, {.generated = seen}).token, 1);
  EXPECT_EQ(sampler.sample({logits.data(), 2}, p, {}).token, 0);
  const SamplingParams repeated{.repetition_penalty = 2.0F};
  EXPECT_EQ(sampler.sample({logits.data(), 2}, repeated, {.prompt = seen}).token, 1);
  EXPECT_EQ(sampler.sample({logits.data(), 2}, repeated, {}).token, 0);
}

TEST(Sampler, MinPKeepsTokensWithThatShareOfTheBest) {
  // probabilities 0.5, 0.3, 0.15, 0.05: a share of 0.4 is a probability of 0.2
  const std::vector<float> logits{std::log(0.15F), std::log(0.5F), std::log(0.05F), std::log(0.3F)};
  std::map<int32_t, int> seen;
  const SamplingParams p{.temperature = 1.0F, .min_p = 0.4F};
  for (uint64_t i = 0; i < 4000; ++i) ++seen[sample(logits, p, i).token];
  EXPECT_EQ(seen.size(), 2U);
  EXPECT_NEAR(seen[1] / 4000.0, 0.625, 0.03);  // 0.5 of 0.8
  EXPECT_NEAR(seen[3] / 4000.0, 0.375, 0.03);
}

TEST(Sampler, MinPOfOneIsGreedyUpToEquals) {
  const SamplingParams p{.temperature = 2.0F, .min_p = 1.0F};
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(sample({1, 3, 2.9F}, p, i).token, 1);
}

TEST(Sampler, TokensThatEndTheAnswerAreNotDrawnBeforeItMayEnd) {
  SamplingParams p{.eos_token_ids = {1}, .stop_token_ids = {3}};
  EXPECT_EQ(sample({1, 9, 3, 5}, p).token, 1);
  EXPECT_EQ(sample({1, 9, 3, 5}, p, {.may_end = false}).token, 2);
  p.ignore_eos = true;  // then it is a token as others
  EXPECT_EQ(sample({1, 9, 3, 5}, p, {.may_end = false}).token, 1);
}

TEST(Sampler, LogprobsKnowNothingOfBiasesAndPenalties) {
  const SamplingParams plain{.top_logprobs = 3};
  const SamplingParams bent{.presence_penalty = 2.0F, .logit_bias = {{0, 50}}, .top_logprobs = 3};
  const std::vector<int32_t> seen{1};
  const std::vector<float> logits{1, 3, 2};
  const Sample a = sample(logits, plain);
  const Sample b = sample(logits, bent, {.generated = seen});
  EXPECT_EQ(a.token, 1);
  EXPECT_EQ(b.token, 0);
  ASSERT_EQ(b.top.size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(a.top[i].token, b.top[i].token);
    EXPECT_EQ(a.top[i].logprob, b.top[i].logprob);
  }
  EXPECT_EQ(b.logprob, a.top[2].logprob);
}

/// The definition, straight from the formulas, on all tokens.
std::vector<double> expected_probabilities(const std::vector<float>& logits,
                                           const SamplingParams& p,
                                           const std::vector<int32_t>& prompt,
                                           const std::vector<int32_t>& generated) {
  const size_t n = logits.size();
  std::vector<std::pair<double, size_t>> order;
  std::vector<double> probability(n);
  double total = 0;
  for (size_t t = 0; t < n; ++t) {
    double x = logits[t];
    for (const LogitBias& b : p.logit_bias) x += b.token == static_cast<int32_t>(t) ? b.bias : 0;
    const auto in = [&](const std::vector<int32_t>& list) {
      return std::count(list.begin(), list.end(), static_cast<int32_t>(t));
    };
    if (in(prompt) + in(generated) > 0) {
      x = x < 0 ? x * p.repetition_penalty : x / p.repetition_penalty;
    }
    x -= p.frequency_penalty * static_cast<double>(in(generated));
    x -= in(generated) > 0 ? p.presence_penalty : 0;
    probability[t] = std::exp(x / p.temperature);
    total += probability[t];
    order.emplace_back(-probability[t], t);
  }
  std::sort(order.begin(), order.end());
  std::vector<double> kept(n);
  size_t k = p.top_k > 0 ? std::min<size_t>(static_cast<size_t>(p.top_k), n) : n;
  double in_k = 0;
  for (size_t i = 0; i < k; ++i) in_k += -order[i].first;
  double sum = 0;
  for (size_t i = 0; i < k; ++i) {
    if (sum >= p.top_p * in_k) break;
    sum += -order[i].first;
    if (-order[i].first >= p.min_p * -order[0].first) kept[order[i].second] = -order[i].first;
  }
  double left = 0;
  for (const double v : kept) left += v;
  for (double& v : kept) v /= left;
  return kept;
}

TEST(Sampler, TopPOfManyEqualTokensKeepsThoseOfTheSmallestIds) {
  // 5000 equal tokens: the smallest set with at least half of the probability is the first 2500
  const std::vector<float> logits(5000, 1.0F);
  const SamplingParams p{.temperature = 1.0F, .top_p = 0.5F};
  Sampler sampler(5000);
  int32_t largest = 0;
  for (uint64_t i = 0; i < 2000; ++i) {
    largest = std::max(largest, sampler.sample({logits.data(), 5000}, p, {.index = i}).token);
  }
  EXPECT_LT(largest, 2500);
  EXPECT_GE(largest, 2450);
}

TEST(Sampler, FrequenciesFollowTheDefinitionForRandomParameters) {
  for (uint64_t round = 0; round < 30; ++round) {
    auto random = [round, i = uint64_t{0}]() mutable { return uniform(round, i++); };
    std::vector<float> logits(9);
    for (float& x : logits) x = static_cast<float>(6 * random() - 3);
    SamplingParams p{.temperature = static_cast<float>(0.5 + random()),
                     .top_k = static_cast<int>(random() * 10),
                     .top_p = static_cast<float>(0.3 + 0.7 * random()),
                     .min_p = static_cast<float>(0.3 * random()),
                     .repetition_penalty = static_cast<float>(0.7 + random()),
                     .presence_penalty = static_cast<float>(2 * random() - 1),
                     .frequency_penalty = static_cast<float>(random() - 0.5),
                     .logit_bias = {{static_cast<int32_t>(9 * random()), 1.5F}},
                     .seed = round};
    std::vector<int32_t> prompt(4);
    std::vector<int32_t> generated(6);
    for (int32_t& t : prompt) t = static_cast<int32_t>(9 * random());
    for (int32_t& t : generated) t = static_cast<int32_t>(9 * random());
    const std::vector<double> expected = expected_probabilities(logits, p, prompt, generated);
    std::vector<int> seen(9);
    constexpr int kDraws = 4000;
    for (uint64_t i = 0; i < kDraws; ++i) {
      const Sample s = sample(logits, p, {.index = i, .prompt = prompt, .generated = generated});
      ++seen[static_cast<size_t>(s.token)];
    }
    for (size_t t = 0; t < 9; ++t) {
      EXPECT_NEAR(seen[t] / double{kDraws}, expected[t], 0.04) << "round " << round << ", " << t;
      EXPECT_TRUE(expected[t] > 0 || seen[t] == 0) << "round " << round << ", " << t;
    }
  }
}

}  // namespace
}  // namespace qvl
