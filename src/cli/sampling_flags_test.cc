#include "cli/sampling_flags.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "cli/environment.h"

namespace qvl {
namespace {

class SamplingFlagsTest : public testing::Test {
 protected:
  /// The merged parameters, or the message of the error in `error_`.
  SamplingParams choose(std::vector<std::string> arguments, const GenerationConfig& checkpoint) {
    CLI::App app;
    SamplingFlags flags;
    add_sampling_flags(*app.add_subcommand("run"), flags);
    read_environment(app);
    arguments.insert(arguments.begin(), "run");
    std::reverse(arguments.begin(), arguments.end());
    app.parse(arguments);
    const Result<ChosenSampling> chosen = choose_sampling(flags, checkpoint, *tokenizer_);
    error_ = chosen ? "" : chosen.error().field + ": " + chosen.error().detail;
    origins_ = chosen ? chosen->origins : "";
    return chosen ? chosen->params : SamplingParams();
  }

  const GenerationConfig published_{.eos_token_ids = {7, 8},
                                    .do_sample = true,
                                    .temperature = 0.7F,
                                    .top_p = 0.8F,
                                    .top_k = 20,
                                    .repetition_penalty = 1.0F};
  Result<Tokenizer> tokenizer_ =
      Tokenizer::load(QVL_SOURCE_DIR "/tests/goldens/tiny-2b/tokenizer.json");
  std::string error_;
  std::string origins_;
};

TEST_F(SamplingFlagsTest, WithoutFlagsTheCheckpointDecides) {
  const SamplingParams p = choose({}, published_);
  EXPECT_EQ(p.temperature, 0.7F);
  EXPECT_EQ(p.top_p, 0.8F);
  EXPECT_EQ(p.top_k, 20);
  EXPECT_EQ(p.max_tokens, 512);
  EXPECT_EQ(p.eos_token_ids, (std::vector<int32_t>{7, 8}));
  EXPECT_TRUE(p.stop_token_ids.empty());
  EXPECT_EQ(origins_,
            "temperature 0.7 (checkpoint), top_k 20 (checkpoint), top_p 0.8 (checkpoint), min_p 0 "
            "(default), repetition_penalty 1 (checkpoint), presence_penalty 0 (default), "
            "frequency_penalty 0 (default), max_tokens 512 (default), seed 0");
}

TEST_F(SamplingFlagsTest, AFlagGoesBeforeTheCheckpoint) {
  const SamplingParams p = choose(
      {"--temperature", "0", "--top-k", "0", "--presence-penalty", "1.5", "--max-tokens", "9"},
      published_);
  EXPECT_EQ(p.temperature, 0.0F);
  EXPECT_EQ(p.top_k, 0);
  EXPECT_EQ(p.top_p, 0.8F);
  EXPECT_EQ(p.presence_penalty, 1.5F);
  EXPECT_EQ(p.max_tokens, 9);
  EXPECT_NE(origins_.find("temperature 0 (flag), top_k 0 (flag), top_p 0.8 (checkpoint)"),
            std::string::npos)
      << origins_;
}

TEST_F(SamplingFlagsTest, ACheckpointThatDoesNotSampleIsGreedyAndItsLimitsDoNotCount) {
  GenerationConfig greedy = published_;
  greedy.do_sample = false;
  greedy.repetition_penalty = 1.1F;
  greedy.max_new_tokens = 77;
  const SamplingParams p = choose({}, greedy);
  EXPECT_EQ(p.temperature, 0.0F);
  EXPECT_EQ(p.top_k, 0);
  EXPECT_EQ(p.top_p, 1.0F);
  EXPECT_EQ(p.repetition_penalty, 1.1F);
  EXPECT_EQ(p.max_tokens, 77);
}

TEST_F(SamplingFlagsTest, ACheckpointThatSamplesWithoutATemperatureHasTheReferencesDefault) {
  EXPECT_EQ(choose({}, {.do_sample = true}).temperature, 1.0F);
}

TEST_F(SamplingFlagsTest, WithoutEndTokensTheFamilysOwnEndAnAnswer) {
  EXPECT_EQ(choose({}, {}).eos_token_ids,
            (std::vector<int32_t>{*tokenizer_->added_token("<|im_end|>"),
                                  *tokenizer_->added_token("<|endoftext|>")}));
}

TEST_F(SamplingFlagsTest, ListsMayBeRepeated) {
  const SamplingParams p = choose({"--stop",
                                   "a",
                                   "--stop",
                                   "b c",
                                   "--stop-token-id",
                                   "5",
                                   "--stop-token-id",
                                   "6",
                                   "--logit-bias",
                                   "3=-100",
                                   "--logit-bias",
                                   "4=0.5",
                                   "--include-stop",
                                   "--ignore-eos",
                                   "--min-tokens",
                                   "3",
                                   "--seed",
                                   "18446744073709551615",
                                   "--repetition-guard",
                                   "off"},
                                  published_);
  EXPECT_EQ(error_, "");
  EXPECT_EQ(p.stop, (std::vector<std::string>{"a", "b c"}));
  EXPECT_EQ(p.stop_token_ids, (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(p.logit_bias, (std::vector<LogitBias>{{3, -100}, {4, 0.5F}}));
  EXPECT_TRUE(p.include_stop_str_in_output);
  EXPECT_TRUE(p.ignore_eos);
  EXPECT_EQ(p.min_tokens, 3);
  EXPECT_EQ(p.seed, UINT64_MAX);
  EXPECT_EQ(p.repetition_guard, RepetitionGuard::off);
}

TEST_F(SamplingFlagsTest, AnEnvironmentVariableMirrorsAFlag) {
  setenv("QVL_TOP_P", "0.25", 1);
  EXPECT_EQ(choose({}, published_).top_p, 0.25F);
  EXPECT_EQ(choose({"--top-p", "0.5"}, published_).top_p, 0.5F);
  unsetenv("QVL_TOP_P");
}

TEST_F(SamplingFlagsTest, WhatCannotBeUsedIsNamed) {
  for (const char* bad : {"3", "=1", "x=1", "3=", "3=1x", "3=-"}) {
    choose({"--logit-bias", bad}, published_);
    EXPECT_EQ(error_, std::string("--logit-bias: found '") + bad +
                          "', expected a token id and a number such as 1234=-5");
  }
  choose({"--repetition-guard", "maybe"}, published_);
  EXPECT_EQ(error_, "--repetition-guard: found 'maybe', expected auto, on or off");
  choose({"--top-p", "7"}, published_);
  EXPECT_EQ(error_, "top_p: found 7, expected more than 0, at most 1");
  choose({"--temperature", "-1"}, published_);
  EXPECT_EQ(error_, "temperature: found -1, expected 0 to 2");
}

}  // namespace
}  // namespace qvl
