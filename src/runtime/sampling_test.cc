#include "qvl/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "runtime/philox.h"

namespace qvl {
namespace {

std::string message(const SamplingParams& p) {
  const Status status = validate(p);
  return status ? std::string() : status.error().field + ": " + status.error().detail;
}

TEST(SamplingParams, NumbersOutOfRangeAreNamed) {
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.temperature = -1}), "temperature: found -1, expected 0 to 2");
  EXPECT_EQ(message({.temperature = NAN}), "temperature: found nan, expected 0 to 2");
  EXPECT_EQ(message({.top_k = -1}), "top_k: found -1, expected 0 or more");
  EXPECT_EQ(message({.top_p = 0}), "top_p: found 0, expected more than 0, at most 1");
  EXPECT_EQ(message({.min_p = 1.5F}), "min_p: found 1.5, expected 0 to 1");
  EXPECT_EQ(message({.repetition_penalty = 0}), "repetition_penalty: found 0, expected 0.01 to 10");
  EXPECT_EQ(message({.presence_penalty = -2.5F}), "presence_penalty: found -2.5, expected -2 to 2");
  EXPECT_EQ(message({.frequency_penalty = INFINITY}),
            "frequency_penalty: found inf, expected -2 to 2");
  EXPECT_EQ(message({.n = 0}), "n: found 0, expected 1 to 128");
  EXPECT_EQ(message({.n = 129}), "n: found 129, expected 1 to 128");
  EXPECT_EQ(message({.max_tokens = 0}), "max_tokens: found 0, expected 1 or more");
  EXPECT_EQ(message({.max_tokens = 5, .min_tokens = 6}), "min_tokens: found 6, expected 0 to 5");
  EXPECT_EQ(message({.top_logprobs = 21}), "top_logprobs: found 21, expected -1 to 20");
}

TEST(SamplingParams, ListsOutOfRangeAreNamed) {
  EXPECT_EQ(message({.logit_bias = {{7, 100}, {9, -100}}}), "");
  EXPECT_EQ(message({.logit_bias = {{7, 100.5F}}}),
            "logit_bias: found 100.5, expected -100 to 100");
  EXPECT_EQ(message({.logit_bias = {{-7, 1}}}), "logit_bias: found -7, expected a token id");
  EXPECT_EQ(message({.logit_bias = {{7, 1}, {8, 1}, {7, 2}}}),
            "logit_bias: found token 7 twice, expected each token once");
  EXPECT_EQ(message({.eos_token_ids = {-1}}), "eos_token_ids: found -1, expected a token id");
  EXPECT_EQ(message({.stop_token_ids = std::vector<int32_t>(1025)}),
            "stop_token_ids: found 1025 tokens, expected at most 1024");
  EXPECT_EQ(message({.stop = std::vector<std::string>(16, "x")}), "");
  EXPECT_EQ(message({.stop = std::vector<std::string>(17, "x")}),
            "stop: found 17 strings, expected at most 16");
  EXPECT_EQ(message({.stop = {""}}), "stop: found a string of 0 bytes, expected 1 to 1024 bytes");
  EXPECT_EQ(message({.stop = {"\xff"}}), "stop: found bytes that are no text, expected UTF-8");
}

TEST(AnswerSeed, TheFirstAnswerHasTheSeedItselfAndTheOthersHaveTheirOwn) {
  EXPECT_EQ(answer_seed(42, 0), 42U);
  const auto r = philox(42, 3, 1);
  EXPECT_EQ(answer_seed(42, 3), uint64_t{r[0]} << 32 | r[1]);
  std::set<uint64_t> seeds;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    for (int i = 0; i < 128; ++i) seeds.insert(answer_seed(seed, i));
  }
  EXPECT_EQ(seeds.size(), 50U * 128U);
}

TEST(RepetitionGuard, IsOnForLongAnswersUnlessALengthIsAskedFor) {
  EXPECT_FALSE(repetition_guard_is_on({.max_tokens = 512}));
  EXPECT_TRUE(repetition_guard_is_on({.max_tokens = 513}));
  EXPECT_FALSE(repetition_guard_is_on({.max_tokens = 513, .ignore_eos = true}));
  EXPECT_TRUE(repetition_guard_is_on({.max_tokens = 1, .repetition_guard = RepetitionGuard::on}));
  EXPECT_FALSE(
      repetition_guard_is_on({.max_tokens = 9999, .repetition_guard = RepetitionGuard::off}));
}

}  // namespace
}  // namespace qvl
