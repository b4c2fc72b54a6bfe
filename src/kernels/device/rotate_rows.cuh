#pragma once

/// Rotary embedding of the vision tower's q and k, in place. Bound by memory: reads and writes two
/// thirds of qkv once; cos and sin of a row are read by its 2 · heads heads from the nearest cache.
/// One thread block a row, four pairs a thread, 8 bytes of each half (rows of 72 elements have
/// halves of 72 bytes, which 16 does not divide).

#include <cstdint>

#include "core/check.h"
#include "core/dtype.h"
#include "kernels/device/launch.cuh"
#include "kernels/device/numeric.cuh"

namespace qvl::device {

struct RotateRows {
  bf16* qkv = nullptr;         ///< [rows, 3 · heads · head_dim]: q, k, v
  int64_t qkv_stride = 0;      ///< elements, a multiple of 4
  const float* cos = nullptr;  ///< [rows, head_dim / 2], as is sin
  const float* sin = nullptr;
  int64_t rows = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;   ///< 64 or 72
  bool overlaps = false;  ///< with the kernel before it
};

namespace rotate {

constexpr int kThreads = 256;

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads) rotate_kernel(const RotateRows args) {
  constexpr int kPairs = kHeadDim / 2;
  constexpr int kVectors = kPairs / 4;
  static_assert(kPairs % 4 == 0);
  wait_for_inputs();
  const auto row = static_cast<int64_t>(blockIdx.x);
  const int count = static_cast<int>(2 * args.heads) * kVectors;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const int pair = i % kVectors * 4;
    bf16* head = args.qkv + row * args.qkv_stride + i / kVectors * kHeadDim;
    auto* first = reinterpret_cast<uint2*>(head + pair);
    auto* second = reinterpret_cast<uint2*>(head + kPairs + pair);
    const uint2 a = *first;
    const uint2 b = *second;
    const float4 c = *reinterpret_cast<const float4*>(args.cos + row * kPairs + pair);
    const float4 s = *reinterpret_cast<const float4*>(args.sin + row * kPairs + pair);
    const float2 a0 = unpack(a.x);
    const float2 a1 = unpack(a.y);
    const float2 b0 = unpack(b.x);
    const float2 b1 = unpack(b.y);
    *first = {pack(a0.x * c.x - b0.x * s.x, a0.y * c.y - b0.y * s.y),
              pack(a1.x * c.z - b1.x * s.z, a1.y * c.w - b1.y * s.w)};
    *second = {pack(b0.x * c.x + a0.x * s.x, b0.y * c.y + a0.y * s.y),
               pack(b1.x * c.z + a1.x * s.z, b1.y * c.w + a1.y * s.w)};
  }
}

}  // namespace rotate

/// Pairs (k, k + head_dim / 2) turn by the row's k-th angle, in float32, rounded to bf16 once.
/// cos and sin are aligned to 16 bytes, qkv to 8. Source: apply_rotary_pos_emb_vision.
inline void rotate_rows(const RotateRows& args, cudaStream_t stream) {
  require(args.qkv_stride % 4 == 0, "rows aligned to 8 bytes");
  if (args.rows == 0) return;
  require(args.head_dim == 64 || args.head_dim == 72, "head_dim of rotated rows");
  launch({.grid = static_cast<unsigned>(args.rows),
          .block = rotate::kThreads,
          .stream = stream,
          .overlaps = args.overlaps},
         args.head_dim == 64 ? rotate::rotate_kernel<64> : rotate::rotate_kernel<72>, args);
}

}  // namespace qvl::device
