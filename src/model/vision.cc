#include "model/vision.h"

#include <algorithm>
#include <cmath>

#include "model/mrope.h"
#include "model/vision_forward.h"

namespace qvl {
namespace {

constexpr double kVisionRopeTheta = 10000.0;  // fixed in Qwen3VLVisionRotaryEmbedding

/// Columns of the buffer that has queries, keys and values or what an MLP has in its middle.
int64_t wide_cols(const VisionConfig& config) {
  return (std::max(3 * config.hidden_size, config.intermediate_size) + 7) / 8 * 8;
}

}  // namespace

void patch_coordinates(const Grid& grid, int merge_size, Mat<int32_t> coordinates) {
  int64_t i = 0;
  for (int t = 0; t < grid.t; ++t) {
    for (int block_row = 0; block_row < grid.h; block_row += merge_size) {
      for (int block_col = 0; block_col < grid.w; block_col += merge_size) {
        for (int r = 0; r < merge_size; ++r) {
          for (int c = 0; c < merge_size; ++c, ++i) {
            coordinates(0, i) = block_row + r;
            coordinates(1, i) = block_col + c;
          }
        }
      }
    }
  }
}

PositionCorners position_corners(int row, int column, const Grid& grid, int side) {
  // The reference takes float32 linspace(0, side - 1, n); the interpolant is continuous, so an ulp
  // at a knot moves weight between corners that agree there.
  const auto place = [&](int index, int count) {
    return count == 1 ? 0.0
                      : static_cast<double>(index) * (side - 1) / static_cast<double>(count - 1);
  };
  const double y = place(row, grid.h);
  const double x = place(column, grid.w);
  const int y0 = static_cast<int>(y);
  const int x0 = static_cast<int>(x);
  const int y1 = std::min(y0 + 1, side - 1);
  const int x1 = std::min(x0 + 1, side - 1);
  const double dy = y - y0;
  const double dx = x - x0;
  return {{y0 * side + x0, y0 * side + x1, y1 * side + x0, y1 * side + x1},
          {static_cast<float>((1 - dy) * (1 - dx)), static_cast<float>((1 - dy) * dx),
           static_cast<float>(dy * (1 - dx)), static_cast<float>(dy * dx)}};
}

VisionWorkspace::VisionWorkspace(const VisionConfig& config, ActFormat activation,
                                 int64_t max_patches, Arena& arena) {
  const DType act = act_dtype(activation);
  x = arena.take_mat<float>(max_patches, config.hidden_size);
  wide = arena.take_act(act, max_patches, wide_cols(config));
  attention = arena.take_act(act, max_patches, config.hidden_size);
  rope = {arena.take_mat<float>(max_patches, config.head_dim() / 2),
          arena.take_mat<float>(max_patches, config.head_dim() / 2)};
  corners = {arena.take<PositionCorners>(max_patches), max_patches};
  coordinates = arena.take_mat<int32_t>(2, max_patches);
}

int64_t VisionWorkspace::bytes(const VisionConfig& config, ActFormat activation,
                               int64_t max_patches) {
  const int64_t act = dtype_bytes(act_dtype(activation));
  const auto mat = [&](int64_t cols, int64_t size) {
    return Arena::padded(max_patches * cols * size);
  };
  return mat(config.hidden_size, 4) + mat(wide_cols(config), act) + mat(config.hidden_size, act) +
         2 * mat(config.head_dim() / 2, 4) + mat(1, sizeof(PositionCorners)) + mat(2, 4);
}

VisionModel::VisionModel(const ModelConfig& config, const VisionWeights& weights,
                         const PixelNorm& pixel_norm)
    : config_(config.vision),
      weights_(weights),
      pixel_norm_(pixel_norm),
      inv_freq_(inverse_frequencies(kVisionRopeTheta, config.vision.head_dim() / 2)) {
  // The first half of the pairs turns by the row, the second half by the column, with the same
  // frequencies.
  const size_t n = inv_freq_.size();
  rope_axes_.assign(2 * n, 0);
  std::fill(rope_axes_.begin() + static_cast<std::ptrdiff_t>(n), rope_axes_.end(), uint8_t{1});
  inv_freq_.reserve(2 * n);
  for (size_t i = 0; i < n; ++i) inv_freq_.push_back(inv_freq_[i]);
}

int64_t VisionModel::feature_cols() const {
  return config_.out_hidden_size * static_cast<int64_t>(1 + weights_.deepstack.size());
}

template VisionPass VisionModel::begin(Ref&, std::span<const VisionItem>, VisionWorkspace&) const;
template VisionPass VisionModel::begin(Cpu&, std::span<const VisionItem>, VisionWorkspace&) const;
template bool VisionModel::advance(Ref&, VisionPass&, int64_t, VisionWorkspace&) const;
template bool VisionModel::advance(Cpu&, VisionPass&, int64_t, VisionWorkspace&) const;

}  // namespace qvl
