#include "model/text.h"

#include "model/mrope.h"
#include "model/text_forward.h"

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

template void TextModel::forward(Ref&, const TextBatch&, const KvPool&, TextWorkspace&,
                                 LayerObserver*) const;
template void TextModel::forward(Cpu&, const TextBatch&, const KvPool&, TextWorkspace&,
                                 LayerObserver*) const;
template Mat<const float> TextModel::logits(Ref&, RowRoles, Vec<const int32_t>,
                                            TextWorkspace&) const;
template Mat<const float> TextModel::logits(Cpu&, RowRoles, Vec<const int32_t>,
                                            TextWorkspace&) const;

}  // namespace qvl
