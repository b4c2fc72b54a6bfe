#include "model/text.h"

#include "kernels/features.h"
#include "kernels/rope.h"
#include "model/mrope.h"

namespace qvl {

TextWorkspace::TextWorkspace(const TextConfig& config, ActFormat activation, int64_t max_rows,
                             int64_t max_logits_rows, Arena& arena) {
  const DType act = act_dtype(activation);
  x = arena.take_mat<float>(max_rows, config.hidden_size);
  qkv = arena.take_act(act, max_rows, config.q_size() + 2 * config.kv_size());
  attention = arena.take_act(act, max_rows, config.q_size());
  mlp = arena.take_act(act, max_rows, config.intermediate_size);
  rope = {arena.take_mat<float>(max_rows, config.head_dim / 2),
          arena.take_mat<float>(max_rows, config.head_dim / 2)};
  logits = arena.take_mat<float>(max_logits_rows, config.vocab_size);
}

int64_t TextWorkspace::bytes(const TextConfig& config, ActFormat activation, int64_t max_rows,
                             int64_t max_logits_rows) {
  const int64_t act = dtype_bytes(act_dtype(activation));
  const auto mat = [](int64_t rows, int64_t cols, int64_t size) {
    return Arena::padded(rows * cols * size);
  };
  return mat(max_rows, config.hidden_size, 4) +
         mat(max_rows, config.q_size() + 2 * config.kv_size(), act) +
         mat(max_rows, config.q_size(), act) + mat(max_rows, config.intermediate_size, act) +
         2 * mat(max_rows, config.head_dim / 2, 4) + mat(max_logits_rows, config.vocab_size, 4);
}

TextModel::TextModel(const ModelConfig& config, const TextWeights& weights)
    : config_(config.text),
      weights_(weights),
      rope_axes_(mrope_axes(config.text.mrope_section)),
      inv_freq_(inverse_frequencies(config.text.rope_theta, config.text.head_dim)) {}

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
  rope_table(batch.positions, rope_axes_, inv_freq_, workspace.rope);
  if (observer != nullptr) observer->hidden(0, x);

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
    if (observer != nullptr) observer->hidden(index + 1, x);
  }
}

template <class Backend>
Mat<const float> TextModel::logits(Backend& backend, RowRoles roles, Vec<const int32_t> rows,
                                   TextWorkspace& workspace) const {
  const Mat<float> out = workspace.logits.slice_rows(0, rows.size);
  rms_norm_head(backend, roles, workspace.x, rows, weights_.norm, weights_.head, out);
  return out;
}

template void TextModel::forward(Ref&, const TextBatch&, const KvPool&, TextWorkspace&,
                                 LayerObserver*) const;
template void TextModel::forward(Cpu&, const TextBatch&, const KvPool&, TextWorkspace&,
                                 LayerObserver*) const;
template Mat<const float> TextModel::logits(Ref&, RowRoles, Vec<const int32_t>,
                                            TextWorkspace&) const;
template Mat<const float> TextModel::logits(Cpu&, RowRoles, Vec<const int32_t>,
                                            TextWorkspace&) const;

}  // namespace qvl
