#pragma once

#include "kernels/linear.h"

namespace qvl {

/// v = byte · scale[channel] + shift[channel], the reference's rescale and normalise in one step.
struct PixelNorm {
  float scale[3] = {};
  float shift[3] = {};
};

/// x = normalised(patches)·Wᵀ + b: the 3-D convolution of Qwen3VLVisionPatchEmbed as a GEMM.
/// patches: [n, in] uint8, a row is (channel, frame, y, x); x: [n, out].
void patch_embed(Ref&, Mat<const uint8_t> patches, const PixelNorm& norm, const Linear& w,
                 Mat<float> x);
void patch_embed(Cpu&, Mat<const uint8_t> patches, const PixelNorm& norm, const Linear& w,
                 Mat<float> x);
void patch_embed(Cuda&, Mat<const uint8_t> patches, const PixelNorm& norm, const Linear& w,
                 Mat<float> x);

/// One patch's place on the learned position grid: four table rows and their weights.
struct PositionCorners {
  int32_t row[4];
  float weight[4];
};

/// x[i,:] += Σ_c weight_c · table[row_c,:], corners in order, float32.  table: [side², dim].
/// Source: Qwen3VLVisionModel.fast_pos_embed_interpolate.
void add_position_embedding(Ref&, Vec<const PositionCorners> corners, Mat<const float> table,
                            Mat<float> x);
void add_position_embedding(Cpu&, Vec<const PositionCorners> corners, Mat<const float> table,
                            Mat<float> x);
void add_position_embedding(Cuda&, Vec<const PositionCorners> corners, Mat<const float> table,
                            Mat<float> x);

}  // namespace qvl
