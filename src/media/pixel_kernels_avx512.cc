#include <immintrin.h>

#include "media/pixel_table.h"

namespace qvl {
namespace {

struct Avx512Pixels {
  using Bytes = __m512i;
  static constexpr bool kShufflesBytes = false;  // it rotates

  static Bytes load(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static void store(uint8_t* p, Bytes v) { _mm512_storeu_si512(p, v); }
  static Bytes set1(int32_t v) { return _mm512_set1_epi32(v); }
  static Bytes interleave_low(Bytes a, Bytes b) { return _mm512_unpacklo_epi8(a, b); }
  static Bytes interleave_high(Bytes a, Bytes b) { return _mm512_unpackhi_epi8(a, b); }
  static Bytes multiply_add(Bytes sum, Bytes a, Bytes b) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
  }
  static Bytes narrow(const Bytes (&sums)[4], int shift) {
    const __m128i by = _mm_cvtsi32_si128(shift);
    return _mm512_packus_epi16(
        _mm512_packs_epi32(_mm512_sra_epi32(sums[0], by), _mm512_sra_epi32(sums[1], by)),
        _mm512_packs_epi32(_mm512_sra_epi32(sums[2], by), _mm512_sra_epi32(sums[3], by)));
  }
};

}  // namespace

const PixelKernels& avx512_pixel_kernels() {
  static constexpr PixelKernels kTable =
      pixel_table<Avx512Pixels, WeighPairs<Avx512Pixels>, 64, 16>("avx512");
  return kTable;
}

}  // namespace qvl
