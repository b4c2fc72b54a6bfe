#include "kernels/rope.h"

#include <cmath>

namespace qvl {

void rope_table(Ref&, Mat<const int32_t> positions, std::span<const uint8_t> axis,
                std::span<const float> inv_freq, const RopeTable& table) {
  for (int64_t r = 0; r < positions.cols; ++r) {
    for (size_t i = 0; i < inv_freq.size(); ++i) {
      const float angle = static_cast<float>(positions(axis[i], r)) * inv_freq[i];
      table.cos(r, static_cast<int64_t>(i)) = std::cos(angle);
      table.sin(r, static_cast<int64_t>(i)) = std::sin(angle);
    }
  }
}

void rope_table(Cpu&, Mat<const int32_t> positions, std::span<const uint8_t> axis,
                std::span<const float> inv_freq, const RopeTable& table) {
  Ref ref;
  rope_table(ref, positions, axis, inv_freq, table);
}

}  // namespace qvl
