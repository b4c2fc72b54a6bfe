// A token that is chosen from a row's candidates is the one that the whole row gives.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "runtime/sampler.h"

namespace qvl {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  std::vector<float> logits;
  SamplingParams params;
  std::vector<int32_t> prompt;
  std::vector<int32_t> generated;
  std::vector<uint64_t> allowed;
  uint64_t index = 0;
  bool may_end = true;
  /// Relative error of the sum of weights, in units of the one that is promised.
  double weight_error = 0;

  SampleState state() const {
    return {.index = index,
            .prompt = prompt,
            .generated = generated,
            .allowed = allowed,
            .may_end = may_end};
  }
};

Candidates candidates_of(const Case& c, int64_t limit) {
  Ref ref;
  const auto n = static_cast<int64_t>(c.logits.size());
  const CandidateRequest request = candidates_for(c.params, 0);
  Candidates out;
  rank_candidates(ref, Mat<const float>{c.logits.data(), 1, n, n}, limit, {&request, 1}, {&out, 1});
  out.weight_sum *= 1 + 0.99 * kWeightSumError * c.weight_error;
  return out;
}

struct Both {
  Sample whole;
  std::optional<Sample> ranked;
};

Both sample_both(Sampler& sampler, const Case& c) {
  const auto n = static_cast<int64_t>(c.logits.size());
  return {sampler.sample({c.logits.data(), n}, c.params, c.state()),
          sampler.sample(candidates_of(c, n), c.params, c.state())};
}

testing::AssertionResult same(const Sample& a, const Sample& b) {
  if (a.token != b.token) {
    return testing::AssertionFailure() << "token " << a.token << " and " << b.token;
  }
  if (a.top.size() != b.top.size()) {
    return testing::AssertionFailure() << a.top.size() << " and " << b.top.size() << " in front";
  }
  // A float of this size is rounded by as much as 2e-6; the sums may differ by 1e-6.
  const auto close = [](float x, float y) { return std::abs(x - y) <= 1e-6F * (1 + std::abs(x)); };
  if (!close(a.logprob, b.logprob)) {
    return testing::AssertionFailure() << "logprob " << a.logprob << " and " << b.logprob;
  }
  for (size_t i = 0; i < a.top.size(); ++i) {
    if (a.top[i].token != b.top[i].token || !close(a.top[i].logprob, b.top[i].logprob)) {
      return testing::AssertionFailure() << "alternative " << i;
    }
  }
  return testing::AssertionSuccess();
}

/// Random requests and rows of every kind.
class Cases {
 public:
  explicit Cases(uint64_t seed) : random_(seed) {}

