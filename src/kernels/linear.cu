#include <algorithm>
#include <vector>

#include "kernels/device/products.cuh"
#include "kernels/linear.h"
#include "kernels/transfer.h"

namespace qvl {
namespace {

using device::bf16x1;

constexpr int64_t kUploadBytes = 16LL << 20;

int64_t rows_at_once(const LinearDesc& desc) {
  return std::max<int64_t>(1, kUploadBytes / (desc.in * 2));
}

/// `count` rows of W as bfloat16.
void to_half(const LinearDesc& desc, const void* rows, int64_t count, bf16* out) {
  const int64_t n = count * desc.in;
  if (desc.weight == WeightFormat::bf16) {
    std::copy_n(static_cast<const bf16*>(rows), n, out);
  } else if (desc.weight == WeightFormat::f16) {
    const auto* const in = static_cast<const f16*>(rows);
    for (int64_t i = 0; i < n; ++i) out[i] = bf16(static_cast<float>(in[i]));
  } else {
    const auto* const in = static_cast<const float*>(rows);
    for (int64_t i = 0; i < n; ++i) out[i] = bf16(in[i]);
  }
}

__global__ void gather_kernel(const int32_t* ids, const bf16x1* w, int64_t cols, float* x,
                              int64_t ldx) {
  device::wait_for_inputs();
  const bf16x1* const from = w + ids[blockIdx.x] * cols;
  float* const to = x + blockIdx.x * ldx;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) to[i] = __bfloat162float(from[i]);
}

}  // namespace

bool keeps_int4(const Cuda&, const LinearDesc&) { return false; }

int64_t packed_bytes(const Cuda&, const LinearDesc& desc) {
  return Arena::padded(desc.out * desc.in * 2);
}

/// Row-major bfloat16, whatever the format was. Rows of a gate_up Linear alternate, gate and up, so
/// that a product has both in neighbouring columns.
Linear pack_linear(Cuda& cuda, const LinearDesc& desc, RowReader rows, const float* bias,
                   Arena& arena) {
  bf16x1* const packed = arena.take<bf16x1>(desc.out * desc.in);
  const int64_t step = rows_at_once(desc);
  std::vector<bf16> host(static_cast<size_t>(std::min(step, desc.out) * desc.in));
  const bool alternate = desc.kind == LinearKind::gate_up;
  const int64_t half = desc.out / 2;
  for (int64_t part = 0; part < (alternate ? 2 : 1); ++part) {
    const int64_t end = alternate ? (part + 1) * half : desc.out;
    for (int64_t first = part * half; first < end; first += step) {
      const int64_t count = std::min(step, end - first);
      to_half(desc, rows(first, count), count, host.data());
      const auto width = static_cast<size_t>(desc.in * 2);
      bf16x1* const to = packed + (alternate ? 2 * (first - part * half) + part : first) * desc.in;
      check(cudaMemcpy2DAsync(to, alternate ? 2 * width : width, host.data(), width, width,
                              static_cast<size_t>(count), cudaMemcpyHostToDevice, cuda.stream));
      check(cudaStreamSynchronize(cuda.stream));
    }
  }
  return {desc, packed, bias};
}

void linear(Cuda& cuda, RowRoles roles, ActMat x, const Linear& w, ActMat y) {
  if (y.dtype == DType::f32) {
    device::product(cuda, roles, x, w,
                    device::StoreFloat{static_cast<float*>(y.data), y.stride, w.bias});
  } else {
    device::product(cuda, roles, x, w,
                    device::StoreHalf<device::NoChange>{device::half(y.data), y.stride, w.bias});
  }
}

void linear_residual(Cuda& cuda, RowRoles roles, ActMat a, const Linear& w, Mat<float> x) {
  device::product(cuda, roles, a, w, device::AddTo{x.data, x.stride, w.bias});
}

void gather_rows(Cuda& cuda, Vec<const int32_t> ids, const Linear& w, Mat<float> x) {
  if (ids.size == 0) return;
  device::launch(device::blocks_of(cuda, static_cast<unsigned>(ids.size), 256), gather_kernel,
                 ids.data, device::half(w.data), w.desc.in, x.data, x.stride);
}

}  // namespace qvl
