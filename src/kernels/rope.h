#pragma once

/// Rotary angles. They are the same for all layers, so a step computes them once.

#include <span>

#include "kernels/attention.h"

namespace qvl {

/// cos/sin of positions[axis[i]][row] · inv_freq[i], the angle rounded to float32 as the reference
/// does. positions: [axes, rows]; axis and inv_freq: [pairs], host memory on every backend; table
/// matrices: [rows, pairs]. Text: axes T, H, W (interleaved M-RoPE). Vision: axes row, column of
/// the patch.
void rope_table(Ref&, Mat<const int32_t> positions, std::span<const uint8_t> axis,
                std::span<const float> inv_freq, const RopeTable& table);
void rope_table(Cpu&, Mat<const int32_t> positions, std::span<const uint8_t> axis,
                std::span<const float> inv_freq, const RopeTable& table);
void rope_table(Cuda&, Mat<const int32_t> positions, std::span<const uint8_t> axis,
                std::span<const float> inv_freq, const RopeTable& table);

}  // namespace qvl
