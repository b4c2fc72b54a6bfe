#pragma once

/// Sixteen float32 lanes, for units compiled with AVX-512 F, BW, VL and DQ only. Each unit names
/// its own instance (`kBf16`), so that no two units emit the same symbol.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace qvl {

template <bool kBf16>
struct Avx512 {
  using Floats = __m512;
  using Pairs = __m512i;  ///< 16 pairs of bf16
  static constexpr int kLanes = 16;
  static constexpr bool kDotPairs = kBf16;
  static constexpr int kTileRows = 6;
  static constexpr int kMostTileRows = 8;
  /// Panels of a register tile of this many rows: up to 24 sums, 8 columns, 1 broadcast of 32
  /// registers.
  static constexpr int tile_panels(int rows) {
    if (rows <= 2) return 8;
    return rows <= 6 ? 4 : 2;
  }

  static __mmask16 first(int64_t n) { return static_cast<__mmask16>((1U << n) - 1U); }

  /// A hint; p may lie anywhere.
  static void prefetch(const std::byte* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static Floats zero() { return _mm512_setzero_ps(); }
  static Floats set1(float v) { return _mm512_set1_ps(v); }
  static Floats load(const float* p) { return _mm512_loadu_ps(p); }
  static Floats load_first(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
  static void store_first(float* p, Floats v, int64_t n) { _mm512_mask_storeu_ps(p, first(n), v); }

  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  static Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  /// a·b + c, rounded once
  static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  /// a·b - c, rounded once
  static Floats fms(Floats a, Floats b, Floats c) { return _mm512_fmsub_ps(a, b, c); }
  static Floats round(Floats v) {
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Floats abs(Floats v) { return _mm512_abs_ps(v); }
  /// p · 2^n for integral n, zero where n < -126; NaN stays NaN
  static Floats scale(Floats p, Floats n) {
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(n, set1(-126.0F), _CMP_NLT_UQ), p, n);
  }
  /// a where x < 0, else b
  static Floats where_negative(Floats x, Floats a, Floats b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, zero(), _CMP_LT_OQ), b, a);
  }
  /// the first n lanes of a, the others of b
  static Floats choose_first(Floats a, Floats b, int64_t n) {
    return _mm512_mask_blend_ps(first(n), b, a);
  }
  static float sum(Floats v) { return _mm512_reduce_add_ps(v); }
  static float largest(Floats v) { return _mm512_reduce_max_ps(v); }

  static Floats widen_bf16(__m256i v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
  }
  static Floats load_bf16(const uint16_t* p) {
    return widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Floats load_bf16_first(const uint16_t* p, int64_t n) {
    return widen_bf16(_mm256_maskz_loadu_epi16(first(n), p));
  }
  static Floats load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Floats load_u8_first(const uint8_t* p, int64_t n) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first(n), p)));
  }

  /// Nearest bf16, ties to even, NaN stays NaN; in the upper half of each lane.
  static __m512i bf16_bits(Floats v) {
    const __m512i u = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
    return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), up, quiet);
  }
  static Floats round_bf16(Floats v) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(bf16_bits(v), _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  static void store_bf16_first(uint16_t* p, Floats v, int64_t n) {
    _mm256_mask_storeu_epi16(p, first(n),
                             _mm512_cvtepi32_epi16(_mm512_srli_epi32(bf16_bits(v), 16)));
  }

  static Pairs load_pairs(const std::byte* p) { return _mm512_loadu_si512(p); }
  /// The pair at p in every lane.
  static Pairs broadcast_pair(const uint16_t* p) {
    return _mm512_set1_epi32(static_cast<int>(_mm_cvtsi128_si32(_mm_loadu_si32(p))));
  }
  static Floats even(Pairs p) { return _mm512_castsi512_ps(_mm512_slli_epi32(p, 16)); }
  static Floats odd(Pairs p) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(p, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  /// Sixteen zero points, each in both halves of its lane.
  static Pairs load_zeros(const std::byte* p) {
    const __m512i z = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm512_or_si512(z, _mm512_slli_epi32(z, 16));
  }
  /// q − zero, with q in the four bits of each lane from `shift` on.
  static Floats int4_floats(Pairs words, int shift, Pairs zeros) {
    const __m512i fifteen = _mm512_set1_epi32(15);
    const __m512i q =
        _mm512_and_si512(_mm512_srli_epi32(words, static_cast<unsigned>(shift)), fifteen);
    const __m512i zero = _mm512_and_si512(zeros, _mm512_set1_epi32(31));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(q, zero));
  }
  /// The same as pairs of bf16, with q in the four bits of each half lane. A difference lies
  /// between -16 and 15: its last five bits are its place in a table.
  static Pairs int4_pairs(Pairs words, int shift, Pairs zeros) {
    const __m512i table = _mm512_set_epi16(  // bf16 of -1 … -16, 15 … 0
        static_cast<short>(0xbf80), static_cast<short>(0xc000), static_cast<short>(0xc040),
        static_cast<short>(0xc080), static_cast<short>(0xc0a0), static_cast<short>(0xc0c0),
        static_cast<short>(0xc0e0), static_cast<short>(0xc100), static_cast<short>(0xc110),
        static_cast<short>(0xc120), static_cast<short>(0xc130), static_cast<short>(0xc140),
        static_cast<short>(0xc150), static_cast<short>(0xc160), static_cast<short>(0xc170),
        static_cast<short>(0xc180), 0x4170, 0x4160, 0x4150, 0x4140, 0x4130, 0x4120, 0x4110, 0x4100,
        0x40e0, 0x40c0, 0x40a0, 0x4080, 0x4040, 0x4000, 0x3f80, 0x0000);
    const __m512i q = _mm512_and_si512(_mm512_srli_epi32(words, static_cast<unsigned>(shift)),
                                       _mm512_set1_epi32(0x000f000f));
    return _mm512_permutexvar_epi16(_mm512_sub_epi16(q, zeros), table);
  }
  /// c + a.odd · b.odd + a.even · b.even
  static Floats dot_pairs(Floats c, Pairs a, Pairs b) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
};

}  // namespace qvl
