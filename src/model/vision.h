#pragma once

/// The vision tower: patches of several pictures, packed, to one feature row per merged token. It
/// advances by whole layers, so that a caller can do other work in between.

#include <span>
#include <vector>

#include "kernels/patch_embed.h"
#include "kernels/vision_attention.h"
#include "model/weights.h"
#include "qvl/media.h"

namespace qvl {

/// A picture or video on its way through the tower.
struct VisionItem {
  Grid grid;
  const uint8_t* patches = nullptr;  ///< [grid.patches(), patch_dim]
  ActMat features;                   ///< out: [grid.patches() / merge_unit, feature_cols]
};

/// Buffers of a pass, sized once by the number of patches.
struct VisionWorkspace {
  VisionWorkspace() = default;
  VisionWorkspace(const VisionConfig& config, ActFormat activation, int64_t max_patches,
                  Arena& arena);
  static int64_t bytes(const VisionConfig& config, ActFormat activation, int64_t max_patches);

  Mat<float> x;      ///< residual stream [max_patches, hidden_size]
  ActMat wide;       ///< q, k, v of a block; then its MLP
  ActMat attention;  ///< also the hidden rows of the mergers
  RopeTable rope;
  Vec<PositionCorners> corners;
  Mat<int32_t> coordinates;  ///< [2, max_patches] row and column of each patch
};

/// Where a pass stands.
struct VisionPass {
  std::vector<VisionItem> items;
  std::vector<int64_t> cu_seqlens;  ///< one segment per temporal slice
  int64_t patches = 0;
  int64_t next_layer = 0;
};

class VisionModel {
 public:
  VisionModel() = default;
  VisionModel(const ModelConfig& config, const VisionWeights& weights, const PixelNorm& pixel_norm);

  /// Columns of a feature row: the embedding and one part per DeepStack layer.
  int64_t feature_cols() const;

  /// Embeds the patches. All items together must fit the workspace.
  template <class Backend>
  VisionPass begin(Backend& backend, std::span<const VisionItem> items,
                   VisionWorkspace& workspace) const;

  /// Runs up to `layers` more blocks, and the mergers as their input is ready. True when the
  /// features are complete.
  template <class Backend>
  bool advance(Backend& backend, VisionPass& pass, int64_t layers,
               VisionWorkspace& workspace) const;

 private:
  template <class Backend>
  void merge(Backend& backend, const VisionPass& pass, const MergerWeights& merger, int64_t part,
             VisionWorkspace& workspace) const;

  VisionConfig config_;
  VisionWeights weights_;
  PixelNorm pixel_norm_;
  std::vector<uint8_t> rope_axes_;
  std::vector<float> inv_freq_;
};

/// (row, column) of each patch of a grid in the tower's order: slices, then merge × merge blocks.
/// coordinates: [2, grid.patches()].
void patch_coordinates(const Grid& grid, int merge_size, Mat<int32_t> coordinates);

/// Where a patch lies on the learned side × side grid, corners aligned.
PositionCorners position_corners(int row, int column, const Grid& grid, int side);

}  // namespace qvl
