#pragma once

/// The matrix product of all operators, written once over the lanes of an instruction set (`Simd`).
/// A register tile holds the sums of a few rows and panels, 6 × 4 at its best; an element's sum has
/// the same order in every tile shape, so tiles may be chosen by what is fastest.

#include "kernels/cpu_kernels.h"

namespace qvl {

template <class Simd>
struct GemmKernel {
  using Floats = typename Simd::Floats;

  /// Sums go to memory after this many k, and the next ones start at zero: 4 panels of B so stay in
  /// the second-level cache while the rows pass by, and long sums lose less to rounding.
  static constexpr int64_t kChunk = 512;
  static constexpr int kPanelVectors = kPanelCols / Simd::kLanes;

  struct Tile {
    const void* a;
    int64_t a_stride;
    const std::byte* b;
    int64_t b_row_bytes;
    int64_t panel_bytes;
    int64_t k;
    float* c;
    int64_t c_stride;
    bool accumulate;
    int64_t prefetch;
    int64_t scales;  ///< int4: bytes from b to the scales of the chunk's group, and to its zeros
    int64_t zeros;
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

  /// Vector v of the columns of one row of B, `p` at the row's first panel.
  template <int kElementBytes>
  static const std::byte* column(const Tile& t, const std::byte* p, int v) {
    return p + (v / kPanelVectors) * t.panel_bytes +
           (v % kPanelVectors) * Simd::kLanes * kElementBytes;
  }

  /// The same, and what is read later is asked for now: with several rows the processor does not
  /// look far enough ahead by itself.
  template <int kElementBytes>
  static const std::byte* next_column(const Tile& t, const std::byte* p, int v) {
    const std::byte* at = column<kElementBytes>(t, p, v);
    Simd::prefetch(at + t.prefetch);
    return at;
  }

  template <PanelFormat kFormat, int kRows, int kVectors>
  static void sum_single(const Tile& t, Sums<kRows, kVectors>& sums) {
    const auto* a = static_cast<const float*>(t.a);
    const std::byte* p = t.b;
    for (int64_t k = 0; k < t.k; ++k, p += t.b_row_bytes) {
      Floats b[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (kFormat == PanelFormat::f32) {
          b[v] = Simd::load(reinterpret_cast<const float*>(next_column<4>(t, p, v)));
        } else {
          b[v] = Simd::load_f16(reinterpret_cast<const uint16_t*>(next_column<2>(t, p, v)));
        }
      }
      step(sums, a + k, t.a_stride, b);
    }
  }

  /// float32 rows, bf16 pairs widened exactly.
  template <int kRows, int kVectors>
  static void sum_widened_pairs(const Tile& t, Sums<kRows, kVectors>& sums) {
    const auto* a = static_cast<const float*>(t.a);
    const std::byte* p = t.b;
    for (int64_t k = 0; k < t.k; k += 2, p += t.b_row_bytes) {
      Floats b[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        b[v] = Simd::even(Simd::load_pairs(next_column<4>(t, p, v)));
      }
      step(sums, a + k, t.a_stride, b);
      if (k + 1 == t.k) break;
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        b[v] = Simd::odd(Simd::load_pairs(column<4>(t, p, v)));
      }
      step(sums, a + k + 1, t.a_stride, b);
    }
  }

  template <int kRows, int kVectors>
  static void sum_dot_pairs(const Tile& t, Sums<kRows, kVectors>& sums) {
    const auto* a = static_cast<const uint16_t*>(t.a);
    const std::byte* p = t.b;
    for (int64_t k = 0; k < t.k; k += 2, p += t.b_row_bytes) {
      typename Simd::Pairs b[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) b[v] = Simd::load_pairs(next_column<4>(t, p, v));
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

  /// Groups of eight k from here on have these zero points.
  template <int kVectors>
  static void load_zeros(const Tile& t, typename Simd::Pairs (&zeros)[kVectors]) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) zeros[v] = Simd::load_zeros(column<1>(t, t.b + t.zeros, v));
  }

  /// float32 rows, q − zero as floats.
  template <int kRows, int kVectors>
  static void sum_int4(const Tile& t, Sums<kRows, kVectors>& sums) {
    typename Simd::Pairs zeros[kVectors];
    load_zeros(t, zeros);
    const auto* a = static_cast<const float*>(t.a);
    const std::byte* p = t.b;
    for (int64_t k = 0; k < t.k; k += 8, p += t.b_row_bytes) {
#pragma GCC unroll 4
      for (int64_t j = 0; j < 4; ++j) {
        Floats b[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
          b[v] = Simd::int4_floats(Simd::load_pairs(next_column<4>(t, p, v)), 4 * j, zeros[v]);
        }
        step(sums, a + k + 2 * j, t.a_stride, b);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
          b[v] = Simd::int4_floats(Simd::load_pairs(column<4>(t, p, v)), 16 + 4 * j, zeros[v]);
        }
        step(sums, a + k + 2 * j + 1, t.a_stride, b);
      }
    }
  }

