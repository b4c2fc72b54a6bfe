#pragma once

/// The fused operators that begin with a norm. The norm is computed in float32 over the residual
/// stream and rounded once, to the Linear's activation format.

#include "kernels/linear.h"

namespace qvl {

struct RmsNorm {
  Vec<const float> weight;
  float eps = 1e-6F;
};

struct LayerNorm {
  Vec<const float> weight;
  Vec<const float> bias;
  float eps = 1e-6F;
};

enum class Gelu : uint8_t { tanh, erf };

/// y = rms(x)·Wᵀ, rms(x) = w ⊙ x / sqrt(mean(x²) + eps).  x: [rows, in]; y: [rows, out], activation
/// dtype. Source: Qwen3VLTextRMSNorm and the q/k/v projections of Qwen3VLTextAttention,
/// modeling_qwen3_vl.py.
void rms_norm_linear(Ref&, RowRoles roles, Mat<const float> x, const RmsNorm& norm, const Linear& w,
                     ActMat y);
void rms_norm_linear(Cpu&, RowRoles roles, Mat<const float> x, const RmsNorm& norm, const Linear& w,
                     ActMat y);
void rms_norm_linear(Cuda&, RowRoles roles, Mat<const float> x, const RmsNorm& norm,
                     const Linear& w, ActMat y);

/// y = silu(rms(x)·Gᵀ) ⊙ (rms(x)·Uᵀ), with G and U the halves of a gate_up Linear.  y: [rows, out /
/// 2]. Source: Qwen3VLTextMLP.
void rms_norm_gate_up_silu(Ref&, RowRoles roles, Mat<const float> x, const RmsNorm& norm,
                           const Linear& gate_up, ActMat y);
void rms_norm_gate_up_silu(Cpu&, RowRoles roles, Mat<const float> x, const RmsNorm& norm,
                           const Linear& gate_up, ActMat y);
void rms_norm_gate_up_silu(Cuda&, RowRoles roles, Mat<const float> x, const RmsNorm& norm,
                           const Linear& gate_up, ActMat y);

/// logits[i,:] = rms(x[rows[i],:])·Wᵀ in float32.  Source: final norm and lm_head of
/// Qwen3VLForConditionalGeneration. roles counts the entries of `rows` by role.
void rms_norm_head(Ref&, RowRoles roles, Mat<const float> x, Vec<const int32_t> rows,
                   const RmsNorm& norm, const Linear& w, Mat<float> logits);
void rms_norm_head(Cpu&, RowRoles roles, Mat<const float> x, Vec<const int32_t> rows,
                   const RmsNorm& norm, const Linear& w, Mat<float> logits);
void rms_norm_head(Cuda&, RowRoles roles, Mat<const float> x, Vec<const int32_t> rows,
                   const RmsNorm& norm, const Linear& w, Mat<float> logits);

/// y = ln(x)·Wᵀ + b, ln over the whole row.  Source: Qwen3VLVisionBlock norm1 + attn.qkv.
void layer_norm_linear(Ref&, Mat<const float> x, const LayerNorm& norm, const Linear& w, ActMat y);
void layer_norm_linear(Cpu&, Mat<const float> x, const LayerNorm& norm, const Linear& w, ActMat y);
void layer_norm_linear(Cuda&, Mat<const float> x, const LayerNorm& norm, const Linear& w, ActMat y);

/// y = gelu(ln(x)·Wᵀ + b).  The rows of x may be merged first: x is [n·m, in / m] and is read as
/// [n, in]. norm.weight of `in / m` elements normalises before merging (main merger), of `in`
/// elements after (DeepStack). Source: Qwen3VLVisionBlock norm2 + mlp.linear_fc1 (m = 1, tanh);
/// Qwen3VLVisionPatchMerger (m = 4, erf).
void layer_norm_linear_gelu(Ref&, Mat<const float> x, const LayerNorm& norm, const Linear& w,
                            Gelu gelu, ActMat y);
void layer_norm_linear_gelu(Cpu&, Mat<const float> x, const LayerNorm& norm, const Linear& w,
                            Gelu gelu, ActMat y);
void layer_norm_linear_gelu(Cuda&, Mat<const float> x, const LayerNorm& norm, const Linear& w,
                            Gelu gelu, ActMat y);

}  // namespace qvl
