#pragma once

/// Small pieces of device arithmetic that several operators share.

#include <cuda_bf16.h>

#include <cstddef>
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

/// Copies 16 bytes into shared memory without waiting for them: see wait_copies.
__device__ inline void copy_piece(uint4* to, const void* from) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits for this thread's copies but those of the `kNewer` last groups.
template <int kNewer>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewer) : "memory");
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

/// c += a·b, a: 16 × 16, b: 16 × 8, in the fragment layout of mma.m16n8k16.
__device__ inline void multiply_add(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                    uint32_t a3, uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// Four 8 × 8 matrices out of shared memory; lane i gives the address of row i % 8 of matrix i / 8.
template <bool kTransposed = false>
__device__ inline uint4 load_matrices(const std::byte* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  uint4 v;
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(address)
                 : "memory");
  }
  return v;
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
