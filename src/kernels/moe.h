#pragma once

/// The mixture-of-experts block of a text layer: a router picks a few experts for each row, each a
/// small gated MLP, and adds their weighted results to the residual stream.

#include <vector>

#include "kernels/norm_linear.h"

namespace qvl {

/// All experts of a layer have the same shapes; the formats of their weights may differ.
struct Experts {
  /// [num_experts, hidden_size], activation format f32: rounding the rows first would let the
  /// choice of experts hang on the last bit of a bfloat16. The weight's own format does not matter.
  Linear router;
  std::vector<Linear> gate_up;  ///< per expert, [2 · moe_intermediate_size, hidden_size], gate_up
  std::vector<Linear> down;     ///< per expert, [hidden_size, moe_intermediate_size]
  int64_t top_k = 0;            ///< experts of a row, 1 to num_experts

  int64_t count() const { return static_cast<int64_t>(gate_up.size()); }
};

/// True if experts may be held in 4 bits, each as keeps_int4 says.
inline bool experts_keep_int4(const Ref&) { return true; }
inline bool experts_keep_int4(const Cpu&) { return true; }
inline bool experts_keep_int4(const Cuda&) { return false; }

/// The experts of one row and their weights: the `ids.size` largest logits, of equal ones those
/// with smaller ids, in ascending order of ids; weights = softmax over the chosen logits. That is
/// the softmax over all logits divided by the sum over the chosen ones, as the reference has it.
/// Always distinct ids; a logit that is not a number makes all weights so if it is chosen.
/// logits: [num_experts]; ids, weights: [top_k].
void choose_experts(Vec<const float> logits, Vec<int32_t> ids, Vec<float> weights);

/// x += Σ_e w_e · down_e(silu(rms(x)·G_eᵀ) ⊙ (rms(x)·U_eᵀ)) over the experts of each row, with ids
/// and w by choose_experts from rms(x)·routerᵀ, all in float32. The sum runs over ascending ids in
/// float32 and is finished before it is added. rms(x) is rounded to the activation format of
/// gate_up and the product of gate and up to that of down, as in a dense layer.  x: [rows,
/// hidden_size]. Source: Qwen3VLMoeTextSparseMoeBlock, modeling_qwen3_vl_moe.py. Its bfloat16 run
/// rounds logits, weights and sums; here they stay float32.
void rms_norm_moe(Ref&, RowRoles roles, const RmsNorm& norm, const Experts& experts, Mat<float> x);
void rms_norm_moe(Cpu&, RowRoles roles, const RmsNorm& norm, const Experts& experts, Mat<float> x);
void rms_norm_moe(Cuda&, RowRoles roles, const RmsNorm& norm, const Experts& experts, Mat<float> x);

}  // namespace qvl
