#pragma once

#include <cstdint>

namespace qvl {

/// Rotate-half: (x_i, x_{i+pairs}) turns by the i-th angle. In place; x has 2·pairs elements.
inline void rotate_pairs(float* x, const float* cos, const float* sin, int64_t pairs) {
  for (int64_t i = 0; i < pairs; ++i) {
    const float a = x[i];
    const float b = x[i + pairs];
    x[i] = a * cos[i] - b * sin[i];
    x[i + pairs] = b * cos[i] + a * sin[i];
  }
}

}  // namespace qvl
