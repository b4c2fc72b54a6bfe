#pragma once

/// Interleaved pixels of a patch → planes, for units of one instruction set each.

#include "media/lanes.h"

namespace qvl {

template <class Isa>
struct SplitPatch {
  static constexpr size_t kSide = 16;

  static void split(const uint8_t* rgb, size_t stride, size_t channel_bytes, uint8_t* out) {
    for (size_t y = 0; y < kSide; ++y, rgb += stride, out += kSide) {
      const Vector first = Sixteen::load(rgb);
      const Vector second = Sixteen::load(rgb + 16);
      const Vector third = Sixteen::load(rgb + 32);
      Sixteen::store(out, every_third<0>(first, second, third, Order{}));
      Sixteen::store(out + channel_bytes, every_third<1>(first, second, third, Order{}));
      Sixteen::store(out + 2 * channel_bytes, every_third<2>(first, second, third, Order{}));
    }
  }

 private:
  using Sixteen = Lanes<Isa, uint8_t, kSide>;
  using Vector = typename Sixteen::Vector;
  using Order = std::make_index_sequence<kSide>;

  /// Bytes kFirst, kFirst + 3, … of the 48. Those of the first two vectors are brought together
  /// before those of the third follow.
  template <size_t kFirst, size_t... kLane>
  static Vector every_third(Vector a, Vector b, Vector c, std::index_sequence<kLane...>) {
    const Vector ab = __builtin_shufflevector(a, b, ((3 * kLane + kFirst) % 32)...);
    return __builtin_shufflevector(ab, c,
                                   (3 * kLane + kFirst < 32 ? kLane : 3 * kLane + kFirst - 16)...);
  }
};

}  // namespace qvl
