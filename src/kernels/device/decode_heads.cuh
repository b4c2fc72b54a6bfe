#pragma once

/// Heads of generated rows and of prompt rows before attention: normalised and rotated by a warp,
/// four elements a lane, and where their keys and values go in the paged cache.

#include "kernels/attention.h"
#include "kernels/device/numeric.cuh"
#include "kernels/device_lists.h"

namespace qvl::device {

constexpr int kDecodeHeadDim = 128;

/// Rows of q, k and v, the angles of the rows, and where keys and values go.
struct HeadArgs {
  bf16x1* qkv;
  int64_t ldq;
  const float* cos;
  const float* sin;
  int64_t ld_rope;
  const float* q_weight;
  const float* k_weight;
  float q_eps;
  float k_eps;
  int num_heads;
  int num_kv_heads;
  const SequenceRows* sequences;
  std::byte* pages;
  int64_t page_bytes;
};

inline HeadArgs head_args(const Cuda& cuda, const ActMat& qkv, const AttentionLayer& layer,
                          const RopeTable& rope, const KvLayer& cache) {
  return {.qkv = static_cast<bf16x1*>(qkv.data),
          .ldq = qkv.stride,
          .cos = rope.cos.data,
          .sin = rope.sin.data,
          .ld_rope = rope.cos.stride,
          .q_weight = layer.q_norm.weight.data,
          .k_weight = layer.k_norm.weight.data,
          .q_eps = layer.q_norm.eps,
          .k_eps = layer.k_norm.eps,
          .num_heads = static_cast<int>(layer.num_heads),
          .num_kv_heads = static_cast<int>(cache.shape.num_kv_heads),
          .sequences = cuda.lists->sequences,
          .pages = cache.base,
          .page_bytes = cache.page_bytes};
}

/// Keys of a page of one kv head: [64][head_dim]; its values follow.
__device__ inline bf16x1* page_keys(const HeadArgs& args, int64_t page, int kv_head) {
  return reinterpret_cast<bf16x1*>(args.pages + page * args.page_bytes) +
         int64_t{kv_head} * 2 * kPageTokens * kDecodeHeadDim;
}
constexpr int64_t kValuesAfterKeys = kPageTokens * kDecodeHeadDim;

/// Four elements of a head in a lane: 4·lane and on. The first half of a head lies in lanes 0–15,
/// so that the partner of an element in the rotation lies 16 lanes away.
__device__ inline float4 load_half(const bf16x1* x) {
  const uint2 words = *reinterpret_cast<const uint2*>(x + threadIdx.x % 32 * 4);
  const float2 a = unpack(words.x);
  const float2 b = unpack(words.y);
  return {a.x, a.y, b.x, b.y};
}
__device__ inline void store_half(const float4& v, bf16x1* x) {
  *reinterpret_cast<uint2*>(x + threadIdx.x % 32 * 4) = {pack(v.x, v.y), pack(v.z, v.w)};
}

/// How the heads of a row are normalised and rotated, each by one warp.
struct HeadTurn {
  float4 weight;
  float4 cos;
  float4 sin;
  float eps;

  __device__ HeadTurn(const HeadArgs& args, int64_t row, const float* norm_weight, float norm_eps)
      : weight(*reinterpret_cast<const float4*>(norm_weight + threadIdx.x % 32 * 4)),
        eps(norm_eps) {
    const int lane = threadIdx.x % 32;
    const int64_t at = row * args.ld_rope + lane % 16 * 4;
    cos = *reinterpret_cast<const float4*>(args.cos + at);
    sin = *reinterpret_cast<const float4*>(args.sin + at);
    if (lane < 16) sin = {-sin.x, -sin.y, -sin.z, -sin.w};
  }
  __device__ float4 operator()(float4 v) const {
    const float sum = warp_sum((v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w));
    const float scale = 1.0F / sqrtf(sum / kDecodeHeadDim + eps);
    v = {weight.x * (v.x * scale), weight.y * (v.y * scale), weight.z * (v.z * scale),
         weight.w * (v.w * scale)};
    const float4 other = {
        __shfl_xor_sync(0xffffffffU, v.x, 16), __shfl_xor_sync(0xffffffffU, v.y, 16),
        __shfl_xor_sync(0xffffffffU, v.z, 16), __shfl_xor_sync(0xffffffffU, v.w, 16)};
    return {v.x * cos.x + other.x * sin.x, v.y * cos.y + other.y * sin.y,
            v.z * cos.z + other.z * sin.z, v.w * cos.w + other.w * sin.w};
  }
};

/// Head `head` of q, k and v of a row.
__device__ inline float4 load_head(const HeadArgs& args, int64_t row, int head) {
  return load_half(args.qkv + row * args.ldq + head * kDecodeHeadDim);
}

/// The key and value of a row go to the slot of their position.
__device__ inline void write_key_value(const HeadArgs& args, const int32_t* block_table,
                                       int64_t row, int64_t position, int kv_head) {
  const int64_t page = block_table[position / kPageTokens];
  bf16x1* const key = page_keys(args, page, kv_head) + position % kPageTokens * kDecodeHeadDim;
  const int head = args.num_heads + kv_head;
  const HeadTurn turn(args, row, args.k_weight, args.k_eps);
  store_half(turn(load_head(args, row, head)), key);
  store_half(load_head(args, row, head + args.num_kv_heads), key + kValuesAfterKeys);
}

}  // namespace qvl::device
