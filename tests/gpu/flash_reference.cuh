#pragma once

/// Attention and rotation written as their definition, in float64, one thread block per row and
/// head: what the fast kernels are compared with.

#include "kernels/device/flash.cuh"

namespace qvl::device::reference {

constexpr int kThreads = 128;

__device__ inline double value(const bf16& x) {
  return static_cast<double>(__uint_as_float(uint32_t{x.bits} << 16));
}

/// out[0 … head_dim) = softmax(q·k / sqrt(head_dim)) · v over `keys` keys by the whole block;
/// key(j) points to a key, values lie `to_value` elements after it. weights: [keys] in shared
/// memory.
template <class Key>
__device__ void attend(const bf16* query, int head_dim, int keys, const Key& key, int64_t to_value,
                       double* weights, float* out) {
  __shared__ double total;
  for (int j = static_cast<int>(threadIdx.x); j < keys; j += kThreads) {
    const bf16* k = key(j);
    double sum = 0;
    for (int i = 0; i < head_dim; ++i) sum += value(query[i]) * value(k[i]);
    weights[j] = sum / sqrt(static_cast<double>(head_dim));
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    double most = weights[0];
    for (int j = 1; j < keys; ++j) most = fmax(most, weights[j]);
    total = most;
  }
  __syncthreads();
  const double most = total;
  __syncthreads();
  for (int j = static_cast<int>(threadIdx.x); j < keys; j += kThreads) {
    weights[j] = exp(weights[j] - most);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    total = 0;
    for (int j = 0; j < keys; ++j) total += weights[j];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < head_dim; i += kThreads) {
    double sum = 0;
    for (int j = 0; j < keys; ++j) sum += weights[j] * value(key(j)[to_value + i]);
    out[i] = static_cast<float>(sum / total);
  }
}

/// Grid (rows of the longest sequence, heads, sequences). out: [rows, num_heads · head_dim].
__global__ void prefill(const PrefillAttention args, float* out) {
  extern __shared__ double weights[];
  const SequenceRows& sequence = args.sequences[blockIdx.z];
  if (blockIdx.x >= sequence.rows) return;
  const int64_t row = sequence.first_row + blockIdx.x;
  const int64_t kv_head = blockIdx.y / (args.num_heads / args.num_kv_heads);
  const auto key = [&](int j) {
    const std::byte* page = args.cache + sequence.block_table[j / 64] * args.page_bytes;
    return reinterpret_cast<const bf16*>(page) + (kv_head * 128 + j % 64) * args.head_dim;
  };
  attend(args.query + row * args.query_stride + blockIdx.y * args.head_dim,
         static_cast<int>(args.head_dim), static_cast<int>(sequence.start + blockIdx.x + 1), key,
         64 * args.head_dim, weights, out + (row * args.num_heads + blockIdx.y) * args.head_dim);
}

/// Grid (patches of the longest segment, heads, segments).
__global__ void vision(const VisionAttention args, const VisionRows* segments, float* out) {
  extern __shared__ double weights[];
  const VisionRows segment = segments[blockIdx.z];
  const int64_t row = segment.begin + static_cast<int64_t>(blockIdx.x);
  if (row >= segment.end) return;
  const int64_t hidden_size = args.heads * args.head_dim;
  const bf16* head = args.qkv + blockIdx.y * args.head_dim;
  const auto key = [&](int j) {
    return head + (segment.begin + j) * args.qkv_stride + hidden_size;
  };
  attend(head + row * args.qkv_stride, static_cast<int>(args.head_dim), segment.end - segment.begin,
         key, hidden_size, weights, out + (row * args.heads + blockIdx.y) * args.head_dim);
}

}  // namespace qvl::device::reference
