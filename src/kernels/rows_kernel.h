#pragma once

/// What operators do row by row around the matrix product: norms, conversions, the finish of sums.

#include "kernels/math_kernel.h"

namespace qvl {

template <class Simd>
struct RowsKernel {
  using Floats = typename Simd::Floats;
  using Math = MathKernel<Simd>;
  static constexpr int64_t kLanes = Simd::kLanes;

  /// body(first element, number of elements ≤ kLanes) over a row
  template <class Body>
  static void for_vectors(int64_t cols, const Body& body) {
    int64_t i = 0;
    for (; i + kLanes <= cols; i += kLanes) body(i, kLanes);
    if (i < cols) body(i, cols - i);
  }

  static Floats load(const void* x, ValueType type, int64_t i, int64_t n) {
    if (type == ValueType::bf16) {
      return Simd::load_bf16_first(static_cast<const uint16_t*>(x) + i, n);
    }
    if (type == ValueType::u8) return Simd::load_u8_first(static_cast<const uint8_t*>(x) + i, n);
    return Simd::load_first(static_cast<const float*>(x) + i, n);
  }

  static void store(void* y, ValueType type, int64_t i, Floats v, int64_t n) {
    if (type == ValueType::bf16) {
      Simd::store_bf16_first(static_cast<uint16_t*>(y) + i, v, n);
    } else {
      Simd::store_first(static_cast<float*>(y) + i, v, n);
    }
  }

  static void store_operand(void* y, RowFormat format, int64_t i, Floats v, int64_t n) {
    if (format == RowFormat::bf16_pairs) {
      Simd::store_bf16_first(static_cast<uint16_t*>(y) + i, v, n);
    } else {
      if (format == RowFormat::rounded_f32) v = Simd::round_bf16(v);
      Simd::store_first(static_cast<float*>(y) + i, v, n);
    }
  }

  /// A row of bf16 pairs ends with a whole pair.
  static void end_operand(void* y, RowFormat format, int64_t cols) {
    if (format == RowFormat::bf16_pairs && cols % 2 != 0) static_cast<uint16_t*>(y)[cols] = 0;
  }

  static void* advance(void* p, int64_t elements, bool two_bytes) {
    return static_cast<std::byte*>(p) + elements * (two_bytes ? 2 : 4);
  }

