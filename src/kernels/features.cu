#include "kernels/device/products.cuh"
#include "kernels/features.h"

namespace qvl {
namespace {

template <bool kAdd>
__global__ void features_kernel(const device::bf16x1* features, int64_t ldf, float* x, int64_t ldx,
                                int64_t cols) {
  device::wait_for_inputs();
  const device::bf16x1* const from = features + blockIdx.x * ldf;
  float* const to = x + blockIdx.x * ldx;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) {
    const float v = __bfloat162float(from[i]);
    to[i] = kAdd ? to[i] + v : v;
  }
}

template <bool kAdd>
void move_features(Cuda& cuda, const ActMat& features, Mat<float> x) {
  require(features.dtype == DType::bf16, "device features are bfloat16");
  if (x.rows == 0) return;
  device::launch(device::blocks_of(cuda, static_cast<unsigned>(x.rows), 256), features_kernel<kAdd>,
                 device::half(features.data), features.stride, x.data, x.stride, x.cols);
}

}  // namespace

void set_features(Cuda& cuda, ActMat features, Mat<float> x) {
  move_features<false>(cuda, features, x);
}
void add_features(Cuda& cuda, ActMat features, Mat<float> x) {
  move_features<true>(cuda, features, x);
}

}  // namespace qvl
