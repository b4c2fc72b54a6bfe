#pragma once

/// The roof of all products: multiply-adds whose operands and sums never leave their registers.

#include "kernels/cpu_kernels.h"

namespace qvl {

template <class Simd>
struct PeakKernel {
  using Floats = typename Simd::Floats;

  /// Sums that do not wait for each other. Two units of latency 6 need 12; sixteen registers leave
  /// no room for more beside the operands.
  static constexpr int kSums = Simd::kLanes == 16 ? 24 : 12;

  /// sums[i] = step(sums[i]), `steps` times; `flops_per_lane` are those of one step.
  template <class Step>
  static PeakResult repeat(int64_t steps, int64_t flops_per_lane, Step step) {
    Floats sums[kSums];
#pragma GCC unroll 32
    for (int i = 0; i < kSums; ++i) sums[i] = Simd::set1(static_cast<float>(i));
    for (int64_t n = 0; n < steps; ++n) {
#pragma GCC unroll 32
      for (int i = 0; i < kSums; ++i) sums[i] = step(sums[i]);
    }
    Floats total = Simd::zero();
#pragma GCC unroll 32
    for (int i = 0; i < kSums; ++i) total = Simd::add(total, sums[i]);
    return {steps * kSums * Simd::kLanes * flops_per_lane, Simd::sum(total)};
  }

  static PeakResult peak(const PeakJob& job) {
    if constexpr (Simd::kDotPairs) {
      if (job.format == RowFormat::bf16_pairs) {
        const auto a = Simd::load_pairs(job.a);
        const auto b = Simd::load_pairs(job.b);
        return repeat(job.steps, 4, [&](Floats sum) { return Simd::dot_pairs(sum, a, b); });
      }
    }
    const Floats a = Simd::load(reinterpret_cast<const float*>(job.a));
    const Floats b = Simd::load(reinterpret_cast<const float*>(job.b));
    return repeat(job.steps, 2, [&](Floats sum) { return Simd::fma(a, b, sum); });
  }
};

}  // namespace qvl
