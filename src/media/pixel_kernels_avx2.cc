#include <immintrin.h>

#include "media/pixel_table.h"

namespace qvl {
namespace {

struct Avx2Pixels {
  using Bytes = __m256i;
  static constexpr bool kShufflesBytes = true;

  static Bytes load(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void store(uint8_t* p, Bytes v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static Bytes set1(int32_t v) { return _mm256_set1_epi32(v); }
  static Bytes interleave_low(Bytes a, Bytes b) { return _mm256_unpacklo_epi8(a, b); }
  static Bytes interleave_high(Bytes a, Bytes b) { return _mm256_unpackhi_epi8(a, b); }
  static Bytes multiply_add(Bytes sum, Bytes a, Bytes b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  }
  static Bytes narrow(const Bytes (&sums)[4], int shift) {
    const __m128i by = _mm_cvtsi32_si128(shift);
    return _mm256_packus_epi16(
        _mm256_packs_epi32(_mm256_sra_epi32(sums[0], by), _mm256_sra_epi32(sums[1], by)),
        _mm256_packs_epi32(_mm256_sra_epi32(sums[2], by), _mm256_sra_epi32(sums[3], by)));
  }
};

}  // namespace

const PixelKernels& avx2_pixel_kernels() {
  static constexpr PixelKernels kTable =
      pixel_table<Avx2Pixels, WeighPairs<Avx2Pixels>, 32, 8>("avx2");
  return kTable;
}

}  // namespace qvl
