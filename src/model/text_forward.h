#pragma once

/// The definition of the text model's forward pass, for the files that instantiate it.

#include "kernels/features.h"
#include "kernels/rope.h"
#include "kernels/transfer.h"
#include "model/text.h"

namespace qvl {

template <class Backend>
void TextModel::forward(Backend& backend, const TextBatch& batch, const KvPool& cache,
                        TextWorkspace& workspace, LayerObserver* observer) const {
  const RowRoles roles = batch.roles;
  const int64_t rows = roles.rows();
  const int64_t hidden = config_.hidden_size;
  const Mat<float> x = workspace.x.slice_rows(0, rows);
  const ActMat qkv = workspace.qkv.slice_rows(0, rows);
  const ActMat attended = workspace.attention.slice_rows(0, rows);
  const ActMat mlp = workspace.mlp.slice_rows(0, rows);

  gather_rows(backend, batch.tokens, weights_.embedding, x);
  for (const FeatureRows& f : batch.features) {
    set_features(backend, f.features.slice_cols(0, hidden), x.slice_rows(f.row, f.features.rows));
  }
  rope_table(backend, batch.positions, rope_axes_, inv_freq_, workspace.rope);
  if (observer != nullptr) observer->hidden(0, read_back(backend, Mat<const float>(x)));

  for (size_t l = 0; l < weights_.layers.size(); ++l) {
    const TextLayerWeights& layer = weights_.layers[l];
    const auto index = static_cast<int64_t>(l);
    rms_norm_linear(backend, roles, x, layer.input_norm, layer.qkv, qkv);
    attention(backend, qkv, layer.attention, workspace.rope, batch.sequences, cache.layer(index),
              attended);
    linear_residual(backend, roles, attended, layer.output, x);
    if (config_.is_moe()) {
      rms_norm_moe(backend, roles, layer.post_attention_norm, layer.experts, x);
    } else {
      rms_norm_gate_up_silu(backend, roles, x, layer.post_attention_norm, layer.gate_up, mlp);
      linear_residual(backend, roles, mlp, layer.down, x);
    }
    for (const FeatureRows& f : batch.features) {  // DeepStack: the first layers only
      const int64_t first = (index + 1) * hidden;
      if (first >= f.features.cols) continue;
      add_features(backend, f.features.slice_cols(first, hidden),
                   x.slice_rows(f.row, f.features.rows));
    }
    if (observer != nullptr) observer->hidden(index + 1, read_back(backend, Mat<const float>(x)));
  }
}

template <class Backend>
Mat<const float> TextModel::logits(Backend& backend, RowRoles roles, Vec<const int32_t> rows,
                                   TextWorkspace& workspace) const {
  const Mat<float> out = workspace.logits.slice_rows(0, rows.size);
  rms_norm_head(backend, roles, workspace.x, rows, weights_.norm, weights_.head, out);
  return out;
}

}  // namespace qvl
