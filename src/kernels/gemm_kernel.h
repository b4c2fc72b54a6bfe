#pragma once

/// The matrix product of all operators, written once over the lanes of an instruction set (`Simd`).
/// A register tile holds up to 6 rows × 4 panels of sums; an element's sum has the same order in
/// every tile shape, so tiles may be chosen by what is fastest.

#include "kernels/cpu_kernels.h"

namespace qvl {

template <class Simd>
struct GemmKernel {
  using Floats = typename Simd::Floats;

  static constexpr int64_t kChunk =
      512;  ///< k between two sums in memory: half of L1 for B, and accuracy
  static constexpr int kPanelVectors = kPanelCols / Simd::kLanes;

  struct Tile {
    const void* a;
    int64_t a_stride;
    const std::byte* b;
    int64_t panel_bytes;
    int64_t k;
    float* c;
    int64_t c_stride;
    bool accumulate;
  };

  template <int kRows, int kVectors>
  struct Sums {
    Floats at[kRows][kVectors];
  };

  /// at += a[:, k] ⊗ b[k, :] for one k.
  template <int kRows, int kVectors>
  static void step(Sums<kRows, kVectors>& sums, const float* a, int64_t a_stride,
                   const Floats (&b)[kVectors]) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Floats value = Simd::set1(a[r * a_stride]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums.at[r][v] = Simd::fma(value, b[v], sums.at[r][v]);
    }
  }

  /// Where vector v of the tile's columns begins, in bytes of a panel row of `row_bytes`.
  template <int kVectors>
  static const std::byte* column(const Tile& t, int v, int64_t row_bytes) {
    return t.b + (v / kPanelVectors) * t.panel_bytes +
           (v % kPanelVectors) * (row_bytes / kPanelVectors);
  }

  template <PanelFormat kFormat, int kRows, int kVectors>
  static void sum_single(const Tile& t, Sums<kRows, kVectors>& sums) {
    constexpr int64_t kRowBytes = kPanelCols * (kFormat == PanelFormat::f32 ? 4 : 2);
    const auto* a = static_cast<const float*>(t.a);
    for (int64_t k = 0; k < t.k; ++k) {
      Floats b[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const std::byte* p = column<kVectors>(t, v, kRowBytes) + k * kRowBytes;
        if constexpr (kFormat == PanelFormat::f32) {
          b[v] = Simd::load(reinterpret_cast<const float*>(p));
        } else {
          b[v] = Simd::load_f16(reinterpret_cast<const uint16_t*>(p));
        }
      }
      step(sums, a + k, t.a_stride, b);
    }
  }

