#pragma once

/// Transposes a part of a matrix, for weights that a file holds the other way round.

#include <algorithm>
#include <cstdint>

namespace qvl {

/// to[c·to_stride + r] = To(from[r·from_stride + c]) for all rows r and columns c. Strides in
/// elements. A block at a time, so that reads and writes take whole cache lines.
template <class From, class To>
void transpose(const From* from, int64_t from_stride, int64_t rows, int64_t cols, To* to,
               int64_t to_stride) {
  constexpr int64_t kBlock = 32;
  for (int64_t r0 = 0; r0 < rows; r0 += kBlock) {
    const int64_t r_count = std::min(kBlock, rows - r0);
    for (int64_t c0 = 0; c0 < cols; c0 += kBlock) {
      const int64_t c_count = std::min(kBlock, cols - c0);
      From block[kBlock][kBlock];
      for (int64_t r = 0; r < r_count; ++r) {
        std::copy_n(from + (r0 + r) * from_stride + c0, c_count, block[r]);
      }
      for (int64_t c = 0; c < c_count; ++c) {
        To* const out = to + (c0 + c) * to_stride + r0;
        for (int64_t r = 0; r < r_count; ++r) out[r] = To(block[r][c]);
      }
    }
  }
}

}  // namespace qvl
