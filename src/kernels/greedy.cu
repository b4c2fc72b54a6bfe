#include "kernels/device/products.cuh"
#include "kernels/greedy.h"

namespace qvl {
namespace {

constexpr int kThreads = 1024;

struct Best {
  float value;
  int32_t token;  // -1: none
};

__device__ Best better(const Best& a, const Best& b) {
  if (b.token < 0) return a;
  if (a.token < 0) return b;
  return a.value > b.value || (a.value == b.value && a.token < b.token) ? a : b;
}

/// One block a row.
__global__ void __launch_bounds__(kThreads)
    greedy_kernel(const float* logits, int64_t ld, int limit, int32_t* tokens) {
  __shared__ Best warps[kThreads / 32];
  device::wait_for_inputs();
  const float* const row = logits + blockIdx.x * ld;
  Best best{0.0F, -1};
  for (int i = threadIdx.x; i < limit; i += kThreads) {
    if (isfinite(row[i])) best = better(best, {row[i], i});
  }
  for (int step = 16; step > 0; step /= 2) {
    const Best other{__shfl_xor_sync(0xffffffffU, best.value, step),
                     __shfl_xor_sync(0xffffffffU, best.token, step)};
    best = better(best, other);
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kThreads / 32; ++w) best = better(best, warps[w]);
  tokens[blockIdx.x] = best.token;
}

}  // namespace

void greedy_tokens(Cuda& cuda, Mat<const float> logits, int64_t limit, Vec<int32_t> tokens) {
  if (logits.rows == 0) return;
  device::launch(device::blocks_of(cuda, static_cast<unsigned>(logits.rows), kThreads),
                 greedy_kernel, logits.data, logits.stride, static_cast<int>(limit), tokens.data);
}

}  // namespace qvl