  /// float32 rows, bf16 pairs widened exactly.
  template <int kRows, int kVectors>
  static void sum_widened_pairs(const Tile& t, Sums<kRows, kVectors>& sums) {
    constexpr int64_t kRowBytes = kPanelCols * 4;
    const auto* a = static_cast<const float*>(t.a);
    for (int64_t k = 0; k < t.k; k += 2) {
      Floats b[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        b[v] = Simd::even(Simd::load_pairs(column<kVectors>(t, v, kRowBytes) + k / 2 * kRowBytes));
      }
      step(sums, a + k, t.a_stride, b);
      if (k + 1 == t.k) break;
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        b[v] = Simd::odd(Simd::load_pairs(column<kVectors>(t, v, kRowBytes) + k / 2 * kRowBytes));
      }
      step(sums, a + k + 1, t.a_stride, b);
    }
  }

  template <int kRows, int kVectors>
  static void sum_dot_pairs(const Tile& t, Sums<kRows, kVectors>& sums) {
    constexpr int64_t kRowBytes = kPanelCols * 4;
    const auto* a = static_cast<const uint16_t*>(t.a);
    for (int64_t k = 0; k < t.k; k += 2) {
      typename Simd::Pairs b[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        b[v] = Simd::load_pairs(column<kVectors>(t, v, kRowBytes) + k / 2 * kRowBytes);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const auto value = Simd::broadcast_pair(a + r * t.a_stride + k);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
          sums.at[r][v] = Simd::dot_pairs(sums.at[r][v], value, b[v]);
        }
      }
    }
  }

  template <PanelFormat kFormat, bool kDot, int kRows, int kPanels>
  static void tile(const Tile& t) {
    constexpr int kVectors = kPanels * kPanelVectors;
    Sums<kRows, kVectors> sums;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums.at[r][v] = Simd::zero();
    }
    if constexpr (kDot) {
      sum_dot_pairs(t, sums);
    } else if constexpr (kFormat == PanelFormat::bf16) {
      sum_widened_pairs(t, sums);
    } else {
      sum_single<kFormat>(t, sums);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        float* c = t.c + r * t.c_stride + v * Simd::kLanes;
        Simd::store(c, t.accumulate ? Simd::add(Simd::load(c), sums.at[r][v]) : sums.at[r][v]);
      }
    }
  }

  /// All panels of up to kTileRows rows, in register tiles as wide as fit.
  template <PanelFormat kFormat, bool kDot, int kRows>
  static void row_tile(Tile t, int64_t panels) {
    constexpr int kWide = Simd::tile_panels(kRows);
    const auto advance = [&](int64_t count) {
      t.b += count * t.panel_bytes;
      t.c += count * kPanelCols;
      panels -= count;
    };
    while (panels >= kWide) {
      tile<kFormat, kDot, kRows, kWide>(t);
      advance(kWide);
    }
    if constexpr (kWide > 2) {
      if (panels >= 2) {
        tile<kFormat, kDot, kRows, 2>(t);
        advance(2);
      }
    }
    if constexpr (kWide > 1) {
      if (panels >= 1) tile<kFormat, kDot, kRows, 1>(t);
    }
  }

  template <PanelFormat kFormat, bool kDot>
  static void rows_tile(const Tile& t, int64_t rows, int64_t panels) {
    static_assert(Simd::kTileRows == 6);
    switch (rows) {
      case 1:
        return row_tile<kFormat, kDot, 1>(t, panels);
      case 2:
        return row_tile<kFormat, kDot, 2>(t, panels);
      case 3:
        return row_tile<kFormat, kDot, 3>(t, panels);
      case 4:
        return row_tile<kFormat, kDot, 4>(t, panels);
      case 5:
        return row_tile<kFormat, kDot, 5>(t, panels);
      default:
        return row_tile<kFormat, kDot, 6>(t, panels);
    }
  }

  template <PanelFormat kFormat, bool kDot>
  static void run(const GemmJob& job) {
    constexpr int64_t kElementBytes = kFormat == PanelFormat::f32 ? 4 : 2;
    constexpr int64_t kRowBytes = kDot ? 2 : 4;
    // Rows are shared out evenly: 7 rows are 4 + 3, not 6 + 1.
    const int64_t tiles = (job.rows + Simd::kTileRows - 1) / Simd::kTileRows;
    for (int64_t k = 0; k < job.k; k += kChunk) {
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t first = job.rows * i / tiles;
        const int64_t last = job.rows * (i + 1) / tiles;
        const Tile t{
            .a = static_cast<const std::byte*>(job.a) + (first * job.a_stride + k) * kRowBytes,
            .a_stride = job.a_stride,
            .b = job.b + k * kPanelCols * kElementBytes,
            .panel_bytes = job.panel_bytes,
            .k = job.k - k < kChunk ? job.k - k : kChunk,
            .c = job.c + first * job.c_stride,
            .c_stride = job.c_stride,
            .accumulate = job.accumulate || k > 0,
        };
        rows_tile<kFormat, kDot>(t, last - first, job.panels);
      }
    }
  }

  static void gemm(const GemmJob& job) {
    if constexpr (Simd::kDotPairs) {
      if (job.a_format == RowFormat::bf16_pairs) return run<PanelFormat::bf16, true>(job);
    }
    switch (job.b_format) {
      case PanelFormat::f32:
        return run<PanelFormat::f32, false>(job);
      case PanelFormat::f16:
        return run<PanelFormat::f16, false>(job);
      case PanelFormat::bf16:
        return run<PanelFormat::bf16, false>(job);
    }
  }
};

}  // namespace qvl
