#pragma once

/// Eight float32 lanes, for units compiled with AVX2, FMA and F16C only. The interface is that of
/// simd_avx512.h.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace qvl {

struct Avx2 {
  using Floats = __m256;
  using Pairs = __m256i;
  static constexpr int kLanes = 8;
  static constexpr bool kDotPairs = false;
  static constexpr int kTileRows = 6;
  static constexpr int kMostTileRows = 6;
  /// Panels of a register tile of this many rows: 8 to 12 sums of 16 registers.
  static constexpr int tile_panels(int rows) {
    if (rows == 1) return 4;
    return rows <= 3 ? 2 : 1;
  }

  static __m256i first(int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
  }

  static void prefetch(const std::byte* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static Floats zero() { return _mm256_setzero_ps(); }
  static Floats set1(float v) { return _mm256_set1_ps(v); }
  static Floats load(const float* p) { return _mm256_loadu_ps(p); }
  static Floats load_first(const float* p, int64_t n) { return _mm256_maskload_ps(p, first(n)); }
  static void store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
  static void store_first(float* p, Floats v, int64_t n) { _mm256_maskstore_ps(p, first(n), v); }

  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats div(Floats a, Floats b) { return _mm256_div_ps(a, b); }
  static Floats min(Floats a, Floats b) { return _mm256_min_ps(a, b); }
  static Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static Floats fms(Floats a, Floats b, Floats c) { return _mm256_fmsub_ps(a, b, c); }
  static Floats round(Floats v) {
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Floats abs(Floats v) { return _mm256_andnot_ps(set1(-0.0F), v); }
  static Floats scale(Floats p, Floats n) {
    // 2^n in two factors: n = 128 has no float, and p · 2^127 · 2 is still right.
    const __m256i whole = _mm256_cvtps_epi32(min(max(n, set1(-126.0F)), set1(254.0F)));
    const __m256i half = _mm256_srai_epi32(whole, 1);
    const auto power = [](__m256i e) {
      return _mm256_castsi256_ps(
          _mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
    };
    const Floats y = mul(mul(p, power(half)), power(_mm256_sub_epi32(whole, half)));
    return _mm256_and_ps(y, _mm256_cmp_ps(n, set1(-126.0F), _CMP_NLT_UQ));
  }
  static Floats where_negative(Floats x, Floats a, Floats b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, zero(), _CMP_LT_OQ));
  }
  static Floats choose_first(Floats a, Floats b, int64_t n) {
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(first(n)));
  }
  static float sum(Floats v) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static float largest(Floats v) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  static Floats widen_bf16(__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
  }
  static Floats load_bf16(const uint16_t* p) {
    return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Floats load_bf16_first(const uint16_t* p, int64_t n) {
    if (n == kLanes) return load_bf16(p);
    uint16_t lanes[kLanes] = {};
    for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    return load_bf16(lanes);
  }
  static Floats load_f16(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Floats load_u8_first(const uint8_t* p, int64_t n) {
    uint8_t lanes[16] = {};
    for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(lanes));
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
  }

  static __m256i bf16_bits(Floats v) {
    const __m256i u = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    return _mm256_blendv_epi8(up, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
  }
  static Floats round_bf16(Floats v) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(bf16_bits(v), _mm256_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  static void store_bf16_first(uint16_t* p, Floats v, int64_t n) {
    const __m256i bits = _mm256_srli_epi32(bf16_bits(v), 16);
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
    if (n == kLanes) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
      return;
    }
    uint16_t lanes[kLanes];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(lanes), packed);
    for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
  }

  static Pairs load_pairs(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Pairs load_zeros(const std::byte* p) {
    const __m256i z = _mm256_cvtepu8_epi32(_mm_loadu_si64(p));
    return _mm256_or_si256(z, _mm256_slli_epi32(z, 16));
  }
  static Floats int4_floats(Pairs words, int shift, Pairs zeros) {
    const __m256i q = _mm256_and_si256(_mm256_srli_epi32(words, shift), _mm256_set1_epi32(15));
    const __m256i zero = _mm256_and_si256(zeros, _mm256_set1_epi32(31));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(q, zero));
  }
  static Floats even(Pairs p) { return _mm256_castsi256_ps(_mm256_slli_epi32(p, 16)); }
  static Floats odd(Pairs p) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(p, _mm256_set1_epi32(static_cast<int>(0xffff0000U))));
  }
};

}  // namespace qvl
