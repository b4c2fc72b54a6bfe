#pragma once

/// Transposes a part of a matrix, for weights that a file holds the other way round.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace qvl {

/// to[c·to_stride + r] = To(from[r·from_stride + c]) for all rows r and columns c. Strides in
/// elements. Bound by memory for two-byte elements: eight by eight of them in registers, and
/// writes of whole cache lines.
template <class From, class To>
void transpose(const From* from, int64_t from_stride, int64_t rows, int64_t cols, To* to,
               int64_t to_stride) {
  constexpr int64_t kRows = 32;  // a cache line of two-byte elements
  constexpr int64_t kCols = 8;
  for (int64_t r0 = 0; r0 < rows; r0 += kRows) {
    const int64_t r_count = std::min(kRows, rows - r0);
    for (int64_t c0 = 0; c0 < cols; c0 += kCols) {
      const int64_t c_count = std::min(kCols, cols - c0);
      const From* const block = from + r0 * from_stride + c0;
      To* const out = to + c0 * to_stride + r0;
      if constexpr (sizeof(From) == 2 && std::is_same_v<From, To>) {
        if (r_count == kRows && c_count == kCols) {
          using Lanes = uint16_t __attribute__((vector_size(16)));
          for (int64_t r = 0; r < kRows; r += kCols) {
            Lanes v[kCols];
            for (int64_t i = 0; i < kCols; ++i)
              std::memcpy(&v[i], block + (r + i) * from_stride, 16);
            for (int round = 0; round < 3; ++round) {
              Lanes mixed[kCols];
              for (int64_t i = 0; i < kCols / 2; ++i) {
                mixed[2 * i] =
                    __builtin_shufflevector(v[i], v[i + kCols / 2], 0, 8, 1, 9, 2, 10, 3, 11);
                mixed[2 * i + 1] =
                    __builtin_shufflevector(v[i], v[i + kCols / 2], 4, 12, 5, 13, 6, 14, 7, 15);
              }
              std::memcpy(v, mixed, sizeof v);
            }
            for (int64_t i = 0; i < kCols; ++i) std::memcpy(out + i * to_stride + r, &v[i], 16);
          }
          continue;
        }
      }
      for (int64_t c = 0; c < c_count; ++c) {
        for (int64_t r = 0; r < r_count; ++r) {
          out[c * to_stride + r] = To(block[r * from_stride + c]);
        }
      }
    }
  }
}

}  // namespace qvl