  Case next() {
    Case c;
    const int64_t vocab = pick<int64_t>({1, 5, 100, 255, 256, 257, 300, 1000, 3000});
    const float spread = pick({0.01F, 1.0F, 3.0F, 10.0F});
    const float step = pick({0.0F, 0.0F, 0.5F});  // of equal logits
    for (int64_t t = 0; t < vocab; ++t) {
      float v = spread * std::normal_distribution<float>()(random_);
      if (step > 0) v = step * std::round(v / step);
      c.logits.push_back(v);
    }
    if (chance(0.2)) spoil(c.logits);
    SamplingParams& p = c.params;
    p.temperature = pick({0.0F, 0.1F, 0.7F, 1.0F, 2.0F});
    p.top_k = pick({0, 0, 1, 20, 200, 256, 257, 400, 100'000});
    p.top_p = pick({1.0F, 1.0F, 0.8F, 0.5F, 0.99F, 1e-6F});
    p.min_p = pick({0.0F, 0.0F, 0.05F, 0.5F, 1.0F, 1e-8F});
    if (chance(0.3)) p.repetition_penalty = pick({1.1F, 2.0F, 0.9F});
    if (chance(0.3)) p.presence_penalty = pick({1.5F, 2.0F, -1.0F});
    if (chance(0.3)) p.frequency_penalty = pick({0.5F, 0.1F, -0.5F});
    if (chance(0.3)) {
      for (int32_t i = 0; i < 8; ++i) {
        p.logit_bias.push_back({i * 37, pick({-100.0F, -1.0F, 1.0F, 4.0F})});
      }
    }
    p.top_logprobs = pick({-1, 0, 1, 20});
    p.seed = random_();
    c.index = random_() % 100;
    c.prompt = tokens(vocab, random_() % 40);
    c.generated = tokens(vocab, random_() % 40);
    c.may_end = !chance(0.3);
    p.eos_token_ids = tokens(vocab, 2);
    p.stop_token_ids = tokens(2 * vocab, random_() % 3);
    p.ignore_eos = chance(0.2);
    if (chance(0.3)) {
      for (int64_t w = 0; w < (vocab + 63) / 64; ++w) c.allowed.push_back(random_() & random_());
    }
    c.weight_error = pick({-1.0, 0.0, 1.0});
    return c;
  }

 private:
  template <class T>
  T pick(std::initializer_list<T> of) {
    return of.begin()[random_() % of.size()];
  }
  bool chance(double p) { return std::bernoulli_distribution(p)(random_); }
  std::vector<int32_t> tokens(int64_t vocab, size_t count) {
    std::vector<int32_t> out(count);
    for (int32_t& t : out) t = static_cast<int32_t>(random_() % static_cast<uint64_t>(vocab));
    return out;
  }
  void spoil(std::vector<float>& logits) {
    const float part = pick({0.05F, 0.9F, 1.0F});
    for (float& v : logits) {
      if (chance(part)) v = pick({kNaN, kInfinity, -kInfinity, -kInfinity});
    }
  }

  std::mt19937_64 random_;
};

TEST(SamplerCandidates, GiveTheTokenOfTheWholeRowOrNone) {
  Cases cases(1);
  Sampler sampler(3000);
  int decided = 0;
  constexpr int kCases = 10'000;
  for (int i = 0; i < kCases; ++i) {
    const Case c = cases.next();
    const Both both = sample_both(sampler, c);
    if (!both.ranked) continue;
    ++decided;
    ASSERT_TRUE(same(both.whole, *both.ranked)) << "case " << i << ", seed 1";
  }
  EXPECT_GT(decided, kCases / 2);
}

TEST(SamplerCandidates, LeaveNoTraceForTheNextRow) {
  Cases cases(2);
  Sampler used(3000);
  for (int i = 0; i < 2000; ++i) {
    const Case c = cases.next();
    Sampler fresh(3000);
    const std::optional<Sample> a = sample_both(used, c).ranked;
    const std::optional<Sample> b = sample_both(fresh, c).ranked;
    ASSERT_EQ(a ? a->token : -2, b ? b->token : -2);
  }
}

/// Rows as language models have them: one token far ahead now and then, a long tail.
std::vector<float> row_of_a_model(uint64_t seed) {
  constexpr size_t kVocab = 4'000;
  std::mt19937_64 random(seed);
  std::vector<float> logits(kVocab);
  for (float& v : logits) v = 2.0F * std::normal_distribution<float>()(random);
  for (int i = 0; i < 30; ++i) {
    logits[random() % kVocab] = 12 + 3 * std::normal_distribution<float>()(random);
  }
  return logits;
}

/// How many of 300 rows the candidates decide, each as the whole row does.
int decided_of_300(const Case& like) {
  Sampler sampler(4'000);
  int decided = 0;
  for (uint64_t i = 0; i < 300; ++i) {
    Case c = like;
    c.logits = row_of_a_model(i);
    c.index = i;
    const Both both = sample_both(sampler, c);
    if (!both.ranked) continue;
    ++decided;
    EXPECT_TRUE(same(both.whole, *both.ranked)) << "row " << i;
  }
  return decided;
}

SamplingParams defaults() { return {.temperature = 0.7F, .top_k = 20, .top_p = 0.8F}; }

TEST(SamplerCandidates, DecideEveryRowWithTheCheckpointsDefaults) {
  EXPECT_EQ(decided_of_300({.params = defaults()}), 300);
  Case c{.params = defaults()};
  c.params.top_logprobs = 20;
  c.params.eos_token_ids = {3, 4};
  c.may_end = false;
  EXPECT_EQ(decided_of_300(c), 300);
}

TEST(SamplerCandidates, DecideEveryRowWithPenaltiesAndBiases) {
  std::vector<int32_t> seen(4000);
  for (size_t i = 0; i < seen.size(); ++i) seen[i] = static_cast<int32_t>(i * 31 % 4'000);
  Case c{.params = defaults(), .prompt = seen, .generated = seen};
  c.params.presence_penalty = 1.5F;
  EXPECT_EQ(decided_of_300(c), 300);
  c.params.repetition_penalty = 1.1F;
  c.params.frequency_penalty = 0.2F;
  c.params.logit_bias = {{7, -100}, {3'999, 2}};
  EXPECT_EQ(decided_of_300(c), 300);
  c.params.temperature = 0;
  EXPECT_EQ(decided_of_300(c), 300);
}

TEST(SamplerCandidates, DecideNearlyEveryRowWithoutTopK) {
  EXPECT_GE(decided_of_300({.params = {.temperature = 0.7F}}), 299);
  EXPECT_GE(decided_of_300({.params = {.temperature = 1.0F}}), 290);
  EXPECT_EQ(decided_of_300({.params = {.temperature = 1.0F, .top_p = 0.9F}}), 300);
  EXPECT_EQ(decided_of_300({.params = {.temperature = 1.0F, .min_p = 0.05F}}), 300);
}

TEST(SamplerCandidates, DecideEveryGreedyRow) {
  Case c;
  c.params.top_logprobs = 5;
  c.params.eos_token_ids = {1};
  c.may_end = false;
  EXPECT_EQ(decided_of_300(c), 300);
}

TEST(SamplerCandidates, LeaveOpenWhatTheyCannotKnow) {
  Case c{.params = {.temperature = 1.0F, .top_k = 20}};
  c.logits.resize(1000);
  std::iota(c.logits.rbegin(), c.logits.rend(), 0.0F);  // token 0 is the best, 255 the last of 256
  Sampler sampler(1000);
  const auto decides = [&] { return sample_both(sampler, c).ranked.has_value(); };
  EXPECT_TRUE(decides());
  c.params.logit_bias = {{300, 100}};  // logit 799, of at most 844
  EXPECT_TRUE(decides());
  c.params.logit_bias = {{900, 100}, {300, 100}, {301, 100}};
  c.generated = {600};
  EXPECT_TRUE(decides());
  c.params.frequency_penalty = -2;  // token 600 may be anywhere now
  EXPECT_FALSE(decides());
  c.params = {.temperature = 2.0F, .top_p = 0.9F};
  c.generated = {};
  EXPECT_TRUE(decides());
  c.logits.assign(1000, 1.0F);
  EXPECT_FALSE(decides());
  c.params = {.top_logprobs = 0};
  EXPECT_TRUE(decides());
  c.logits[999] = kNaN;
  EXPECT_FALSE(decides());
}

TEST(SamplerCandidates, LeaveOpenWhatTheErrorOfTheirSumWouldDecide) {
  // 100 of weight 1 and 900 of weight e^-3: the first 100 have exactly this share
  const double share = 100 / (100 + 900 * std::exp(-3.0));
  Case c{.params = {.temperature = 1.0F, .top_p = static_cast<float>(share)}};
  c.logits.assign(1000, -3.0F);
  std::fill_n(c.logits.begin(), 100, 0.0F);
  Sampler sampler(1000);
  for (const double error : {-1.0, 0.0, 1.0}) {
    c.weight_error = error;
    c.params.top_p = static_cast<float>(share);
    EXPECT_FALSE(sample_both(sampler, c).ranked.has_value()) << error;
    c.params.top_p = static_cast<float>(share * (1 - 1e-4));
    EXPECT_TRUE(sample_both(sampler, c).ranked.has_value()) << error;
  }
}

TEST(SamplerCandidates, OfALimitAreTheTokensBelowIt) {
  Sampler sampler(4'000);
  const std::vector<uint64_t> below(2'000 / 64 + 1, ~uint64_t{0});
  const auto limit = static_cast<int64_t>(below.size()) * 64;
  for (uint64_t i = 0; i < 50; ++i) {
    Case c{.logits = row_of_a_model(i), .params = {.temperature = 0.8F, .top_p = 0.95F}};
    c.index = i;
    c.allowed = below;
    c.allowed.resize(4'000 / 64 + 1);
    const Sample whole = sampler.sample({c.logits.data(), 4'000}, c.params, c.state());
    c.allowed = {};
    const std::optional<Sample> ranked =
        sampler.sample(candidates_of(c, limit), c.params, c.state());
    ASSERT_TRUE(ranked.has_value());
    EXPECT_TRUE(same(whole, *ranked));
  }
}

}  // namespace
}  // namespace qvl
