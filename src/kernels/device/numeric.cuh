#pragma once

/// Small pieces of device arithmetic that several operators share.

#include <cuda_bf16.h>

#include <cstdint>

namespace qvl::device {

using bf16x1 = __nv_bfloat16;

/// 16 bytes that are read once: they pass the first-level cache by.
__device__ inline uint4 load_once(const void* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}

/// The two bfloat16 of a word; the lower half comes first in memory.
__device__ inline float2 unpack(uint32_t word) {
  return {__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000U)};
}
__device__ inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  uint32_t word;
  memcpy(&word, &both, sizeof word);
  return word;
}

/// Sum over a warp, the same in every lane.
__device__ inline float warp_sum(float v) {
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffU, v, step);
  return v;
}

/// Sum over a block of kThreads, the same in every thread and the same order every time. `shared`
/// has room for kThreads / 32 + 1 floats, and may be used again after the next barrier.
template <int kThreads>
__device__ float block_sum(float v, float* shared) {
  v = warp_sum(v);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  float sum = 0.0F;
  for (int w = 0; w < kThreads / 32; ++w) sum += shared[w];
  __syncthreads();
  return sum;
}

__device__ inline float silu(float v) { return v / (1.0F + __expf(-v)); }
/// 0.5 v (1 + tanh(u)) = v / (1 + exp(-2 u)); an exponential and a reciprocal of the special unit
/// where tanhf is a page of instructions. Off by about 1e-6 of the result.
__device__ inline float gelu_tanh(float v) {
  constexpr float kTwiceSqrt2OverPi = 1.5957691216057308F;
  const float twice_u = kTwiceSqrt2OverPi * (v + 0.044715F * v * v * v);
  return __fdividef(v, 1.0F + __expf(-twice_u));
}
__device__ inline float gelu_erf(float v) {
  constexpr float kSqrtHalf = 0.7071067811865476F;
  return 0.5F * v * (1.0F + erff(v * kSqrtHalf));
}

}  // namespace qvl::device
