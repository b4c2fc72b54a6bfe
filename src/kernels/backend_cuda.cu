#include <algorithm>

#include "kernels/device/products.cuh"
#include "kernels/transfer.h"

namespace qvl {

int64_t scratch_bytes(const Cuda&, const OperatorShapes& shapes) {
  // Rows of one operator in bfloat16; of patches also their bytes. A mixture of experts keeps, for
  // each row and expert, the hidden row of the expert and its result.
  const MoeShape& moe = shapes.moe;
  const int64_t routed = moe.rows * moe.top_k;
  const int64_t experts = moe.num_experts == 0
                              ? 0
                              : Arena::padded(routed * moe.moe_intermediate_size * 2) +
                                    Arena::padded(routed * moe.hidden_size * 4) +
                                    3 * Arena::padded(routed * 4) +
                                    Arena::padded((moe.num_experts + 1) * 4);
  return Arena::padded(shapes.max_input_elements * 2) + Arena::padded(shapes.max_input_elements) +
         experts;
}

void upload(Cuda& cuda, void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  // From pageable memory: the driver has its own copy when the call returns.
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, cuda.stream));
}

ActMat read_back(Cuda& cuda, ActMat x) {
  const int64_t width = x.cols * dtype_bytes(x.dtype);
  cuda.read_back->resize(static_cast<size_t>(std::max<int64_t>(1, x.rows * width)));
  std::byte* const to = cuda.read_back->data();
  if (x.rows > 0) {
    check(cudaMemcpy2DAsync(to, static_cast<size_t>(width), x.data,
                            static_cast<size_t>(x.stride * dtype_bytes(x.dtype)),
                            static_cast<size_t>(width), static_cast<size_t>(x.rows),
                            cudaMemcpyDeviceToHost, cuda.stream));
  }
  check(cudaStreamSynchronize(cuda.stream));
  return {to, x.dtype, x.rows, x.cols, x.cols};
}

}  // namespace qvl
