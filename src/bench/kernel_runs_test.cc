#include "bench/kernel_runs.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bench/kernel_data.h"
#include "bench/random_data.h"

namespace qvl {
namespace {

/// A model small enough that all its operators run at once, no width a multiple of a panel.
ModelConfig tiny_config() {
  ModelConfig config;
  config.text.vocab_size = 77;
  config.text.hidden_size = 36;
  config.text.intermediate_size = 44;
  config.text.num_attention_heads = 4;
  config.text.num_key_value_heads = 2;
  config.text.head_dim = 12;
  config.vision.hidden_size = 24;
  config.vision.intermediate_size = 40;
  config.vision.num_heads = 2;
  config.vision.out_hidden_size = 36;
  config.vision.patch_size = 2;
  return config;
}

std::vector<KernelCase> tiny_cases(ActFormat activation) {
  const std::vector<int64_t> rows = {1, 67};
  return kernel_cases(tiny_config(), activation, rows);
}

std::vector<KernelCase> tiny_moe_cases(ActFormat activation, int64_t width, int64_t hidden_size,
                                       WeightFormat layers) {
  ModelConfig config = tiny_config();
  config.text.hidden_size = hidden_size;
  config.text.intermediate_size = 0;
  config.text.num_experts = 5;
  config.text.num_experts_per_tok = 2;
  config.text.moe_intermediate_size = width;
  const std::vector<int64_t> rows = {1, 67};
  return kernel_cases(config, activation, rows, layers);
}

/// Four bits lie eight to a word: widths are multiples of that.
std::vector<KernelCase> tiny_int4_cases(ActFormat activation) {
  ModelConfig config = tiny_config();
  config.text.hidden_size = 136;
  config.text.intermediate_size = 40;
  const std::vector<int64_t> rows = {1, 67};
  return kernel_cases(config, activation, rows, WeightFormat::int4);
}

constexpr RunMemory kLittleMemory{.available_bytes = 256 << 20, .rotated_bytes = 10'000};

TEST(KernelRuns, EveryOperatorRunsOnEveryInstructionSetOfThisProcessor) {
  const Result<Isa> best = detect_isa();
  ASSERT_TRUE(best) << best.error().message();
  Threads threads(2);
  for (const ActFormat activation : {ActFormat::bf16, ActFormat::f32}) {
    for (const std::vector<KernelCase>& cases :
         {tiny_cases(activation), tiny_int4_cases(activation),
          tiny_moe_cases(activation, 19, 36, WeightFormat::bf16),
          tiny_moe_cases(activation, 40, 136, WeightFormat::int4)}) {
      for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
        if (isa > *best) continue;
        const auto runs = KernelRuns::create(threads, isa, cases, kLittleMemory);
        ASSERT_TRUE(runs) << runs.error().message();
        for (size_t i = 0; i < cases.size(); ++i) {
          for (int n = 0; n < 3; ++n) (*runs)->run(i);
        }
      }
    }
  }
}

TEST(KernelRuns, DataThatDoesNotFitIsAnErrorBeforeItIsTaken) {
  Threads threads(1);
  const auto runs = KernelRuns::create(threads, Isa::avx2, tiny_cases(ActFormat::bf16),
                                       {.available_bytes = 1000});
  ASSERT_FALSE(runs);
  EXPECT_EQ(runs.error().code, ErrorCode::does_not_fit);
}

TEST(RunMemory, FewRowsRotateOverMoreThanACache) {
  const RunMemory memory;
  EXPECT_EQ(memory.copies(1, int64_t{16} << 20), 16);
  EXPECT_EQ(memory.copies(64, int64_t{100} << 20), 3);
  EXPECT_EQ(memory.copies(8, int64_t{600} << 20), 1);
  EXPECT_EQ(memory.copies(65, 1 << 20), 1);
}

TEST(KernelData, CountsWhatItTakes) {
  Threads threads(2);
  Arena scratch;
  Cpu cpu = make_cpu(threads, scratch, Isa::avx2);
  const auto take_some = [](KernelData& data) {
    data.matrix<float>(3, 5);
    data.act(ActFormat::bf16, 1, 7);
    data.layer_norm(19);
    data.rope(3, 6);
    data.indices(9, 100);
    data.count_up(3);
    data.linear({.out = 33, .in = 7}, true);
  };
  KernelData counted(cpu, nullptr);
  take_some(counted);
  Result<Arena> arena = Arena::create("test", counted.bytes());
  ASSERT_TRUE(arena);
  KernelData data(cpu, &*arena);
  take_some(data);
  EXPECT_EQ(data.bytes(), counted.bytes());
  EXPECT_EQ(arena->used(), counted.bytes());
}

TEST(RandomData, IsTheSameForAnyNumberOfThreads) {
  Threads one(1);
  Threads three(3);
  std::vector<float> a(1001);
  std::vector<float> b(1001);
  fill_random(one, DType::f32, a.data(), 1001, 1.0F, 7);
  fill_random(three, DType::f32, b.data(), 1001, 1.0F, 7);
  EXPECT_EQ(a, b);
  fill_random(one, DType::f32, b.data(), 1001, 1.0F, 8);
  EXPECT_NE(a, b);
}

TEST(RandomData, IsNeverZeroAndWithinItsAmplitude) {
  Threads threads(1);
  std::vector<bf16> values(1'000'000);
  fill_random(threads, DType::bf16, values.data(), 1'000'000, 0.5F, 1);
  double sum = 0;
  for (const bf16 v : values) {
    const auto x = static_cast<float>(v);
    ASSERT_NE(x, 0.0F);
    ASSERT_LE(std::abs(x), 0.5F);
    sum += x;
  }
  EXPECT_NEAR(sum / 1'000'000, 0.0, 0.005);
}

}  // namespace
}  // namespace qvl
