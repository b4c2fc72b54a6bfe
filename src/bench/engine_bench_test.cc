#include "bench/engine_bench.h"

#include <gtest/gtest.h>

#include "io/dummy.h"
#include "runtime/fake_engine.h"

namespace qvl {
namespace {

/// `concurrency` requests on a device that takes a millisecond for every step.
LoadLevel measure(int64_t concurrency, int64_t step_tokens, const LoadOptions& options) {
  const auto engine = make_fake_engine({.kv_pages = 1024}, {.max_num_seqs = concurrency,
                                                            .max_step_tokens = step_tokens,
                                                            .law_check = LawCheck::every_step});
  LoadOptions timed = options;
  timed.concurrency = {concurrency};
  timed.now_ms = [&] { return static_cast<double>(engine->stats().steps); };
  return measure_load(*engine, 1000, timed, {.read_gb_per_s = 1, .gflop_per_s = 1})->levels.at(0);
}

TEST(LoadBench, DecodeSpeedIsThatOfStepsInWhichAllSequencesDecode) {
  const LoadLevel level = measure(4, 32, {.input_tokens = 64, .output_tokens = 100});
  ASSERT_TRUE(level.decode_tok_per_s);
  EXPECT_DOUBLE_EQ(level.decode_tok_per_s->median, 4000);
  EXPECT_DOUBLE_EQ(level.decode_tok_per_s->p10, 4000);
}

TEST(LoadBench, DecodeSpeedIsUnknownIfAnswersEndBeforeTheLastPromptIsPrefilled) {
  const LoadLevel level = measure(16, 32, {.input_tokens = 64, .output_tokens = 8});
  EXPECT_FALSE(level.decode_tok_per_s);
  EXPECT_GT(level.prefill_tok_per_s.median, 0);
  const std::string table =
      load_bench_table({.options = {.input_tokens = 64, .output_tokens = 8}, .levels = {level}});
  EXPECT_NE(table.find("the first answer ended before the last prompt"), std::string::npos)
      << table;
}

// A request is 64 rows of prompt and 7 of answer (the first token comes with the prompt's last
// row); a step has 32 rows: 8 tokens in 71 rows are 3,606 of 32,000 rows each second.
TEST(LoadBench, OutputSpeedHasThePrefillOfTheRequestsThatFollow) {
  const LoadLevel level = measure(16, 32, {.input_tokens = 64, .output_tokens = 8, .rounds = 10});
  EXPECT_NEAR(level.output_tok_per_s, 32'000.0 * 8 / 71, 60);
}

TEST(LoadBench, OneRequestAtATimeTakesItsStepsOfPrefillAndOnePerTokenAfter) {
  const LoadLevel level = measure(1, 32, {.input_tokens = 64, .output_tokens = 9, .rounds = 5});
  EXPECT_NEAR(level.decode_tok_per_s->median, 1000, 1e-9);
  EXPECT_NEAR(level.output_tok_per_s, 9 * 1000.0 / (2 + 8), 1e-9);
}

TEST(StepWeights, OfTheDenseModelAreReadByEveryStepAndMultipliedByEveryRow) {
  const StepWeights weights = step_weights(preset_config("2b")->text);
  EXPECT_EQ(weights.bytes, 2 * (28LL * 50'331'648 + 151'936LL * 2048));
  EXPECT_DOUBLE_EQ(weights.read_bytes(1), static_cast<double>(weights.bytes));
  EXPECT_DOUBLE_EQ(weights.read_bytes(64), static_cast<double>(weights.bytes));
  EXPECT_DOUBLE_EQ(weights.flops(64), 64.0 * static_cast<double>(weights.bytes));
}

TEST(StepWeights, OfExpertsAreReadAsFarAsRowsTakeThem) {
  const StepWeights weights = step_weights(preset_config("30b-a3b")->text);
  const int64_t experts = 2 * 48LL * 128 * 3 * 2048 * 768;
  EXPECT_EQ(weights.expert_bytes, experts);
  const auto read = [&](int64_t rows) {
    return (weights.read_bytes(rows) - static_cast<double>(weights.bytes)) /
           static_cast<double>(experts);
  };
  EXPECT_NEAR(read(1), 8.0 / 128, 1e-9);
  EXPECT_NEAR(read(2), 1 - 0.9375 * 0.9375, 1e-9);
  EXPECT_NEAR(read(64), 0.98392, 1e-5);
  EXPECT_NEAR(weights.flops(3), 3 * weights.read_bytes(1), 1);
}

TEST(StepWeights, HeldInFewerBytesAreReadFasterAndMultipliedAsOften) {
  const StepWeights dense{.bytes = 1000, .saved_bytes = 700};
  EXPECT_DOUBLE_EQ(dense.read_bytes(1), 300);
  EXPECT_DOUBLE_EQ(dense.flops(2), 2000);
  const StepWeights experts{
      .bytes = 100, .expert_bytes = 800, .num_experts = 8, .top_k = 2, .saved_bytes = 600};
  EXPECT_DOUBLE_EQ(experts.read_bytes(1), 100 + 0.25 * 200);
  EXPECT_DOUBLE_EQ(experts.flops(1), 100 + 0.25 * 800);
}

TEST(LoadBench, ARequestThatDoesNotFitIsAnError) {
  const auto engine = make_fake_engine({.kv_pages = 4}, {});
  const Result<LoadBench> bench = measure_load(
      *engine, 1000, {.concurrency = {1}, .input_tokens = 10'000, .output_tokens = 8}, {});
  ASSERT_FALSE(bench);
  EXPECT_NE(bench.error().message().find("10000"), std::string::npos) << bench.error().message();
}

TEST(LoadBench, RequestsAreSampledAsAskedFor) {
  const auto engine = make_fake_engine({.kv_pages = 64}, {});
  const Result<LoadBench> bench =
      measure_load(*engine, 1000, {.concurrency = {1}, .sampling = {.temperature = 9}}, {});
  ASSERT_FALSE(bench);
  EXPECT_NE(bench.error().message().find("found 9"), std::string::npos) << bench.error().message();
}

}  // namespace
}  // namespace qvl
