#pragma once

/// Rotary embedding of the vision tower's q and k, in place. Bound by memory: reads and writes two
/// thirds of qkv once; cos and sin of a row are read by its 2 · heads heads from the nearest cache.
/// One thread block a row, four pairs a thread, 8 bytes of each half (rows of 72 elements have
/// halves of 72 bytes, which 16 does not divide).

#include <cstdint>

#include "core/check.h"
#include "core/dtype.h"
#include "kernels/device/launch.cuh"

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

__device__ inline float low(uint32_t both) { return __uint_as_float(both << 16); }
__device__ inline float high(uint32_t both) { return __uint_as_float(both & 0xffff0000U); }

__device__ inline uint32_t pack(float low, float high) {
  uint32_t both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
}

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
    *first = {pack(low(a.x) * c.x - low(b.x) * s.x, high(a.x) * c.y - high(b.x) * s.y),
              pack(low(a.y) * c.z - low(b.y) * s.z, high(a.y) * c.w - high(b.y) * s.w)};
    *second = {pack(low(b.x) * c.x + low(a.x) * s.x, high(b.x) * c.y + high(a.x) * s.y),
               pack(low(b.y) * c.z + low(a.y) * s.z, high(b.y) * c.w + high(a.y) * s.w)};
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