  /// Sum over a row of f(x), f(0) = 0; four vectors at a time hide the latency of the additions.
  template <class F>
  static float sum_over(const float* x, int64_t cols, const F& f) {
    Floats sums[4] = {Simd::zero(), Simd::zero(), Simd::zero(), Simd::zero()};
    int64_t i = 0;
    for (; i + 4 * kLanes <= cols; i += 4 * kLanes) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) sums[v] = f(sums[v], Simd::load(x + i + v * kLanes), kLanes);
    }
    for (; i < cols; i += kLanes) {
      const int64_t n = cols - i < kLanes ? cols - i : kLanes;
      sums[0] = f(sums[0], Simd::load_first(x + i, n), n);
    }
    return Simd::sum(Simd::add(Simd::add(sums[0], sums[1]), Simd::add(sums[2], sums[3])));
  }

  static float inverse_root(float sum, int64_t cols, float eps) {
    return 1.0F / __builtin_sqrtf(sum / static_cast<float>(cols) + eps);
  }

  static void norm_row(const NormJob& job, const float* x, void* y) {
    float mean = 0.0F;
    if (job.bias != nullptr) {
      mean = sum_over(x, job.cols, [](Floats s, Floats v, int64_t) { return Simd::add(s, v); }) /
             static_cast<float>(job.cols);
    }
    const Floats center = Simd::set1(mean);
    const float square = sum_over(x, job.cols, [&](Floats s, Floats v, int64_t n) {
      const Floats d = Simd::choose_first(Simd::sub(v, center), Simd::zero(), n);
      return Simd::fma(d, d, s);
    });
    const Floats scale = Simd::set1(inverse_root(square, job.cols, job.eps));
    for_vectors(job.cols, [&](int64_t i, int64_t n) {
      const Floats d = Simd::sub(Simd::load_first(x + i, n), center);
      Floats v = Simd::mul(Simd::load_first(job.weight + i, n), Simd::mul(d, scale));
      if (job.bias != nullptr) v = Simd::add(v, Simd::load_first(job.bias + i, n));
      store_operand(y, job.y_format, i, v, n);
    });
    end_operand(y, job.y_format, job.cols);
  }

  static void norm(const NormJob& job) {
    const bool two_bytes = job.y_format == RowFormat::bf16_pairs;
    for (int64_t r = 0; r < job.rows; ++r) {
      norm_row(job, job.x + r * job.x_stride, advance(job.y, r * job.y_stride, two_bytes));
    }
  }

  static void rows(const RowsJob& job) {
    const bool two_bytes = job.y_format == RowFormat::bf16_pairs;
    const int64_t x_bytes = job.x_type == ValueType::u8 ? 1 : job.x_type == ValueType::bf16 ? 2 : 4;
    const int64_t parts = job.x_type == ValueType::u8 ? 3 : 1;  // colour channels
    const int64_t part_cols = job.cols / parts;
    for (int64_t r = 0; r < job.rows; ++r) {
      const std::byte* x = static_cast<const std::byte*>(job.x) + r * job.x_stride * x_bytes;
      void* y = advance(job.y, r * job.y_stride, two_bytes);
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t start = part * part_cols;
        for_vectors(part_cols, [&](int64_t i, int64_t n) {
          Floats v = load(x, job.x_type, start + i, n);
          if (job.x_type == ValueType::u8) {
            v = Simd::add(Simd::mul(v, Simd::set1(job.scale[part])), Simd::set1(job.shift[part]));
          }
          store_operand(y, job.y_format, start + i, v, n);
        });
      }
      end_operand(y, job.y_format, job.cols);
    }
  }

  static Floats biased(const float* c, const float* bias, int64_t i, int64_t n) {
    const Floats v = Simd::load_first(c, n);
    return bias == nullptr ? v : Simd::add(v, Simd::load_first(bias + i, n));
  }

  static Floats finished(const FinishJob& job, const float* c, const void* y, int64_t i,
                         int64_t n) {
    switch (job.finish) {
      case Finish::store:
        return biased(c + i, job.bias, i, n);
      case Finish::add:
        return Simd::add(load(y, job.y_type, i, n), biased(c + i, job.bias, i, n));
      case Finish::gelu_tanh:
        return Math::gelu_tanh(biased(c + i, job.bias, i, n));
      case Finish::gelu_erf:
        return Math::gelu_erf(biased(c + i, job.bias, i, n));
      case Finish::silu_mul:
        break;
    }
    // Column i of y stands in gate panel 2·(i / 16), the up panel after it.
    const float* gate = c + i / kPanelCols * 2 * kPanelCols + i % kPanelCols;
    return Simd::mul(Math::silu(biased(gate, job.bias, i, n)),
                     biased(gate + kPanelCols, job.bias_up, i, n));
  }

  static void finish(const FinishJob& job) {
    for (int64_t r = 0; r < job.rows; ++r) {
      void* y = advance(job.y, r * job.y_stride, job.y_type == ValueType::bf16);
      const float* c = job.c + r * job.c_stride;
      for_vectors(job.cols, [&](int64_t i, int64_t n) {
        store(y, job.y_type, i, finished(job, c, y, i, n), n);
      });
    }
  }

  static void blend(const BlendJob& job) {
    const Floats scale = Simd::set1(job.scale);
    for_vectors(job.cols, [&](int64_t i, int64_t n) {
      const Floats y = load(job.y, job.y_type, i, n);
      const Floats v = job.blend == Blend::add ? Simd::fma(scale, y, Simd::load_first(job.x + i, n))
                                               : Simd::mul(scale, y);
      Simd::store_first(job.x + i, v, n);
    });
  }

  static void corners(const CornersJob& job) {
    for_vectors(job.cols, [&](int64_t i, int64_t n) {
      Floats sum = Simd::zero();
      for (int c = 0; c < 4; ++c) {
        sum = Simd::add(sum,
                        Simd::mul(Simd::set1(job.weight[c]), Simd::load_first(job.row[c] + i, n)));
      }
      Simd::store_first(job.x + i, Simd::add(Simd::load_first(job.x + i, n), sum), n);
    });
  }
};

}  // namespace qvl
