#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "runtime/philox.h"

namespace qvl {
namespace {

Sample sample(const std::vector<float>& logits, const SamplingParams& params, uint64_t index = 0,
              std::span<const uint64_t> allowed = {}) {
  Sampler sampler(static_cast<int64_t>(logits.size()));
  return sampler.sample({logits.data(), static_cast<int64_t>(logits.size())}, params, index,
                        allowed);
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
  EXPECT_EQ(sample({1, NAN, 2}, {.temperature = 1.0F}, 0, allowed).token, -1);
}

TEST(Sampler, OnlyAllowedTokensAreDrawn) {
  const std::vector<uint64_t> allowed{0b0101};
  EXPECT_EQ(sample({1, 9, 3, 5}, {}, 0, allowed).token, 2);
  SamplingParams hot{.temperature = 2.0F};
  for (uint64_t i = 0; i < 200; ++i) {
    const int32_t token = sample({1, 9, 3, 5}, hot, i, allowed).token;
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
  for (uint64_t i = 0; i < 50; ++i) first.push_back(used.sample({logits.data(), 6}, p, i).token);
  for (uint64_t i = 50; i-- > 0;) {
    EXPECT_EQ(used.sample({logits.data(), 6}, p, i).token, first[i]);
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

TEST(SamplingParams, NumbersOutOfRangeAreNamed) {
  const auto message = [](const SamplingParams& p) {
    const Status status = validate(p);
    return status ? std::string() : status.error().field + ": " + status.error().detail;
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.temperature = -1}), "temperature: found -1, expected 0 to 2");
  EXPECT_EQ(message({.temperature = NAN}), "temperature: found nan, expected 0 to 2");
  EXPECT_EQ(message({.top_k = -1}), "top_k: found -1, expected 0 (all) or more");
  EXPECT_EQ(message({.top_p = 0}), "top_p: found 0, expected more than 0, at most 1");
  EXPECT_EQ(message({.max_tokens = 0}), "max_tokens: found 0, expected 1 or more");
  EXPECT_EQ(message({.top_logprobs = 21}), "top_logprobs: found 21, expected 0 to 20");
}

}  // namespace
}  // namespace qvl
