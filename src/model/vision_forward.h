#pragma once

/// The definition of the vision tower's passes, for the files that instantiate it.

#include <algorithm>
#include <cmath>

#include "kernels/rope.h"
#include "kernels/transfer.h"
#include "model/vision.h"

namespace qvl {

/// A view of the first elements of a buffer that is used for matrices of several widths. Rows begin
/// at multiples of eight elements.
inline ActMat reshape_buffer(const ActMat& buffer, int64_t rows, int64_t cols) {
  const int64_t stride = (cols + 7) / 8 * 8;
  require(rows * stride <= buffer.rows * buffer.stride, "vision workspace is too small");
  return {buffer.data, buffer.dtype, rows, cols, stride};
}

template <class Backend>
VisionPass VisionModel::begin(Backend& backend, std::span<const VisionItem> items,
                              VisionWorkspace& workspace) const {
  VisionPass pass;
  pass.items.assign(items.begin(), items.end());
  pass.cu_seqlens.push_back(0);
  const int side = static_cast<int>(std::lround(std::sqrt(config_.num_position_embeddings)));
  int64_t total = 0;
  for (const VisionItem& item : items) total += item.grid.patches();
  require(total <= workspace.x.rows, "vision pass exceeds its workspace");
  std::vector<int32_t> places(static_cast<size_t>(2 * total));
  const Mat<int32_t> coordinates = make_mat(places.data(), 2, total);
  std::vector<PositionCorners> corners;
  corners.reserve(static_cast<size_t>(total));
  for (const VisionItem& item : items) {
    const int64_t n = item.grid.patches();
    patch_embed(backend, make_mat(item.patches, n, config_.patch_dim()), pixel_norm_,
                weights_.patch_embed, workspace.x.slice_rows(pass.patches, n));
    const Mat<int32_t> mine = coordinates.slice_cols(pass.patches, n);
    patch_coordinates(item.grid, config_.spatial_merge_size, mine);
    for (int64_t i = 0; i < n; ++i) {
      corners.push_back(position_corners(mine(0, i), mine(1, i), item.grid, side));
    }
    for (int t = 0; t < item.grid.t; ++t) {
      pass.cu_seqlens.push_back(pass.cu_seqlens.back() + int64_t{item.grid.h} * item.grid.w);
    }
    pass.patches += n;
  }
  upload(backend, workspace.corners.data, corners.data(),
         total * static_cast<int64_t>(sizeof(PositionCorners)));
  for (int64_t axis = 0; axis < 2; ++axis) {
    upload(backend, workspace.coordinates.row(axis), coordinates.row(axis), total * 4);
  }
  add_position_embedding(backend, workspace.corners.slice(0, total), weights_.position_table,
                         workspace.x.slice_rows(0, total));
  rope_table(backend, workspace.coordinates.slice_cols(0, total), rope_axes_, inv_freq_,
             workspace.rope);
  return pass;
}

template <class Backend>
bool VisionModel::advance(Backend& backend, VisionPass& pass, int64_t layers,
                          VisionWorkspace& workspace) const {
  const int64_t n = pass.patches;
  const RowRoles roles{.prompt = n};
  const Mat<float> x = workspace.x.slice_rows(0, n);
  const ActMat qkv = reshape_buffer(workspace.wide, n, 3 * config_.hidden_size);
  const ActMat mlp = reshape_buffer(workspace.wide, n, config_.intermediate_size);
  const ActMat attended = workspace.attention.slice_rows(0, n);
  const auto depth = static_cast<int64_t>(weights_.blocks.size());
  const int64_t last = std::min(depth, pass.next_layer + layers);
  for (; pass.next_layer < last; ++pass.next_layer) {
    const VisionBlockWeights& block = weights_.blocks[static_cast<size_t>(pass.next_layer)];
    layer_norm_linear(backend, x, block.norm1, block.qkv, qkv);
    vision_attention(backend, qkv, config_.num_heads, workspace.rope, pass.cu_seqlens, attended);
    linear_residual(backend, roles, attended, block.proj, x);
    layer_norm_linear_gelu(backend, x, block.norm2, block.fc1, Gelu::tanh, mlp);
    linear_residual(backend, roles, mlp, block.fc2, x);
    for (size_t k = 0; k < weights_.deepstack.size(); ++k) {
      if (config_.deepstack_visual_indexes[k] == pass.next_layer) {
        merge(backend, pass, weights_.deepstack[k], static_cast<int64_t>(k) + 1, workspace);
      }
    }
  }
  if (pass.next_layer < depth) return false;
  merge(backend, pass, weights_.merger, 0, workspace);
  return true;
}

template <class Backend>
void VisionModel::merge(Backend& backend, const VisionPass& pass, const MergerWeights& merger,
                        int64_t part, VisionWorkspace& workspace) const {
  const int64_t unit = config_.merge_unit();
  int64_t first = 0;
  for (const VisionItem& item : pass.items) {
    const int64_t patches = item.grid.patches();
    const int64_t tokens = patches / unit;
    const ActMat mid = reshape_buffer(workspace.attention, tokens, unit * config_.hidden_size);
    layer_norm_linear_gelu(backend, workspace.x.slice_rows(first, patches), merger.norm, merger.fc1,
                           Gelu::erf, mid);
    linear(backend, {.prompt = tokens}, mid, merger.fc2,
           item.features.slice_cols(part * config_.out_hidden_size, config_.out_hidden_size));
    first += patches;
  }
}

}  // namespace qvl
