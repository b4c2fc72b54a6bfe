#include <algorithm>

#include "kernels/device/products.cuh"
#include "kernels/rope.h"

namespace qvl {
namespace {

constexpr int kMaxPairs = 128;

struct RopePairs {
  float inv_freq[kMaxPairs];
  uint8_t axis[kMaxPairs];
  int count;
};

__global__ void rope_kernel(const int32_t* positions, int64_t ldp, const RopePairs pairs,
                            float* cos_table, float* sin_table, int64_t ld) {
  device::wait_for_inputs();
  const int64_t row = blockIdx.x;
  for (int i = threadIdx.x; i < pairs.count; i += blockDim.x) {
    const float angle =
        static_cast<float>(positions[pairs.axis[i] * ldp + row]) * pairs.inv_freq[i];
    float sine = 0.0F;
    float cosine = 0.0F;
    sincosf(angle, &sine, &cosine);
    cos_table[row * ld + i] = cosine;
    sin_table[row * ld + i] = sine;
  }
}

}  // namespace

void rope_table(Cuda& cuda, Mat<const int32_t> positions, std::span<const uint8_t> axis,
                std::span<const float> inv_freq, const RopeTable& table) {
  require(inv_freq.size() <= kMaxPairs, "rope: pairs of a head");
  RopePairs pairs{};
  std::copy(inv_freq.begin(), inv_freq.end(), pairs.inv_freq);
  std::copy(axis.begin(), axis.end(), pairs.axis);
  pairs.count = static_cast<int>(inv_freq.size());
  device::launch(device::blocks_of(cuda, static_cast<unsigned>(positions.cols), 64), rope_kernel,
                 positions.data, positions.stride, pairs, table.cos.data, table.sin.data,
                 table.cos.stride);
}

}  // namespace qvl
