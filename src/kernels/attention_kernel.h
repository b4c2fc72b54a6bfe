#pragma once

/// What attention does between its matrix products: preparing heads, online softmax, joining
/// states.

#include "kernels/rows_kernel.h"

namespace qvl {

template <class Simd>
struct AttentionKernel {
  using Floats = typename Simd::Floats;
  using Math = MathKernel<Simd>;
  using Rows = RowsKernel<Simd>;
  static constexpr int64_t kLanes = Simd::kLanes;
  static constexpr int64_t kKeys = 64;
  static constexpr int kKeyVectors = kKeys / kLanes;
  static constexpr int64_t kSums = 16;

  static void head(const HeadJob& job) {
    float norm_scale = 1.0F;
    if (job.norm_weight != nullptr) {
      Floats square = Simd::zero();
      Rows::for_vectors(job.head_dim, [&](int64_t i, int64_t n) {
        const Floats v = Rows::load(job.x, job.x_type, i, n);
        square = Simd::fma(v, v, square);
      });
      norm_scale = Rows::inverse_root(Simd::sum(square), job.head_dim, job.eps);
    }
    const auto normed = [&](int64_t i, int64_t n) {
      const Floats v = Rows::load(job.x, job.x_type, i, n);
      if (job.norm_weight == nullptr) return v;
      return Simd::mul(Simd::load_first(job.norm_weight + i, n),
                       Simd::mul(v, Simd::set1(norm_scale)));
    };
    const Floats scale = Simd::set1(job.scale);
    const auto put = [&](int64_t i, Floats v, int64_t n) {
      Simd::store_first(job.y + i, Simd::mul(v, scale), n);
    };
    if (job.cos == nullptr) {
      Rows::for_vectors(job.head_dim, [&](int64_t i, int64_t n) { put(i, normed(i, n), n); });
      return;
    }
    const int64_t pairs = job.head_dim / 2;
    Rows::for_vectors(pairs, [&](int64_t i, int64_t n) {
      const Floats a = normed(i, n);
      const Floats b = normed(i + pairs, n);
      const Floats cos = Simd::load_first(job.cos + i, n);
      const Floats sin = Simd::load_first(job.sin + i, n);
      put(i, Simd::sub(Simd::mul(a, cos), Simd::mul(b, sin)), n);
      put(i + pairs, Simd::add(Simd::mul(b, cos), Simd::mul(a, sin)), n);
    });
  }

  static void scale_row(float* x, int64_t count, float factor) {
    const Floats by = Simd::set1(factor);
    Rows::for_vectors(count, [&](int64_t i, int64_t n) {
      Simd::store_first(x + i, Simd::mul(Simd::load_first(x + i, n), by), n);
    });
  }

  static float exp2_scalar(float x) {
    float out = 0.0F;
    Simd::store_first(&out, Math::exp2(Simd::set1(x)), 1);
    return out;
  }

  static void softmax(const SoftmaxJob& job) {
    for (int64_t r = 0; r < job.rows; ++r) {
      float* scores = job.scores + r * kKeys;
      const int64_t valid = job.valid + r / job.rows_per_key;
      Floats s[kKeyVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kKeyVectors; ++v) s[v] = Simd::load(scores + v * kLanes);
      if (valid < kKeys) {
#pragma GCC unroll 8
        for (int v = 0; v < kKeyVectors; ++v) {
          const int64_t seen = valid - v * kLanes;
          const int64_t n = seen < 0 ? 0 : seen > kLanes ? kLanes : seen;
          s[v] = Simd::choose_first(s[v], Simd::set1(kNever), n);
        }
      }
      Floats most = s[0];
#pragma GCC unroll 8
      for (int v = 1; v < kKeyVectors; ++v) most = Simd::max(most, s[v]);
      const float block_max = Simd::largest(most);
      float max = job.max[r];
      float* sums = job.sums + r * kSums;
      if (block_max > max) {
        const float factor = exp2_scalar(max - block_max);
        scale_row(job.values + r * job.values_stride, job.head_dim, factor);
        scale_row(sums, kSums, factor);
        job.max[r] = max = block_max;
      }
      const Floats shift = Simd::set1(max);
      Floats total[kSums / kLanes];
#pragma GCC unroll 2
      for (int v = 0; v < static_cast<int>(kSums / kLanes); ++v) {
        total[v] = Simd::load(sums + v * kLanes);
      }
#pragma GCC unroll 8
      for (int v = 0; v < kKeyVectors; ++v) {
        const Floats weight = Math::exp2(Simd::sub(s[v], shift));
        Simd::store(scores + v * kLanes, weight);
        Floats& sum = total[v % (kSums / kLanes)];
        sum = Simd::add(sum, weight);
      }
#pragma GCC unroll 2
      for (int v = 0; v < static_cast<int>(kSums / kLanes); ++v) {
        Simd::store(sums + v * kLanes, total[v]);
      }
    }
  }

  /// x = x·a + y·b
  static void mix(float* x, float a, const float* y, float b, int64_t count) {
    Rows::for_vectors(count, [&](int64_t i, int64_t n) {
      const Floats scaled = Simd::mul(Simd::load_first(x + i, n), Simd::set1(a));
      Simd::store_first(x + i, Simd::fma(Simd::load_first(y + i, n), Simd::set1(b), scaled), n);
    });
  }

  static void join(const JoinJob& job) {
    for (int64_t r = 0; r < job.rows; ++r) {
      const float mine = job.max[r];
      const float other = job.other_max[r];
      const float max = mine > other ? mine : other;
      const float a = exp2_scalar(mine - max);
      const float b = exp2_scalar(other - max);
      mix(job.sums + r * kSums, a, job.other_sums + r * kSums, b, kSums);
      mix(job.values + r * job.values_stride, a, job.other_values + r * job.values_stride, b,
          job.head_dim);
      job.max[r] = max;
    }
  }

  static void divide(const DivideJob& job) {
    Floats sum = Simd::load(job.sums);
    if constexpr (kLanes == 8) sum = Simd::add(sum, Simd::load(job.sums + kLanes));
    const Floats total = Simd::set1(Simd::sum(sum));
    Rows::for_vectors(job.head_dim, [&](int64_t i, int64_t n) {
      const Floats v = Simd::div(Simd::load_first(job.values + i, n), total);
      Rows::store(job.y, job.y_type, i, v, n);
    });
  }
};

}  // namespace qvl
