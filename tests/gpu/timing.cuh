#pragma once

/// What checks need to time kernels: weights that are not zero, and the time of a graph.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/cuda.h"

namespace qvl::device {

/// bfloat16 of ±0.008 to 0.06, the same for the same seed.
static __global__ void fill_kernel(uint16_t* p, int64_t n, uint32_t seed) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t h = static_cast<uint32_t>(i) * 2654435761U ^ seed;
    h ^= h >> 15;
    h *= 2246822519U;
    h ^= h >> 13;
    p[i] = static_cast<uint16_t>((h & 0x807f) | (0x3c00 + (h >> 16 & 0x180)));
  }
}

/// Median microseconds of a graph, of seven after two.
inline double graph_us(const CudaStream& stream, const CudaGraph& graph) {
  const CudaEvent begin = make_event();
  const CudaEvent end = make_event();
  std::vector<float> times;
  for (int i = 0; i < 9; ++i) {
    check(cudaEventRecord(begin.get(), stream.get()));
    check(cudaGraphLaunch(graph.get(), stream.get()));
    check(cudaEventRecord(end.get(), stream.get()));
    check(cudaEventSynchronize(end.get()));
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin.get(), end.get()));
    if (i > 1) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2] * 1e3;
}

}  // namespace qvl::device
