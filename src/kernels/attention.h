#pragma once

/// Text attention of one layer over a paged cache: q/k norm, M-RoPE, cache write and causal
/// attention.

#include <span>

#include "kernels/linear.h"
#include "kernels/norm_linear.h"

namespace qvl {

constexpr int64_t kPageTokens = 64;
constexpr int64_t pages_for(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

struct KvShape {
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  DType dtype = DType::bf16;  ///< f32 or bf16; what keys and values are rounded to
};

/// Bytes of one page (64 tokens, keys and values) of one layer; a multiple of 64.
int64_t kv_page_bytes(const Ref&, const KvShape& shape);
int64_t kv_page_bytes(const Cpu&, const KvShape& shape);
int64_t kv_page_bytes(const Cuda&, const KvShape& shape);

/// The pages of one layer. Page p lies at base + p · page_bytes; its layout is the backend's own.
/// Fresh pages hold anything finite.
struct KvLayer {
  std::byte* base = nullptr;
  int64_t page_bytes = 0;
  KvShape shape;
};

enum class Role : uint8_t { prompt, generated };

/// The rows of one sequence in a step: row first_row + i is the token at cache index start + i, and
/// attends to cache indices [0, start + i]. Index j lives in page block_table[j / 64]; the pages up
/// to start + rows exist.
struct SequenceRows {
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t start = 0;
  Role role = Role::prompt;
  const int32_t* block_table = nullptr;
};

struct AttentionLayer {
  int64_t num_heads = 0;
  RmsNorm q_norm;  ///< [head_dim], shared by the heads
  RmsNorm k_norm;
};

/// cos and sin of each row's angles: [rows, head_dim / 2]. See rope.h.
struct RopeTable {
  Mat<float> cos;
  Mat<float> sin;
};

/// qkv: [rows, (num_heads + 2·num_kv_heads)·head_dim], heads of q, then k, then v.
/// out: [rows, num_heads·head_dim] of qkv's dtype.
/// q and k are normalised and rotated in float32; k and v are rounded to the cache's dtype, q is
/// not rounded; scores, softmax and the sum over values are float32; keys are taken in blocks at
/// fixed absolute positions, so a row's bits do not depend on the other rows of the step. Scale
/// head_dim^-½; query head j uses kv head j / (num_heads / num_kv_heads). Source:
/// Qwen3VLTextAttention.forward.
void attention(Ref&, ActMat qkv, const AttentionLayer& layer, const RopeTable& rope,
               std::span<const SequenceRows> sequences, const KvLayer& cache, ActMat out);
void attention(Cpu&, ActMat qkv, const AttentionLayer& layer, const RopeTable& rope,
               std::span<const SequenceRows> sequences, const KvLayer& cache, ActMat out);
void attention(Cuda&, ActMat qkv, const AttentionLayer& layer, const RopeTable& rope,
               std::span<const SequenceRows> sequences, const KvLayer& cache, ActMat out);

}  // namespace qvl
