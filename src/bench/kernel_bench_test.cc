#include "bench/kernel_bench.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

KernelCase product(ActFormat activation, int64_t bytes, int64_t flops) {
  KernelCase c;
  c.activation = activation;
  c.weight.out = c.weight.in = 1;
  c.bytes = bytes;
  c.flops = flops;
  return c;
}

TEST(Rating, HoldsATimeAgainstTheRoofThatAllowsLess) {
  const Roofs roofs{.read_gb_per_s = {20, 0, 0},
                    .f32_gflop_per_s = {100, 0, 0},
                    .bf16_gflop_per_s = Summary{400, 0, 0}};
  // 10 MB and 10 MFLOP in a millisecond
  const Rating read = rate(product(ActFormat::f32, 10'000'000, 10'000'000), 1000, roofs);
  EXPECT_DOUBLE_EQ(read.gb_per_s, 10);
  EXPECT_DOUBLE_EQ(read.gflop_per_s, 10);
  EXPECT_DOUBLE_EQ(read.percent_of_read, 50);
  EXPECT_DOUBLE_EQ(read.percent_of_peak, 10);
  EXPECT_EQ(read.bound, Bound::read);
  EXPECT_DOUBLE_EQ(read.percent_of_roof(), 50);

  const Rating arithmetic = rate(product(ActFormat::f32, 1'000'000, 80'000'000), 1000, roofs);
  EXPECT_EQ(arithmetic.bound, Bound::arithmetic);
  EXPECT_DOUBLE_EQ(arithmetic.percent_of_roof(), 80);
}

TEST(Rating, Bfloat16ProductsAreHeldAgainstTheirOwnPeak) {
  Roofs roofs{.read_gb_per_s = {20, 0, 0},
              .f32_gflop_per_s = {100, 0, 0},
              .bf16_gflop_per_s = Summary{400, 0, 0}};
  const KernelCase c = product(ActFormat::bf16, 1, 80'000'000);
  EXPECT_DOUBLE_EQ(rate(c, 1000, roofs).percent_of_peak, 20);
  roofs.bf16_gflop_per_s.reset();
  EXPECT_DOUBLE_EQ(rate(c, 1000, roofs).percent_of_peak, 80);
}

TEST(Rating, AttentionIsFloat32) {
  const Roofs roofs{.read_gb_per_s = {20, 0, 0},
                    .f32_gflop_per_s = {100, 0, 0},
                    .bf16_gflop_per_s = Summary{400, 0, 0}};
  KernelCase c = product(ActFormat::bf16, 1, 80'000'000);
  c.op = Op::attention;
  c.weight.out = 0;
  EXPECT_DOUBLE_EQ(rate(c, 1000, roofs).percent_of_peak, 80);
}

TEST(KernelBench, ARowCountThatNoOperatorTakesIsRefused) {
  const auto bench =
      run_kernel_bench({.ops = {Op::rms_norm_head}, .row_counts = {65}}, [](int, int) {});
  ASSERT_FALSE(bench);
  EXPECT_EQ(bench.error().code, ErrorCode::bad_flag);
}

TEST(KernelBench, AnUnknownPresetIsRefused) {
  EXPECT_FALSE(run_kernel_bench({.model = "3b"}, [](int, int) {}));
}

/// 64 bytes of twos.
template <class T>
std::vector<T> twos() {
  return std::vector<T>(64 / sizeof(T), T(2.0F));
}

const std::byte* bytes_of(const auto& values) {
  return reinterpret_cast<const std::byte*>(values.data());
}

TEST(Peak, CountsTheArithmeticOfItsRegisters) {
  const std::vector<float> two = twos<float>();
  const PeakResult done =
      avx2_kernels().peak({.a = bytes_of(two), .b = bytes_of(two), .steps = 10});
  // 12 sums of 8 lanes; sum i starts at i and gains 2 · 2 in each step
  EXPECT_EQ(done.flops, 10 * 12 * 8 * 2);
  EXPECT_EQ(done.value, 8 * (66 + 12 * 10 * 4));
}

TEST(Peak, ABf16ProductIsTwiceAnFmaWhereThereIsOne) {
  Threads threads(1);
  Arena scratch;
  const std::vector<bf16> two = twos<bf16>();
  for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (isa > *detect_isa()) break;
    const CpuKernels& kernels = *make_cpu(threads, scratch, isa).kernels;
    PeakJob job{.a = bytes_of(two), .b = bytes_of(two), .steps = 10};
    const int64_t fma = kernels.peak(job).flops;
    job.format = RowFormat::bf16_pairs;
    const PeakResult done = kernels.peak(job);
    if (kernels.bf16_rows != RowFormat::bf16_pairs) {
      EXPECT_EQ(done.flops, fma);
      continue;
    }
    // 24 sums of 16 lanes; sum i starts at i and gains 2 · 2 twice in each step
    EXPECT_EQ(done.flops, 2 * fma);
    EXPECT_EQ(done.value, 16 * (276 + 24 * 10 * 8));
  }
}

}  // namespace
}  // namespace qvl