  template <int kRows, int kVectors>
  static void sum_dot_int4(const Tile& t, Sums<kRows, kVectors>& sums) {
    typename Simd::Pairs zeros[kVectors];
    load_zeros(t, zeros);
    const auto* a = static_cast<const uint16_t*>(t.a);
    const std::byte* p = t.b;
    for (int64_t k = 0; k < t.k; k += 8, p += t.b_row_bytes) {
      typename Simd::Pairs words[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) words[v] = Simd::load_pairs(next_column<4>(t, p, v));
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        typename Simd::Pairs b[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) b[v] = Simd::int4_pairs(words[v], 4 * j, zeros[v]);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const auto value = Simd::broadcast_pair(a + r * t.a_stride + k + 2 * j);
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v) {
            sums.at[r][v] = Simd::dot_pairs(sums.at[r][v], value, b[v]);
          }
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
    if constexpr (kFormat == PanelFormat::int4) {
      if constexpr (kDot) {
        sum_dot_int4(t, sums);
      } else {
        sum_int4(t, sums);
      }
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const Floats scale =
            Simd::load(reinterpret_cast<const float*>(column<4>(t, t.b + t.scales, v)));
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          float* c = t.c + r * t.c_stride + v * Simd::kLanes;
          const Floats before = t.accumulate ? Simd::load(c) : Simd::zero();
          Simd::store(c, Simd::fma(sums.at[r][v], scale, before));
        }
      }
      return;
    } else if constexpr (kDot) {
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

  /// `panels` panels of kRows rows, in register tiles of kPanels and, for the rest, half as many.
  template <PanelFormat kFormat, bool kDot, int kRows, int kPanels>
  static void row_tile(Tile t, int64_t panels) {
    for (; panels >= kPanels; panels -= kPanels) {
      tile<kFormat, kDot, kRows, kPanels>(t);
      t.b += kPanels * t.panel_bytes;
      t.c += kPanels * kPanelCols;
    }
    if constexpr (kPanels > 1) {
      if (panels > 0) row_tile<kFormat, kDot, kRows, kPanels / 2>(t, panels);
    }
  }

  template <PanelFormat kFormat, bool kDot, int kRows = 1>
  static void rows_tile(const Tile& t, int64_t rows, int64_t panels) {
    if constexpr (kRows < Simd::kMostTileRows) {
      if (rows > kRows) return rows_tile<kFormat, kDot, kRows + 1>(t, rows, panels);
    }
    // Words and zero points of int4 take registers of their own.
    constexpr int kMost = kFormat == PanelFormat::int4 ? 4 : 8;
    constexpr int kPanels = Simd::tile_panels(kRows) < kMost ? Simd::tile_panels(kRows) : kMost;
    row_tile<kFormat, kDot, kRows, kPanels>(t, panels);
  }

  template <PanelFormat kFormat, bool kDot>
  static void run(const GemmJob& job) {
    constexpr int64_t kElementBytes = kDot ? 2 : 4;  // of A
    // Rows are shared out evenly: 13 rows are 4 + 4 + 5, not 6 + 6 + 1. Few rows make one tile,
    // which reads B once.
    const int64_t tiles =
        job.rows <= Simd::kMostTileRows ? 1 : (job.rows + Simd::kTileRows - 1) / Simd::kTileRows;
    int64_t end = 0;
    for (int64_t k = 0; k < job.k; k = end) {
      end = k + kChunk < job.k ? k + kChunk : job.k;
      int64_t group = 0;
      if constexpr (kFormat == PanelFormat::int4) {
        group = k / job.group_size;
        const int64_t group_end = (group + 1) * job.group_size;
        if (group_end < end) end = group_end;
      }
      const int64_t b_offset = k / row_elements(kFormat) * job.b_row_bytes;
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t first = job.rows * i / tiles;
        const int64_t last = job.rows * (i + 1) / tiles;
        const Tile t{
            .a = static_cast<const std::byte*>(job.a) + (first * job.a_stride + k) * kElementBytes,
            .a_stride = job.a_stride,
            .b = job.b + b_offset,
            .b_row_bytes = job.b_row_bytes,
            .panel_bytes = job.panel_bytes,
            .k = end - k,
            .c = job.c + first * job.c_stride,
            .c_stride = job.c_stride,
            .accumulate = job.accumulate || k > 0,
            .prefetch = job.prefetch,
            .scales = job.scales_offset + group * kPanelCols * 4 - b_offset,
            .zeros = job.zeros_offset + group * kPanelCols - b_offset,
        };
        rows_tile<kFormat, kDot>(t, last - first, job.panels);
      }
    }
  }

  static void gemm(const GemmJob& job) {
    if constexpr (Simd::kDotPairs) {
      if (job.a_format == RowFormat::bf16_pairs) {
        if (job.b_format == PanelFormat::int4) return run<PanelFormat::int4, true>(job);
        return run<PanelFormat::bf16, true>(job);
      }
    }
    switch (job.b_format) {
      case PanelFormat::f32:
        return run<PanelFormat::f32, false>(job);
      case PanelFormat::f16:
        return run<PanelFormat::f16, false>(job);
      case PanelFormat::bf16:
        return run<PanelFormat::bf16, false>(job);
      case PanelFormat::int4:
        return run<PanelFormat::int4, false>(job);
    }
  }
};

}  // namespace qvl
