#pragma once

/// Small pieces that the attention kernels of both kinds of tensor cores share; fragments are those
/// of mma.cuh.

#include <cstdint>

#include "kernels/device/mma.cuh"
#include "kernels/device/numeric.cuh"

namespace qvl::device::flash {

__device__ inline void store_zeros(uint32_t to) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(to), "r"(0) : "memory");
}

/// 2^x to 2 units in the last place; 2^0 is 1, 2^-inf is 0, results below 2^-126 are 0.
__device__ inline float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Over the four lanes of the same g, the same bits in each.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 2));
}

__device__ inline float quad_sum(float x) {
  x = __fadd_rn(x, __shfl_xor_sync(0xffffffffU, x, 1));
  return __fadd_rn(x, __shfl_xor_sync(0xffffffffU, x, 2));
}

}  // namespace qvl::device::flash
