#pragma once

#include "kernels/attention.h"

namespace qvl {

/// Full attention inside each segment of patches; q and k rotated in float32.
/// qkv: [patches, 3·heads·head_dim] in the order q, k, v; segments: cu_seqlens[0] = 0, ascending,
/// the last one is patches. rope: [patches, head_dim / 2]; pairs are (k, k + head_dim / 2). out:
/// [patches, heads·head_dim]. Scores, softmax and sums are float32. Source:
/// Qwen3VLVisionAttention.forward.
void vision_attention(Ref&, ActMat qkv, int64_t heads, const RopeTable& rope,
                      std::span<const int64_t> cu_seqlens, ActMat out);
void vision_attention(Cpu&, ActMat qkv, int64_t heads, const RopeTable& rope,
                      std::span<const int64_t> cu_seqlens, ActMat out);
void vision_attention(Cuda&, ActMat qkv, int64_t heads, const RopeTable& rope,
                      std::span<const int64_t> cu_seqlens, ActMat out);

}  // namespace qvl
